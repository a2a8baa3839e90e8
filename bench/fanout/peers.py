"""Deskwire beside its peers: the same event to as many subscribers of each, in turns.

What an event costs that nobody receives is taken off. Of Deskwire that is most of what an event costs 100 subscribers,
so it is measured between the others, on the same process: sessions end in an account to which nobody listens.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import count, pairwise

from bench.desk import Desk, prepared
from bench.events import Tally, check_counts, connections, run_event, subscribers
from bench.fanout.place import Place, Size
from bench.load import Load, load
from bench.machine import settled
from bench.report import judged, median, table
from bench.servers import Item, Target, deskwires, ending, graphql_ws, limit, naive, sampled

# How many events an event that nobody receives is measured with, in each turn.
ALONE = 20
# Times the CPU of Deskwire per delivery, at least, by the number of subscribers.
GOALS = {
    "strawberry + broadcaster": {100: 15.0, 1_000: 25.0, 5_000: 35.0},
    "graphql-ws": {100: 5.0, 1_000: 5.0, 5_000: 5.0},
    "limit: send in C": {5_000: 0.6},
}


@dataclass(slots=True)
class Side:
    """One server with its subscribers, and what was measured of it by the number of subscribers."""

    target: Target
    load: Load
    quiet: Target | None = None
    """The same server, and events that nobody receives however many subscribe to the others."""
    tallies: dict[int, Tally] = field(default_factory=dict)
    unheard: dict[int, Tally] = field(default_factory=dict)
    """Events that nobody receives, by the number of those who would receive others."""

    def alone(self, size: int) -> float:
        """CPU seconds of an event that nobody receives."""
        return self.unheard[size if self.quiet else 0].cpu_per_event

    def per_delivery(self, size: int) -> float:
        return self.tallies[size].per_delivery(self.alone(size))


def compare(place: Place, size: Size) -> None:
    """Measure and print. Raises Wrong, bench.load.Lost where something else was delivered than should have been."""
    print("\nFan-out: one event to N subscribers, CPU of the server per delivery")
    with place.fresh() as url, ExitStack() as stack:
        desk = prepared(url, watchers=max(size.sizes), audiences=1, tickets=_tickets(size))
        quiet = prepared(url, watchers=0, audiences=1, tickets=_tickets(size))
        sides = _sides(place, url, desk, quiet, stack)
        _measure_alone(sides, size)
        for before, now in pairwise((0, *size.sizes)):
            _measure(sides, desk, before, now, size)
            _print(sides, now)
    print("µs/delivery: server CPU without that of an event that nobody receives (ms/mutation); first, last: medians,")
    print("from the request to a subscriber. Bytes: of a frame. Checked: each subscriber got each event once; samples")
    print("compared with what the mutation returned.")


def _tickets(size: Size) -> int:
    return 1 + sum(1 + size.turns * size.events_at(each) for each in size.sizes)


def _sides(place: Place, url: str, desk: Desk, quiet: Desk, stack: ExitStack) -> list[Side]:
    ours = _ours(place, url, desk, stack)
    item = learnt(ours, desk, place)
    targets = [ours, stack.enter_context(naive(_varied(item), place.server_core))]
    try:
        targets.append(stack.enter_context(graphql_ws(_varied(item), place.server_core)))
    except (OSError, subprocess.SubprocessError) as error:
        print(f"graphql-ws is not measured: {error}", file=sys.stderr)
    targets.append(stack.enter_context(limit(item, place.server_core)))
    sides = [Side(each, stack.enter_context(load(each.port, place.load_core))) for each in targets]
    sides[0].quiet = replace(ours, end=ending(ours.port, quiet))
    return sides


def _ours(place: Place, url: str, desk: Desk, stack: ExitStack) -> Target:
    if place.profile is not None:
        return stack.enter_context(sampled(url, desk, place.server_core, place.profile))
    return stack.enter_context(deskwires(url, desk, place.server_core))[0]


def learnt(target: Target, desk: Desk, place: Place) -> Item:
    """What a subscriber of Deskwire receives of an event: the peers' receive the same."""
    with load(target.port, place.load_core) as alone:
        alone.join(subscribers(1, desk.watchers))
        settled(target.pids)
        return run_event(target, [alone], Tally(1))


def _varied(item: Item) -> Callable[[], Item]:
    """The item with another number each time, so that no event passes for another."""
    numbers = count(1000)
    return lambda: item | {"ticket": item["ticket"] | {"number": next(numbers)}}


def _measure_alone(sides: list[Side], size: Size) -> None:
    others = [side for side in sides if side.quiet is None]
    for side in others:
        side.unheard[0] = Tally(0)
    for _ in range(size.turns):
        for side in others:
            for _ in range(ALONE):
                run_event(side.target, [side.load], side.unheard[0])


def _measure(sides: list[Side], desk: Desk, before: int, now: int, size: Size) -> None:
    """Let the subscribers become so many, and measure in turns. Raises Wrong, bench.load.Lost."""
    for side in sides:
        _grow(side, desk, before, now)
    for side in sides:
        side.target.forget()
    for _ in range(size.turns):
        for side in sides:
            for _ in range(size.events_at(now)):
                run_event(side.target, [side.load], side.tallies[now])
                if side.quiet is not None:
                    run_event(side.quiet, [], side.unheard[now])
    for side in sides:
        newest = 1 + size.turns * size.events_at(now)
        check_counts(side.load, newest)


def _grow(side: Side, desk: Desk, before: int, now: int) -> None:
    new = now - before
    side.load.join(subscribers(new, desk.watchers[before:]) if side.target.speaks else connections(new))
    settled(side.target.pids)
    # The first event of new subscribers warms up what they share, and shows that all of them are there.
    run_event(side.target, [side.load], Tally(now))
    side.tallies[now] = Tally(now)
    if side.quiet is not None:
        run_event(side.quiet, [], Tally(0))
        side.unheard[now] = Tally(0)


def _print(sides: list[Side], number: int) -> None:
    ours, peers = sides[0], sides[1:]
    print(f"\nN = {number:,}: times the CPU of Deskwire, per delivery")
    for peer in peers:
        ratio = peer.per_delivery(number) / ours.per_delivery(number)
        print(f"  {peer.target.name}: {judged(ratio, least=GOALS.get(peer.target.name, {}).get(number))}")
    head = ("server", "µs/delivery", "with the mutation", "ms/mutation", "first ms", "last ms", "bytes", "checked")
    print(table(head, [_row(side, number) for side in sides]))


def _row(side: Side, number: int) -> tuple[str, ...]:
    tally = side.tallies[number]
    return (
        side.target.name,
        f"{side.per_delivery(number):.1f}",
        f"{tally.per_delivery():.1f}",
        f"{side.alone(number) * 1000:.2f}",
        f"{median(tally.first) * 1000:.1f}",
        f"{median(tally.last) * 1000:.1f}",
        str(tally.frame_bytes),
        f"{tally.events} x {number:,}",
    )
