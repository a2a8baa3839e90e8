"""Locks, always in one order: settings, actor, end user, session, ticket, ticket number, capacity, account position.

Two units of work that take them in this order cannot wait for each other in a circle. On SQLite the whole
transaction holds the only write lock, and these are plain reads.
"""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

from tortoise.queryset import QuerySet

from domain.actors import Actor, load_access
from domain.errors import NotFound, Unauthenticated
from domain.transactions import Transaction
from domain.visibility import audience_of, may_see, visible_tickets
from models import (
    AccountSettings,
    ActorKind,
    Conversation,
    Group,
    MessagingSession,
    Role,
    SessionState,
    Ticket,
    TicketCounter,
    User,
)
from models.database import share
from models.prepared import Prepared

# What nearly every change reads.
_actor = Prepared(User, (UUID, UUID), lambda id, account: User.filter(id=id, account_id=account, active=True))
_conversation = Prepared(Conversation, (UUID,), lambda id: Conversation.filter(id=id))
_locked_user = Prepared(
    User, (UUID, UUID), lambda id, account: User.filter(id=id, account_id=account).select_for_update()
)
_locked_session = Prepared(
    MessagingSession,
    (UUID, UUID),
    lambda conversation, account: MessagingSession.filter(
        account_id=account, conversation_id=conversation
    ).select_for_update(),
)
_locked_ticket = Prepared(
    Ticket, (UUID, UUID), lambda id, account: Ticket.filter(id=id, account_id=account).select_for_update()
)


async def read_settings_locked(tx: Transaction) -> AccountSettings:
    """The settings, held until the commit: a change of them comes wholly before or wholly after this unit (R13)."""
    return await tx.hold_settings()


async def lock_settings(tx: Transaction) -> AccountSettings:
    """The settings, to change them."""
    tx.settings = await AccountSettings.filter(account_id=tx.account_id).select_for_update().get()
    return tx.settings


async def confirm_actor(tx: Transaction) -> Actor:
    """Read again who acts and what he may do, and hold that until the commit (R25). Raises Unauthenticated."""
    if tx.actor.id is None or tx.actor.kind in (ActorKind.SYSTEM, ActorKind.TRIGGER, ActorKind.BOT):
        return tx.actor
    await share(User, "id", tx.actor.id)
    user = await _actor.first(tx.actor.id, tx.account_id)
    if user is None:
        raise Unauthenticated("This user is no longer active.")
    if user.role_id is not None:
        await share(Role, "id", user.role_id)
    tx.actor = Actor(
        account_id=user.account_id,
        kind=ActorKind(user.kind),
        id=user.id,
        access=await load_access(user),
        token_id=tx.actor.token_id,
        token_expires_at=tx.actor.token_expires_at,
    )
    return tx.actor


async def hold_role(tx: Transaction, role_id: UUID) -> bool:
    """Hold a role against changes until the commit. Returns whether the account has it."""
    await share(Role, "id", role_id)
    return await Role.exists(id=role_id, account_id=tx.account_id)


async def hold_group(tx: Transaction, group_id: UUID) -> bool:
    """Hold a group against its deletion until the commit. Returns whether the account has it."""
    await share(Group, "id", group_id)
    return await Group.exists(id=group_id, account_id=tx.account_id)


async def lock_user(tx: Transaction, user_id: UUID) -> User:
    """An end user, before anything of his conversations; or an agent whose access changes. Raises NotFound."""
    user = await _locked_user.first(user_id, tx.account_id)
    if user is None:
        raise NotFound
    return user


async def lock_users(tx: Transaction, user_ids: Collection[UUID]) -> list[User]:
    """Several people of the account, in the order of their ids, as `lock_user` does; their ids and kinds alone."""
    users = User.filter(id__in=list(user_ids), account_id=tx.account_id).only("id", "kind")
    return list(await users.order_by("id").select_for_update())


async def hold_user(tx: Transaction, user_id: UUID) -> None:
    """Hold whoever a ticket is about to name against changes until the commit. Before any session or ticket."""
    await share(User, "id", user_id)


async def lock_customer_of(tx: Transaction, ticket: Ticket) -> User:
    """The end user of a ticket's conversation, before its session. The requester may be somebody else by now (R151)."""
    conversation = await _conversation.first(ticket.conversation_id)
    assert conversation is not None
    return await lock_user(tx, conversation.end_user_id)


async def lock_session(tx: Transaction, conversation_id: UUID) -> MessagingSession | None:
    """The session of a conversation. To start or end one, its end user must be locked before."""
    return await _locked_session.first(conversation_id, tx.account_id)


async def lock_sessions(tx: Transaction, sessions: QuerySet[MessagingSession]) -> list[MessagingSession]:
    """Several sessions of the account in the order of their ids, before their tickets."""
    return list(await sessions.filter(account_id=tx.account_id).order_by("id").select_for_update())


async def lock_live_session(tx: Transaction, end_user: User) -> MessagingSession | None:
    """The one session of this (locked) end user that has not ended (R74)."""
    return (
        await MessagingSession.filter(account_id=tx.account_id, end_user_id=end_user.id)
        .exclude(state=SessionState.ENDED)
        .select_for_update()
        .get_or_none()
    )


async def find_ticket(tx: Transaction, ticket_id: UUID) -> Ticket:
    """The ticket, unlocked, to learn whom to lock first. Raises NotFound when the actor may not see it."""
    ticket = await visible_tickets(tx.actor).get_or_none(id=ticket_id)
    if ticket is None:
        raise NotFound
    return ticket


async def lock_ticket(tx: Transaction, ticket_id: UUID) -> Ticket:
    """The ticket, to change it; what is done to it is saved at the end. Its session must be locked before, if at all.

    Raises NotFound when the actor may not see it now that nobody else can move it.
    """
    ticket = await _locked_ticket.first(ticket_id, tx.account_id)
    if ticket is None or not (_is_everywhere(tx, ticket) or may_see(tx.actor, audience_of(ticket))):
        raise NotFound
    tx.follow(ticket)
    return ticket


def _is_everywhere(tx: Transaction, ticket: Ticket) -> bool:
    return tx.actor.kind is ActorKind.SYSTEM and ticket.deleted_at is None


async def lock_tickets(tx: Transaction, tickets: QuerySet[Ticket]) -> list[Ticket]:
    """Several tickets of the account, whoever sees them, in the order of their ids, to change them."""
    locked = await tickets.filter(account_id=tx.account_id).order_by("id").select_for_update()
    for ticket in locked:
        tx.follow(ticket)
    return list(locked)


async def lock_ticket_of(tx: Transaction, conversation_id: UUID) -> Ticket | None:
    """The ticket of a conversation, for whoever holds its (locked) session. None while a bot has it alone."""
    ticket = (
        await Ticket.filter(account_id=tx.account_id, conversation_id=conversation_id).select_for_update().get_or_none()
    )
    if ticket is not None:
        tx.follow(ticket)
    return ticket


async def take_ticket_number(tx: Transaction) -> int:
    """The next number, without gaps. After every other lock but the account's position."""
    counter = await TicketCounter.filter(account_id=tx.account_id).select_for_update().get()
    counter.last_number += 1
    await counter.save(update_fields=["last_number"])
    return counter.last_number
