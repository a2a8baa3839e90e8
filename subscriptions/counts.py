"""What the live side counts of itself: plain numbers, for whoever shows them."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from itertools import accumulate


@dataclass(slots=True)
class Distribution:
    """How often values fell between bounds. Cheap to note; kept by whoever measures."""

    bounds: tuple[float, ...]
    counts: list[int] = field(init=False)
    total: float = 0.0

    def __post_init__(self) -> None:
        self.counts = [0] * (len(self.bounds) + 1)

    def note(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def buckets(self) -> list[tuple[str, float]]:
        """As Prometheus wants them: each with all that is at most its bound."""
        bounds = [*map(str, self.bounds), "+Inf"]
        return list(zip(bounds, map(float, accumulate(self.counts)), strict=True))


def _delays() -> Distribution:
    return Distribution((0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0))


@dataclass(slots=True)
class Counts:
    """Of this process, since its start.

    events      read from logs and passed on
    answers     executions of a subscription for an event
    deliveries  answers that were sent, to one subscription each
    slow        streams that ended with SLOW_CONSUMER
    repairs     positions that polling found and no bell had told
    poisoned    events that could not be read, and were left out
    delays      seconds from an event's commit, by the clock of who wrote it, to its last frame here
    """

    events: int = 0
    answers: int = 0
    deliveries: int = 0
    slow: int = 0
    repairs: int = 0
    poisoned: int = 0
    delays: Distribution = field(default_factory=_delays)


@dataclass(frozen=True, slots=True)
class Size:
    """How much is followed now: tails, cohorts that are told as it happens, their members, cohorts that catch up."""

    tails: int
    cohorts: int
    members: int
    late: int
