"""Who has a socket on this process, kept in step with the table of presences."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from uuid import UUID
from weakref import WeakValueDictionary

from domain.actors import Actor
from domain.presence import WATCHED, note_gone, note_present, renew
from domain.transactions import shielded
from models import new_id, utc_now

log = logging.getLogger("deskwire.presence")

RENEW_SECONDS = 10.0


class LivePresence:
    """Counts the sockets of each user. The table is told of the first one and the last one only.

    Sockets come and go faster than a database writes. So nobody writes "he came" or "he went": whoever changed a count
    waits for his turn, and then writes what is so now, unless that is written already. What could not be written is
    made good with the next renewal: a socket does not fail because its presence could not be noted.
    """

    def __init__(self, clock: Callable[[], datetime] = utc_now) -> None:
        self.process_id = new_id()
        self._clock = clock
        self._sockets: Counter[UUID] = Counter()
        self._users: dict[UUID, Actor] = {}
        self._written: set[UUID] = set()
        # Kept for as long as somebody has his turn, or waits for it.
        self._turns: WeakValueDictionary[UUID, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def present(self, user: Actor) -> AsyncIterator[None]:
        """For the life of one socket."""
        if user.kind not in WATCHED or user.id is None:
            yield
            return
        self._users[user.id] = user
        self._sockets[user.id] += 1
        try:
            await shielded(self._settle(user.id))
            yield
        finally:
            self._sockets[user.id] -= 1
            await shielded(self._settle(user.id))

    async def keep_renewing(self, every: float = RENEW_SECONDS) -> None:
        """Renew after each so many seconds, until cancelled."""
        while True:
            await asyncio.sleep(every)
            await self.renew()

    async def renew(self) -> None:
        """Say that this process lives; what the table misses, or has too much, is put right."""
        try:
            self._written = await renew(self.process_id, self._clock())
        except Exception:
            log.exception("presence could not be renewed; it is tried again")
            return
        for user_id in list(self._users):
            await shielded(self._settle(user_id))

    async def _settle(self, user_id: UUID) -> None:
        turn = self._turns.setdefault(user_id, asyncio.Lock())
        async with turn:
            try:
                await self._write(user_id)
            except Exception:
                log.exception("the presence of user %s could not be noted; it is tried again", user_id)
        if not self._sockets[user_id] and user_id not in self._written:
            self._sockets.pop(user_id, None)
            self._users.pop(user_id, None)

    async def _write(self, user_id: UUID) -> None:
        user = self._users.get(user_id)
        here, written = self._sockets[user_id] > 0, user_id in self._written
        if user is None or here == written:
            return
        await (note_present if here else note_gone)(user, self.process_id, self._clock())
        (self._written.add if here else self._written.discard)(user_id)
