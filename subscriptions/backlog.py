"""The newest rows of one account's log, kept in memory: what latecomers and slow readers missed a moment ago."""

from __future__ import annotations

import logging
from collections import deque
from datetime import datetime
from functools import cache
from itertools import islice
from uuid import UUID

from tortoise.exceptions import FieldError
from tortoise.queryset import QuerySet

from models import Event
from models.prepared import Prepared
from subscriptions.counts import Counts

log = logging.getLogger("deskwire.hub")

BATCH = 200
KEPT = 512
UNREADABLE = (ValueError, FieldError)


@cache
def _next(limit: int) -> Prepared[Event]:
    def build(account: UUID, after: int) -> QuerySet[Event]:
        return Event.filter(account_id=account, position__gt=after).order_by("position").limit(limit)

    return Prepared(Event, (UUID, int), build)


async def read(account_id: UUID, after: int, limit: int = BATCH, *, counts: Counts | None = None) -> list[Event]:
    """The next rows of an account's log.

    In the place of one that cannot be read (a newer version of us wrote a type that we do not know, say) stands a blank
    that concerns nobody, as clients leave out what they do not know: it must not hold up what comes after it.
    """
    try:
        return await _next(limit).rows(account_id, after)
    except UNREADABLE:
        return await _readable(account_id, after, limit, counts or Counts())


async def _readable(account_id: UUID, after: int, limit: int, counts: Counts) -> list[Event]:
    rows = Event.filter(account_id=account_id, position__gt=after).order_by("position").limit(limit)
    places = await rows.values_list("position", "occurred_at")
    return [await _readable_or_blank(account_id, position, at, counts) for position, at in places]


async def _readable_or_blank(account_id: UUID, position: int, occurred_at: datetime, counts: Counts) -> Event:
    try:
        return await Event.get(account_id=account_id, position=position)
    except UNREADABLE as error:
        counts.poisoned += 1
        log.error("event %s of account %s cannot be read, and is left out: %s", position, account_id, error)
        # Without a type and a ticket. Positions stay without a gap: whoever reads on counts on that.
        return Event(account_id=account_id, position=position, occurred_at=occurred_at, payload={})


class Backlog:
    """At most KEPT consecutive rows that end where the log was read to."""

    def __init__(self, account_id: UUID, counts: Counts) -> None:
        self.head = 0
        """Where the log was read to."""
        self._account_id = account_id
        self._counts = counts
        self._rows: deque[Event] = deque(maxlen=KEPT)

    def add(self, row: Event) -> None:
        """The row that was read last."""
        if row.position != self.head + 1:
            self._rows.clear()  # one in between could not be read
        self.head = row.position
        self._rows.append(row)

    async def row(self, position: int) -> Event | None:
        """The row at this position, if the log has it."""
        place = self._place(position)
        if place is not None:
            return self._rows[place]
        # With those behind it: whoever asks for it, and whoever comes back with him, wants them next.
        rows = await self.after(position - 1)
        return rows[0] if rows and rows[0].position == position else None

    async def after(self, position: int) -> list[Event]:
        """The next rows, up to BATCH of them: from memory, or from the table."""
        place = self._place(position + 1)
        if place is not None:
            return list(islice(self._rows, place, place + BATCH))
        rows = await read(self._account_id, position, counts=self._counts)
        self._join(rows)
        return rows

    def _place(self, position: int) -> int | None:
        if not self._rows or not self._rows[0].position <= position <= self._rows[-1].position:
            return None
        return int(position - self._rows[0].position)

    def _join(self, rows: list[Event]) -> None:
        """Keep what was read for one latecomer for the others, where it reaches up to what is kept."""
        first = self._rows[0].position if self._rows else self.head + 1
        older = [row for row in rows if row.position < first]
        consecutive = bool(older) and older[-1].position - older[0].position == len(older) - 1
        if consecutive and older[-1].position == first - 1:
            room = KEPT - len(self._rows)
            self._rows.extendleft(reversed(older[-room:] if room else []))
