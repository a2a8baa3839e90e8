"""A ticket as it is read from the one that it was merged into (R147)."""

from __future__ import annotations

from datetime import datetime

import strawberry
from strawberry import ID

import models
from schema.context import Info, Slice
from schema.events import TicketEvent, event_of
from schema.ids import encode_id
from schema.paging import Connection, sequence_page, window


@strawberry.type(description="A ticket that was merged into this one. Whoever sees this one reads its history.")
class MergedTicket:
    id: ID
    row: strawberry.Private[models.Ticket]
    number: int
    subject: str
    merged_at: datetime

    @classmethod
    def of(cls, row: models.Ticket) -> MergedTicket:
        # It was closed by being merged, and has not changed since.
        return cls(
            id=encode_id("Ticket", row.id),
            row=row,
            number=row.number,
            subject=row.subject,
            merged_at=row.status_changed_at,
        )

    @strawberry.field(description="Its history, in order.")
    async def events(
        self,
        info: Info,
        first: int | None = None,
        after: str | None = None,
        last: int | None = None,
        before: str | None = None,
    ) -> Connection[TicketEvent]:
        piece = window(self.row.last_sequence, first, after, last, before)
        rows = await info.context.loaders.event_slices.load(Slice(self.row.id, piece.first, piece.last))
        return sequence_page(rows, piece, lambda row: row.ticket_sequence or 0, event_of)

    @strawberry.field(description="What had been merged into it before.")
    async def merged_tickets(self, info: Info) -> list[MergedTicket]:
        return await merged_into(info, self.row)


async def merged_into(info: Info, target: models.Ticket) -> list[MergedTicket]:
    """The tickets that were merged into one that the viewer reads."""
    return [MergedTicket.of(row) for row in await info.context.loaders.merged_tickets.load(target.id)]
