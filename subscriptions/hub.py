"""One hub per process: it hears the bell, and has a tail of each account that somebody listens to here.

The bell carries only "account A stands at position N". What it loses costs a poll; what it repeats is idle. Rows are
read in the order of their positions, which is the order of their commits.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from uuid import UUID

from domain.actors import Actor
from domain.errors import Unauthenticated
from models import Account
from models.database import is_passing
from schema.context import Signal
from subscriptions.bell import Bell
from subscriptions.callers import Caller, Gone
from subscriptions.counts import Size
from subscriptions.resume import Cursors, Position
from subscriptions.scenes import Means
from subscriptions.tail import Tail

log = logging.getLogger("deskwire.hub")

SIGNALS = 16

Authenticate = Callable[[str], Awaitable[Actor | None]]


class Hub:
    """See the module. `run` it for as long as the process serves."""

    def __init__(
        self, bell: Bell, cursors: Cursors, means: Means, authenticate: Authenticate, *, poll_seconds: float = 1.0
    ) -> None:
        self.bell = bell
        self.cursors = cursors
        self.authenticate = authenticate
        self.counts = means.counts
        self._means = means
        self._poll_seconds = poll_seconds
        self._tails: dict[UUID, Tail] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._signals: dict[UUID, set[asyncio.Queue[Signal]]] = {}
        self._poll_now = asyncio.Event()

    async def run(self) -> None:
        """Listen and poll until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.bell.run(self._heard, self._pass_on, self._poll_now.set))
                group.create_task(self._poll())
        finally:
            for task in self._tasks:
                task.cancel()

    def _heard(self, account_id: UUID, position: int) -> None:
        self._wake(account_id, position)

    def _wake(self, account_id: UUID, position: int) -> bool:
        """Let a tail look further, if there is more. Returns whether it would not have by itself."""
        tail = self._tails.get(account_id)
        if tail is None or position <= tail.position or tail.wake.is_set():
            return False
        tail.wake.set()
        return True

    @property
    def size(self) -> Size:
        """How much is followed now."""
        tails = self._tails.values()
        cohorts = [cohort for tail in tails for cohort in tail.index]
        members = sum(len(cohort.members) for cohort in cohorts)
        return Size(len(tails), len(cohorts), members, sum(tail.late for tail in tails))

    async def _poll(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._poll_seconds):
                    await self._poll_now.wait()
            self._poll_now.clear()
            if not self._tails:
                continue
            try:
                heads = await Account.filter(id__in=list(self._tails)).values_list("id", "last_position")
            except Exception as error:
                log.error("polling failed; it is tried again: %s", error, exc_info=not is_passing(error))
                await asyncio.sleep(self._poll_seconds)
                continue
            for account_id, position in heads:
                self.counts.repairs += self._wake(account_id, position)

    def announce(self, account_id: UUID, position: int) -> None:
        """Ring the bell, from after the commit: returns at once, never raises."""
        self._wake(account_id, position)
        self.bell.ring(account_id, position)

    # Who listens

    async def admit(self, token: str, gone: Gone) -> Caller:
        """The caller behind a token, for the life of one connection; to be dismissed. Raises Unauthenticated.

        When the token expires or is revoked, or its user deactivated, nothing is told to him any more, and `gone` is
        called.
        """
        used: Tail | None = None
        try:
            while True:
                asked_at = asyncio.get_running_loop().time()
                actor = await self.authenticate(token)
                if actor is None:
                    raise Unauthenticated
                tail = self._tails.get(actor.account_id)
                # What changed before he was asked about, the answer knows; what changes from here on, the tail meets.
                if tail is not None and tail.ready.is_set() and tail.sure_since <= asked_at:
                    tail.users += 1
                    caller = Caller(tail, actor, gone)
                    tail.callers.add(caller)
                    return caller
                if used is None:
                    used = self._use(actor.account_id)
                await used.ready.wait()
        finally:
            if used is not None:
                self._release(used)

    def dismiss(self, caller: Caller) -> None:
        """His connection has ended."""
        caller.tail.dismiss(caller)
        self._release(caller.tail)

    async def renewed(self, caller: Caller, token: str) -> bool:
        """Let a caller stay with a fresh token of his own. Returns whether it is one; if not, he stays with the old."""
        while True:
            asked_at = asyncio.get_running_loop().time()
            actor = await self.authenticate(token)
            if actor is None or (actor.account_id, actor.id) != (caller.actor.account_id, caller.actor.id):
                return False
            if caller.tail.sure_since <= asked_at:
                break  # or else this token's own end may have been passed on meanwhile, to nobody who had it
        # What he may reach, the tail knows better.
        caller.token_id, caller.expires_at = actor.token_id, actor.token_expires_at
        caller.tail.callers.expect_expiry(caller)
        return True

    def _use(self, account_id: UUID) -> Tail:
        """The tail of an account, which lives as long as somebody uses it; to be released."""
        tail = self._tails.get(account_id)
        if tail is None:
            tail = self._tails[account_id] = Tail(account_id, self._means, self.cursors, self._poll_seconds)
            task = asyncio.create_task(tail.run(), name=f"tail of {account_id}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        tail.users += 1
        return tail

    def _release(self, tail: Tail) -> None:
        tail.users -= 1
        if tail.users == 0:
            # Its task ends when it next looks up, not in the middle of a read.
            del self._tails[tail.account_id]
            tail.wake.set()

    async def sync_cursor(self, actor: Actor) -> str:
        """The cursor of the log's head."""
        account = await Account.get(id=actor.account_id)
        return self.cursors.write(Position(account.id, account.epoch, account.last_position))

    # Signals

    async def signal(self, signal: Signal) -> None:
        """Pass a typing signal or the like on to all processes. Best effort: who does not listen now never hears it."""
        self.bell.signal(signal)

    def _pass_on(self, signal: Signal) -> None:
        for queue in self._signals.get(signal.conversation_id, ()):
            with contextlib.suppress(asyncio.QueueFull):
                queue.put_nowait(signal)

    async def signals(self, account_id: UUID, conversation_id: UUID) -> AsyncIterator[Signal]:
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
