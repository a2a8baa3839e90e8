"""Merging, deleting and restoring tickets."""

from __future__ import annotations

from uuid import UUID

from domain.deletion import delete_ticket, deleted_tickets_page, restore_ticket
from domain.merging import merge_tickets
from resolvers.answers import answering, staff
from schema.context import Info
from schema.ids import decode_id, encode_id
from schema.lifecycle import (
    DeletedTicket,
    DeleteTicketInput,
    DeleteTicketPayload,
    MergeTicketsInput,
    MergeTicketsPayload,
    RestoreTicketInput,
    RestoreTicketPayload,
)
from schema.paging import Connection, check_first, decode_moment, keyset_page
from schema.tickets import Ticket


async def deleted_tickets(info: Info, first: int, after: str | None = None) -> Connection[DeletedTicket]:
    rows = await deleted_tickets_page(staff(info), check_first(first), decode_moment(after))
    return keyset_page(
        rows, first, after=after is not None, key=lambda row: (row.deleted_at, row.id), node=DeletedTicket.of
    )


async def _ticket(info: Info, ticket_id: UUID) -> Ticket | None:
    row = await info.context.loaders.tickets.load(ticket_id)
    return Ticket.of(row) if row else None


@answering(MergeTicketsPayload)
async def resolve_merge_tickets(info: Info, input: MergeTicketsInput) -> MergeTicketsPayload:
    merged = await merge_tickets(
        info.context.call(client_id=input.client_id, idempotency_key=input.idempotency_key),
        decode_id("Ticket", input.source_id, field="sourceId"),
        decode_id("Ticket", input.target_id, field="targetId"),
        end_session=input.end_session,
    )
    return MergeTicketsPayload(
        source=await _ticket(info, merged.source_id), target=await _ticket(info, merged.target_id)
    )


@answering(DeleteTicketPayload)
async def resolve_delete_ticket(info: Info, input: DeleteTicketInput) -> DeleteTicketPayload:
    deleted = await delete_ticket(
        info.context.call(client_id=input.client_id, idempotency_key=input.idempotency_key),
        decode_id("Ticket", input.ticket_id, field="ticketId"),
    )
    return DeleteTicketPayload(deleted_ticket_id=encode_id("Ticket", deleted.ticket_id))


@answering(RestoreTicketPayload)
async def resolve_restore_ticket(info: Info, input: RestoreTicketInput) -> RestoreTicketPayload:
    restored = await restore_ticket(
        info.context.call(client_id=input.client_id, idempotency_key=input.idempotency_key),
        decode_id("Ticket", input.ticket_id, field="ticketId"),
    )
    return RestoreTicketPayload(ticket=await _ticket(info, restored.ticket_id))
