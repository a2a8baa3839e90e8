"""The account that is measured: agents with tokens, and tickets whose sessions can be ended, one for each event."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from uuid import UUID, uuid4

from tortoise.transactions import in_transaction

from domain.actors import Actor, load_actor
from domain.ids import global_id
from domain.messages import send_message
from domain.people import create_account, issue_token
from domain.transactions import Call
from models import (
    Account,
    Group,
    GroupMembership,
    Permission,
    Role,
    Ticket,
    TicketAccess,
    User,
    UserKind,
    new_id,
    utc_now,
)
from models.database import WRITER, opened

# SQLite binds at most 32,766 values in a statement.
ROWS_AT_ONCE = 500


@dataclass(slots=True)
class Desk:
    """One who ends sessions, many who watch, and what there is to end. Tokens and global ids."""

    ender: str
    watchers: list[str]
    tickets: deque[str]


def prepared(url: str, *, watchers: int, audiences: int, tickets: int) -> Desk:
    """A new account in this migrated database, which nobody has open. Called outside of any event loop.

    All watchers see all tickets. The access of watcher i is that of audience i modulo `audiences`: in the group that
    has the tickets and, so that no two audiences are equal, in one of its own.
    """
    return asyncio.run(_prepared(url, watchers, audiences, tickets))


async def _prepared(url: str, watchers: int, audiences: int, tickets: int) -> Desk:
    async with opened(url):
        account = await new_account()
        ender = await person(account, UserKind.AGENT, await agents_role(account))
        group = await Group.create(account_id=account.id, name="Those who have the tickets")
        found = await live_tickets(account, tickets)
        await Ticket.filter(account_id=account.id).update(group_id=group.id)
        async with in_transaction(WRITER):
            tokens = await _watchers(account, group, watchers, audiences)
        return Desk(
            await _token(await User.get(id=ender.id)), tokens, deque(global_id("Ticket", each) for each in found)
        )


async def new_account() -> Account:
    """An account of its own for each measurement: nothing waits for another's position."""
    return await create_account(f"bench-{uuid4().hex[:8]}", "Bench", utc_now())


async def agents_role(account: Account, access: TicketAccess = TicketAccess.ALL) -> Role:
    return await Role.create(
        account_id=account.id, name=f"Agent {access.value}", ticket_access=access, permissions=sorted(Permission)
    )


async def person(account: Account, kind: UserKind, role: Role | None = None) -> Actor:
    """Somebody new."""
    user = _user(account, kind, role)
    await user.save(force_create=True)
    actor = await load_actor(account.id, user.id)
    assert actor is not None
    return actor


async def live_tickets(account: Account, count: int) -> list[UUID]:
    """So many tickets with a live session, each of a customer of its own."""
    tickets = []
    for _ in range(count):
        customer = await person(account, UserKind.END_USER)
        sent = await send_message(Call(customer), body="Hello")
        tickets.append((await Ticket.get(conversation_id=sent.conversation_id)).id)
    return tickets


def _user(account: Account, kind: UserKind, role: Role | None) -> User:
    return User(
        account_id=account.id,
        kind=kind,
        name=kind.value.title(),
        email=f"{new_id().hex}@bench.example",
        email_verified=True,
        role_id=role.id if role else None,
        created_at=utc_now(),
    )


async def _watchers(account: Account, group: Group, count: int, audiences: int) -> list[str]:
    role = await agents_role(account, TicketAccess.GROUPS)
    users = [_user(account, UserKind.AGENT, role) for _ in range(count)]
    own = [Group(account_id=account.id, name=f"Audience {number}") for number in range(audiences)]
    memberships = [
        GroupMembership(account_id=account.id, user_id=user.id, group_id=each.id)
        for number, user in enumerate(users)
        for each in (group, own[number % audiences])
    ]
    for table, rows in ((User, users), (Group, own), (GroupMembership, memberships)):
        await table.bulk_create(rows, batch_size=ROWS_AT_ONCE)  # type: ignore[arg-type]  # each table with its rows
    return [await _token(user) for user in users]


async def _token(user: User) -> str:
    return (await issue_token(user, "bench", utc_now())).secret
