"""Readers that stall cost little, are closed, and lose nothing (F6, R157).

SIZE is small enough for every run. The whole of it, 50 readers and 20,000 events, takes some minutes:

    DESKWIRE_STALLED=50x20000 .venv/bin/python -m pytest -n0 -s tests/server/test_stalled_readers.py
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
import time
from contextlib import AsyncExitStack
from pathlib import Path

import httpx

from tests.server.conftest import Begin
from tests.server.desk import Desk
from tests.server.process import Server
from tests.server.readers import WebSocket, many

SIZE = os.environ.get("DESKWIRE_STALLED", "20x4000")
STALLED, EVENTS = map(int, SIZE.split("x"))
HEALTHY = 5
AT_ONCE = 50
# Where in the log they stall.
PLACES = 5
# Between two transactions, which is also how often the server looks.
PACE = 0.05
MOST_GROWTH = 64 * 1024 * 1024
CLOSED_WITHIN = 30.0


def resident(pid: int) -> int:
    """Bytes of memory of a process."""
    found = re.search(r"^VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found
    return int(found[1]) * 1024


async def connections(server: Server) -> int:
    async with httpx.AsyncClient() as client:
        text = (await client.get(f"{server.address}/metrics")).text
    found = re.search(r"^deskwire_connections (\d+)", text, re.MULTILINE)
    assert found
    return int(found[1])


class Crowd:
    """Healthy readers, and how late each item came to them."""

    def __init__(self, desk: Desk, readers: list[WebSocket]) -> None:
        self._desk = desk
        self._readers = readers
        self._begun: dict[int, float] = {}

    async def hear(self, count: int) -> list[float]:
        """Make so many events, and let all hear all of them, in order. The delays, sorted, in seconds."""
        hearing = [asyncio.create_task(self._heard(reader, count)) for reader in self._readers]
        for _ in range(0, count, AT_ONCE):
            begun = time.monotonic()
            self._begun |= dict.fromkeys(await self._desk.burst(AT_ONCE), begun)
            await asyncio.sleep(PACE)
        # Only now: the last of them may be heard before we are told that they were made.
        return sorted(at - self._begun[number] for heard in await asyncio.gather(*hearing) for number, at in heard)

    async def _heard(self, reader: WebSocket, count: int) -> list[tuple[int, float]]:
        """The numbers, and when they came."""
        heard = [(await reader.number(), time.monotonic()) for _ in range(count)]
        numbers = [number for number, _ in heard]
        assert numbers == list(range(numbers[0], numbers[0] + count))
        return heard


def p99(delays: list[float]) -> float:
    return delays[int(len(delays) * 0.99)]


async def highest(pid: int, until: asyncio.Event) -> int:
    most = resident(pid)
    while not until.is_set():
        most = max(most, resident(pid))
        await asyncio.sleep(0.1)
    return most


async def closing(server: Server) -> float:
    """Seconds until the server has closed all who stall. Fails where that takes too long."""
    begun = time.monotonic()
    while await connections(server) > HEALTHY:
        assert time.monotonic() - begun < CLOSED_WITHIN
        await asyncio.sleep(0.2)
    return time.monotonic() - begun


async def read_some(socket: WebSocket, count: int) -> int:
    """The number of the last that it reads before it stalls."""
    for _ in range(count):
        last = await socket.number()
    return last


async def resumed(server: Server, token: str, desk: Desk, cursor: str, count: int) -> list[int]:
    """What comes after a cursor."""
    following = WebSocket.following(server.port, token, "TicketActivity", ticketId=desk.ticket_id, after=cursor)
    async with following as socket:
        return [await socket.number() for _ in range(count)]


async def test_they_are_closed_and_resume_and_the_others_hardly_notice(desk: Desk, begin: Begin) -> None:
    server = await begin(poll_seconds=str(PACE))
    token = (await desk.token(desk.world.admin)).secret
    async with AsyncExitStack() as stack:
        healthy = await many(
            stack, HEALTHY, server.port, token, "TicketActivity", ticketId=desk.ticket_id, after=await desk.cursor()
        )
        crowd = Crowd(desk, healthy)
        await crowd.hear(500)  # warm
        alone = await crowd.hear(EVENTS // 2)
        before = resident(server.pid)
        stalled = await many(
            stack,
            STALLED,
            server.port,
            token,
            "TicketActivity",
            ticketId=desk.ticket_id,
            after=await desk.cursor(),
            small=True,
        )
        reading = [asyncio.create_task(read_some(each, number % PLACES + 1)) for number, each in enumerate(stalled)]
        await crowd.hear(AT_ONCE)
        places = await asyncio.gather(*reading)
        enough = asyncio.Event()
        most = asyncio.create_task(highest(server.pid, enough))
        beside = await crowd.hear(EVENTS)
        last = places[0] + AT_ONCE - 1 + EVENTS
        # From here on: how long it takes to write so much that they are full is the machine's affair.
        seconds = await closing(server)
        enough.set()
        growth = await most - before
        sys.stdout.write(
            f"\n{STALLED} stalled, {EVENTS} events: {growth / 2**20:.1f} MiB, closed {seconds:.1f} s after them, p99 "
            f"{p99(alone) * 1000:.1f} ms without them, {p99(beside) * 1000:.1f} ms beside them\n"
        )
        assert growth <= MOST_GROWTH
        again = [
            resumed(server, token, desk, each.cursor, last - place) for each, place in zip(stalled, places, strict=True)
        ]
        for place, heard in zip(places, await asyncio.gather(*again), strict=True):
            assert heard == list(range(place + 1, last + 1))
