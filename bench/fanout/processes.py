"""Two processes on one database, with Redis for a bell, against one: nothing lost, and what a delivery costs then."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import cycle

from bench.brokers import redis_server
from bench.databases import databases
from bench.desk import prepared
from bench.events import Tally, check_counts, run_event, subscribers
from bench.fanout.place import Place, Size
from bench.load import Load, load
from bench.machine import settled
from bench.report import judged, median, table
from bench.servers import Target, deskwires
from tests.databases import Postgres, Sqlite

ALONE = 10
MOST_TIMES = 1.3


@dataclass(slots=True)
class Fleet:
    """Processes that share a database, and their subscribers together."""

    targets: list[Target]
    loads: list[Load]
    alone: Tally = field(default_factory=lambda: Tally(0))
    tally: Tally = field(default_factory=lambda: Tally(0))

    @property
    def pids(self) -> list[int]:
        return [pid for target in self.targets for pid in target.pids]

    @property
    def per_delivery(self) -> float:
        return self.tally.per_delivery(self.alone.cpu_per_event)

    def run(self, events: int, tally: Tally) -> None:
        """So many events, made on each process in turn."""
        for _, target in zip(range(events), cycle(self.targets)):
            run_event(target, self.loads, tally, self.pids)


def measure(place: Place, size: Size) -> None:
    """Measure and print. Raises Wrong, bench.load.Lost where anything was lost."""
    print(f"\nProcesses: {size.shared:,} subscribers of one and of two, on PostgreSQL with Redis")
    with ExitStack() as stack:
        made = stack.enter_context(databases("postgres"))
        redis = stack.enter_context(redis_server())
        fleets = [_fleet(place, size, made, redis.url, processes, stack) for processes in (1, 2)]
        for _ in range(size.turns):
            for fleet in fleets:
                fleet.run(size.events_at(size.shared), fleet.tally)
        for fleet in fleets:
            for each in fleet.loads:
                check_counts(each, 1 + fleet.tally.events)
        _print(fleets, size)


def _fleet(place: Place, size: Size, made: Postgres | Sqlite, redis: str, processes: int, stack: ExitStack) -> Fleet:
    url = stack.enter_context(made.fresh())
    tickets = ALONE * size.turns + 1 + size.turns * size.events_at(size.shared)
    desk = prepared(url, watchers=size.shared, audiences=1, tickets=tickets)
    started = deskwires(url, desk, place.server_core, processes=processes, broadcast_url=redis)
    targets = stack.enter_context(started)
    fleet = Fleet(targets, [stack.enter_context(load(each.port, place.load_core)) for each in targets])
    fleet.run(ALONE * size.turns, fleet.alone)
    for number, each in enumerate(fleet.loads):
        tokens = desk.watchers[number::processes]
        each.join(subscribers(len(tokens), tokens))
    settled(fleet.pids)
    fleet.run(1, Tally(size.shared))
    fleet.tally = Tally(size.shared)
    return fleet


def _print(fleets: list[Fleet], size: Size) -> None:
    ratio = fleets[1].per_delivery / fleets[0].per_delivery
    print(f"  two processes, times the CPU of one per delivery: {judged(ratio, most=MOST_TIMES)}")
    rows = [
        (
            str(len(fleet.targets)),
            f"{fleet.per_delivery:.1f}",
            f"{fleet.alone.cpu_per_event * 1000:.2f}",
            f"{median(fleet.tally.last) * 1000:.1f}",
            f"{fleet.tally.events} x {size.shared:,}",
        )
        for fleet in fleets
    ]
    print(table(("processes", "µs/delivery", "ms/mutation", "last ms", "checked"), rows))
