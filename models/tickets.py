"""Conversations and tickets."""

from __future__ import annotations

from enum import StrEnum
from typing import Any
from uuid import UUID

from tortoise import fields
from tortoise.migrations.constraints import UniqueConstraint

from models.base import Row, account_key, link


class Channel(StrEnum):
    """How a customer and an agent talk, and where a comment came in or goes out."""

    MESSAGING = "MESSAGING"
    EMAIL = "EMAIL"
    HELP_CENTER = "HELP_CENTER"
    INTERNAL_NOTE = "INTERNAL_NOTE"


class TicketStatus(StrEnum):
    NEW = "NEW"
    OPEN = "OPEN"
    PENDING = "PENDING"
    ON_HOLD = "ON_HOLD"
    SOLVED = "SOLVED"
    CLOSED = "CLOSED"


class TicketPriority(StrEnum):
    LOW = "LOW"
    NORMAL = "NORMAL"
    HIGH = "HIGH"
    URGENT = "URGENT"


class TicketType(StrEnum):
    QUESTION = "QUESTION"
    INCIDENT = "INCIDENT"
    PROBLEM = "PROBLEM"
    TASK = "TASK"


class Conversation(Row):
    """The life of one customer request. It has at most one session and one ticket.

    Its comments are one thread, ordered by their sequence.
    """

    account: Any = account_key()
    account_id: UUID
    end_user: Any = link("User")
    end_user_id: UUID
    channel = fields.CharEnumField(Channel, max_length=16)
    started_at = fields.DatetimeField()
    last_comment_sequence = fields.IntField(default=0)

    class Meta:
        table = "conversations"
        indexes = (("account_id", "end_user_id", "started_at"),)


class Ticket(Row):
    """A request that people work on. `version` rises with every change, `last_sequence` with every event."""

    account: Any = account_key()
    account_id: UUID
    number = fields.IntField()
    conversation: Any = link("Conversation")
    conversation_id: UUID
    requester: Any = link("User")
    requester_id: UUID
    organization: Any = link("Organization", null=True)
    organization_id: UUID | None
    group: Any = link("Group", null=True)
    group_id: UUID | None
    assignee: Any = link("User", null=True)
    assignee_id: UUID | None
    subject = fields.CharField(max_length=200)
    status = fields.CharEnumField(TicketStatus, max_length=16)
    custom_status = fields.CharField(max_length=64, null=True)
    priority = fields.CharEnumField(TicketPriority, max_length=16, null=True)
    type = fields.CharEnumField(TicketType, max_length=16, null=True)
    channel = fields.CharEnumField(Channel, max_length=16)
    routing_channel = fields.CharEnumField(Channel, max_length=16)
    tags: list[str] = fields.JSONField()
    custom_fields: dict[str, Any] = fields.JSONField()
    cc_ids: list[str] = fields.JSONField()
    follower_ids: list[str] = fields.JSONField()
    # The ticket whose ended session this one continues (R72).
    continuation_of: Any = link("Ticket", null=True)
    continuation_of_id: UUID | None
    # The closed ticket that a mail answered, which began this one (R145).
    follow_up_of: Any = link("Ticket", null=True)
    follow_up_of_id: UUID | None
    # The ticket that this one was merged into; it is closed then (R147).
    merged_into: Any = link("Ticket", null=True)
    merged_into_id: UUID | None
    # A deleted ticket is seen by nobody until it is restored (R148).
    deleted_at = fields.DatetimeField(null=True)
    # The slot that this ticket takes now, as the counts and the ledger have it: of which agent, on which channel.
    slot_agent: Any = link("User", null=True)
    slot_agent_id: UUID | None
    slot_channel: Any = fields.CharEnumField(Channel, max_length=16, null=True)
    version = fields.IntField(default=0)
    last_sequence = fields.IntField(default=0)
    created_at = fields.DatetimeField()
    updated_at = fields.DatetimeField()
    first_replied_at = fields.DatetimeField(null=True)
    status_changed_at = fields.DatetimeField()
    solved_at = fields.DatetimeField(null=True)

    class Meta:
        table = "tickets"
        constraints = (
            UniqueConstraint(fields=("account_id", "number"), name="ticket_numbers_are_unique"),
            UniqueConstraint(fields=("conversation_id",), name="a_conversation_has_one_ticket"),
            UniqueConstraint(fields=("continuation_of_id",), name="a_ticket_is_continued_once"),
        )
        indexes = (
            ("account_id", "updated_at", "id"),
            ("account_id", "status", "updated_at"),
            ("account_id", "group_id", "updated_at"),
            ("account_id", "assignee_id", "updated_at"),
            ("account_id", "organization_id", "updated_at"),
            ("account_id", "requester_id", "updated_at"),
            ("merged_into_id",),
            ("follow_up_of_id",),
            ("slot_agent_id",),
        )
