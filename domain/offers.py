"""Offers: a ticket that waits for an agent's word."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from domain.actors import Actor, system
from domain.capacity import lock_availabilities
from domain.errors import Forbidden, NotFound, OfferClosed, SessionEnded
from domain.locks import confirm_actor, lock_session, lock_ticket_of
from domain.tickets import change_ticket, check_can_edit
from domain.transactions import Call, Transaction, unit_of_work
from models import (
    EventType,
    MessagingSession,
    Offer,
    OfferState,
    SessionState,
    Ticket,
    utc_now,
)

log = logging.getLogger("deskwire.routing")


@dataclass(frozen=True, slots=True)
class DecidedOffer:
    """The verdict of an agent's word on an offer."""

    offer_id: UUID
    ticket_id: UUID


async def open_offers(actor: Actor) -> list[Offer]:
    """What is offered to the actor now, the oldest first."""
    mine = Offer.filter(account_id=actor.account_id, agent_id=actor.id, state=OfferState.OPEN)
    return await mine.order_by("created_at", "id")


async def accept_offer(call: Call, offer_id: UUID) -> DecidedOffer:
    """Take the offered ticket: it is the agent's, and all other offers of it are withdrawn.

    Accepting an accepted offer again is no error. Raises NotFound, OfferClosed; SessionEnded when the session of
    the ticket was ended meanwhile (R44).
    """

    async def work(tx: Transaction) -> DecidedOffer:
        offer, ticket, session = await _lock_own(tx, offer_id)
        if offer.state is OfferState.ACCEPTED and ticket.assignee_id == offer.agent_id:
            return DecidedOffer(offer.id, ticket.id)
        if session is not None and session.state is SessionState.ENDED:
            raise SessionEnded
        if offer.state is not OfferState.OPEN or _is_over(offer, tx.now):
            raise OfferClosed
        check_can_edit(tx.actor, ticket)
        await lock_availabilities(tx.account_id, [offer.agent_id], tx.now)
        await _decide(tx, offer, ticket, OfferState.ACCEPTED)
        await change_ticket(tx, ticket, session, {"assignee_id": offer.agent_id})
        return DecidedOffer(offer.id, ticket.id)

    return await unit_of_work(call, work)


async def decline_offer(call: Call, offer_id: UUID) -> DecidedOffer:
    """Pass: the ticket is offered to somebody else. Raises NotFound, OfferClosed."""

    async def work(tx: Transaction) -> DecidedOffer:
        offer, ticket, _ = await _lock_own(tx, offer_id)
        if offer.state is OfferState.DECLINED:
            return DecidedOffer(offer.id, ticket.id)
        if offer.state is not OfferState.OPEN:
            raise OfferClosed
        await _decide(tx, offer, ticket, OfferState.DECLINED)
        return DecidedOffer(offer.id, ticket.id)

    return await unit_of_work(call, work)


async def expire_offers(clock: Callable[[], datetime] = utc_now) -> int:
    """Close the offers that nobody answered in time. Returns how many."""
    due = Offer.filter(state=OfferState.OPEN, expires_at__lte=clock()).order_by("expires_at")
    count = 0
    for offer in await due:
        try:
            count += await _expire(Call(system(offer.account_id), clock=clock), offer.id)
        except Exception:
            log.exception("offer %s could not be closed; it is tried again", offer.id)
    return count


async def _expire(call: Call, offer_id: UUID) -> bool:
    async def work(tx: Transaction) -> bool:
        await tx.hold_settings()
        offer, ticket, _ = await _lock(tx, offer_id)
        if offer.state is not OfferState.OPEN or not _is_over(offer, tx.now):
            return False
        await _decide(tx, offer, ticket, OfferState.EXPIRED)
        return True

    return await unit_of_work(call, work)


async def _lock_own(tx: Transaction, offer_id: UUID) -> tuple[Offer, Ticket, MessagingSession | None]:
    await tx.hold_settings()
    actor = await confirm_actor(tx)
    if actor.is_customer:
        raise Forbidden
    offer, ticket, session = await _lock(tx, offer_id)
    if offer.agent_id != actor.id:
        raise NotFound
    return offer, ticket, session


async def _lock(tx: Transaction, offer_id: UUID) -> tuple[Offer, Ticket, MessagingSession | None]:
    """Session and ticket, then the offer. An agent who sees only his own tickets may still take an offered one."""
    seen = await Offer.get_or_none(id=offer_id, account_id=tx.account_id)
    if seen is None:
        raise NotFound
    conversation = (await Ticket.get(id=seen.ticket_id)).conversation_id
    session = await lock_session(tx, conversation)
    ticket = await lock_ticket_of(tx, conversation)
    assert ticket is not None, "an offer names a ticket"
    return await Offer.filter(id=offer_id).select_for_update().get(), ticket, session


async def _decide(tx: Transaction, offer: Offer, ticket: Ticket, state: OfferState) -> None:
    offer.state, offer.decided_at = state, tx.now
    await offer.save(update_fields=["state", "decided_at"])
    tx.record(EventType.OFFER_CLOSED, ticket=ticket, agent=str(offer.agent_id), state=state.value)


def _is_over(offer: Offer, now: datetime) -> bool:
    return offer.expires_at is not None and offer.expires_at <= now
