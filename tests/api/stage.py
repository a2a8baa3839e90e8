"""An account with one of everything in it, for the tests that try every field of the API against it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from strawberry import ID

from domain.actors import Actor
from domain.macros import MacroAction, MacroActionKind, save_macro
from domain.people import issue_token
from domain.transactions import Call
from models import (
    AccountSettings,
    Channel,
    Comment,
    Event,
    EventType,
    Group,
    GroupMembership,
    Macro,
    MessagingSession,
    Organization,
    OrganizationMembership,
    OutboundEmail,
    ReadMark,
    Role,
    Ticket,
    TicketAccess,
    Token,
    User,
    new_id,
    utc_now,
)
from schema.ids import encode_id
from tests.factories import World, columns

SECRET = "Geheimnis"
"""Part of every text of a stage: an answer that holds it gave something away."""

TABLES = (
    AccountSettings,
    Comment,
    Event,
    Group,
    GroupMembership,
    Macro,
    MessagingSession,
    Organization,
    OrganizationMembership,
    OutboundEmail,
    ReadMark,
    Role,
    Ticket,
    Token,
    User,
)


@dataclass(frozen=True)
class Stage:
    """`ticket` is live, assigned to `agent` in `group`, and has a message of `customer` and a note of `agent`."""

    world: World
    agent: Actor
    customer: Actor
    group: Group
    ticket: Ticket
    note: UUID
    message: UUID
    macro: UUID
    token: UUID
    role: UUID
    organization: UUID

    @classmethod
    async def set(cls, world: World) -> Stage:
        group = await world.group(f"{SECRET} group")
        agent = await world.agent(f"{SECRET} agent", groups=(group,))
        customer = await world.customer(f"{SECRET} customer")
        ticket = await world.message(customer, f"{SECRET} message")
        await Ticket.filter(id=ticket.id).update(assignee_id=agent.id, group_id=group.id)
        message = await Comment.get(conversation_id=ticket.conversation_id)
        note = await world.comment(ticket, agent, f"{SECRET} note")
        # Nobody's but the admin's.
        actions = [MacroAction(MacroActionKind.INTERNAL_NOTE, f"{SECRET} text")]
        macro = await save_macro(Call(world.admin), title=f"{SECRET} macro", actions=actions, shared=False)
        token = await issue_token(await User.get(id=world.admin.id), f"{SECRET} token", utc_now())
        ticket = await Ticket.get(id=ticket.id)
        organization = await world.organization(f"{SECRET} organisation")
        role = await Role.create(
            account_id=world.id, name=f"{SECRET} role", ticket_access=TicketAccess.ASSIGNED, permissions=[]
        )
        ids = (note, message.id, macro.macro_id, token.token_id, role.id, organization.id)
        return cls(world, agent, customer, group, ticket, *ids)

    async def ids(self) -> dict[str, UUID]:
        """The identifier of one row of each kind that has global ids."""
        session = await self.world.session(self.ticket)
        event = await Event.get(ticket_id=self.ticket.id, type=EventType.TICKET_CREATED)
        assert self.customer.id is not None
        assert self.agent.id is not None
        return {
            "Ticket": self.ticket.id,
            "Request": self.ticket.id,
            "TicketEvent": event.id,
            "Comment": self.note,
            "Message": self.message,
            "MessagingSession": session.id,
            "Conversation": self.ticket.conversation_id,
            "User": self.customer.id,
            "Group": self.group.id,
            "Macro": self.macro,
            "Token": self.token,
            "Agent": self.agent.id,
            "Role": self.role,
            "Organization": self.organization,
            "Survey": new_id(),  # there are none yet
        }

    async def more(self) -> Ticket:
        """Something new happens on the ticket."""
        await self.world.comment(self.ticket, self.agent, f"{SECRET} more", Channel.MESSAGING)
        return self.ticket


async def everything(world: World) -> list[dict[str, Any]]:
    """All rows of an account that calls could change."""
    return [columns(row) for table in TABLES for row in await table.filter(account_id=world.id).order_by("id")]


def gid(kind: str, identifier: UUID | None) -> ID:
    """The global id of a row."""
    assert identifier is not None
    return encode_id(kind, identifier)
