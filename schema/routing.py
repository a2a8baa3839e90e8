"""Capacity rules, queues, the ledger, and offers."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import strawberry
from strawberry import ID

import models
from models import Channel, LedgerReason, OfferState
from schema.context import Info
from schema.ids import encode_id
from schema.payloads import Payload
from schema.people import Group, Node
from schema.tickets import Ticket
from schema.triggers import Condition, ConditionInput


@strawberry.type(description="How many work items agents get by themselves. Null limits are none.")
class CapacityRule(Node):
    name: str
    is_default: bool
    messaging_limit: int | None
    email_limit: int | None

    @classmethod
    def of(cls, row: models.CapacityRule) -> CapacityRule:
        return cls(
            id=encode_id("CapacityRule", row.id),
            name=row.name,
            is_default=row.is_default,
            messaging_limit=row.messaging_limit,
            email_limit=row.email_limit,
        )


@strawberry.type(description="One change of one count by one.")
class LedgerEntry(Node):
    row: strawberry.Private[models.LedgerEntry]
    at: datetime
    channel: Channel
    change: int = strawberry.field(description="+1 or -1.")
    reason: LedgerReason
    audit_id: ID = strawberry.field(description="The update that changed it; its events share this id.")
    count_after: int

    @classmethod
    def of(cls, row: models.LedgerEntry) -> LedgerEntry:
        return cls(
            id=encode_id("LedgerEntry", row.id),
            row=row,
            at=row.at,
            channel=row.channel,
            change=row.change,
            reason=row.reason,
            audit_id=encode_id("Audit", row.audit_id),
            count_after=row.count_after,
        )

    @strawberry.field(description="Null for a ticket that the caller may not see.")
    async def ticket(self, info: Info) -> Ticket | None:
        row = await info.context.loaders.tickets.load(self.row.ticket_id)
        return Ticket.of(row) if row else None


@strawberry.type(description="A ticket that waits for an agent's word.")
class Offer(Node):
    row: strawberry.Private[models.Offer]
    channel: Channel
    state: OfferState
    created_at: datetime
    expires_at: datetime | None

    @classmethod
    def of(cls, row: models.Offer) -> Offer:
        return cls(
            id=encode_id("Offer", row.id),
            row=row,
            channel=row.channel,
            state=row.state,
            created_at=row.created_at,
            expires_at=row.expires_at,
        )

    @strawberry.field(description="Null until it is accepted, for agents who see only their own tickets.")
    async def ticket(self, info: Info) -> Ticket | None:
        row = await info.context.loaders.tickets.load(self.row.ticket_id)
        return Ticket.of(row) if row else None


@strawberry.type(description="Which tickets go to which groups. The first queue whose conditions hold takes a ticket.")
class RoutingQueue(Node):
    row: strawberry.Private[models.RoutingQueue]
    name: str
    place: int = strawberry.field(description="The lower, the earlier it is asked.")
    active: bool
    conditions: list[Condition]

    @classmethod
    def of(cls, row: models.RoutingQueue) -> RoutingQueue:
        return cls(
            id=encode_id("RoutingQueue", row.id),
            row=row,
            name=row.name,
            place=row.place,
            active=row.active,
            conditions=[Condition.of(entry) for entry in row.conditions],
        )

    @strawberry.field(description="Whose members get what it takes.")
    async def groups(self, info: Info) -> list[Group]:
        rows = await info.context.loaders.groups.load_many([UUID(group) for group in self.row.group_ids])
        return [Group.of(row) for row in rows if row is not None]


@strawberry.input(description="Create a capacity rule, or (with its id) replace one.")
class SaveCapacityRuleInput:
    id: ID | None = None
    name: str
    messaging_limit: int | None = None
    email_limit: int | None = None
    is_default: bool = False
    client_mutation_id: str | None = None


@strawberry.type(description="The rule as it is now.")
class SaveCapacityRulePayload(Payload):
    capacity_rule: CapacityRule | None = None


@strawberry.input(description="Delete a capacity rule: its agents move to the default one.")
class DeleteCapacityRuleInput:
    id: ID
    client_mutation_id: str | None = None


@strawberry.type(description="The rule is gone.")
class DeleteCapacityRulePayload(Payload):
    deleted: bool = False


@strawberry.input(description="Give an agent a capacity rule of his own; null is the default one.")
class ChooseCapacityRuleInput:
    agent_id: ID
    capacity_rule_id: ID | None = None
    client_mutation_id: str | None = None


@strawberry.type(description="The rule that the agent has now.")
class ChooseCapacityRulePayload(Payload):
    capacity_rule: CapacityRule | None = None


@strawberry.input(description="Create a queue, or (with its id) replace one.")
class SaveQueueInput:
    id: ID | None = None
    name: str
    conditions: list[ConditionInput] = strawberry.field(default_factory=list)
    group_ids: list[ID]
    place: int = 0
    active: bool = True
    client_mutation_id: str | None = None


@strawberry.type(description="The queue as it is now.")
class SaveQueuePayload(Payload):
    queue: RoutingQueue | None = None


@strawberry.input(description="Delete a queue.")
class DeleteQueueInput:
    id: ID
    client_mutation_id: str | None = None


@strawberry.type(description="The queue is gone.")
class DeleteQueuePayload(Payload):
    deleted: bool = False


@strawberry.input(description="Take what is offered.")
class AcceptOfferInput:
    offer_id: ID
    client_id: str | None = None
    client_mutation_id: str | None = None


@strawberry.type(description="The ticket is the caller's now.")
class AcceptOfferPayload(Payload):
    ticket: Ticket | None = None


@strawberry.input(description="Pass: somebody else is asked.")
class DeclineOfferInput:
    offer_id: ID
    client_id: str | None = None
    client_mutation_id: str | None = None


@strawberry.type(description="The offer is closed.")
class DeclineOfferPayload(Payload):
    declined: bool = False
