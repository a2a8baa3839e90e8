"""The newest rows of one account's log, kept in memory: what latecomers and slow readers missed a moment ago."""

from __future__ import annotations

import logging
from collections import deque
from itertools import islice
from uuid import UUID

from models import Event

log = logging.getLogger("deskwire.hub")

BATCH = 200
KEPT = 512


async def read(account_id: UUID, after: int, limit: int = BATCH) -> list[Event]:
    """The next rows of an account's log."""
    return await Event.filter(account_id=account_id, position__gt=after).order_by("position").limit(limit)


class Backlog:
    """At most KEPT consecutive rows that end where the log was read to."""

    def __init__(self, account_id: UUID) -> None:
        self._account_id = account_id
        self._rows: deque[Event] = deque(maxlen=KEPT)

    def add(self, row: Event) -> None:
        self._rows.append(row)

    async def row(self, position: int) -> Event | None:
        """The row at this position, if the log has it."""
        place = self._place(position)
        if place is not None:
            return self._rows[place]
        return await Event.get_or_none(account_id=self._account_id, position=position)

    async def after(self, position: int) -> list[Event]:
        """The next rows, up to BATCH of them: from memory, or from the table."""
        place = self._place(position + 1)
        if place is not None:
            return list(islice(self._rows, place, place + BATCH))
        rows = await read(self._account_id, position)
        self._join(rows)
        return rows

    def _place(self, position: int) -> int | None:
        if not self._rows or not self._rows[0].position <= position <= self._rows[-1].position:
            return None
        return int(position - self._rows[0].position)

    def _join(self, rows: list[Event]) -> None:
        """Keep what was read for one latecomer for the others, where it reaches up to what is kept."""
        if not rows or not self._rows:
            return
        first = self._rows[0].position
        older = [row for row in rows if row.position < first]
        if older and older[-1].position == first - 1:
            room = KEPT - len(self._rows)
            self._rows.extendleft(reversed(older[-room:] if room else []))
