"""How long `endSession` takes over HTTP: one after the other, and sixteen at once, on the server as it is started.

In turns, so that a machine that slows down slows both. All are of one account, whose events are numbered one after the
other: sixteen at once wait for each other there, and how long the last of them waits is what is asked.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

import orjson

from bench.desk import Desk, prepared
from bench.events import Wrong
from bench.machine import cores, cpu_seconds
from bench.report import judged, median, percentile, table
from bench.servers import deskwires
from tests.client import OPERATIONS

AT_ONCE = 16
TURNS = 4
# Times the median of one at a time, less than.
MOST_TIMES = 15.0


@dataclass(slots=True)
class Requests:
    """What the requests of one row took: each in seconds, and the server's CPU for all of them."""

    database: str
    at_once: int
    each: list[float] = field(default_factory=list)
    cpu: float = 0.0
    seconds: float = 0.0


def measure(databases: Iterable[tuple[str, str]], sessions: int) -> None:
    """Measure and print. Raises Wrong where a session was not ended."""
    print("\nendSession over HTTP, p99 of 16 at once against the median of one at a time:")
    rows = []
    for name, url in databases:
        alone, crowded = _measured(name, url, sessions)
        ratio = percentile(crowded.each, 0.99) / median(alone.each)
        print(f"  {name}: {judged(ratio, most=MOST_TIMES)}")
        rows += [alone, crowded]
    head = ("database", "at once", "CPU ms each", "median ms", "p99 ms", "requests/s", "checked")
    print(table(head, [_row(each) for each in rows]))


def _row(row: Requests) -> tuple[str, ...]:
    count = len(row.each)
    return (
        row.database,
        str(row.at_once),
        f"{row.cpu / count * 1000:.2f}",
        f"{median(row.each) * 1000:.1f}",
        f"{percentile(row.each, 0.99) * 1000:.1f}",
        f"{count / row.seconds:.0f}",
        f"{count} ended",
    )


def _measured(name: str, url: str, sessions: int) -> tuple[Requests, Requests]:
    desk = prepared(url, watchers=0, audiences=1, tickets=2 * sessions + 1)
    server_core = (cores() or (None, None))[0]
    rows = Requests(name, 1), Requests(name, AT_ONCE)
    with deskwires(url, desk, server_core) as (target,):
        target.end()  # the first brings caches with it
        for turn in range(TURNS):
            for row in rows:
                part = [desk.tickets.popleft() for _ in range(len(range(turn, sessions, TURNS)))]
                before, began = cpu_seconds(target.pids), time.perf_counter()
                row.each += asyncio.run(_ended(target.port, desk, part, row.at_once))
                row.seconds += time.perf_counter() - began
                row.cpu += cpu_seconds(target.pids) - before
    return rows


async def _ended(port: int, desk: Desk, tickets: list[str], at_once: int) -> list[float]:
    """End all of them, so many at once. Returns the seconds that each took."""
    waiting, took = iter(tickets), []

    async def worker() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for ticket in waiting:
            began = time.perf_counter()
            writer.write(_request(port, desk.ender, ticket))
            answer = await _answer(reader)
            took.append(time.perf_counter() - began)
            if (answer.get("data") or {}).get("endSession", {}).get("outcome") != "ENDED":
                raise Wrong(f"endSession answered {answer}")
        writer.close()
        await writer.wait_closed()

    await asyncio.gather(*(worker() for _ in range(min(at_once, len(tickets)))))
    return took


def _request(port: int, token: str, ticket: str) -> bytes:
    body = orjson.dumps({"query": OPERATIONS["EndSession"], "variables": {"input": {"ticketId": ticket}}})
    head = (
        f"POST /graphql HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def _answer(reader: asyncio.StreamReader) -> dict[str, dict[str, dict[str, str]]]:
    """The body of a response with a Content-Length, which is all that Deskwire sends here."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    answer: dict[str, dict[str, dict[str, str]]] = orjson.loads(await reader.readexactly(int(length.split(b":")[1])))
    return answer
