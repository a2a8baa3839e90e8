"""The bell: all that a hub knows of other processes.

It carries "account A stands at position N", never content, and typing signals, which may get lost. What the bus loses
costs a poll; what it repeats is idle; when it breaks, nothing is raised. It can break without a word (whoever listens
waits for ever), so the bell listens for its own beat: who does not hear himself is deaf, and connects anew.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from broadcaster import Broadcast
from broadcaster._base import Subscriber

from domain.failpoints import pass_through
from models import utc_now
from schema.context import Signal
from subscriptions.bus.messages import Ears, encode_beat, encode_position, encode_signal
from subscriptions.bus.supervised import JOINED, PARTED, Pauses

log = logging.getLogger("deskwire.bell")

CHANNEL = "deskwire"
BEAT_SECONDS = 3.0
# Silence is noticed after so many beats: 9 seconds, so that polling takes over within 10.
SILENT_BEATS = 3
# For each call of the bus. Its own deadlines are shorter; a bus that hangs must not hang us.
CALL_SECONDS = 4.0
SIGNALS = 256


@dataclass(frozen=True, slots=True)
class BellState:
    """For health and metrics. Counts are of this process, since its start.

    hears             the bus carries messages now: we hear our own
    connected         it stands, as far as one can tell; it may hang
    reconnects        how often it was there again, after it was not
    silences          how often nothing was heard of it without an error
    lost_publishes    messages that it did not take; those that ring for a position are rung again
    dropped_signals   typing signals that it was too slow for
    waiting           accounts whose bell is still to be rung
    heard_at          when the last message came, whoever sent it
    """

    hears: bool
    connected: bool
    reconnects: int
    silences: int
    lost_publishes: int
    dropped_signals: int
    waiting: int
    heard_at: datetime | None


class Bell:
    """See the module. `run` it for as long as the process serves; `ring` and `signal` at any time."""

    def __init__(self, broadcast: Broadcast) -> None:
        self._broadcast = broadcast
        self._beat = encode_beat()
        self._beat_due = False
        self._due: dict[UUID, int] = {}
        self._signals: deque[Signal] = deque()
        self._work = asyncio.Event()
        self._again = asyncio.Event()
        self._refused = False
        self._beat_heard = -float("inf")
        self._connected = False
        self._connections = 0
        self._silences = 0
        self._lost_publishes = 0
        self._dropped_signals = 0
        self._heard_at: datetime | None = None

    @property
    def hears(self) -> bool:
        """Whether our own beat was heard lately."""
        return time.monotonic() - self._beat_heard < _silent_seconds()

    @property
    def state(self) -> BellState:
        return BellState(
            hears=self.hears,
            connected=self._connected,
            reconnects=max(0, self._connections - 1),
            silences=self._silences,
            lost_publishes=self._lost_publishes,
            dropped_signals=self._dropped_signals,
            waiting=len(self._due),
            heard_at=self._heard_at,
        )

    def ring(self, account_id: UUID, position: int) -> None:
        """Tell the other processes, and this one, where an account's log stands. Returns at once, never raises.

        While the bus is slow or away, an account's highest position waits, and is rung later.
        """
        self._due[account_id] = max(position, self._due.get(account_id, 0))
        self._work.set()

    def signal(self, signal: Signal) -> None:
        """Pass a signal on, best effort: it is dropped while the bus is slow or away. Returns at once, never raises."""
        if self._refused or len(self._signals) >= SIGNALS:
            self._dropped_signals += 1
            return
        self._signals.append(signal)
        self._work.set()

    async def run(
        self, heard: Callable[[UUID, int], None], signalled: Callable[[Signal], None], resync: Callable[[], None]
    ) -> None:
        """Listen, beat and ring until cancelled; whatever the bus does, it raises nothing.

        `resync` is called whenever something may have been missed: the logs are the only truth then.
        """
        ears = Ears(heard, signalled, resync)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._listen(ears), name="bell listens")
                group.create_task(self._keep_beating(), name="bell beats")
                group.create_task(self._keep_ringing(), name="bell rings")
        finally:
            self._part()
            await self._leave()

    async def _listen(self, ears: Ears) -> None:
        pauses = Pauses()
        while True:
            try:
                await self._hear(ears)
            except Exception as error:
                _unless_cancelled()
                # An outage is one line; what is not expected of a network is shown in full.
                unexpected = not isinstance(error, OSError)
                log.warning("the bus failed; polling goes on: %s", str(error) or repr(error), exc_info=unexpected)
            self._part()
            ears.resync()
            await self._leave()
            await asyncio.sleep(pauses.next())

    async def _hear(self, ears: Ears) -> None:
        """Connect, and hear until it fails. Raises TimeoutError after a silence in which our own beat was due."""
        async with asyncio.timeout(CALL_SECONDS):
            await self._broadcast.connect()
        async with self._subscribed() as subscriber:
            self._beat_now()
            try:
                async with asyncio.timeout(_silent_seconds()) as patience:
                    while True:
                        message = await subscriber.get()
                        self._understand(message.message, ears, patience)
            except TimeoutError:
                self._silences += 1
                raise TimeoutError("our own beat was not heard") from None

    @asynccontextmanager
    async def _subscribed(self) -> AsyncIterator[Subscriber]:
        subscription = self._broadcast.subscribe(CHANNEL)
        async with asyncio.timeout(CALL_SECONDS):
            subscriber = await subscription.__aenter__()
        try:
            yield subscriber
        finally:
            async with asyncio.timeout(CALL_SECONDS):
                await subscription.__aexit__(None, None, None)

    def _understand(self, message: str, ears: Ears, patience: asyncio.Timeout) -> None:
        self._heard_at = utc_now()
        if message == self._beat:
            self._hear_ourselves(ears)
            patience.reschedule(_patience())
        elif message == JOINED:
            self._join()
            ears.resync()
            self._beat_now()
            self._again.set()
            patience.reschedule(_patience())
        elif message == PARTED:
            # It connects again by itself: nothing is to be heard until it says so.
            self._part()
            ears.resync()
            patience.reschedule(None)
        else:
            ears.hear(message)

    def _hear_ourselves(self, ears: Ears) -> None:
        was_deaf = not self.hears
        self._join()
        self._beat_heard = time.monotonic()
        if was_deaf:
            ears.resync()

    def _join(self) -> None:
        self._connections += not self._connected
        self._connected = True

    def _part(self) -> None:
        self._connected = False
        self._beat_heard = -float("inf")

    async def _leave(self) -> None:
        """Disconnect. broadcaster raises here what its listener died of, be it a cancellation."""
        try:
            async with asyncio.timeout(CALL_SECONDS):
                await self._broadcast.disconnect()
        except (Exception, asyncio.CancelledError) as error:
            _unless_cancelled()
            log.warning("the bus could not be left in order: %s", str(error) or repr(error))

    async def _keep_beating(self) -> None:
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            self._beat_now()

    def _beat_now(self) -> None:
        self._beat_due = True
        self._work.set()

    async def _keep_ringing(self) -> None:
        """The only task that publishes: a slow bus delays what it carries, and piles up nothing."""
        pauses = Pauses()
        while True:
            await self._work.wait()
            self._work.clear()
            try:
                await self._publish_all()
            except Exception as error:
                self._refuse(error)
                await self._until_again(pauses.next())
                self._work.set()

    async def _until_again(self, seconds: float) -> None:
        """So long, or until the bus is there again."""
        self._again.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._again.wait()

    async def _publish_all(self) -> None:
        if self._beat_due:
            self._beat_due = False
            await self._publish(self._beat)
        for account_id in list(self._due):
            await self._ring_now(account_id)
        while self._signals:
            await self._publish(encode_signal(self._signals.popleft()))

    async def _ring_now(self, account_id: UUID) -> None:
        position = self._due.pop(account_id)
        try:
            await pass_through("before_publish")
            await self._publish(encode_position(account_id, position))
            await pass_through("after_publish")
        except Exception:
            # Others may hear well, and wait for a poll that a bell would spare them.
            self.ring(account_id, position)
            raise

    async def _publish(self, message: str) -> None:
        async with asyncio.timeout(CALL_SECONDS):
            await self._broadcast.publish(CHANNEL, message)
        if self._refused:
            self._refused = False
            log.info("the bell can be rung again")

    def _refuse(self, error: Exception) -> None:
        self._lost_publishes += 1
        # Who typed a while ago does not type now.
        self._dropped_signals += len(self._signals)
        self._signals.clear()
        if not self._refused:
            self._refused = True
            log.warning("the bell cannot be rung; it is tried again: %s", str(error) or repr(error))


def _silent_seconds() -> float:
    return SILENT_BEATS * BEAT_SECONDS


def _patience() -> float:
    """The moment, of the loop's clock, until which our next beat must be heard."""
    return asyncio.get_running_loop().time() + _silent_seconds()


def _unless_cancelled() -> None:
    """broadcaster can raise from its own clean-up in the place of our cancellation. Pass that on."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
