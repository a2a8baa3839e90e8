"""Merging a ticket into another one of the same customer (R146, R147)."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from domain.actors import Actor
from domain.errors import Forbidden, InvalidInput, NotFound, Refusal, SessionLive, TicketClosed
from domain.idempotency import once
from domain.locks import (
    confirm_actor,
    lock_customer_of,
    lock_session,
    lock_tickets,
    read_settings_locked,
)
from domain.sessions import end_locked_session
from domain.tickets import check_can_edit, set_field
from domain.transactions import Call, Transaction
from domain.visibility import audience_of, may_see, visible_tickets
from models import EndReason, EventType, MessagingSession, Permission, SessionState, Ticket, TicketStatus


@dataclass(frozen=True, slots=True)
class MergedTickets:
    """The verdict of `merge_tickets`."""

    source_id: UUID
    target_id: UUID


async def merge_tickets(call: Call, source_id: UUID, target_id: UUID, *, end_session: bool = False) -> MergedTickets:
    """Close the source as a part of the target, from which its history stays readable. The target is unchanged.

    A live session of the source is not cut off by the way: it is refused, unless `end_session` says so (R146).
    Merging again into the same target changes nothing.

    Raises NotFound, Forbidden, TicketClosed, SessionLive, InvalidInput.
    """
    if source_id == target_id:
        raise InvalidInput("A ticket cannot be merged into itself.", field=("targetId",))

    async def work(tx: Transaction) -> MergedTickets:
        settings = await read_settings_locked(tx)
        actor = await confirm_actor(tx)
        seen = await _find(actor, source_id, "sourceId")
        await _find(actor, target_id, "targetId")
        await lock_customer_of(tx, seen)
        session = await lock_session(tx, seen.conversation_id)
        locked = {ticket.id: ticket for ticket in await lock_tickets(tx, Ticket.filter(id__in=[source_id, target_id]))}
        source = _still_seen(actor, locked[source_id], "sourceId")
        target = _still_seen(actor, locked[target_id], "targetId")
        _check_rights(actor)
        if source.merged_into_id != target.id:
            _check(actor, source, target)
            _check_session(session, end_session)
            _merge(tx, source, target)
            if session is not None and session.state is not SessionState.ENDED:
                await end_locked_session(tx, session, source, reason=EndReason.TICKET_MERGED, settings=settings)
        return MergedTickets(source.id, target.id)

    inputs = {"source_id": str(source_id), "target_id": str(target_id), "end_session": end_session}
    return await once(call, "mergeTickets", inputs, MergedTickets, work)


async def _find(actor: Actor, ticket_id: UUID, field: str) -> Ticket:
    if actor.is_customer:
        raise Forbidden
    ticket = await visible_tickets(actor).get_or_none(id=ticket_id)
    if ticket is None:
        raise NotFound(field=(field,))
    return ticket


def _still_seen(actor: Actor, ticket: Ticket, field: str) -> Ticket:
    if not may_see(actor, audience_of(ticket)):
        raise NotFound(field=(field,))
    return ticket


def _check_rights(actor: Actor) -> None:
    if not (actor.may(Permission.MERGE_TICKETS) and actor.may(Permission.EDIT_TICKETS)):
        raise Forbidden


def _check(actor: Actor, source: Ticket, target: Ticket) -> None:
    for ticket, field in ((source, "sourceId"), (target, "targetId")):
        try:
            check_can_edit(actor, ticket)
        except TicketClosed as closed:
            raise _at(closed, field) from None
    if source.requester_id != target.requester_id:
        raise InvalidInput(
            "Only tickets of one requester are merged. Change the requester of one of them first.",
            field=("targetId",),
        )


def _at(refusal: Refusal, field: str) -> Refusal:
    return type(refusal)(field=(field,))


def _check_session(session: MessagingSession | None, end_session: bool) -> None:
    if session is not None and session.state is not SessionState.ENDED and not end_session:
        raise SessionLive(
            "The customer is still in a live session on this ticket. Say endSession to end it with the merge.",
            field=("sourceId",),
        )


def _merge(tx: Transaction, source: Ticket, target: Ticket) -> None:
    source.merged_into_id = target.id
    for ticket in (source, target):
        tx.record(EventType.TICKET_MERGED, ticket=ticket, source=str(source.id), target=str(target.id))
    set_field(tx, source, "status", TicketStatus.CLOSED)
