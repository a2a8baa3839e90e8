"""What it costs that subscribers ask different questions, or may see different things: the same number of them, in
1 cohort and in many."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field

from bench.desk import prepared
from bench.events import Tally, check_counts, run_event, subscribers
from bench.fanout.place import Place, Size
from bench.load import Load, load
from bench.machine import settled
from bench.report import judged, table
from bench.servers import Target, deskwires
from tests.client import OPERATIONS

ALONE = 10
# Times the CPU of one cohort, at most.
GOALS = {100: 1.5, 1_000: 3.0}


@dataclass(slots=True)
class Crowd:
    """The subscribers of one server, in so many cohorts."""

    cohorts: int
    target: Target
    load: Load
    alone: Tally = field(default_factory=lambda: Tally(0))
    tally: Tally = field(default_factory=lambda: Tally(0))

    @property
    def net(self) -> float:
        """CPU seconds of delivering one event to all."""
        return self.tally.cpu_per_event - self.alone.cpu_per_event


def measure(place: Place, size: Size) -> None:
    """Measure and print, for both ways to be distinct."""
    for way in ("documents", "audiences"):
        print(f"\nCohorts: {size.cohort_subscribers:,} subscribers with as many distinct {way}")
        with ExitStack() as stack:
            crowds = [_crowd(place, size, way, cohorts, stack) for cohorts in size.cohorts]
            _run(crowds, size)
            _print(crowds)


def _crowd(place: Place, size: Size, way: str, cohorts: int, stack: ExitStack) -> Crowd:
    """A server of its own with a database of its own: so all can be measured in turns."""
    url = stack.enter_context(place.fresh())
    desk = prepared(
        url,
        watchers=size.cohort_subscribers,
        audiences=cohorts if way == "audiences" else 1,
        tickets=ALONE * size.turns + 1 + size.turns * size.events_at(size.cohort_subscribers),
    )
    (target,) = stack.enter_context(deskwires(url, desk, place.server_core))
    crowd = Crowd(cohorts, target, stack.enter_context(load(target.port, place.load_core)))
    for _ in range(ALONE * size.turns):
        run_event(target, [crowd.load], crowd.alone)
    query = _documents(cohorts if way == "documents" else 1)
    crowd.load.join(subscribers(size.cohort_subscribers, desk.watchers, query=query))
    return crowd


def _documents(number: int) -> Callable[[int], str]:
    """The contract's operation with an alias more, of one length: one of so many documents for each subscriber."""
    plain = OPERATIONS["SessionEnded"]
    made = [
        plain.replace("    clientId\n", f"    clientId\n    alias{each:06}: clientId\n", 1) for each in range(number)
    ]
    assert plain not in made
    return lambda subscriber: made[subscriber % number]


def _run(crowds: list[Crowd], size: Size) -> None:
    for crowd in crowds:
        settled(crowd.target.pids)
        run_event(crowd.target, [crowd.load], Tally(size.cohort_subscribers))
        crowd.tally = Tally(size.cohort_subscribers)
    for _ in range(size.turns):
        for crowd in crowds:
            for _ in range(size.events_at(size.cohort_subscribers)):
                run_event(crowd.target, [crowd.load], crowd.tally)
    for crowd in crowds:
        check_counts(crowd.load, 1 + crowd.tally.events)


def _print(crowds: list[Crowd]) -> None:
    least = crowds[0]
    print(f"Times the CPU of {_cohorts(least)}:")
    for crowd in crowds[1:]:
        goal = GOALS.get(crowd.cohorts) if least.cohorts == 1 else None
        print(f"  {_cohorts(crowd)}: {judged(crowd.net / least.net, most=goal)}")
    rows = [
        (
            f"{crowd.cohorts:,}",
            f"{crowd.tally.per_delivery(crowd.alone.cpu_per_event):.1f}",
            f"{crowd.net * 1000:.2f}",
            f"{(crowd.net - least.net) / (crowd.cohorts - least.cohorts) * 1e6:.0f}" if crowd is not least else "",
            f"{crowd.alone.cpu_per_event * 1000:.2f}",
            f"{crowd.tally.events} x {crowd.tally.subscribers:,}",
        )
        for crowd in crowds
    ]
    print(table(("cohorts", "µs/delivery", "ms/event", "µs/cohort more", "ms/mutation", "checked"), rows))


def _cohorts(crowd: Crowd) -> str:
    return "1 cohort" if crowd.cohorts == 1 else f"{crowd.cohorts:,} cohorts"
