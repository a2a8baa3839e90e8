"""One hub per process: it hears the bell, reads the log once for each account, and feeds whoever listens.

The broadcaster carries only "account A stands at position N". What it loses costs a poll; what it repeats is idle;
when it breaks, the hub says so, polls, and tries again. It can break without a word (its listener dies, and whoever
listens waits for ever), so the hub listens for its own beat: who does not hear himself is deaf, and connects anew.

Rows are read in the order of their positions, which is the order of their commits, so a feed that starts at a
position meets every later row once.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import orjson
from broadcaster import Broadcast

from domain.errors import CursorExpired, SlowConsumer
from domain.failpoints import pass_through
from models import Account, Event, EventType
from schema.context import Signal
from subscriptions.resume import Cursors, Position

log = logging.getLogger("deskwire.hub")

BELL = "deskwire"
BATCH = 200
QUEUE = 256
SIGNALS = 16
BEAT_SECONDS = 5.0
SILENT_BEATS = 3
PUBLISH_SECONDS = 5.0

BEAT: dict[str, object] = {"beat": True}

Wants = Callable[[Event], bool]


@dataclass(slots=True, eq=False)
class Feed:
    """The bounded queue of one stream. An overflow empties it: the stream ends, and its cursor finds the rest."""

    wants: Wants
    start: int
    queue: asyncio.Queue[Event] = field(default_factory=lambda: asyncio.Queue(QUEUE))
    delivered: int = 0
    overflown: bool = False

    def offer(self, event: Event) -> None:
        if self.overflown or event.position <= self.start or not self.wants(event):
            return
        try:
            self.queue.put_nowait(event)
        except asyncio.QueueFull:
            self.overflown = True


@dataclass(slots=True, eq=False)
class Guard:
    """Tells one socket that its token was revoked, or its user deactivated."""

    user_id: UUID
    token_id: UUID | None
    revoked: asyncio.Event = field(default_factory=asyncio.Event)

    def see(self, event: Event) -> None:
        payload = event.payload
        if event.type is EventType.TOKEN_REVOKED and payload["token"] == str(self.token_id):
            self.revoked.set()
        changed = event.type is EventType.AGENT_ACCESS_CHANGED and payload["user"] == str(self.user_id)
        if changed and not payload["active"]:
            self.revoked.set()


class Tail:
    """The log of one account, read once for all feeds of this process."""

    def __init__(self, account_id: UUID) -> None:
        self.account_id = account_id
        self.epoch = UUID(int=0)
        self.position = 0
        self.feeds: set[Feed] = set()
        self.guards: set[Guard] = set()
        self.listeners = 0
        self.wake = asyncio.Event()
        self.ready = asyncio.Event()

    async def open(self) -> None:
        account = await Account.get(id=self.account_id)
        self.epoch, self.position = account.epoch, account.last_position
        self.ready.set()

    async def catch_up(self) -> None:
        """Read and pass on all rows past our position."""
        while rows := await read(self.account_id, self.position):
            for row in rows:
                self.position = row.position
                for guard in self.guards:
                    guard.see(row)
                for feed in self.feeds:
                    feed.offer(row)


def _signal_from(heard: dict[str, Any]) -> Signal:
    return Signal(
        UUID(heard["account"]), UUID(heard["conversation"]), heard["signal"], UUID(heard["user"]), heard["side"]
    )


def _unless_cancelled() -> None:
    """broadcaster can raise from its own clean-up in the place of our cancellation. Pass that on."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


async def leave(broadcast: Broadcast) -> None:
    """Disconnect. broadcaster raises here what its listener died of, be it a cancellation."""
    try:
        await broadcast.disconnect()
    except (Exception, asyncio.CancelledError):
        _unless_cancelled()
        log.warning("the broadcaster could not be left in order", exc_info=True)


async def read(account_id: UUID, after: int, limit: int = BATCH) -> list[Event]:
    """The next rows of an account's log."""
    return await Event.filter(account_id=account_id, position__gt=after).order_by("position").limit(limit)


class Hub:
    """See the module. `run` it for as long as the process serves."""

    def __init__(self, broadcast: Broadcast, cursors: Cursors, *, poll_seconds: float = 1.0) -> None:
        self._broadcast = broadcast
        self.cursors = cursors
        self._poll_seconds = poll_seconds
        self._tails: dict[UUID, Tail] = {}
        self._ringing: set[asyncio.Task[None]] = set()
        self._reading: set[asyncio.Task[None]] = set()
        self._signals: dict[UUID, set[asyncio.Queue[Signal]]] = {}
        self.hears = False

    async def run(self) -> None:
        """Listen and poll until cancelled. One subscription per process, opened serially."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._listen())
                group.create_task(self._beat())
                group.create_task(self._poll())
        finally:
            self.hears = False
            for task in self._ringing | self._reading:
                task.cancel()

    async def _listen(self) -> None:
        while True:
            try:
                await self._hear_bell()
            except Exception:
                _unless_cancelled()
                log.exception("the broadcaster failed or is silent; polling goes on")
            self.hears = False
            await asyncio.sleep(random.uniform(0.2, 1.0))
            try:
                await self._reconnect()
            except Exception:
                _unless_cancelled()
                log.exception("the broadcaster cannot be reached; polling goes on")

    async def _hear_bell(self) -> None:
        """Hear until it fails. Raises TimeoutError after a silence in which at least our own beat was due."""
        async with self._broadcast.subscribe(BELL) as subscriber:
            self._ring(BEAT)
            while True:
                async with asyncio.timeout(SILENT_BEATS * BEAT_SECONDS):
                    message = await subscriber.get()
                self.hears = True
                self._hear(message.message)

    async def _reconnect(self) -> None:
        """broadcaster never does so by itself."""
        await leave(self._broadcast)
        await self._broadcast.connect()

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            self._ring(BEAT)

    def _hear(self, message: str) -> None:
        try:
            heard = orjson.loads(message)
            if "signal" in heard:
                self._pass_on(_signal_from(heard))
            elif "position" in heard:
                self._wake(UUID(heard["account"]), int(heard["position"]))
        except (ValueError, KeyError, TypeError, AttributeError):
            log.warning("an unreadable message on the bell was ignored")

    def _wake(self, account_id: UUID, position: int) -> None:
        tail = self._tails.get(account_id)
        if tail is not None and position > tail.position:
            tail.wake.set()

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(self._poll_seconds)
            if not self._tails:
                continue
            try:
                heads = await Account.filter(id__in=list(self._tails)).values_list("id", "last_position")
            except Exception:
                log.exception("polling failed; it is tried again")
                continue
            for account_id, position in heads:
                self._wake(account_id, position)

    def announce(self, account_id: UUID, position: int) -> None:
        """Ring the bell, from after the commit: returns at once, never raises."""
        self._ring({"account": str(account_id), "position": position})

    def _ring(self, message: dict[str, object]) -> None:
        task = asyncio.get_running_loop().create_task(self._publish(message))
        self._ringing.add(task)
        task.add_done_callback(self._ringing.discard)

    async def _publish(self, message: dict[str, object]) -> None:
        try:
            # A broadcaster that stalls must not pile up one task for each commit.
            async with asyncio.timeout(PUBLISH_SECONDS):
                if "position" in message:
                    await pass_through("before_publish")
                await self._broadcast.publish(BELL, orjson.dumps(message).decode())
                if "position" in message:
                    await pass_through("after_publish")
        except Exception:
            # Costs the latency of a poll and nothing else.
            log.exception("the bell could not be rung")

    async def _follow_log(self, tail: Tail) -> None:
        """The task of one tail. A failing database is waited for; feeds notice nothing but a delay."""
        while tail.listeners:
            try:
                if not tail.ready.is_set():
                    await tail.open()
                tail.wake.clear()
                await tail.catch_up()
            except Exception:
                log.exception("reading the log failed; it is tried again")
                await asyncio.sleep(self._poll_seconds)
                continue
            await tail.wake.wait()

    @asynccontextmanager
    async def _tail(self, account_id: UUID) -> AsyncIterator[Tail]:
        tail = self._tails.get(account_id)
        if tail is None:
            tail = self._tails[account_id] = Tail(account_id)
            task = asyncio.create_task(self._follow_log(tail))
            self._reading.add(task)
            task.add_done_callback(self._reading.discard)
        tail.listeners += 1
        try:
            await tail.ready.wait()
            yield tail
        finally:
            tail.listeners -= 1
            if tail.listeners == 0:
                # Its task ends when it next looks up, not in the middle of a read.
                del self._tails[account_id]
                tail.wake.set()

    @asynccontextmanager
    async def guarded(self, account_id: UUID, user_id: UUID, token_id: UUID | None) -> AsyncIterator[asyncio.Event]:
        """An event that is set when this user's token, or the user himself, is no longer good."""
        async with self._tail(account_id) as tail:
            guard = Guard(user_id, token_id)
            tail.guards.add(guard)
            try:
                yield guard.revoked
            finally:
                tail.guards.discard(guard)

    async def follow(self, account_id: UUID, after: str | None, wants: Wants) -> AsyncIterator[Event]:
        """The wanted events after a cursor, or from now on; first from the log, then live, without gap or repeat.

        Raises InvalidCursor, CursorExpired, SlowConsumer.
        """
        async with self._tail(account_id) as tail:
            account = await Account.get(id=account_id)
            position = account.last_position if after is None else await self.cursors.resume(after, account)
            # The check and the attaching below have no await between them: no row can fall in between.
            while position < tail.position:
                rows = await read(account_id, position)
                if not rows:
                    raise CursorExpired(field=("after",))  # the log was cut meanwhile
                await pass_through("during_catchup")
                for row in rows:
                    # Never ahead of the tail, whose guards see a revocation before anything after it goes out.
                    if row.position > tail.position:
                        break
                    position = row.position
                    if wants(row):
                        yield row
            feed = Feed(wants, start=position, delivered=position)
            tail.feeds.add(feed)
            try:
                async for row in self._live(tail, feed):
                    yield row
            finally:
                tail.feeds.discard(feed)

    async def _live(self, tail: Tail, feed: Feed) -> AsyncIterator[Event]:
        while True:
            if feed.overflown:
                raise SlowConsumer(self.cursors.write(Position(tail.account_id, tail.epoch, feed.delivered)))
            row = await feed.queue.get()
            yield row
            feed.delivered = row.position

    def cursor(self, event: Event) -> str:
        """The cursor that resumes after this event. Only for events of accounts that are listened to here."""
        return self._cursor(event.account_id, event.position)

    def cursor_before(self, event: Event) -> str:
        """The cursor that resumes with this event."""
        return self._cursor(event.account_id, event.position - 1)

    def _cursor(self, account_id: UUID, position: int) -> str:
        return self.cursors.write(Position(account_id, self._tails[account_id].epoch, position))

    async def head(self, account_id: UUID) -> int:
        """The position of the last event."""
        account = await Account.get(id=account_id)
        return int(account.last_position)

    async def since(self, account_id: UUID, after: str, types: Collection[EventType]) -> list[Event]:
        """The events of these (rare) types after a cursor. Raises InvalidCursor, CursorExpired."""
        account = await Account.get(id=account_id)
        position = await self.cursors.resume(after, account)
        return await Event.filter(account_id=account_id, position__gt=position, type__in=list(types)).order_by(
            "position"
        )

    async def sync_cursor(self, account_id: UUID) -> str:
        """The cursor of the log's head."""
        account = await Account.get(id=account_id)
        return self.cursors.write(Position(account.id, account.epoch, account.last_position))

    async def signal(self, signal: Signal) -> None:
        """Pass a typing signal or the like on to all processes. Best effort: who does not listen now never hears it."""
        self._ring(
            {
                "account": str(signal.account_id),
                "conversation": str(signal.conversation_id),
                "signal": signal.kind,
                "user": str(signal.user_id),
                "side": signal.user_kind,
            }
        )

    def _pass_on(self, signal: Signal) -> None:
        for queue in self._signals.get(signal.conversation_id, ()):
            with contextlib.suppress(asyncio.QueueFull):
                queue.put_nowait(signal)

    async def signals(self, conversation_id: UUID) -> AsyncIterator[Signal]:
        """The signals of a conversation from now on; a reader that falls behind misses some."""
        queue: asyncio.Queue[Signal] = asyncio.Queue(SIGNALS)
        listening = self._signals.setdefault(conversation_id, set())
        listening.add(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            listening.discard(queue)
            if not listening:
                self._signals.pop(conversation_id, None)
