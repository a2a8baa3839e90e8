"""Where the measurements of fan-out happen: which cores, which database, how large."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.databases import databases
from bench.machine import cores


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured. `sizes` are numbers of subscribers, growing."""

    sizes: tuple[int, ...]
    turns: int
    events: int | None
    cohorts: tuple[int, ...]
    cohort_subscribers: int
    idle: int
    reconnects: int
    missed: int
    shared: int

    @property
    def most(self) -> int:
        """The most sockets that any one process has."""
        return max(*self.sizes, self.cohort_subscribers, self.idle, self.reconnects, self.shared)

    def events_at(self, subscribers: int) -> int:
        """How many events in a turn: enough deliveries for a figure, and not more than anybody waits for."""
        return self.events or max(2, min(20, 10_000 // max(1, subscribers)))


@dataclass(frozen=True, slots=True)
class Place:
    """The core of the servers and that of the load (None: wherever the kernel puts them), and its databases.

    `fresh` gives an empty one. `profile`: where the samples of Deskwire's stacks go, if they are taken.
    """

    server_core: int | None
    load_core: int | None
    database: str
    fresh: Callable[[], AbstractContextManager[str]]
    profile: Path | None = None

    def told(self) -> str:
        if self.server_core is None:
            return "One CPU: servers and load share it, and what is measured is both"
        return f"Each server on CPU {self.server_core}, the load and whoever makes the events on CPU {self.load_core}"


@contextmanager
def place(database: str, profile: Path | None = None) -> Iterator[Place]:
    """This machine."""
    server_core, load_core = cores() or (None, None)
    with databases(database) as made:
        yield Place(server_core, load_core, database, made.fresh, profile)
