"""What happens to a ticket and takes its session with it: closing."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from domain.locks import (
    confirm_actor,
    find_ticket,
    lock_customer_of,
    lock_session,
    lock_ticket,
    read_settings_locked,
)
from domain.sessions import end_locked_session
from domain.tickets import UpdatedTicket, set_field
from domain.transactions import Call, Transaction, unit_of_work
from models import EndReason, SessionState, TicketStatus


async def close_ticket(call: Call, ticket_id: UUID) -> UpdatedTicket:
    """Close a ticket for good; a session that still lives ends with it, in the same transaction (R120).

    Not an agent's command: the system closes what was solved long ago. The setting of manual ends
    does not matter (R14).
    """

    async def work(tx: Transaction) -> UpdatedTicket:
        await _close(tx, ticket_id)
        return UpdatedTicket(ticket_id)

    return await unit_of_work(call, work)


async def close_if_solved(call: Call, ticket_id: UUID, *, since: datetime) -> bool:
    """`close_ticket`, unless the ticket was moved from being solved since that moment. Returns whether it is closed."""

    async def work(tx: Transaction) -> bool:
        return await _close(tx, ticket_id, solved_since=since)

    return await unit_of_work(call, work)


async def _close(tx: Transaction, ticket_id: UUID, *, solved_since: datetime | None = None) -> bool:
    """Returns whether this closed it. What decides is asked behind the locks."""
    settings = await read_settings_locked(tx)
    await confirm_actor(tx)
    seen = await find_ticket(tx, ticket_id)
    await lock_customer_of(tx, seen)
    session = await lock_session(tx, seen.conversation_id)
    ticket = await lock_ticket(tx, ticket_id)
    moved = ticket.status is not TicketStatus.SOLVED or (solved_since and ticket.status_changed_at > solved_since)
    if ticket.status is TicketStatus.CLOSED or (solved_since is not None and moved):
        return False
    set_field(tx, ticket, "status", TicketStatus.CLOSED)
    if session is not None and session.state is not SessionState.ENDED:
        await end_locked_session(tx, session, ticket, reason=EndReason.TICKET_CLOSED, settings=settings)
    return True
