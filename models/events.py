"""The event log: the truth that subscriptions, histories and integrations read. Append-only."""

from __future__ import annotations

from enum import StrEnum
from typing import Any
from uuid import UUID

from tortoise import fields
from tortoise.migrations.constraints import CheckConstraint, UniqueConstraint

from models.base import Row, account_key, link


class ActorKind(StrEnum):
    """Who did it."""

    END_USER = "END_USER"
    AGENT = "AGENT"
    ADMIN = "ADMIN"
    PARTNER = "PARTNER"
    BOT = "BOT"
    TRIGGER = "TRIGGER"
    SYSTEM = "SYSTEM"


class EventType(StrEnum):
    """The facts. New ones may be added at any time: clients ignore those that they do not know (R56)."""

    TICKET_CREATED = "TICKET_CREATED"
    TICKET_COMMENT_ADDED = "TICKET_COMMENT_ADDED"
    TICKET_COMMENT_CHANGED = "TICKET_COMMENT_CHANGED"
    TICKET_FIELD_CHANGED = "TICKET_FIELD_CHANGED"
    MESSAGING_SESSION_STARTED = "MESSAGING_SESSION_STARTED"
    MESSAGING_SESSION_STATE_CHANGED = "MESSAGING_SESSION_STATE_CHANGED"
    MESSAGING_SESSION_ENDED = "MESSAGING_SESSION_ENDED"
    MACRO_APPLIED = "MACRO_APPLIED"
    CONVERSATION_HANDED_OFF = "CONVERSATION_HANDED_OFF"
    ROUTING_CHANNEL_CHANGED = "ROUTING_CHANNEL_CHANGED"
    TICKET_OFFERED = "TICKET_OFFERED"
    OFFER_CLOSED = "OFFER_CLOSED"
    TICKET_MERGED = "TICKET_MERGED"
    TICKET_DELETED = "TICKET_DELETED"
    TICKET_RESTORED = "TICKET_RESTORED"
    SURVEY_OFFERED = "SURVEY_OFFERED"
    SURVEY_SKIPPED = "SURVEY_SKIPPED"
    SURVEY_ANSWERED = "SURVEY_ANSWERED"
    TRIGGER_FAILED = "TRIGGER_FAILED"
    EMAIL_FAILED = "EMAIL_FAILED"
    EMAIL_BOUNCED = "EMAIL_BOUNCED"
    USER_SUSPENDED = "USER_SUSPENDED"
    USER_UNSUSPENDED = "USER_UNSUSPENDED"
    AGENT_AVAILABILITY_CHANGED = "AGENT_AVAILABILITY_CHANGED"
    MESSAGING_SETTINGS_CHANGED = "MESSAGING_SETTINGS_CHANGED"
    ROUTING_SETTINGS_CHANGED = "ROUTING_SETTINGS_CHANGED"
    AGENT_ACCESS_CHANGED = "AGENT_ACCESS_CHANGED"
    TOKEN_REVOKED = "TOKEN_REVOKED"  # noqa: S105  # no password


class Audit(Row):
    """One update: all events of one transaction share it (R48)."""

    account: Any = account_key()
    account_id: UUID
    actor_kind = fields.CharEnumField(ActorKind, max_length=16)
    actor_id = fields.UUIDField(null=True)
    created_at = fields.DatetimeField()

    class Meta:
        table = "audits"


class Event(Row):
    """A committed fact.

    `position` is gap-free per account and in commit order; `ticket_sequence` is gap-free per ticket.
    `ticket_before` and `ticket_after` hold the attributes of the ticket that decide who may see it and which
    views hold it, before and after the audit; a list decides from them whether a row entered or left.
    """

    account: Any = account_key()
    account_id: UUID
    position = fields.BigIntField()
    audit: Any = link("Audit")
    audit_id: UUID
    # With a description of its own: Tortoise's lists all values, so that each new one would be a change of the table.
    type = fields.CharEnumField(EventType, max_length=40, description="What happened")
    actor_kind = fields.CharEnumField(ActorKind, max_length=16)
    actor_id = fields.UUIDField(null=True)
    occurred_at = fields.DatetimeField()
    client_id = fields.CharField(max_length=200, null=True)
    ticket: Any = link("Ticket", null=True)
    ticket_id: UUID | None
    ticket_sequence = fields.IntField(null=True)
    conversation: Any = link("Conversation", null=True)
    conversation_id: UUID | None
    session: Any = link("MessagingSession", null=True)
    session_id: UUID | None
    comment: Any = link("Comment", null=True)
    comment_id: UUID | None
    payload: dict[str, Any] = fields.JSONField()
    ticket_before: dict[str, Any] | None = fields.JSONField(null=True)
    ticket_after: dict[str, Any] | None = fields.JSONField(null=True)

    class Meta:
        table = "events"
        constraints = (
            UniqueConstraint(fields=("account_id", "position"), name="positions_are_unique"),
            UniqueConstraint(fields=("ticket_id", "ticket_sequence"), name="ticket_sequences_are_unique"),
            # R35: a session ends once, whatever the code above believes.
            UniqueConstraint(
                fields=("session_id",),
                name="a_session_ends_once",
                condition="type = 'MESSAGING_SESSION_ENDED'",
            ),
            CheckConstraint(
                check="(ticket_id IS NULL) = (ticket_sequence IS NULL)", name="events_of_a_ticket_have_a_sequence"
            ),
        )
