"""The protocol, to the letter: every close code, every malformed message, and who may listen for how long (R156)."""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import timedelta
from typing import Any

import orjson
import pytest

from domain.people import deactivate, issue_token, revoke_token
from domain.transactions import Call
from models import Token, User, new_id, utc_now
from tests.client import OPERATIONS, Client, Closed, Socket
from tests.delivery.stage import Stage, refusal_of, ticket_id, until

ENDED = OPERATIONS["SessionEnded"]
ACTIVITY = OPERATIONS["TicketActivity"]


def subscribe(identifier: Any = "1", **payload: Any) -> dict[str, Any]:
    return {"type": "subscribe", "id": identifier, "payload": {"query": ENDED} | payload}


@pytest.fixture
async def client(stage: Stage) -> Client:
    return await stage.client(stage.world.admin)


async def closed(socket: Socket) -> tuple[int, str]:
    """How the server closes this socket, whatever it says before."""
    while True:
        try:
            await socket.hear()
        except Closed as close:
            return close.code, str(close)


async def test_each_close_code_is_provoked(
    stage: Stage, client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The table in subscriptions/messages.py, one by one."""
    init = {"type": "connection_init", "payload": {"authorization": f"Bearer {client.token}"}}
    before: dict[int, list[Any]] = {
        4401: [subscribe()],
        4403: [{"type": "connection_init", "payload": {"authorization": "Bearer nonsense"}}],
        4429: [init, init],
        4409: [init, subscribe(), subscribe()],
    }
    for code, messages in before.items():
        async with client.connected(initialise=False) as socket:
            await socket.say({"type": "ping"})  # allowed at any time
            assert await socket.hear() == {"type": "pong"}
            for message in messages:
                await socket.say(message)
            assert (await closed(socket))[0] == code
    async with client.connected() as socket:
        await socket.say({"type": "hello"})
        assert (await closed(socket))[0] == 4400
    payloads: list[Any] = [None, "x", [], {}, {"authorization": 1}, {"authorization": "Basic x"}]
    for payload in payloads:
        async with client.connected(initialise=False) as socket:
            await socket.say({"type": "connection_init", "payload": payload})
            assert (await closed(socket))[0] == 4403
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
    with monkeypatch.context() as patched:
        patched.setattr("subscriptions.transport.INIT_SECONDS", 0.05)
        async with client.connected(initialise=False) as socket:
            assert (await closed(socket))[0] == 4408
    with monkeypatch.context() as patched:
        patched.setattr("subscriptions.transport.bearer_of", lambda payload: 1 / 0)
        async with client.connected(initialise=False) as socket:
            await socket.say(init)
            assert await closed(socket) == (1011, "1011 internal error")
    assert [record.message for record in caplog.records if record.levelno >= logging.ERROR] == ["a socket failed"]
    async with stage.hearing(stage.world.admin, "SessionEnded") as stream:
        draining = asyncio.create_task(stage.app.state.deskwire.drain())
        assert (await closed(stream.socket))[0] == 1012
        await draining


async def test_the_end_of_a_token_s_life_closes_the_socket(stage: Stage) -> None:
    """R156: expired 4401, and no later event; an expired one does not even begin."""
    world = stage.world
    ticket = await world.live_ticket()
    user = await User.get(id=world.admin.id)
    token = await issue_token(user, "short", utc_now(), life=timedelta(seconds=3))
    client = Client(stage.app, token.secret)
    async with client.listening("TicketActivity", ticketId=ticket_id(ticket), after=await stage.cursor()) as stream:
        await world.comment(ticket, world.admin)
        assert (await stream.next())["event"]["sequence"] == 4
        assert (await closed(stream.socket))[0] == 4401
        await world.comment(ticket, world.admin)
        assert stream.socket._from_server.empty()
    async with client.connected(initialise=False) as socket:
        await socket.say({"type": "connection_init", "payload": {"authorization": f"Bearer {client.token}"}})
        assert (await closed(socket))[0] == 4403


async def test_a_revoked_token_closes_its_sockets_and_no_others(stage: Stage) -> None:
    """R156: within two seconds, and nothing that happened afterwards is delivered."""
    world = stage.world
    agent = await world.agent()
    ticket = await world.live_ticket()
    watched = {"ticketId": ticket_id(ticket)}
    issued = await issue_token(await User.get(id=agent.id), "other", utc_now())
    other = Client(stage.app, issued.secret)
    start = await stage.cursor()
    async with (
        stage.hearing(agent, "TicketActivity", **watched) as first,
        other.listening("TicketActivity", **watched, after=start) as second,
    ):
        await until(lambda: stage.feeds() == 2)
        closing = asyncio.create_task(closed_at(second.socket))
        await revoke_token(Call(agent), issued.token_id)
        revoked = time.monotonic()
        await stage.burst(ticket, 20)
        words, at = await closing
        assert words == [4403]
        assert at - revoked < 2
        assert len(await first.take(20)) == 20


async def closed_at(socket: Socket) -> tuple[list[Any], float]:
    """All that is still said, and when that was over."""
    return await words_until_closed(socket), time.monotonic()


async def words_until_closed(socket: Socket) -> list[Any]:
    """All that is still said on a socket, down to its close code."""
    said: list[Any] = []
    while True:
        try:
            said.append(await socket.hear())
        except Closed as close:
            return [*said, close.code]


async def test_a_deactivated_user_is_out(stage: Stage) -> None:
    """R156: all his sockets close with 4403, idle ones too, and he cannot come back."""
    agent = await stage.world.agent()
    client = await stage.client(agent)
    async with client.connected() as socket:
        await deactivate(Call(stage.world.admin), agent.id or new_id())
        assert (await closed(socket))[0] == 4403
    async with client.connected(initialise=False) as socket:
        await socket.say({"type": "connection_init", "payload": {"authorization": f"Bearer {client.token}"}})
        assert (await closed(socket))[0] == 4403


async def test_a_token_revoked_while_its_socket_opens_is_noticed(stage: Stage, client: Client) -> None:
    """R156: between asking who he is and listening for his revocation, nothing slips through."""
    token = await Token.filter(user_id=stage.world.admin.id).get()
    ask = stage.hub.authenticate

    async def authenticate(bearer: str) -> Any:
        actor = await ask(bearer)
        if not tail.position:
            await revoke_token(Call(stage.world.admin), token.id)
            await until(lambda: tail.position > 0)  # the log has passed it on, to nobody
        return actor

    stage.hub.authenticate = authenticate
    tail = stage.hub._use(stage.world.id)
    await tail.ready.wait()
    async with client.connected(initialise=False) as socket:
        await socket.say({"type": "connection_init", "payload": {"authorization": f"Bearer {client.token}"}})
        assert await words_until_closed(socket) == [4403]


DEEP = 100_000
MALFORMED: dict[str, str] = {
    "array": "[]",
    "number": "1",
    "string": '"x"',
    "null": "null",
    "true": "true",
    "empty": "",
    "not JSON": "{",
    "trailing": "{} {}",
    "deep array": "[" * DEEP + "]" * DEEP,
    "deep object": '{"type":' * DEEP + "1" + "}" * DEEP,
    "long integer": '{"type": "subscribe", "id": ' + "9" * 5_000 + "}",
    "infinite": '{"type": "subscribe", "id": "1", "payload": NaN}',
    "lone surrogate": '{"type": "subscribe", "id": "\\ud800", "payload": {"query": "x"}}',
    "lone surrogate type": '{"type": "\\udfff"}',
    "surrogate in the text": '{"type": "\udfff"}',
    "NUL": '{"type": "\\u0000"}',
    "no type": "{}",
    "type is no string": '{"type": 1}',
    "long type": orjson.dumps({"type": "x" * 10_000}).decode(),
    "own message": '{"type": "next", "id": "1", "payload": {}}',
    "ack": '{"type": "connection_ack"}',
    "string payload": '{"type": "subscribe", "id": "1", "payload": "x"}',
    "no payload": '{"type": "subscribe", "id": "1"}',
    "no query": '{"type": "subscribe", "id": "1", "payload": {}}',
    "query is no string": '{"type": "subscribe", "id": "1", "payload": {"query": 1}}',
    "variables are a list": '{"type": "subscribe", "id": "1", "payload": {"query": "x", "variables": []}}',
    "name is no string": '{"type": "subscribe", "id": "1", "payload": {"query": "x", "operationName": {}}}',
    "object id": '{"type": "subscribe", "id": {}, "payload": {"query": "x"}}',
    "no id": '{"type": "subscribe", "payload": {"query": "x"}}',
    "empty id": '{"type": "subscribe", "id": "", "payload": {"query": "x"}}',
    "long id": orjson.dumps({"type": "complete", "id": "x" * 129}).decode(),
    "complete without id": '{"type": "complete"}',
}


async def test_malformed_messages_close_their_socket_and_nothing_else(
    stage: Stage, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    """F9: a legal close code with a short reason, no error in the log, and no other socket notices."""
    ticket = await stage.world.live_ticket()
    async with stage.hearing(stage.world.admin, "TicketActivity", ticketId=ticket_id(ticket)) as other:
        for initialise in (True, False):
            for name, text in MALFORMED.items():
                async with client.connected(initialise=initialise) as socket:
                    await socket.say_text(text)
                    code, reason = await closed(socket)
                    assert code in ((4400,) if initialise else (4400, 4401)), name
                    assert reason.isascii()
                    assert len(reason) < 123
        async with client.connected() as socket:
            await socket._to_server.put({"type": "websocket.receive", "bytes": b"{}"})
            assert (await closed(socket))[0] == 4400
        await stage.world.comment(ticket, stage.world.admin)
        assert (await other.next())["event"]["sequence"] == 4
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


REFUSED: dict[str, tuple[str, dict[str, Any]]] = {
    "syntax": ("GRAPHQL_PARSE_FAILED", {"query": "subscription {"}),
    "nothing": ("GRAPHQL_PARSE_FAILED", {"query": ""}),
    "surrogate": ("GRAPHQL_PARSE_FAILED", {"query": 'subscription { sessionEnded(after: "\\uD800") { cursor } }'}),
    "field": ("GRAPHQL_VALIDATION_FAILED", {"query": "subscription { sessionBegun { cursor } }"}),
    "depth": ("GRAPHQL_PARSE_FAILED", {"query": "subscription " + "{ a " * 300 + "}" * 300}),
    "name": ("OPERATION_RESOLUTION_FAILURE", {"query": ENDED, "operationName": "Nobody"}),
    "variables": ("BAD_USER_INPUT", {"query": ACTIVITY, "variables": {"ticketId": {"deep": [1]}}}),
    "null": ("BAD_USER_INPUT", {"query": ACTIVITY, "variables": {"ticketId": None}}),
    "id": ("INVALID_ID", {"query": ACTIVITY, "variables": {"ticketId": "nonsense"}}),
    "number": ("INVALID_ID", {"query": ACTIVITY, "variables": {"ticketId": 2**53}}),
    "cursor": ("INVALID_CURSOR", {"query": ENDED, "variables": {"after": "nonsense"}}),
    "filter": ("INVALID_ID", {"query": OPERATIONS["Inbox"], "variables": {"filter": {"groupId": "x"}}}),
    "query": ("ONLY_SUBSCRIPTIONS", {"query": "{ viewer { user { id } } }"}),
    "mutation": ("ONLY_SUBSCRIPTIONS", {"query": OPERATIONS["EndSession"]}),
}


async def test_a_refused_operation_ends_alone(stage: Stage, client: Client, caplog: pytest.LogCaptureFixture) -> None:
    """A syntax error, an unknown field, a query or a mutation: an error frame, and the socket goes on."""
    ticket = await stage.world.live_ticket()
    before = await stage.world.fingerprint()
    async with client.connected() as socket:
        living = await socket.subscribe(ACTIVITY, {"ticketId": ticket_id(ticket)})
        await until(lambda: stage.feeds() == 1)
        for name, (code, payload) in REFUSED.items():
            variables = {"input": {"ticketId": ticket_id(ticket)}} if name == "mutation" else {}
            await socket.say(subscribe("x", **({"variables": variables} | payload)))
            message = await socket.hear()
            assert (message["type"], message["id"]) == ("error", "x"), name
            assert message["payload"][0]["extensions"]["code"] == code, message
        assert await stage.world.fingerprint() == before
        await stage.world.comment(ticket, stage.world.admin)
        assert (await living.next())["event"]["sequence"] == 4
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("offered", [(), ("graphql-ws",), ("graphql-Transport-WS",), ("x",) * 50, ("\xe9",)])
async def test_no_other_protocol_is_spoken(stage: Stage, offered: tuple[str, ...]) -> None:
    """The legacy protocol, none, or nonsense: refused before the socket is accepted."""
    with pytest.raises(Closed, match="4406"):
        async with Socket(stage.app, offered).open():
            pass
    async with Socket(stage.app, (*offered, "graphql-transport-ws")).open():
        pass


async def test_operations_are_counted_completed_and_released(stage: Stage, client: Client) -> None:
    """At most 20 at once; `complete` stops one, frees its feed and its id; the last socket frees the log."""
    ticket = await stage.world.live_ticket()
    async with client.connected() as socket:
        streams = [await socket.subscribe(ACTIVITY, {"ticketId": ticket_id(ticket)}) for _ in range(20)]
        await until(lambda: stage.feeds() == 20)
        assert (await refusal_of(await socket.subscribe(ENDED)))[0]["extensions"]["code"] == "TOO_MANY_OPERATIONS"
        for stream in streams[1:]:
            await stream.complete()
            await stream.complete()  # twice, or for an id that nobody knows: no harm
        await until(lambda: stage.feeds() == 1)
        await stage.world.comment(ticket, stage.world.admin)
        assert (await streams[0].next())["event"]["sequence"] == 4
        await stage.silent(streams[0])
        await socket.say(subscribe(streams[1].identifier))
        await until(lambda: stage.feeds() == 2)
    await until(lambda: not stage.hub._tails)


async def test_an_internal_error_is_masked_and_ends_nothing_else(
    stage: Stage, client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What a defect says goes into the log once, under the id that the client gets; the stream goes on."""
    ticket = await stage.world.live_ticket()

    async with stage.hearing(stage.world.admin, "TicketActivity", ticketId=ticket_id(ticket)) as stream:
        with monkeypatch.context() as patched:
            patched.setattr("schema.tickets.Composer.of", classmethod(lambda cls, state: 1 / 0))
            await stage.world.comment(ticket, stage.world.admin)
            frame = await stream.socket.hear()
        (error,) = frame["payload"]["errors"]
        assert frame["type"] == "next"
        assert error["extensions"]["code"] == "INTERNAL_SERVER_ERROR"
        assert "division" not in orjson.dumps(frame).decode()
        await stage.world.comment(ticket, stage.world.admin)
        assert (await stream.next())["event"]["sequence"] == 5
        with monkeypatch.context() as patched:
            patched.setattr("subscriptions.topics.event_of", lambda event: 1 / 0)
            await stage.world.comment(ticket, stage.world.admin)
            frame = await stream.socket.hear()
        (fatal,) = frame["payload"]["errors"]
        assert (frame["type"], frame["payload"]["data"]) == ("next", None)
        await stage.world.comment(ticket, stage.world.admin)
        assert (await stream.next())["event"]["sequence"] == 7
        assert fatal["extensions"]["code"] == "INTERNAL_SERVER_ERROR"
    logged = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(logged) == 2
    for message, shown in zip(logged, (error, fatal), strict=True):
        assert shown["extensions"]["id"] in message


async def test_every_event_is_answered_with_fresh_loaders(stage: Stage) -> None:
    """F14: what changed between two events is shown as it is; nothing is remembered for the life of a socket."""
    world = stage.world
    agent = await world.agent("Old name")
    ticket = await world.live_ticket(assignee=agent)
    async with stage.hearing(world.admin, "TicketActivity", ticketId=ticket_id(ticket)) as stream:
        for name in ("Old name", "New name"):
            await User.filter(id=agent.id).update(name=name)
            await world.comment(ticket, agent)
            item = await stream.next()
            assert item["event"]["actor"]["name"] == item["ticket"]["assignee"]["name"] == name


async def test_a_reader_that_does_not_read_is_left(
    stage: Stage, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F6: a frame that cannot be sent in time ends the socket; its streams are released."""
    monkeypatch.setattr("subscriptions.wires.SEND_SECONDS", 0.2)
    ticket = await stage.world.live_ticket()
    socket = Socket(stage.app)
    socket._from_server = asyncio.Queue(1)
    async with socket.open():
        await socket.say({"type": "connection_init", "payload": {"authorization": f"Bearer {client.token}"}})
        await socket.hear()
        await socket.subscribe(ACTIVITY, {"ticketId": ticket_id(ticket)})
        await until(lambda: stage.feeds() == 1)
        await stage.burst(ticket, 5)
        await until(lambda: not stage.hub._tails)
        assert (await socket.hear())["type"] == "next"


async def test_a_client_that_vanishes_leaves_nothing(stage: Stage, client: Client) -> None:
    """F6: streams and the tail of the log go with the last socket."""
    async with client.connected() as socket:
        await socket.subscribe(ENDED)
        await until(lambda: stage.feeds() == 1)
    assert stage.feeds() == 0
    await until(lambda: not stage.hub._tails)
