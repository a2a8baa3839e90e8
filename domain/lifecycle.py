"""What happens to a ticket and takes its session with it: closing."""

from __future__ import annotations

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
        settings = await read_settings_locked(tx)
        await confirm_actor(tx)
        seen = await find_ticket(tx, ticket_id)
        await lock_customer_of(tx, seen)
        session = await lock_session(tx, seen.conversation_id)
        ticket = await lock_ticket(tx, ticket_id)
        if ticket.status is not TicketStatus.CLOSED:
            set_field(tx, ticket, "status", TicketStatus.CLOSED)
            if session is not None and session.state is not SessionState.ENDED:
                await end_locked_session(tx, session, ticket, reason=EndReason.TICKET_CLOSED, settings=settings)
        return UpdatedTicket(ticket.id)

    return await unit_of_work(call, work)
