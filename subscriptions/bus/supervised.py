"""A back end for broadcaster that outlives its broker: it connects again by itself, and says so.

broadcaster's own back ends go deaf without a word when their connection breaks. This one listens in a task that begins
anew after every failure, and tells its subscribers in band what became of the connection: `PARTED`, and `JOINED` when
it listens (again), from which moment on nothing is missed and before which anything may have been.

Subscribing waits for nothing: it says what to listen to, and `JOINED` follows. So it can neither be cancelled half-way
nor overtaken by a second one, which is where broadcaster loses subscribers.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Protocol

from broadcaster import Event
from broadcaster._backends.base import BroadcastBackend

log = logging.getLogger("deskwire.bus")

JOINED = '{"bus": "joined"}'
PARTED = '{"bus": "parted"}'

JOIN_SECONDS = 3.0
PUBLISH_SECONDS = 2.0
LEAVE_SECONDS = 1.0
REST_SECONDS = 0.5
# Bounds what waits here for broadcaster's listener. When it is full, the broker's connection waits in turn.
QUEUE = 10_000

SHORTEST_PAUSE = 0.2
LONGEST_PAUSE = 5.0
# Who has not failed for so long begins with the shortest pause again. Longer than a failing try and its pause.
FORGIVEN_SECONDS = 30.0


class BusDown(ConnectionError):
    """The broker did not take the last message, a moment ago; it is not asked again so soon."""


class Pauses:
    """How long to wait before the next try: growing while it fails, and never the same for two processes."""

    def __init__(self) -> None:
        self._seconds = SHORTEST_PAUSE
        self._failed_at = time.monotonic()

    @property
    def is_first(self) -> bool:
        """Whether the next failure is the first one after a good time."""
        return self._seconds == SHORTEST_PAUSE or time.monotonic() - self._failed_at > FORGIVEN_SECONDS

    def next(self) -> float:
        """The seconds to wait after a failure that happened now."""
        seconds = SHORTEST_PAUSE if self.is_first else self._seconds
        self._failed_at = time.monotonic()
        self._seconds = min(2 * seconds, LONGEST_PAUSE)
        return random.uniform(seconds / 2, seconds)


class Broker(Protocol):
    """What a kind of broker must do. It may raise whatever it likes; the deadlines are ours."""

    def hear(self, channels: frozenset[str]) -> AsyncGenerator[Event | None, None]:
        """Connect and subscribe; None as soon as it listens, then what is heard. Raises when the connection breaks."""

    async def say(self, channel: str, message: str) -> None:
        """Publish. Called by one task at a time. After an error or a cancellation, the next call connects anew."""

    async def close(self) -> None:
        """Close what `say` uses, without waiting for the broker."""


class Supervised(BroadcastBackend):
    """See the module."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._channels: frozenset[str] = frozenset()
        self._heard: asyncio.Queue[Event] = asyncio.Queue(QUEUE)
        self._hearing: asyncio.Task[None] | None = None
        self._speaking = asyncio.Lock()
        self._rests_until = 0.0

    async def connect(self) -> None:
        """Never fails: the connections are made when they are needed, and again."""
        self._heard = asyncio.Queue(QUEUE)

    async def disconnect(self) -> None:
        """At once, whatever the broker does."""
        self._listen_to(frozenset())
        if self._hearing is not None:
            await asyncio.wait({self._hearing}, timeout=LEAVE_SECONDS)
        await self._broker.close()

    async def subscribe(self, channel: str) -> None:
        self._listen_to(self._channels | {channel})

    async def unsubscribe(self, channel: str) -> None:
        self._listen_to(self._channels - {channel})

    async def next_published(self) -> Event:
        return await self._heard.get()

    async def publish(self, channel: str, message: Any) -> None:
        """Raises BusDown, or what the broker says, within PUBLISH_SECONDS; ValueError for what it can never carry."""
        if time.monotonic() < self._rests_until:
            raise BusDown("the broker did not take the last message")
        try:
            async with asyncio.timeout(PUBLISH_SECONDS), self._speaking:
                await self._broker.say(channel, message)
        except ValueError:
            raise
        except Exception:
            self._rests_until = time.monotonic() + REST_SECONDS
            raise

    def _listen_to(self, channels: frozenset[str]) -> None:
        before = self._hearing
        if before is not None:
            before.cancel()
        self._channels = channels
        if channels:
            self._hearing = asyncio.create_task(self._keep_hearing(channels, before), name="bus")

    async def _keep_hearing(self, channels: frozenset[str], before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.wait({before})
        pauses = Pauses()
        while True:
            try:
                await self._hear(channels)
            except Exception as error:
                # Not every try of a long outage: the state of the bell shows that it lasts.
                level = logging.WARNING if pauses.is_first else logging.DEBUG
                log.log(level, "no broker: %s", str(error) or repr(error))
            await self._tell(channels, PARTED)
            await asyncio.sleep(pauses.next())

    async def _hear(self, channels: frozenset[str]) -> None:
        async with aclosing(self._broker.hear(channels)) as heard:
            async with asyncio.timeout(JOIN_SECONDS):
                await anext(heard)
            self._rests_until = 0.0
            await self._tell(channels, JOINED)
            async for event in heard:
                if event is not None:
                    await self._heard.put(event)

    async def _tell(self, channels: frozenset[str], mark: str) -> None:
        for channel in channels:
            await self._heard.put(Event(channel, mark))
