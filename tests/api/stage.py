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
    AgentAvailability,
    Attachment,
    CapacityRule,
    Channel,
    Comment,
    Event,
    EventType,
    Group,
    GroupMembership,
    Macro,
    MessagingSession,
    Offer,
    Organization,
    OrganizationMembership,
    OutboundEmail,
    ReadMark,
    Role,
    RoutingQueue,
    Survey,
    SurveyState,
    Ticket,
    TicketAccess,
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
    AccountSettings,
    AgentAvailability,
    Attachment,
    CapacityRule,
    Comment,
    Event,
    Group,
    GroupMembership,
    Macro,
    MessagingSession,
    Offer,
    Organization,
    OrganizationMembership,
    OutboundEmail,
    ReadMark,
    Role,
    RoutingQueue,
    Survey,
    Ticket,
    Token,
    Trigger,
    User,
    Webhook,
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
    capacity_rule: UUID
    queue: UUID
    offer: UUID
    survey: UUID
    trigger: UUID
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
        now = utc_now()
        rule = await CapacityRule.create(account_id=world.id, name=f"{SECRET} rule", created_at=now)
        queue = await RoutingQueue.create(
            account_id=world.id, name=f"{SECRET} queue", conditions=[], group_ids=[], created_at=now
        )
        offer = await Offer.create(
            account_id=world.id, ticket_id=ticket.id, agent_id=agent.id, channel=Channel.MESSAGING, created_at=now
        )
        survey = await Survey.create(
            account_id=world.id,
            ticket_id=ticket.id,
            end_user_id=customer.id,
            number=1,
            state=SurveyState.OFFERED,
            question=f"{SECRET} question",
            created_at=now,
        )
        trigger = await save_trigger(
            Call(world.admin),
            title=f"{SECRET} trigger",
            conditions=[{"match": "ALL", "rules": [{"subject": "STATUS", "operator": "CHANGED", "value": None}]}],
            actions=[TriggerAction(TriggerActionKind.INTERNAL_NOTE, f"{SECRET} text")],
        )
        organization = await world.organization(f"{SECRET} organisation")
        role = await Role.create(
            account_id=world.id, name=f"{SECRET} role", ticket_access=TicketAccess.ASSIGNED, permissions=[]
        )
        return cls(
            world=world,
            agent=agent,
            customer=customer,
            group=group,
            ticket=ticket,
            note=note,
            message=message.id,
            macro=macro.macro_id,
            token=token.token_id,
            capacity_rule=rule.id,
            queue=queue.id,
            offer=offer.id,
            survey=survey.id,
            trigger=trigger.trigger_id,
            role=role.id,
            organization=organization.id,
        )

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
            "Agent": self._agent_id,
            "CapacityRule": self.capacity_rule,
            "RoutingQueue": self.queue,
            "Offer": self.offer,
            "Macro": self.macro,
            "Token": self.token,
            "Attachment": (await self._attachment()).id,
            "Role": self.role,
            "Organization": self.organization,
            "Survey": self.survey,
            "Trigger": self.trigger,
        }

    @property
    def _agent_id(self) -> UUID:
        assert self.agent.id is not None
        return self.agent.id

    async def _attachment(self) -> Attachment:
        """A file on the message of the customer."""
        found = await Attachment.get_or_none(comment_id=self.message)
        return found or await Attachment.create(
            account_id=self.world.id,
            uploader_id=self.customer.id,
            comment_id=self.message,
            file_name=f"{SECRET}.png",
            content_type="image/png",
            size=1,
            sha256="00" * 32,
            storage_key=f"stage/{self.message.hex}",
            created_at=utc_now(),
            attached_at=utc_now(),
        )

    async def more(self) -> Ticket:
        """Something new happens on the ticket."""
        await self.world.comment(self.ticket, self.agent, f"{SECRET} more", Channel.MESSAGING)
        return self.ticket


async def everything(world: World) -> list[dict[str, Any]]:
    """All rows of an account that calls could change. When a customer left is no call: his sockets come and go."""
    rows = [columns(row) for table in TABLES for row in await table.filter(account_id=world.id).order_by("id")]
    return [{name: value for name, value in row.items() if name != "customer_left_at"} for row in rows]


def gid(kind: str, identifier: UUID | None) -> ID:
    """The global id of a row."""
    assert identifier is not None
    return encode_id(kind, identifier)
