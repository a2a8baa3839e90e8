"""`python -m bench.screen`: from the commit of `endSession` to the frame at a subscriber.

On one process; on another process, with Redis for a bell; and on another process when Redis is dead and the log is
polled. Beside it, in the same run, the broker's own round trip, from a publish to its receipt, and a bare commit of one
row: both without any server.

The moment of the commit is the database's: a deferred trigger notes the clock when COMMIT begins, so what is printed
holds the writing of the commit itself, too. Not the moment of the request (most of a mutation comes before its commit)
and not that of the response (the frame may be there before it). PostgreSQL must run on this machine, on its clock.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import psycopg
import redis

from bench.brokers import Redis, redis_server
from bench.command import done
from bench.desk import Desk, prepared
from bench.events import Tally, Wrong, check_counts, run_event, subscribers
from bench.fanout.place import Place, place
from bench.load import Load, load
from bench.machine import describe, settled
from bench.report import judged, median, percentile, table
from bench.servers import Target, deskwires

# Times the broker's own round trip, p99 against p99.
MOST_TIMES = 3.0
CHANNEL = "bench"
NOTES = """
CREATE TABLE bench_commits (at timestamptz);
CREATE TABLE bench_bare (at timestamptz);
CREATE FUNCTION bench_commit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN INSERT INTO bench_commits VALUES (clock_timestamp()); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER bench_commit AFTER INSERT ON events DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW WHEN (NEW.type = 'MESSAGING_SESSION_ENDED') EXECUTE FUNCTION bench_commit();
"""


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured: events per turn, turns, events without a broker, and the seconds between polls."""

    events: int
    turns: int
    polled: int
    poll: float


@dataclass(slots=True)
class Way:
    """One way for an event to come: made on the first of these processes, heard on the last. Times in seconds."""

    name: str
    targets: list[Target]
    load: Load
    database: psycopg.Connection[tuple[object, ...]]
    took: list[float] = field(default_factory=list)
    tally: Tally = field(default_factory=lambda: Tally(1))
    warm: int = 0

    @property
    def pids(self) -> list[int]:
        return [pid for target in self.targets for pid in target.pids]

    def run(self, events: int, pause: float) -> None:
        """So many events, at moments that have nothing to do with anybody's timer."""
        for _ in range(events):
            time.sleep(random.uniform(0, pause))
            run_event(self.targets[0], [self.load], self.tally, self.pids)
            self.took.append(self.tally.arrived[-1] - self._committed())

    def warm_up(self) -> None:
        """An event that is not counted."""
        run_event(self.targets[0], [self.load], Tally(1), self.pids)
        self.warm += 1

    def _committed(self) -> float:
        """When the newest commit began, on the clock of `time.monotonic`."""
        found = self.database.execute("SELECT extract(epoch FROM max(at))::float8 FROM bench_commits").fetchone()
        assert found is not None
        moment = found[0]
        assert isinstance(moment, float), "an endSession without a commit"
        return moment - (time.time() - time.monotonic())


def measure(size: Size) -> None:
    """Measure and print. Raises bench.events.Wrong, bench.load.Lost."""
    print(describe("psycopg", "redis", "uvicorn"))
    with ExitStack() as stack:
        here = stack.enter_context(place("postgres"))
        print(f"{here.told()}; of two servers, the second there, too")
        broker = stack.enter_context(redis_server())
        one = stack.enter_context(_way("one process", here, size, 1, "memory://"))
        two = stack.enter_context(_way("two processes, Redis", here, size, 2, broker.url))
        trips: list[float] = []
        bare: list[float] = []
        for _ in range(size.turns):
            trips += _round_trips(broker, size.events)
            bare += [_bare_commit(one.database) for _ in range(size.events)]
            for way in (one, two):
                way.run(size.events, pause=0.02)
        broker.stop()
        polled = Way("two processes, Redis stopped", two.targets, two.load, two.database)
        settled(polled.pids)
        polled.warm_up()
        polled.run(size.polled, pause=size.poll)
        for way in (one, two):
            check_counts(way.load, way.warm + len(way.took) + (len(polled.took) + polled.warm if way is two else 0))
        print(f"PostgreSQL {one.database.info.server_version // 10000}, {broker.version}")
        _print(trips, bare, [one, two, polled], size)


@contextmanager
def _way(name: str, here: Place, size: Size, processes: int, broker: str) -> Iterator[Way]:
    with ExitStack() as stack:
        url = stack.enter_context(here.fresh())
        desk = _desk(url, size)
        database = stack.enter_context(psycopg.connect(url.replace("postgres://", "postgresql://"), autocommit=True))
        database.execute(NOTES)
        # The one that is listened to has a core of its own, as on another machine: what the other still has to do for
        # its request is nothing that anybody waits for.
        targets = [
            target
            for core in (here.server_core, here.load_core)[:processes]
            for target in stack.enter_context(
                deskwires(url, desk, core, broadcast_url=broker, poll_seconds=str(size.poll))
            )
        ]
        members = stack.enter_context(load(targets[-1].port, here.load_core))
        members.join(subscribers(1, desk.watchers))
        way = Way(name, targets, members, database)
        settled(way.pids)
        way.warm_up()
        yield way


def _desk(url: str, size: Size) -> Desk:
    return prepared(url, watchers=1, audiences=1, tickets=2 + size.turns * size.events + size.polled)


def _round_trips(broker: Redis, count: int) -> list[float]:
    """Seconds from a publish to its receipt on another connection."""
    took = []
    with redis.Redis(port=broker.port) as publisher, redis.Redis(port=broker.port) as other, other.pubsub() as heard:
        heard.subscribe(CHANNEL)
        heard.get_message(timeout=5)  # the confirmation
        for number in range(count):
            began = time.perf_counter()
            publisher.publish(CHANNEL, str(number))
            message = heard.get_message(timeout=5)
            took.append(time.perf_counter() - began)
            if message is None or message["data"] != str(number).encode():
                raise Wrong(f"the broker brought {message} for {number}")
    return took


def _bare_commit(database: psycopg.Connection[tuple[object, ...]]) -> float:
    """Seconds from the beginning of a COMMIT to its end."""
    found = database.execute(
        "INSERT INTO bench_bare VALUES (clock_timestamp()) RETURNING extract(epoch FROM at)::float8"
    )
    ended = time.time()
    row = found.fetchone()
    assert row is not None
    assert isinstance(row[0], float)
    return ended - row[0]


def _print(trips: list[float], bare: list[float], ways: list[Way], size: Size) -> None:
    one, two, polled = ways
    trip = percentile(trips, 0.99)
    print("\nFrom commit to screen, p99:")
    print(
        f"  two processes, times the broker's round trip: {judged(percentile(two.took, 0.99) / trip, most=MOST_TIMES)}"
    )
    print(f"  one process, times the broker's round trip: {judged(percentile(one.took, 0.99) / trip)}")
    print(f"  two processes without their broker: {judged(percentile(polled.took, 0.99), most=size.poll, unit=' s')}")
    rows = [(way.name, f"{way.tally.cpu_per_event * 1000:.2f}", *_milliseconds(way.took), "each once") for way in ways]
    print(
        table(
            ("", "CPU ms/event", "p50 ms", "p99 ms", "events", "checked"),
            [
                *rows,
                ("the broker's round trip", "", *_milliseconds(trips), "each once"),
                ("a bare commit", "", *_milliseconds(bare), ""),
            ],
        )
    )
    print("CPU: of all processes of Deskwire, with the mutation. p50, p99: from the beginning of COMMIT to the frame.")
    print("A bare commit is what of that PostgreSQL takes to write one row: nobody can be told earlier.")


def _milliseconds(times: list[float]) -> tuple[str, str, str]:
    return f"{median(times) * 1000:.2f}", f"{percentile(times, 0.99) * 1000:.2f}", str(len(times))


def _parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m bench.screen", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = made.add_argument
    add("--small", action="store_true", help="sizes that show whether it works, not how fast it is")
    add("--events", type=int, default=50, help="events in a turn (default: 50)")
    add("--turns", type=int, default=4, help="how often each way has its turn (default: 4)")
    add("--polled", type=int, default=40, help="events without a broker (default: 40)")
    add("--poll", type=float, default=1.0, metavar="SECONDS", help="DESKWIRE_POLL_SECONDS (default: 1)")
    return made


def main() -> int:
    """Exit status 1 where something else was delivered than should have been."""
    arguments = _parser().parse_args()
    given = Size(arguments.events, arguments.turns, arguments.polled, arguments.poll)
    size = Size(3, 1, 2, 1.0) if arguments.small else given
    return done(lambda: measure(size))


if __name__ == "__main__":
    raise SystemExit(main())
