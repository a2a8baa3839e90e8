"""Everybody comes back at once: what it costs the server until all are subscribed, and have what they missed."""

from __future__ import annotations

from dataclasses import dataclass

from bench.desk import Desk, prepared
from bench.events import Tally, Wrong, check_counts, item_of, run_event, subscribers
from bench.fanout.place import Place, Size
from bench.load import Load, load
from bench.machine import cpu_seconds, settled
from bench.members import Subscriber
from bench.report import judged, table
from bench.servers import Item, Target, deskwires, python_peer

# As many handshakes at a time as a listener's backlog holds.
AT_ONCE = 1_000
MOST_TIMES = 1.5
MOST_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Cost:
    """Of all of them coming: CPU of the server, and seconds until the last was there."""

    who: str
    cpu: float
    seconds: float


def measure(place: Place, size: Size) -> None:
    """Measure and print. Raises Wrong where somebody did not get what he missed."""
    print(f"\nReconnecting: {size.reconnects:,} at once, each with a token of his own")
    costs: dict[str, list[Cost]] = {}
    with place.fresh() as url:
        desk = prepared(url, watchers=size.reconnects, audiences=1, tickets=size.turns * (1 + size.missed))
        with (
            deskwires(url, desk, place.server_core) as (ours,),
            python_peer("bench.peers.accept", place.server_core) as (process, port),
            load(ours.port, place.load_core) as members,
            load(port, place.load_core) as bare,
        ):
            accept = Target("uvicorn, bare accept", port, [process.pid], dict)
            for _ in range(size.turns):
                for cost in (_bare(accept, bare, desk, size), *_resumed(ours, members, desk, size)):
                    costs.setdefault(cost.who, []).append(cost)
    _print([_mean(each) for each in costs.values()], size)


def _bare(target: Target, bare: Load, desk: Desk, size: Size) -> Cost:
    cost = _joined(target.name, target, bare, subscribers(size.reconnects, desk.watchers))
    bare.leave()
    settled(target.pids)
    return cost


def _resumed(target: Target, members: Load, desk: Desk, size: Size) -> tuple[Cost, Cost]:
    """Subscribe, hear something, be cut off, miss something, and come back with the cursor of what was heard."""
    fresh = _joined("deskwire, subscribing", target, members, subscribers(size.reconnects, desk.watchers))
    heard = run_event(target, [members], Tally(size.reconnects))
    check_counts(members, 1)
    members.leave()
    settled(target.pids)
    missed = [target.end() for _ in range(size.missed)]
    settled(target.pids)
    members.begin()
    returning = [_resuming(each, heard["cursor"]) for each in subscribers(size.reconnects, desk.watchers)]
    resumed = _joined("deskwire, resuming", target, members, returning, missed=missed)
    members.leave()
    settled(target.pids)
    return fresh, resumed


def _resuming(subscriber: Subscriber, cursor: str) -> Subscriber:
    subscriber.variables["after"] = cursor
    return subscriber


def _joined(
    who: str, target: Target, members: Load, coming: list[Subscriber], missed: list[Item] | None = None
) -> Cost:
    before = cpu_seconds(target.pids)
    seconds = members.join(coming, at_once=min(AT_ONCE, len(coming)))
    if missed:
        found = members.wait(len(coming) * len(missed), timeout=300)
        _check(missed, found.samples)
    # What a subscription still does after the answer to the ping behind it is part of the price.
    settled(target.pids)
    cpu = cpu_seconds(target.pids) - before
    if missed:
        check_counts(members, len(missed))
    return Cost(who, cpu, seconds)


def _check(missed: list[Item], samples: list[tuple[str, Item]]) -> None:
    """Each sampled subscriber got what was missed, in its order."""
    received: dict[str, list[Item]] = {}
    for identifier, message in samples:
        received.setdefault(identifier, []).append(item_of(identifier, message))
    for items in received.values():
        if [item["event"] for item in items] != [item["event"] for item in missed]:
            raise Wrong(f"missed were {missed}, and what came was {items}")


def _mean(costs: list[Cost]) -> Cost:
    return Cost(
        costs[0].who,
        sum(each.cpu for each in costs) / len(costs),
        sum(each.seconds for each in costs) / len(costs),
    )


def _print(costs: list[Cost], size: Size) -> None:
    bare, fresh, resumed = costs
    print(f"  subscribing, times the CPU of a bare accept: {judged(fresh.cpu / bare.cpu, most=MOST_TIMES)}")
    print(f"  resuming with {size.missed} missed events, times a bare accept: {judged(resumed.cpu / bare.cpu)}")
    # The goal is one for 5,000; of fewer it is their share.
    goal = MOST_SECONDS * size.reconnects / 5_000
    print(f"  resuming, CPU of all of them: {judged(resumed.cpu, most=goal, unit=' s')}")
    rows = [
        (each.who, f"{each.cpu:.2f}", f"{each.cpu / size.reconnects * 1e6:.0f}", f"{each.seconds:.2f}")
        for each in costs
    ]
    print(table(("", "CPU s", "µs each", "s until subscribed"), rows))
