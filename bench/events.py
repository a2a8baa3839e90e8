"""One event to many subscribers: what it cost the servers, when it arrived, and whether it was right."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from bench.load import Load
from bench.machine import cpu_seconds
from bench.members import Round, Subscriber
from bench.servers import LIMIT_ID, Item, Target
from tests.client import OPERATIONS

# What a server still does after the last frame left it is part of the price.
REST_SECONDS = 0.03
# Of so many subscribers one has everything parsed and compared; and the first and the last.
SAMPLE = 50


class Wrong(Exception):
    """A server delivered something else than it should have."""


@dataclass(slots=True)
class Tally:
    """Events of one server at one number of subscribers. CPU in seconds, times in seconds from the request.

    `arrived`: when the last frame of each event came, by time.monotonic.
    """

    subscribers: int
    events: int = 0
    cpu: float = 0.0
    first: list[float] = field(default_factory=list)
    last: list[float] = field(default_factory=list)
    arrived: list[float] = field(default_factory=list)
    frame_bytes: int = 0

    @property
    def cpu_per_event(self) -> float:
        return self.cpu / self.events

    def per_delivery(self, alone: float = 0.0) -> float:
        """Microseconds of CPU per delivery, without what an event costs that nobody receives."""
        return (self.cpu_per_event - alone) / self.subscribers * 1e6


def subscribers(
    count: int, tokens: Sequence[str], *, query: Callable[[int], str] = lambda number: OPERATIONS["SessionEnded"]
) -> list[Subscriber]:
    """So many subscribers to the ends of sessions, each with an operation id of his own, as clients make them."""
    return [
        Subscriber(
            identifier=str(uuid4()),
            token=tokens[number % len(tokens)],
            query=query(number),
            sampled=number % SAMPLE == 0 or number == count - 1,
        )
        for number in range(count)
    ]


def connections(count: int) -> list[Subscriber]:
    """So many bare connections, to which ready frames are sent."""
    return [Subscriber(LIMIT_ID, sampled=number % SAMPLE == 0 or number == count - 1) for number in range(count)]


def run_event(target: Target, loads: Sequence[Load], tally: Tally, pids: Sequence[int] = ()) -> Item:
    """One event, to everyone there is. Returns what they received. Raises Wrong, bench.load.Lost."""
    pids = pids or target.pids
    for load in loads:
        load.begin()
    before, began = cpu_seconds(pids), time.monotonic()
    expected = target.end()
    rounds = [load.wait(load.size) for load in loads]
    time.sleep(REST_SECONDS)
    tally.cpu += cpu_seconds(pids) - before
    tally.events += 1
    heard = [each for each in rounds if each.received]
    if heard:
        tally.first.append(min(each.first for each in heard) - began)
        tally.last.append(max(each.last for each in heard) - began)
        tally.arrived.append(max(each.last for each in heard))
        tally.frame_bytes = heard[0].frame_bytes
    return _checked(expected, rounds)


def _checked(expected: Item, rounds: Sequence[Round]) -> Item:
    """What the sampled subscribers received, if all received the same, and it is what the mutation said."""
    items = [item_of(identifier, message) for each in rounds for identifier, message in each.samples]
    cursors = {item["cursor"] for item in items}
    if len(cursors) > 1:
        raise Wrong(f"one event came with the cursors {cursors}")
    for item in items:
        differing = {key for key in expected if item.get(key) != expected[key]}
        if differing:
            raise Wrong(f"the mutation and the frame differ in {differing}: {expected} and {item}")
    return items[0] if items else expected


def item_of(identifier: str, message: dict[str, Any]) -> Item:
    """The item of a `next` message, which must be this operation's."""
    if (message["type"], message["id"]) != ("next", identifier) or "errors" in message["payload"]:
        raise Wrong(f"{identifier} received {message}")
    item: Item = message["payload"]["data"]["sessionEnded"]
    return item


def check_counts(load: Load, events: int) -> None:
    """Everyone received so many events since this was asked last. Raises Wrong."""
    found = load.counts()
    if found != ({events: load.size} if load.size else {}):
        raise Wrong(f"events received, and by how many: {found}; expected {events} by {load.size}")
