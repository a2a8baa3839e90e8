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
from domain.triggers import TriggerAction, TriggerActionKind, save_trigger
from models import (
    AccountSettings,
    Channel,
    Comment,
    Event,
    EventType,
    Group,
    Macro,
    MessagingSession,
    OutboundEmail,
    ReadMark,
    Survey,
    SurveyState,
    Ticket,
    Token,
    Trigger,
    User,
    Webhook,
    utc_now,
)
from schema.ids import encode_id
from tests.factories import World, columns

SECRET = "Geheimnis"
"""Part of every text of a stage: an answer that holds it gave something away."""

TABLES = (
    *(AccountSettings, Comment, Event, Group, Macro, MessagingSession, OutboundEmail, ReadMark, Ticket, Token, User),
    *(Survey, Trigger, Webhook),
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
    survey: UUID
    trigger: UUID

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
        survey = await Survey.create(
            account_id=world.id,
            ticket_id=ticket.id,
            end_user_id=customer.id,
            number=1,
            state=SurveyState.OFFERED,
            question=f"{SECRET} question",
            created_at=utc_now(),
        )
        trigger = await save_trigger(
            Call(world.admin),
            title=f"{SECRET} trigger",
            conditions=[{"match": "ALL", "rules": [{"subject": "STATUS", "operator": "CHANGED", "value": None}]}],
            actions=[TriggerAction(TriggerActionKind.INTERNAL_NOTE, f"{SECRET} text")],
        )
        ids = (note, message.id, macro.macro_id, token.token_id, survey.id, trigger.trigger_id)
        return cls(world, agent, customer, group, ticket, *ids)

    async def ids(self) -> dict[str, UUID]:
        """The identifier of one row of each kind that has global ids."""
        session = await self.world.session(self.ticket)
        event = await Event.get(ticket_id=self.ticket.id, type=EventType.TICKET_CREATED)
        assert self.customer.id is not None
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
            "Survey": self.survey,
            "Trigger": self.trigger,
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
