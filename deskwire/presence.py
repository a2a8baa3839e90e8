"""Who has a connection to this process, kept in step with the table of presences."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Collection
from datetime import datetime
from uuid import UUID

from domain.actors import Actor
from domain.presence import WATCHED, note_changes, renew
from domain.transactions import shielded
from models import new_id, utc_now
from subscriptions.batches import Batches

log = logging.getLogger("deskwire.presence")

RENEW_SECONDS = 10.0


class LivePresence:
    """Counts the connections of each user. The table is told of the first one and the last one only.

    Connections come and go faster than a database writes. So nobody writes "he came" or "he went": whoever changed a
    count waits for the next writing, which writes what is so then for all who wait, unless it is written already.
    What could not be written is made good with the next renewal: a connection does not fail because its presence
    could not be noted.
    """

    def __init__(self, clock: Callable[[], datetime] = utc_now) -> None:
        self.process_id = new_id()
        self._clock = clock
        self._sockets: Counter[UUID] = Counter()
        self._users: dict[UUID, Actor] = {}
        self._written: set[UUID] = set()
        self._settling: Batches[UUID, None] = Batches(self._settle)

    async def arrive(self, user: Actor) -> None:
        """One more connection of his. To be followed by `depart`, even when this is cancelled."""
        if user.kind in WATCHED and user.id is not None:
            self._users[user.id] = user
            self._sockets[user.id] += 1
            await shielded(self._settling.ask(user.id))

    async def depart(self, user: Actor) -> None:
        """One less."""
        if user.kind in WATCHED and user.id is not None:
            self._sockets[user.id] -= 1
            await shielded(self._settling.ask(user.id))

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
        wrong = [user_id for user_id in self._users if self._is_here(user_id) != (user_id in self._written)]
        await asyncio.gather(*(shielded(self._settling.ask(user_id)) for user_id in wrong))

    async def _settle(self, user_ids: list[UUID]) -> list[None]:
        accounts: defaultdict[UUID, set[UUID]] = defaultdict(set)
        for user_id in user_ids:
            if user_id in self._users and self._is_here(user_id) != (user_id in self._written):
                accounts[self._users[user_id].account_id].add(user_id)
        for account_id, changed in accounts.items():
            try:
                await self._write(account_id, changed)
            except Exception:
                log.exception("the presence of %s users could not be noted; it is tried again", len(changed))
        self._forget(user_ids)
        return [None] * len(user_ids)

    async def _write(self, account_id: UUID, changed: set[UUID]) -> None:
        here = {user_id for user_id in changed if self._is_here(user_id)}
        gone = changed - here
        await note_changes(account_id, self.process_id, self._clock(), here=here, gone=gone)
        self._written |= here
        self._written -= gone

    def _is_here(self, user_id: UUID) -> bool:
        return self._sockets[user_id] > 0

    def _forget(self, user_ids: Collection[UUID]) -> None:
        for user_id in user_ids:
            if not self._sockets[user_id] and user_id not in self._written:
                self._sockets.pop(user_id, None)
                self._users.pop(user_id, None)
