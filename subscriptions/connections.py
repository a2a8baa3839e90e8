"""All live connections of this process: how many there may be, pinging them, and seeing them off."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from domain.actors import Actor
from domain.errors import TooManyConnections

PING_SECONDS = 25
CLOSE_SECONDS = 3.0
"""How long a client may take to leave when it was asked to."""


@dataclass(frozen=True, slots=True)
class Caps:
    """The most connections at once: of the process, of one account, of one person."""

    process: int = 20_000
    account: int = 10_000
    person: int = 100


class Connection(Protocol):
    """A WebSocket, or a response that streams."""

    def ping(self) -> None:
        """Say something, so that a peer that is gone is noticed."""

    def restart(self) -> None:
        """Ask the client to connect again, to another process or a later one."""

    def abort(self) -> None:
        """Drop it at once."""


class Connections:
    """See the module. `run` it for as long as the process serves."""

    def __init__(self, caps: Caps = Caps()) -> None:
        self.caps = caps
        self.is_draining = False
        # Each is pinged in a second of its own, so that thousands of pings are not one burst.
        self._seconds: list[dict[Connection, None]] = [{} for _ in range(PING_SECONDS)]
        self._pinged = 0
        self._left = asyncio.Event()
        self._accounts: Counter[UUID] = Counter()
        self._people: Counter[UUID] = Counter()

    def __len__(self) -> int:
        return sum(map(len, self._seconds))

    def __iter__(self) -> Iterator[Connection]:
        return (connection for second in self._seconds for connection in second)

    @property
    def is_open(self) -> bool:
        """Whether one more is taken."""
        return not self.is_draining and len(self) < self.caps.process

    async def _wait_until_empty(self) -> None:
        while len(self):
            self._left.clear()
            await self._left.wait()

    def enter(self, connection: Connection) -> None:
        """One more, until it leaves."""
        # It is pinged for the first time in 13 to 25 seconds.
        second = (self._pinged - random.randrange(PING_SECONDS // 2)) % PING_SECONDS
        self._seconds[second][connection] = None

    def leave(self, connection: Connection) -> None:
        """It has ended."""
        for second in self._seconds:
            second.pop(connection, None)
        self._left.set()

    def occupy(self, actor: Actor) -> None:
        """A connection of somebody who is known, until he vacates it. Raises TooManyConnections."""
        assert actor.id is not None
        if self._people[actor.id] >= self.caps.person:
            raise TooManyConnections(f"You have {self.caps.person} live connections. Close some of them.")
        if self._accounts[actor.account_id] >= self.caps.account:
            raise TooManyConnections("Your account has too many live connections. Try again later.")
        self._people[actor.id] += 1
        self._accounts[actor.account_id] += 1

    def vacate(self, actor: Actor) -> None:
        """His connection has ended."""
        assert actor.id is not None
        for counter, key in ((self._people, actor.id), (self._accounts, actor.account_id)):
            counter[key] -= 1
            if not counter[key]:
                del counter[key]

    async def run(self) -> None:
        """Ping until cancelled."""
        while True:
            await asyncio.sleep(1.0)
            self._pinged = (self._pinged + 1) % PING_SECONDS
            for connection in list(self._seconds[self._pinged]):
                connection.ping()

    async def drain(self, seconds: float) -> None:
        """Ask all to connect elsewhere, one here, one there over that time; whoever does not go is dropped.

        Returns when nobody is left, `seconds` and CLOSE_SECONDS later at the latest. New ones are refused from now on.
        """
        self.is_draining = True
        loop = asyncio.get_running_loop()
        # A few leave at once; thousands that came back together would only meet a server that starts.
        window = min(seconds, len(self) / 200)
        timers = [loop.call_later(random.uniform(0, window), each.restart) for each in self]
        with suppress(TimeoutError):
            async with asyncio.timeout(window + CLOSE_SECONDS):
                await self._wait_until_empty()
        for timer in timers:
            timer.cancel()
        for connection in list(self):
            connection.abort()
