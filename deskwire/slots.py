"""How many changes a process works on at once.

An event loop gives everybody his turn after every wait. The more changes are under way, the later it comes round to the
streams, though no change is finished sooner: one core does what one core does. So the others wait for a slot, in order,
and what was committed reaches the screens meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

PATIENCE = 2.0
"""Seconds. Who has waited so long goes on without a slot: those that have one may wait for a lock, or for a database
that is away, and must not keep everybody from being told so."""


class Slots:
    """So many at once, and who came first is first."""

    def __init__(self, count: int, patience: float = PATIENCE) -> None:
        self._free = asyncio.Semaphore(count)
        self._patience = patience
        self.waiting = 0
        """How many wait for one now."""

    @asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        """Hold one, or have waited long enough."""
        held = await self._taken()
        try:
            yield
        finally:
            if held:
                self._free.release()

    async def _taken(self) -> bool:
        self.waiting += 1
        try:
            async with asyncio.timeout(self._patience):
                return await self._free.acquire()
        except TimeoutError:
            return False
        finally:
            self.waiting -= 1
