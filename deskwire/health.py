"""Whether this process is well: how late its event loop is, and whether its database takes writes."""

from __future__ import annotations

import asyncio
from collections import deque

from models.database import probe
from subscriptions.counts import Distribution

BEAT_SECONDS = 0.5
# Lags of so many last beats are remembered: about ten seconds.
LATELY = 20
GRAVE_SECONDS = 5.0
PROBE_SECONDS = 1.0


class Lag:
    """How late the event loop is: a task sleeps half a second, and measures how long that took. Seconds."""

    def __init__(self) -> None:
        self.distribution = Distribution((0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0))
        self._lately: deque[float] = deque(maxlen=LATELY)

    @property
    def is_grave(self) -> bool:
        """Whether the loop hung lately. A loop that hangs now answers nobody, which says it as well."""
        return max(self._lately, default=0.0) > GRAVE_SECONDS

    async def run(self) -> None:
        """Until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + BEAT_SECONDS
            await asyncio.sleep(BEAT_SECONDS)
            self.note(max(0.0, loop.time() - due))

    def note(self, seconds: float) -> None:
        self._lately.append(seconds)
        self.distribution.note(seconds)


class DatabaseProbe:
    """Asks the database one question at a time, however many want to know."""

    def __init__(self) -> None:
        self._asking: asyncio.Task[bool] | None = None
        self.up = False
        self.seconds = 0.0

    async def answers(self) -> bool:
        """Whether it answers within a second, and would take a write."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(probe(), name="database probe")
        # One that is late is not cancelled (see probe); whoever asks next waits for the same one.
        await asyncio.wait({self._asking}, timeout=PROBE_SECONDS)
        self.up = self._asking.done() and self._asking.result()
        self.seconds = loop.time() - begun
        return self.up
