"""SIGTERM under a crowd: all are sent elsewhere, nobody holds up the end, and nobody loses anything (R157)."""

from __future__ import annotations

import asyncio
import signal
import time
from contextlib import AsyncExitStack
from typing import Any

import pytest

from models import Ticket
from schema.ids import encode_id
from tests.server.conftest import Begin
from tests.server.desk import Desk
from tests.server.process import Server
from tests.server.readers import Gone, Line, Response, WebSocket, many
from tests.streams import SENT_EVENTS

SOCKETS, STALLED, RESPONSES, STALLED_RESPONSES, SLOW_SENDERS = 190, 10, 10, 3, 5
# More than the system keeps for one who does not read.
FLOOD = 4_000
# 20 seconds, and what a busy machine needs to end a process and to tell of it.
LIMIT = 25.0

pytestmark = pytest.mark.parametrize("database_url", ["postgres"], indirect=True)


async def slow_sender(stack: AsyncExitStack, port: int, token: str) -> None:
    """A request whose body does not go on."""
    line = await stack.enter_async_context(Line.to(port))
    line._writer.write(
        b"POST /graphql HTTP/1.1\r\nHost: deskwire.example\r\nContent-Type: application/json\r\n"
        b"Authorization: Bearer %s\r\nContent-Length: 100\r\n\r\n{" % token.encode()
    )


Reader = WebSocket | Response


class Follower:
    """All that one stream of the ticket has brought."""

    def __init__(self, line: Reader) -> None:
        self.line = line
        self.numbers: list[int] = []
        self.ended: int | str = 0
        self.ended_at = 0.0

    async def follow(self) -> None:
        items, self.ended = await self.line.end()
        self.ended_at = time.monotonic()
        self.numbers = [item["event"]["sequence"] for item in items]


async def resumed(server: Server, token: str, ticket: Ticket, cursor: str, count: int) -> list[int]:
    follow: dict[str, Any] = {"ticketId": encode_id("Ticket", ticket.id), "after": cursor}
    async with WebSocket.following(server.port, token, "TicketActivity", **follow) as socket:
        return [await socket.number() for _ in range(count)]


async def unread(line: Reader) -> int:
    """How many items still come before it ends."""
    for count in range(2 * FLOOD):
        try:
            await line.number()
        except (Gone, KeyError):  # it broke off, or came to the reason
            return count
    raise AssertionError("it did not end")


async def write(desk: Desk, until: asyncio.Event) -> None:
    while not until.is_set():
        await desk.burst(2)
        await asyncio.sleep(0.1)


async def test_a_crowd_goes_elsewhere_and_loses_nothing(desk: Desk, begin: Begin) -> None:
    first, second = [await begin(poll_seconds="0.2", person_sockets="500") for _ in "12"]
    token = (await desk.token(desk.world.admin)).secret
    other = await desk.world.live_ticket()
    follow: dict[str, Any] = {"ticketId": desk.ticket_id, "after": await desk.cursor()}
    flooded: dict[str, Any] = follow | {"ticketId": encode_id("Ticket", other.id)}
    async with AsyncExitStack() as stack:
        sockets = await many(stack, SOCKETS, first.port, token, "TicketActivity", **follow)
        responses = [
            await stack.enter_async_context(
                Response.following(first.port, token, SENT_EVENTS, "TicketActivity", **follow)
            )
            for _ in range(RESPONSES)
        ]
        stalled: list[Reader] = [
            *await many(stack, STALLED, first.port, token, "TicketActivity", **flooded, small=True)
        ]
        for _ in range(STALLED_RESPONSES):
            following = Response.following(first.port, token, SENT_EVENTS, "TicketActivity", **flooded, small=True)
            stalled.append(await stack.enter_async_context(following))
        for _ in range(SLOW_SENDERS):
            await slow_sender(stack, first.port, token)
        begun = (await desk.burst(5))[0]
        before = await desk.burst(2, other)
        assert [[await each.number() for _ in before] for each in stalled] == [before] * len(stalled)

        readers: list[Reader] = [*sockets, *responses]
        everybody = [Follower(line) for line in readers]
        following_all = [asyncio.create_task(each.follow()) for each in everybody]
        enough = asyncio.Event()
        writing = asyncio.create_task(write(desk, enough))
        flood = [number for _ in range(FLOOD // 200) for number in await desk.burst(200, other)]
        await asyncio.sleep(1)  # for the flood to reach those who do not read
        first.signal(signal.SIGTERM)
        signalled = time.monotonic()
        await asyncio.gather(*following_all)
        assert await asyncio.to_thread(first.wait, LIMIT) == 0
        assert time.monotonic() - signalled < LIMIT
        enough.set()
        await writing
        last = (await desk.burst(1))[-1]

        assert [each.ended for each in everybody] == [1012] * SOCKETS + ["SERVER_RESTARTING"] * RESPONSES
        moments = sorted(each.ended_at for each in everybody)
        assert moments[-1] - moments[0] > 0.5  # not all of them in one moment
        again = [resumed(second, token, desk.ticket, each.line.cursor, last - each.numbers[-1]) for each in everybody]
        for each, rest in zip(everybody, await asyncio.gather(*again), strict=True):
            assert each.numbers + rest == list(range(begun, last + 1))
        again = [resumed(second, token, other, each.cursor, len(flood)) for each in stalled]
        assert await asyncio.gather(*again) == [flood] * len(stalled)
        cut_off = [await unread(each) < len(flood) for each in stalled]
        assert sum(cut_off) >= STALLED  # the system keeps a lot for who does not read
