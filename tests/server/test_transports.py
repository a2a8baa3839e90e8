"""The transports over real connections: framing, caps, compression, and a server that is not ours."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette

from deskwire.serving.listening import listening
from deskwire.serving.process import _uvicorn as our_config
from domain.people import revoke_token
from domain.transactions import Call
from subscriptions.wires import AsgiWire, ReadyWire, Wire
from tests.client import OPERATIONS
from tests.server.conftest import Begin
from tests.server.desk import Desk
from tests.server.process import Server
from tests.server.readers import DEFLATE, Gone, Response, WebSocket
from tests.server.test_stalled_readers import connections
from tests.streams import MULTIPART, SENT_EVENTS

SHORT = (
    "subscription ($id: ID!, $after: String) { ticketActivity(ticketId: $id, after: $after) { event { sequence } } }"
)
RESULT = b'{"data":{"ticketActivity":{"event":{"sequence":4}}}}'
PART = b"\r\nContent-Type: application/json\r\n\r\n"


@pytest.mark.parametrize(
    ("accept", "content_type", "first", "item", "end"),
    [
        (
            SENT_EVENTS,
            b"text/event-stream; charset=utf-8",
            b":\n\n",
            b"event: next\ndata: " + RESULT + b"\n\n",
            b"event: complete\ndata:\n\n",
        ),
        (
            MULTIPART,
            b'multipart/mixed;boundary="graphql";subscriptionSpec=1.0',
            b"\r\n--graphql",
            PART + b'{"payload":' + RESULT + b"}\r\n--graphql",
            b"--\r\n",
        ),
    ],
    ids=["events", "parts"],
)
async def test_a_stream_is_written_piece_by_piece(
    desk: Desk, begin: Begin, accept: str, content_type: bytes, first: bytes, item: bytes, end: bytes
) -> None:
    """Each item leaves at once, in a chunk of its own; the end is an end of HTTP, too."""
    server = await begin(poll_seconds="0.1")
    token = await desk.token(desk.world.admin)
    follow: dict[str, Any] = {"id": desk.ticket_id, "after": await desk.cursor()}
    async with Response.following(server.port, token.secret, accept, SHORT, **follow) as response:
        assert response.head.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"\r\ncontent-type: " + content_type + b"\r\n" in response.head
        assert b"\r\nx-accel-buffering: no\r\n" in response.head
        assert await response.chunk() == first
        await desk.burst(1)
        assert await response.chunk() == item
        await revoke_token(Call(desk.world.admin), token.token_id)
        assert b'"UNAUTHENTICATED"' in await response.chunk()
        assert await response.chunk() == end
        assert await response.chunk() == b""
        assert await connections(server) == 0


async def test_a_client_that_hangs_up_is_noticed(desk: Desk, begin: Begin) -> None:
    server = await begin()
    token = (await desk.token(desk.world.admin)).secret
    async with AsyncExitStack() as stack:
        for accept in (SENT_EVENTS, MULTIPART):
            following = Response.following(server.port, token, accept, SHORT, id=desk.ticket_id)
            await (await stack.enter_async_context(following)).chunk()
        await stack.enter_async_context(
            WebSocket.following(server.port, token, "TicketActivity", ticketId=desk.ticket_id)
        )
        assert await connections(server) == 3
    assert await eventually(server, 0)


async def eventually(server: Server, count: int) -> bool:
    for _ in range(100):
        if await connections(server) == count:
            return True
        await asyncio.sleep(0.05)
    return False


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_each_cap_refuses_in_its_way_and_only_its_own(desk: Desk, begin: Begin) -> None:
    """A full process before the handshake, with a 503; a person or an account once it is known who asks."""
    server = await begin(most_sockets="3", account_sockets="2", person_sockets="1")
    world = desk.world
    people = [(await desk.token(await world.agent(f"Agent {number}"))).secret for number in range(3)]
    stranger = (await desk.token((await type(world).create("globex")).admin)).secret

    def follow(token: str) -> Any:
        return WebSocket.following(server.port, token, "SessionEnded")

    async with follow(people[0]):
        with pytest.raises(Gone, match="1013"):  # his second
            async with follow(people[0]):
                pass
        async with Response.following(server.port, people[0], SENT_EVENTS, "SessionEnded") as response:
            assert await response.end() == ([], "TOO_MANY_CONNECTIONS")
        async with follow(people[1]):
            with pytest.raises(Gone, match="1013"):  # the account's third
                async with follow(people[2]):
                    pass
            async with follow(stranger):
                await refused_at_the_door(server, people[2])
    assert await eventually(server, 0)
    async with follow(people[2]) as socket:
        await socket.settle()


async def refused_at_the_door(server: Server, token: str) -> None:
    async with WebSocket.to(server.port) as socket:
        head = await socket.shake_hands()
        assert head.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after: 5\r\n" in head.lower()
    async with httpx.AsyncClient(base_url=server.address) as client:
        headers = {"Authorization": f"Bearer {token}", "Accept": SENT_EVENTS}
        body = {"query": OPERATIONS["SessionEnded"]}
        answer = await client.post("/graphql", json=body, headers=headers)
        assert answer.status_code == 503
        assert answer.json()["errors"][0]["extensions"]["code"] == "SERVICE_UNAVAILABLE"
        # Who asks for no stream is served.
        query = {"query": "{ viewer { user { id } } }"}
        assert (await client.post("/graphql", json=query, headers={"Authorization": f"Bearer {token}"})).is_success


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_compression_is_declined(desk: Desk, begin: Begin) -> None:
    """A client that offers it is served without."""
    server = await begin(poll_seconds="0.1")
    async with WebSocket.to(server.port) as socket:
        head = await socket.shake_hands(DEFLATE)
        assert head.startswith(b"HTTP/1.1 101 ")
        assert b"sec-websocket-extensions" not in head.lower()
        await socket.initialise((await desk.token(desk.world.admin)).secret)
        variables = {"ticketId": desk.ticket_id, "after": await desk.cursor()}
        payload = {"query": OPERATIONS["TicketActivity"], "variables": variables}
        socket.say({"type": "subscribe", "id": "1", "payload": payload})
        numbers = await desk.burst(3)
        assert [await socket.number() for _ in numbers] == numbers


def foreign(app: Starlette) -> uvicorn.Config:
    """uvicorn as it comes."""
    return uvicorn.Config(app, ws="websockets-sansio", lifespan="off", log_config=None)


@asynccontextmanager
async def served(config: uvicorn.Config) -> AsyncIterator[int]:
    """The port of a server in this process."""
    server = uvicorn.Server(config)
    with listening("127.0.0.1", 0) as listener:
        port: int = listener.getsockname()[1]
        serving = asyncio.create_task(server._serve(sockets=[listener]))
        try:
            while not server.started:  # noqa: ASYNC110  # it does not tell
                await asyncio.sleep(0.01)
            yield port
        finally:
            server.should_exit = True
            async with asyncio.timeout(10):
                await serving


WIRES = [pytest.param(our_config, ReadyWire, id="ours"), pytest.param(foreign, AsgiWire, id="another")]


@pytest.mark.parametrize(("config", "wire"), WIRES)
async def test_ready_frames_are_used_where_the_server_offers_them(
    app: Starlette, database: str, config: Any, wire: type[Wire]
) -> None:
    """And elsewhere the same comes by plain ASGI."""
    desk = await Desk.on(database)
    async with served(config(app)) as port:
        token = (await desk.token(desk.world.admin)).secret
        follow: dict[str, Any] = {"ticketId": desk.ticket_id, "after": await desk.cursor()}
        async with WebSocket.following(port, token, "TicketActivity", **follow) as socket:
            numbers = await desk.burst(200)
            assert [await socket.number() for _ in numbers] == numbers
            (connection,) = app.state.deskwire.connections
            assert type(connection.wire) is wire


@pytest.mark.parametrize(("config", "wire"), WIRES)
async def test_a_stalled_reader_is_closed_under_any_server(
    app: Starlette, database: str, config: Any, wire: type[Wire], monkeypatch: pytest.MonkeyPatch
) -> None:
    """F6: it is let go, and what it missed is found in the log."""
    monkeypatch.setattr("subscriptions.wires.SEND_SECONDS", 0.5)
    desk = await Desk.on(database)
    async with served(config(app)) as port:
        token = (await desk.token(desk.world.admin)).secret
        follow: dict[str, Any] = {"ticketId": desk.ticket_id, "after": await desk.cursor()}
        async with WebSocket.following(port, token, "TicketActivity", **follow, small=True) as stalled:
            first = await desk.burst(1)
            assert await stalled.number() == first[0]
            numbers = [number for _ in range(20) for number in await desk.burst(200)]
            async with asyncio.timeout(20):
                while len(app.state.deskwire.connections):  # noqa: ASYNC110  # it does not tell
                    await asyncio.sleep(0.05)
            monkeypatch.undo()  # who reads is not to be taken for one who stalls, however slow the machine is
            again = WebSocket.following(port, token, "TicketActivity", ticketId=desk.ticket_id, after=stalled.cursor)
            async with again as socket:
                assert [await socket.number() for _ in numbers] == numbers


@pytest.mark.parametrize("accept", [SENT_EVENTS, MULTIPART], ids=["events", "parts"])
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_stalled_response_is_dropped_without_a_word(
    app: Starlette, database: str, accept: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """uvicorn would wait for the client, and log that its answer has no end."""
    monkeypatch.setattr("subscriptions.wires.SEND_SECONDS", 0.5)
    desk = await Desk.on(database)
    async with served(our_config(app)) as port:
        token = (await desk.token(desk.world.admin)).secret
        follow: dict[str, Any] = {"ticketId": desk.ticket_id, "after": await desk.cursor()}
        async with Response.following(port, token, accept, "TicketActivity", **follow, small=True) as stalled:
            first = await desk.burst(1)
            assert await stalled.number() == first[0]
            for _ in range(20):
                await desk.burst(200)
            async with asyncio.timeout(20):
                while len(app.state.deskwire.connections):  # noqa: ASYNC110  # it does not tell
                    await asyncio.sleep(0.05)
            with pytest.raises(Gone, match="1006"):
                await stalled.end()
    # Of ours and the server's: what asyncio finds in the rubbish of an earlier test is none of this one.
    logged = [record for record in caplog.records if record.name.startswith(("uvicorn", "deskwire"))]
    assert not [record for record in logged if record.levelno >= logging.ERROR]
