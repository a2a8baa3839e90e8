"""A bus that does everything wrong, for tests: it wraps another back end, and what it does to messages is a setting.

A running server has one with `DESKWIRE_BUS_FAULTS`, which production refuses: `drop=1.0`, `repeat=3`,
`drop=0.1,repeat=2,reorder=0.3,seed=7`. A test sets `Faulty.faults` while everything runs.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine
from dataclasses import dataclass, fields
from typing import Any
from uuid import UUID

import orjson
from broadcaster import Event
from broadcaster._backends.base import BroadcastBackend

# How late a message comes that is out of order.
LATE_SECONDS = 0.2


class BadFaults(ValueError):
    """The text names no fault, or one to an impossible extent."""


@dataclass(frozen=True, slots=True)
class Faults:
    """Shares are from 0 to 1, of what is published; those of `refuse` and `hang` also of subscriptions."""

    drop: float = 0.0
    repeat: int = 1  # how often everything is carried
    reorder: float = 0.0  # this share is overtaken by what comes within LATE_SECONDS
    delay: float = 0.0  # seconds, for everything
    refuse: float = 0.0  # raises ConnectionError
    hang: float = 0.0  # for ever
    misdirect: float = 0.0  # rings for an account that there is not
    seed: int = 0

    @classmethod
    def parse(cls, text: str) -> Faults:
        """The faults of `drop=0.5,repeat=3`. Raises BadFaults."""
        kinds = {field.name: int if field.type == "int" else float for field in fields(cls)}
        found: dict[str, Any] = {}
        for part in filter(None, text.split(",")):
            name, _, value = part.strip().partition("=")
            try:
                found[name] = kinds[name](value)
            except (KeyError, ValueError):
                raise BadFaults(f"{part.strip()!r} is no fault; known are {', '.join(kinds)}, as in drop=0.5") from None
        return cls(**found)._checked()

    def _checked(self) -> Faults:
        shares = (self.drop, self.reorder, self.refuse, self.hang, self.misdirect)
        if not all(0 <= share <= 1 for share in shares) or self.repeat < 0 or not 0 <= self.delay < 60:
            raise BadFaults("shares of faults are from 0 to 1, repeat is 0 or more, delay less than 60 seconds")
        return self


class Faulty(BroadcastBackend):
    """See the module. The same seed does the same to the same messages."""

    def __init__(self, back_end: BroadcastBackend, faults: Faults) -> None:
        self.faults = faults
        self._back_end = back_end
        self._chance = random.Random(faults.seed)
        self._late: set[asyncio.Task[None]] = set()

    async def connect(self) -> None:
        await self._back_end.connect()

    async def disconnect(self) -> None:
        for task in self._late:
            task.cancel()
        await asyncio.gather(*self._late, return_exceptions=True)
        await self._back_end.disconnect()

    async def subscribe(self, channel: str) -> None:
        await self._stumble()
        await self._back_end.subscribe(channel)

    async def unsubscribe(self, channel: str) -> None:
        await self._back_end.unsubscribe(channel)

    async def next_published(self) -> Event:
        return await self._back_end.next_published()

    async def publish(self, channel: str, message: Any) -> None:
        await self._stumble()
        if self._happens(self.faults.drop):
            return
        if self._happens(self.faults.misdirect):
            message = self._misdirected(message)
        late = LATE_SECONDS * self._chance.random() if self._happens(self.faults.reorder) else 0.0
        for _ in range(self.faults.repeat):
            await self._carry(channel, message, self.faults.delay + late)

    async def _stumble(self) -> None:
        if self._happens(self.faults.refuse):
            raise ConnectionError("the bus refuses, as it was told to")
        if self._happens(self.faults.hang):
            await asyncio.Event().wait()

    def _happens(self, share: float) -> bool:
        # Drawn also where nothing can happen, so that a fault more leaves the others where they were.
        return self._chance.random() < share

    def _misdirected(self, message: str) -> str:
        told = orjson.loads(message)
        if "account" not in told:
            return message
        stranger = UUID(int=self._chance.getrandbits(128), version=4)
        return orjson.dumps(told | {"account": str(stranger)}).decode()

    async def _carry(self, channel: str, message: str, seconds: float) -> None:
        if not seconds:
            await self._back_end.publish(channel, message)
            return
        task = asyncio.create_task(self._carry_late(self._back_end.publish(channel, message), seconds))
        self._late.add(task)
        task.add_done_callback(self._late.discard)

    async def _carry_late(self, carrying: Coroutine[Any, Any, None], seconds: float) -> None:
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            carrying.close()
            raise
        await asyncio.gather(carrying, return_exceptions=True)
