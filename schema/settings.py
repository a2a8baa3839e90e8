"""Settings of the account, and its own log."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

import strawberry
from strawberry import ID, UNSET

import models
from models import ActorKind, FirstResponder, RoutingMethod, RoutingMode, StandardDistribution, TicketCreation
from schema.context import Info
from schema.ids import encode_id
from schema.payloads import Payload
from schema.people import Actor, Node, actor_of


@strawberry.type(description="Channels > Messaging and social > Messaging.")
class MessagingSettings:
    enabled: bool
    enabled_at: datetime | None = strawberry.field(description="When messaging was first switched on.")
    agents_can_end_sessions: bool = strawberry.field(
        description="Whether agents can end messaging sessions at any time. "
        "On for accounts that got messaging when sessions could be ended already, off for older ones."
    )
    agents_can_collaborate: bool
    remind_agents_to_notify: bool = strawberry.field(
        description="Warn an agent who ends a session without having written to the customer lately."
    )
    remind_within_minutes: int
    inactive_after_minutes: int
    inactive_unassigned_after_minutes: int
    ticket_creation: TicketCreation
    first_responder: FirstResponder
    customer_absence_seconds: int | None = strawberry.field(
        description="A customer who left the page for so long is inactive. Null: nobody looks."
    )
    close_solved_after_days: int | None = strawberry.field(description="Null: solved tickets are never closed.")
    survey_question: str = strawberry.field(description="What surveys ask.")
    survey_sampling_percent: int = strawberry.field(description="Of how many tickets in a hundred a survey is sent.")
    version: int
    updated_at: datetime

    @classmethod
    def of(cls, row: models.AccountSettings, *, can_end: bool) -> MessagingSettings:
        return cls(
            enabled=row.messaging_enabled,
            enabled_at=row.messaging_enabled_at,
            agents_can_end_sessions=can_end,
            agents_can_collaborate=row.agents_can_collaborate,
            remind_agents_to_notify=row.remind_agents_to_notify,
            remind_within_minutes=row.remind_within_minutes,
            inactive_after_minutes=row.inactive_after_minutes,
            inactive_unassigned_after_minutes=row.inactive_unassigned_after_minutes,
            ticket_creation=row.ticket_creation,
            first_responder=row.first_responder,
            customer_absence_seconds=row.customer_absence_seconds,
            close_solved_after_days=row.close_solved_after_days,
            survey_question=row.survey_question,
            survey_sampling_percent=row.survey_sampling_percent,
            version=row.messaging_version,
            updated_at=row.messaging_updated_at,
        )


@strawberry.type(description="How work finds agents.")
class RoutingSettings:
    mode: RoutingMode
    method: RoutingMethod
    count_inactive_toward_capacity: bool
    route_agent_ended_sessions_as_email: bool
    standard_distribution: StandardDistribution
    chat_limit: int | None = strawberry.field(description="The most live chats of one agent; null is no limit.")
    auto_accept: bool = strawberry.field(
        description="Omnichannel: whether what is routed to an agent is his at once, or is offered to him."
    )
    offer_seconds: int = strawberry.field(description="How long an offer waits for an answer.")
    agent_absence_seconds: int = strawberry.field(
        description="How long after his last socket was lost an agent goes offline."
    )
    version: int
    updated_at: datetime

    @classmethod
    def of(cls, row: models.AccountSettings) -> RoutingSettings:
        return cls(
            mode=row.routing_mode,
            method=row.routing_method,
            count_inactive_toward_capacity=row.count_inactive_toward_capacity,
            route_agent_ended_sessions_as_email=row.route_agent_ended_sessions_as_email,
            standard_distribution=row.standard_distribution,
            chat_limit=row.chat_limit,
            auto_accept=row.auto_accept,
            offer_seconds=row.offer_seconds,
            agent_absence_seconds=row.agent_absence_seconds,
            version=row.routing_version,
            updated_at=row.routing_updated_at,
        )


@strawberry.input(description="New values of messaging settings. What is left out stays.")
class UpdateMessagingSettingsInput:
    enabled: bool | None = UNSET
    agents_can_end_sessions: bool | None = UNSET
    agents_can_collaborate: bool | None = UNSET
    remind_agents_to_notify: bool | None = UNSET
    remind_within_minutes: int | None = UNSET
    inactive_after_minutes: int | None = UNSET
    inactive_unassigned_after_minutes: int | None = UNSET
    ticket_creation: TicketCreation | None = UNSET
    first_responder: FirstResponder | None = UNSET
    customer_absence_seconds: int | None = UNSET
    close_solved_after_days: int | None = UNSET
    survey_question: str | None = UNSET
    survey_sampling_percent: int | None = UNSET
    expected_version: int | None = None
    idempotency_key: str | None = None
    client_id: str | None = None
    client_mutation_id: str | None = None


@strawberry.type(description="The settings after the call.")
class UpdateMessagingSettingsPayload(Payload):
    changed: bool = False
    messaging_settings: MessagingSettings | None = None


@strawberry.input(description="New values of routing settings. What is left out stays.")
class UpdateRoutingSettingsInput:
    mode: RoutingMode | None = UNSET
    method: RoutingMethod | None = UNSET
    count_inactive_toward_capacity: bool | None = UNSET
    route_agent_ended_sessions_as_email: bool | None = UNSET
    standard_distribution: StandardDistribution | None = UNSET
    chat_limit: int | None = UNSET
    auto_accept: bool | None = UNSET
    offer_seconds: int | None = UNSET
    agent_absence_seconds: int | None = UNSET
    expected_version: int | None = None
    idempotency_key: str | None = None
    client_id: str | None = None
    client_mutation_id: str | None = None


@strawberry.type(description="The settings after the call.")
class UpdateRoutingSettingsPayload(Payload):
    changed: bool = False
    routing_settings: RoutingSettings | None = None


@strawberry.type(description="A value that changed, as text.")
class AuditChange:
    field: str
    before: str | None = strawberry.field(name="from")
    to: str | None

    @classmethod
    def of(cls, change: dict[str, Any]) -> AuditChange:
        kind = REFERENCES.get(change["field"])
        return cls(field=change["field"], before=_text(change["from"], kind), to=_text(change["to"], kind))


REFERENCES = {
    "role": "Role",
    "user": "User",
    "members": "User",
    "agents": "User",
    "groups": "Group",
    "organization": "Organization",
    "organizations": "Organization",
}
"""The fields whose values name something: shown as global ids."""


def _text(value: Any, kind: str | None) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return ", ".join(str(_text(each, kind)) for each in value)
    return encode_id(kind, UUID(value)) if kind else str(value)


def _target_id(target: str) -> ID | None:
    """Of "Role <uuid>": its global id. Settings and the like have none."""
    kind, _, identifier = target.partition(" ")
    try:
        return encode_id(kind, UUID(identifier))
    except ValueError:
        return None


@strawberry.type(description="A line of the account's log.")
class AuditLogEntry(Node):
    actor_kind: strawberry.Private[ActorKind]
    actor_id: strawberry.Private[UUID | None]
    at: datetime
    action: str
    target: str = strawberry.field(description="The kind of thing, and how it is stored: for people who read logs.")
    target_id: ID | None = strawberry.field(description="The global id of what was changed, if it has one.")
    changes: list[AuditChange]

    @classmethod
    def of(cls, row: models.AuditLogEntry) -> AuditLogEntry:
        return cls(
            id=encode_id("AuditLogEntry", row.id),
            actor_kind=ActorKind(row.actor_kind),
            actor_id=row.actor_id,
            at=row.at,
            action=row.action,
            target=row.target,
            target_id=_target_id(row.target),
            changes=[AuditChange.of(change) for change in row.changes],
        )

    @strawberry.field(description="Who did it.")
    async def actor(self, info: Info) -> Actor:
        return await actor_of(info, self.actor_kind, self.actor_id)
