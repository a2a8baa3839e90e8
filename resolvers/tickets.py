"""Tickets: reading one, reading lists, changing fields."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from strawberry import ID

from domain.errors import InvalidCursor
from domain.tickets import update_ticket
from domain.views import Order, page_of
from resolvers.answers import answering, staff
from schema.context import Info
from schema.ids import decode_id
from schema.paging import as_identifier, as_moment, as_number, check_first, decode_cursor, keyset_page
from schema.payloads import UpdateTicketInput, UpdateTicketPayload, given
from schema.tickets import OrderDirection, Ticket, TicketConnection, TicketFilter, TicketOrder


async def ticket(info: Info, id: ID) -> Ticket | None:
    staff(info)
    row = await info.context.loaders.tickets.load(decode_id("Ticket", id, field="id"))
    return Ticket.of(row) if row else None


async def tickets(
    info: Info,
    first: int,
    after: str | None = None,
    filter: TicketFilter | None = None,
    order_by: TicketOrder | None = None,
) -> TicketConnection:
    actor = staff(info)
    view = (filter or TicketFilter()).view()
    chosen = order_by or TicketOrder()
    order = Order(chosen.field.value.lower(), descending=chosen.direction is OrderDirection.DESC)
    key = _key(order, after) if after is not None else None
    # First where the log stands, then the rows: what happens in between is delivered again, and nothing is missed.
    sync_cursor = await info.context.feeds.sync_cursor(actor)
    rows = await page_of(actor, view, order, check_first(first), key)
    page = keyset_page(
        rows,
        first,
        after=after is not None,
        key=lambda row: (order.column, getattr(row, order.column), row.id),
        node=Ticket.of,
    )
    return TicketConnection(edges=page.edges, page_info=page.page_info, sync_cursor=sync_cursor, view=view)


def _key(order: Order, after: str) -> tuple[Any, UUID]:
    column, value, identifier = decode_cursor(after, 3)
    if column != order.column:
        # Of a list in another order: paging on from it would skip rows and repeat others.
        raise InvalidCursor
    parsed = as_number(value) if column == "number" else as_moment(value)
    return parsed, as_identifier(identifier)


@answering(UpdateTicketPayload)
async def resolve_update_ticket(info: Info, input: UpdateTicketInput) -> UpdateTicketPayload:
    values = given(status=input.status, tags=input.tags, priority=input.priority, type=input.type)
    references = given(assignee_id=input.assignee_id, group_id=input.group_id, requester_id=input.requester_id)
    kinds = {
        "assignee_id": ("User", "assigneeId"),
        "group_id": ("Group", "groupId"),
        "requester_id": ("User", "requesterId"),
    }
    for name, value in references.items():
        kind, field = kinds[name]
        values[name] = decode_id(kind, str(value), field=field) if value is not None else None
    updated = await update_ticket(
        info.context.call(client_id=input.client_id, idempotency_key=input.idempotency_key),
        decode_id("Ticket", input.ticket_id, field="ticketId"),
        values,
        expected_version=input.expected_version,
    )
    row = await info.context.loaders.tickets.load(updated.ticket_id)
    return UpdateTicketPayload(ticket=Ticket.of(row) if row else None)
