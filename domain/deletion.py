"""Deleting a ticket, which ends its session, and bringing it back, which does not revive it (R120, R148)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from domain.actors import Actor
from domain.errors import Forbidden
from domain.idempotency import once
from domain.keyset import beyond
from domain.locks import (
    confirm_actor,
    find_ticket,
    lock_customer_of,
    lock_session,
    lock_ticket,
    lock_tickets,
    read_settings_locked,
)
from domain.sessions import end_locked_session
from domain.transactions import Call, Transaction
from domain.visibility import deleted_tickets
from models import EndReason, EventType, Permission, SessionState, Ticket


@dataclass(frozen=True, slots=True)
class DeletedTicket:
    """The verdict of `delete_ticket`."""

    ticket_id: UUID


@dataclass(frozen=True, slots=True)
class RestoredTicket:
    """The verdict of `restore_ticket`."""

    ticket_id: UUID


async def delete_ticket(call: Call, ticket_id: UUID) -> DeletedTicket:
    """Take a ticket out of everybody's sight, a closed one too. Its session ends; its rows stay.

    The customer keeps what he wrote and read in his widget (R77). Raises NotFound, Forbidden.
    """

    async def work(tx: Transaction) -> DeletedTicket:
        settings = await read_settings_locked(tx)
        actor = await confirm_actor(tx)
        seen = await find_ticket(tx, ticket_id)
        check_can_delete(actor)
        await lock_customer_of(tx, seen)
        session = await lock_session(tx, seen.conversation_id)
        ticket = await lock_ticket(tx, ticket_id)
        ticket.deleted_at = tx.now
        tx.record(EventType.TICKET_DELETED, ticket=ticket)
        if session is not None and session.state is not SessionState.ENDED:
            await end_locked_session(tx, session, ticket, reason=EndReason.TICKET_DELETED, settings=settings)
        return DeletedTicket(ticket.id)

    return await once(call, "deleteTicket", {"ticket_id": str(ticket_id)}, DeletedTicket, work)


def check_can_delete(actor: Actor) -> None:
    """Raises Forbidden."""
    if not actor.may(Permission.DELETE_TICKETS):
        raise Forbidden


async def restore_ticket(call: Call, ticket_id: UUID) -> RestoredTicket:
    """Bring a deleted ticket back as it was, but for its session, which stays ended. One that is there stays so.

    Raises NotFound, Forbidden.
    """

    async def work(tx: Transaction) -> RestoredTicket:
        await tx.hold_settings()
        actor = await confirm_actor(tx)
        if not (actor.may(Permission.DELETE_TICKETS) and await deleted_tickets(actor).filter(id=ticket_id).exists()):
            await find_ticket(tx, ticket_id)
            check_can_delete(actor)
            return RestoredTicket(ticket_id)
        (ticket,) = await lock_tickets(tx, Ticket.filter(id=ticket_id))
        if ticket.deleted_at is not None:  # or somebody was faster
            ticket.deleted_at = None
            tx.record(EventType.TICKET_RESTORED, ticket=ticket)
        return RestoredTicket(ticket.id)

    return await once(call, "restoreTicket", {"ticket_id": str(ticket_id)}, RestoredTicket, work)


async def deleted_tickets_page(actor: Actor, first: int, after: tuple[datetime, UUID] | None) -> list[Ticket]:
    """Up to first + 1 of the deleted tickets that the actor may restore, the last deleted first. Raises Forbidden."""
    check_can_delete(actor)
    tickets = deleted_tickets(actor).filter(beyond("deleted_at", after, descending=True))
    return await tickets.order_by("-deleted_at", "-id").limit(first + 1)
