"""Suspending a customer: his session ends, agents cannot reach him, and what he writes is kept aside (R139–R143)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from tortoise.expressions import Subquery

from domain.actors import Actor
from domain.errors import Forbidden, NotFound
from domain.idempotency import once
from domain.keyset import beyond
from domain.locks import confirm_actor, lock_live_session, lock_tickets, lock_user, read_settings_locked
from domain.sessions import end_locked_session
from domain.transactions import Call, Transaction
from domain.visibility import customers_within_reach
from models import (
    EndReason,
    EventType,
    MessagingSession,
    Permission,
    SuspendedMessage,
    Suspension,
    Ticket,
    TicketStatus,
    User,
)


@dataclass(frozen=True, slots=True)
class ChangedSuspension:
    """The verdict of suspending and lifting."""

    user_id: UUID
    changed: bool


async def suspend_user(call: Call, user_id: UUID, scope: Suspension) -> ChangedSuspension:
    """Suspend a customer: from messaging, or from all channels. His live session ends with it (R139).

    Suspending again with another scope changes the scope; with the same, nothing. Raises NotFound, Forbidden.
    """

    async def work(tx: Transaction) -> ChangedSuspension:
        # First: the end of a session is decided by the settings of its moment.
        settings = await read_settings_locked(tx)
        customer = await _lock_customer(tx, user_id)
        if customer.suspension is scope:
            return ChangedSuspension(customer.id, changed=False)
        session = await lock_live_session(tx, customer)
        tickets = await _lock_open_tickets(tx, customer)
        await _set(tx, customer, tickets, EventType.USER_SUSPENDED, scope)
        if session is not None:
            await end_locked_session(
                tx, session, _ticket_of(session, tickets), reason=EndReason.USER_SUSPENDED, settings=settings
            )
        return ChangedSuspension(customer.id, changed=True)

    return await once(call, "suspendUser", {"user_id": str(user_id), "scope": scope}, ChangedSuspension, work)


async def lift_suspension(call: Call, user_id: UUID) -> ChangedSuspension:
    """Let a customer write again. His ended session stays ended: his next message begins a new one (R142).

    What he wrote meanwhile stays aside. Raises NotFound, Forbidden.
    """

    async def work(tx: Transaction) -> ChangedSuspension:
        await tx.hold_settings()
        customer = await _lock_customer(tx, user_id)
        if customer.suspension is None:
            return ChangedSuspension(customer.id, changed=False)
        tickets = await _lock_open_tickets(tx, customer)
        await _set(tx, customer, tickets, EventType.USER_UNSUSPENDED, None)
        return ChangedSuspension(customer.id, changed=True)

    return await once(call, "liftSuspension", {"user_id": str(user_id)}, ChangedSuspension, work)


async def _lock_customer(tx: Transaction, user_id: UUID) -> User:
    actor = await confirm_actor(tx)
    if actor.is_customer:
        raise Forbidden("This is for the people who answer.")
    if not await customers_within_reach(actor).filter(id=user_id).exists():
        raise NotFound
    check_can_edit_end_users(actor)
    return await lock_user(tx, user_id)


def check_can_edit_end_users(actor: Actor) -> None:
    """Raises Forbidden (R143)."""
    if not actor.may(Permission.EDIT_END_USERS):
        raise Forbidden


async def _lock_open_tickets(tx: Transaction, customer: User) -> list[Ticket]:
    """All tickets whose composer a suspension changes, so that each is told of it."""
    tickets = Ticket.filter(requester_id=customer.id, deleted_at__isnull=True)
    return await lock_tickets(tx, tickets.exclude(status=TicketStatus.CLOSED))


def _ticket_of(session: MessagingSession, tickets: list[Ticket]) -> Ticket | None:
    """The ticket of a live session is its customer's, and open (R120, R151); or a bot has the conversation alone."""
    return next((ticket for ticket in tickets if ticket.conversation_id == session.conversation_id), None)


async def _set(
    tx: Transaction, customer: User, tickets: list[Ticket], type: EventType, scope: Suspension | None
) -> None:
    before = customer.suspension
    customer.suspension = scope
    customer.suspended_at = (customer.suspended_at or tx.now) if scope is not None else None
    await customer.save(update_fields=["suspension", "suspended_at"])
    shown = {"from": before.value if before else None, "to": scope.value if scope else None}
    await tx.log(type.value, f"User {customer.id}", [{"field": "suspension", **shown}])
    # One fact of the account, whether he has tickets or not; and one on each open ticket, for its composer changes.
    for ticket in (None, *tickets):
        tx.record(type, ticket=ticket, user=str(customer.id), scope=scope.value if scope else None)


async def suspended_messages_page(
    actor: Actor, first: int, after: tuple[datetime, UUID] | None
) -> list[SuspendedMessage]:
    """Up to first + 1 of the kept messages of customers whom the actor may know of, newest first. Raises Forbidden."""
    check_can_edit_end_users(actor)
    customers = customers_within_reach(actor)
    kept = SuspendedMessage.filter(account_id=actor.account_id, end_user_id__in=Subquery(customers.values("id")))
    kept = kept.filter(beyond("received_at", after, descending=True))
    return await kept.order_by("-received_at", "-id").limit(first + 1)
