"""One hub per process: it hears the bell, reads the log once for each account, and feeds whoever listens.

The bell says only "account A stands at position N". What it loses costs a poll; what it repeats is idle.

Rows are read in the order of their positions, which is the order of their commits, so a feed that starts at a
position meets every later row once.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from uuid import UUID

from domain.errors import CursorExpired, SlowConsumer
from models import Account, Event, EventType
from schema.context import Signal
from subscriptions.bell import Bell
from subscriptions.resume import Cursors, Position

log = logging.getLogger("deskwire.hub")

BATCH = 200
QUEUE = 256
SIGNALS = 16

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


async def read(account_id: UUID, after: int, limit: int = BATCH) -> list[Event]:
    """The next rows of an account's log."""
    return await Event.filter(account_id=account_id, position__gt=after).order_by("position").limit(limit)


class Hub:
    """See the module. `run` it for as long as the process serves."""

    def __init__(self, bell: Bell, cursors: Cursors, *, poll_seconds: float = 1.0) -> None:
        self._bell = bell
        self.cursors = cursors
        self._poll_seconds = poll_seconds
        self._tails: dict[UUID, Tail] = {}
        self._reading: set[asyncio.Task[None]] = set()
        self._signals: dict[UUID, set[asyncio.Queue[Signal]]] = {}
        self._due = asyncio.Event()

    async def run(self) -> None:
        """Listen and poll until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._bell.run(self._wake, self._pass_on, self._due.set), name="bell")
                group.create_task(self._poll(), name="polling")
        finally:
            for task in self._reading:
                task.cancel()

    def _wake(self, account_id: UUID, position: int) -> None:
        tail = self._tails.get(account_id)
        if tail is not None and position > tail.position:
            tail.wake.set()

    async def _poll(self) -> None:
        while True:
            await self._until_due()
            if not self._tails:
                continue
            try:
                heads = await Account.filter(id__in=list(self._tails)).values_list("id", "last_position")
            except Exception:
                log.exception("polling failed; it is tried again")
                continue
            for account_id, position in heads:
                self._wake(account_id, position)

    async def _until_due(self) -> None:
        """On time, and at once when the bell may have missed something."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._poll_seconds):
                await self._due.wait()
        self._due.clear()

    def announce(self, account_id: UUID, position: int) -> None:
        """Ring the bell, from after the commit: returns at once, never raises."""
        self._bell.ring(account_id, position)

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
        self._bell.signal(signal)

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
