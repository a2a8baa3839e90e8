"""A small account to test with: people, groups, and the verbs that everybody needs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from tortoise.models import Model

from domain.actors import Actor, load_actor, system
from domain.comments import post_comment, situation_of
from domain.composer import Composer, composer_for
from domain.errors import Refusal
from domain.messages import send_message
from domain.people import authenticate_all, create_account
from domain.sessions import SessionEnd, end_session
from domain.transactions import Call
from models import (
    Account,
    AccountSettings,
    AuditLogEntry,
    Channel,
    Comment,
    Event,
    Group,
    GroupMembership,
    MessagingSession,
    Organization,
    OrganizationMembership,
    Permission,
    Role,
    Ticket,
    TicketAccess,
    User,
    UserKind,
    new_id,
    utc_now,
)

AGENT = frozenset(
    {
        Permission.EDIT_TICKETS,
        Permission.PUBLIC_COMMENTS,
        Permission.INTERNAL_NOTES,
        Permission.MESSAGING,
        Permission.END_OTHERS_SESSIONS,
    }
)
LIGHT = frozenset({Permission.INTERNAL_NOTES})


async def authenticate(bearer: str, now: datetime) -> Actor | None:
    """Whoever this token is good for."""
    (actor,) = await authenticate_all([bearer], now)
    return actor


@dataclass
class World:
    """One account. Agents are made with `agent`, customers with `customer`; both return the actor."""

    account: Account
    admin: Actor
    roles: dict[str, Role] = field(default_factory=dict)

    @classmethod
    async def create(cls, slug: str) -> World:
        now = utc_now()
        account = await create_account(slug, slug.title(), now, capacity=False)
        user = await User.create(
            account_id=account.id,
            kind=UserKind.ADMIN,
            name="Ada Admin",
            email=f"ada@{slug}.example",
            email_verified=True,
            created_at=now,
        )
        admin = await load_actor(account.id, user.id)
        assert admin is not None
        return cls(account, admin)

    @property
    def id(self) -> UUID:
        return self.account.id

    @property
    def system(self) -> Actor:
        return system(self.id)

    async def role(self, access: TicketAccess = TicketAccess.ALL, permissions: frozenset[Permission] = AGENT) -> Role:
        name = f"{access.value} {' '.join(sorted(permissions))}"[:100]
        if name not in self.roles:
            self.roles[name] = await Role.create(
                account_id=self.id, name=name, ticket_access=access, permissions=sorted(permissions)
            )
        return self.roles[name]

    async def agent(
        self,
        name: str = "Alex Agent",
        *,
        access: TicketAccess = TicketAccess.ALL,
        permissions: frozenset[Permission] = AGENT,
        groups: tuple[Group, ...] = (),
        organizations: tuple[Organization, ...] = (),
        kind: UserKind = UserKind.AGENT,
    ) -> Actor:
        role = await self.role(access, permissions)
        user = await User.create(
            account_id=self.id,
            kind=kind,
            name=name,
            email=f"{new_id().hex}@{self.account.slug}.example",
            email_verified=True,
            role_id=role.id,
            created_at=utc_now(),
        )
        for group in groups:
            await GroupMembership.create(account_id=self.id, user_id=user.id, group_id=group.id)
        for organization in organizations:
            await OrganizationMembership.create(account_id=self.id, user_id=user.id, organization_id=organization.id)
        actor = await load_actor(self.id, user.id)
        assert actor is not None
        return actor

    async def customer(
        self, name: str = "Cleo Customer", *, email: bool = True, organization: Organization | None = None
    ) -> Actor:
        user = await User.create(
            account_id=self.id,
            kind=UserKind.END_USER,
            name=name,
            email=f"{new_id().hex}@customer.example" if email else None,
            email_verified=email,
            organization_id=organization.id if organization else None,
            created_at=utc_now(),
        )
        actor = await load_actor(self.id, user.id)
        assert actor is not None
        return actor

    async def group(self, name: str = "First line") -> Group:
        return await Group.create(account_id=self.id, name=name)

    async def organization(self, name: str = "Initech") -> Organization:
        return await Organization.create(account_id=self.id, name=name)

    async def message(self, customer: Actor, body: str = "Hello, my order is late.", **more: Any) -> Ticket:
        """The customer writes; the ticket that the message went to."""
        sent = await send_message(Call(customer), body=body, **more)
        return await Ticket.get(conversation_id=sent.conversation_id)

    async def live_ticket(
        self, *, customer: Actor | None = None, assignee: Actor | None = None, group: Group | None = None, **fields: Any
    ) -> Ticket:
        """A ticket with a live session. Its fields are set behind the back of the domain, hence without events."""
        ticket = await self.message(customer or await self.customer())
        fields |= {"assignee_id": assignee.id} if assignee else {}
        fields |= {"group_id": group.id} if group else {}
        if fields:
            await Ticket.filter(id=ticket.id).update(**fields)
            await ticket.refresh_from_db()
        return ticket

    async def ended_ticket(self, *, by: Actor | None = None, **fields: Any) -> Ticket:
        ticket = await self.live_ticket(**fields)
        await self.end(ticket, by or self.admin)
        return await Ticket.get(id=ticket.id)

    async def email_ticket(self, customer: Actor | None = None, **fields: Any) -> Ticket:
        """A ticket without a messaging session."""
        from domain.comments import add_comment
        from domain.tickets import create_ticket
        from domain.transactions import Transaction, unit_of_work
        from models import Conversation

        customer = customer or await self.customer()

        async def work(tx: Transaction) -> UUID:
            conversation = await Conversation.create(
                account_id=self.id, end_user_id=customer.id, channel=Channel.EMAIL, started_at=tx.now
            )
            ticket = await create_ticket(
                tx,
                conversation_id=conversation.id,
                requester=await User.get(id=customer.id),
                channel=Channel.EMAIL,
                subject="An e-mail",
            )
            await add_comment(tx, conversation.id, ticket, body="Dear all, …", channel=Channel.EMAIL)
            return ticket.id

        ticket_id = await unit_of_work(Call(customer), work)
        if fields:
            await Ticket.filter(id=ticket_id).update(**fields)
        return await Ticket.get(id=ticket_id)

    async def end(self, ticket: Ticket, by: Actor, **more: Any) -> SessionEnd:
        return await end_session(Call(by), ticket.id, **more)

    async def comment(
        self, ticket: Ticket, by: Actor, body: str = "…", channel: Channel = Channel.INTERNAL_NOTE
    ) -> UUID:
        return (await post_comment(Call(by), ticket.id, body=body, channel=channel)).comment_id

    async def session(self, ticket: Ticket) -> MessagingSession:
        return await MessagingSession.get(conversation_id=ticket.conversation_id)

    async def settings(self, **values: Any) -> AccountSettings:
        """The settings, after setting these values behind the domain's back."""
        if values:
            await AccountSettings.filter(account_id=self.id).update(**values)
        return await AccountSettings.get(account_id=self.id)

    async def events(self, ticket: Ticket) -> list[Event]:
        return await Event.filter(ticket_id=ticket.id).order_by("ticket_sequence")

    async def history(self, ticket: Ticket) -> list[str]:
        """The types of the ticket's events, in order."""
        return [event.type.value for event in await self.events(ticket)]

    async def thread(self, ticket: Ticket) -> list[str]:
        """The bodies of the ticket's comments, in order."""
        comments = await Comment.filter(conversation_id=ticket.conversation_id).order_by("sequence")
        return [comment.body for comment in comments]

    async def positions(self) -> list[int]:
        return await Event.filter(account_id=self.id).order_by("position").values_list("position", flat=True)  # type: ignore[return-value]

    async def fingerprint(self) -> dict[str, int]:
        """How many rows there are of everything that a refusal must not add."""
        tables = {"events": Event, "comments": Comment, "sessions": MessagingSession, "tickets": Ticket}
        counts = {name: await table.filter(account_id=self.id).count() for name, table in tables.items()}
        versions = sum(await Ticket.filter(account_id=self.id).values_list("version", flat=True))  # type: ignore[arg-type]
        return counts | {"versions": versions}

    async def composer(self, ticket: Ticket, by: Actor) -> Composer:
        """What this actor's composer shows on this ticket."""
        ticket = await Ticket.get(id=ticket.id)
        session = await MessagingSession.get_or_none(conversation_id=ticket.conversation_id)
        return composer_for(by, await situation_of(await self.settings(), ticket, session))

    async def log(self) -> list[AuditLogEntry]:
        """The account's own log, in order."""
        return await AuditLogEntry.filter(account_id=self.id).order_by("at", "id")

    @asynccontextmanager
    async def refuses(self, refusal: type[Refusal], *, logged: int = 0) -> AsyncIterator[pytest.ExceptionInfo[Refusal]]:
        """Expect exactly this refusal, and that it leaves nothing behind but so many lines in the account's log."""
        before, settings, lines = await self.fingerprint(), columns(await self.settings()), len(await self.log())
        with pytest.raises(refusal) as caught:
            yield caught
        assert caught.type is refusal
        assert await self.fingerprint() == before
        assert columns(await self.settings()) == settings
        assert len(await self.log()) == lines + logged


def later(minutes: int) -> Any:
    """A clock that is ahead."""
    return lambda: utc_now() + timedelta(minutes=minutes)


def columns(row: Model) -> dict[str, Any]:
    """A row as it is stored, to compare it with itself later."""
    return {name: getattr(row, name) for name in sorted(row._meta.fields_db_projection)}
