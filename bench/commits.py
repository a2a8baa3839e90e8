"""`python -m bench.commits`: how many sessions end per second, and how many bare transactions commit meanwhile.

The peer is the least that a durable change can cost here: insert one row, commit, through the same connection (SQLite)
or pool (PostgreSQL), waiting in the same queue. It runs in the same process, in turns with what is measured: a machine
that slows down slows both, and the ratio stays. All sessions are of one account, whose events are numbered one after
the other: this is the case without any parallelism in it. Then the same over HTTP (bench/latency.py).
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from uuid import UUID, uuid4

from tortoise.transactions import in_transaction

from bench import latency
from bench.command import done
from bench.databases import databases
from bench.desk import agents_role, live_tickets, new_account, person
from bench.machine import describe
from domain.actors import Actor
from domain.sessions import end_session
from domain.transactions import Call
from models import Account, Event, EventType, MessagingSession, SessionState, UserKind
from models.database import WRITER, opened

DEFAULT_SESSIONS = 200
SMALL = 5
AT_ONCE = (1, 16, 64)
TURNS = 4
LIBRARIES = ("tortoise-orm", "aiosqlite", "psycopg")

HEAD = f"{'database':<10}{'at once':>8}{'ended/s':>10}{'p99 ms':>9}{'bare commits/s':>16}{'ratio':>8}   checked"
LEGEND = """bare commit: insert one row, commit; same process, same connection, in turns
SQLite: WAL, synchronous=FULL. PostgreSQL: as the tests start it, without fsync, or TEST_DATABASE_URL"""

Work = Callable[[], Awaitable[object]]


@dataclass(slots=True)
class Row:
    """One line of the table. Times in seconds, for all sessions of the row."""

    database: str
    at_once: int
    sessions: int
    ending: float = 0.0
    committing: float = 0.0
    slowest: list[float] = field(default_factory=list)

    @property
    def ended_per_second(self) -> float:
        return self.sessions / self.ending

    @property
    def committed_per_second(self) -> float:
        return self.sessions / self.committing


def run(sessions: int, only: str | None = None) -> int:
    """Measure and print. Returns the exit status: 1 where the counts are wrong."""
    if sessions < 1:
        raise SystemExit("--sessions: at least 1")
    print(describe(*LIBRARIES))
    with ExitStack() as stack:
        made = list(_databases(only, stack))
        print(f"\n{HEAD}")
        rights = [asyncio.run(_compared(name, url, sessions)) for name, url in made]
        print(f"\n{sessions} sessions a row; {LEGEND}")
        if not all(rights):
            return 1
        latency.measure(made, sessions)
    return 0


def _databases(only: str | None, stack: ExitStack) -> Iterator[tuple[str, str]]:
    """Those that are asked for, each empty: name and URL."""
    for kind in ("sqlite", "postgres"):
        if only in (None, kind):
            try:
                made = stack.enter_context(databases(kind))
            except Exception as error:  # it is not there, or does not start: the other rows stand
                print(f"{kind}   not measured: {error}")
                continue
            yield kind, stack.enter_context(made.fresh())


async def _compared(name: str, url: str, sessions: int) -> bool:
    async with opened(url):
        await _prepare_peer()
        return all([await _measured(name, at_once, sessions) for at_once in AT_ONCE])


async def _measured(database: str, at_once: int, sessions: int) -> bool:
    agent, tickets = await _prepare(sessions)
    row = Row(database, at_once, sessions)
    for turn in range(TURNS):
        part = tickets[turn::TURNS]
        row.committing += await _timed([_commit for _ in part], at_once, [])
        row.ending += await _timed([_end(agent, ticket) for ticket in part], at_once, row.slowest)
    wrong = await _wrong(agent.account_id, sessions)
    slowest = sorted(row.slowest)[int(len(row.slowest) * 0.99)] * 1000
    print(
        f"{database:<10}{at_once:>8}{row.ended_per_second:>10.0f}{slowest:>9.1f}{row.committed_per_second:>16.0f}"
        f"{row.ended_per_second / row.committed_per_second:>8.2f}   {wrong or 'each ended once, no gaps'}"
    )
    return wrong is None


async def _timed(works: list[Work], at_once: int, each: list[float]) -> float:
    """Do all of them, so many at once. Returns the time it took; the time of each goes into the list."""
    waiting = iter(works)

    async def worker() -> None:
        for work in waiting:
            began = time.perf_counter()
            await work()
            each.append(time.perf_counter() - began)

    began = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(at_once)))
    return time.perf_counter() - began


def _end(agent: Actor, ticket: UUID) -> Work:
    async def work() -> None:
        await end_session(Call(agent), ticket)

    return work


async def _commit() -> None:
    async with in_transaction(WRITER) as connection:
        mark = "?" if connection.capabilities.dialect == "sqlite" else "%s"
        await connection.execute_query(f"INSERT INTO bare_commits (id) VALUES ({mark})", [uuid4().hex])


async def _prepare_peer() -> None:
    async with in_transaction(WRITER) as connection:
        await connection.execute_query("CREATE TABLE bare_commits (id VARCHAR(32) PRIMARY KEY)")


async def _prepare(sessions: int) -> tuple[Actor, list[UUID]]:
    """An account of its own for each row: an agent, and live sessions of as many customers."""
    account = await new_account()
    agent = await person(account, UserKind.AGENT, await agents_role(account))
    return agent, await live_tickets(account, sessions)


async def _wrong(account_id: UUID, sessions: int) -> str | None:
    """What the database says against what was done; None where it is right."""
    ended = await MessagingSession.filter(account_id=account_id, state=SessionState.ENDED).count()
    events = await Event.filter(account_id=account_id).order_by("position")
    ends = [event.session_id for event in events if event.type is EventType.MESSAGING_SESSION_ENDED]
    last = (await Account.get(id=account_id)).last_position
    if (ended, len(ends), len(set(ends))) != (sessions, sessions, sessions):
        return f"WRONG: {ended} sessions ended, by {len(ends)} events of {len(set(ends))} sessions"
    if [event.position for event in events] != list(range(1, last + 1)):
        return "WRONG: the positions have gaps"
    return None


def _parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m bench.commits", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = made.add_argument
    add("--sessions", type=int, default=DEFAULT_SESSIONS, metavar="N", help=f"per row (default: {DEFAULT_SESSIONS})")
    add("--only", choices=("sqlite", "postgres"), help="one database instead of all that there are")
    add("--small", action="store_true", help="a size that shows whether it works, not how fast it is")
    return made


def main() -> int:
    """Exit status 1 where the counts are wrong."""
    arguments = _parser().parse_args()
    sessions = SMALL if arguments.small else arguments.sessions
    statuses: list[int] = []
    return done(lambda: statuses.append(run(sessions, arguments.only))) or statuses[0]


if __name__ == "__main__":
    raise SystemExit(main())
