"""Messaging sessions: the live exchange of a conversation."""

from __future__ import annotations

from enum import StrEnum
from typing import Any
from uuid import UUID

from tortoise import fields
from tortoise.migrations.constraints import CheckConstraint, UniqueConstraint

from models.base import Row, account_key, link
from models.tickets import Channel


class SessionState(StrEnum):
    ACTIVE = "ACTIVE"
    INACTIVE = "INACTIVE"
    ENDED = "ENDED"


class EndReason(StrEnum):
    """Why a session ended."""

    AGENT = "AGENT"
    TRIGGER = "TRIGGER"
    BOT = "BOT"
    TICKET_CLOSED = "TICKET_CLOSED"
    TICKET_MERGED = "TICKET_MERGED"
    TICKET_DELETED = "TICKET_DELETED"
    USER_SUSPENDED = "USER_SUSPENDED"


class InactiveReason(StrEnum):
    """Why a session is inactive."""

    NO_REPLY = "NO_REPLY"
    USER_OFFLINE = "USER_OFFLINE"
    TICKET_STATUS = "TICKET_STATUS"


class Control(StrEnum):
    """Who answers in a session: exactly one, and nobody after the end (R138)."""

    BOT = "BOT"
    AGENT = "AGENT"
    NOBODY = "NOBODY"


class MessagingSession(Row):
    """ACTIVE and INACTIVE change into each other, ENDED is for ever (a trigger in the database says so too)."""

    account: Any = account_key()
    account_id: UUID
    conversation: Any = link("Conversation")
    conversation_id: UUID
    end_user: Any = link("User")
    end_user_id: UUID
    channel = fields.CharEnumField(Channel, max_length=16, default=Channel.MESSAGING)
    state = fields.CharEnumField(SessionState, max_length=16, default=SessionState.ACTIVE)
    inactive_reason: Any = fields.CharEnumField(InactiveReason, max_length=16, null=True)
    started_at = fields.DatetimeField()
    last_customer_message_at = fields.DatetimeField()
    # When it becomes inactive unless the customer writes before. A timer that survives a restart.
    due_at = fields.DatetimeField(null=True)
    # When the customer was last seen to leave; None while he is here.
    customer_left_at = fields.DatetimeField(null=True)
    with_bot = fields.BooleanField(default=False, db_default=False)
    # Whether the settings at the end kept the agent's slot; later settings do not matter (R98).
    slot_kept = fields.BooleanField(default=False, db_default=False)
    ended_at = fields.DatetimeField(null=True)
    end_reason: Any = fields.CharEnumField(EndReason, max_length=16, null=True)
    ended_by_kind = fields.CharField(max_length=16, null=True)
    ended_by_id = fields.UUIDField(null=True)

    class Meta:
        table = "messaging_sessions"
        constraints = (
            UniqueConstraint(fields=("conversation_id",), name="a_conversation_has_one_session"),
            # R74: whoever writes into the channel joins the one session that has not ended.
            UniqueConstraint(
                fields=("account_id", "end_user_id", "channel"),
                name="one_live_session_per_customer_and_channel",
                condition="state <> 'ENDED'",
            ),
            CheckConstraint(
                check="(state = 'ENDED' AND ended_at IS NOT NULL AND end_reason IS NOT NULL"
                " AND ended_by_kind IS NOT NULL) OR"
                " (state <> 'ENDED' AND ended_at IS NULL AND end_reason IS NULL AND ended_by_kind IS NULL)",
                name="ended_says_when_why_and_by_whom",
            ),
        )
        indexes = (("account_id", "end_user_id", "started_at"), ("state", "due_at"))

    @property
    def control(self) -> Control:
        """Who answers."""
        if self.state is SessionState.ENDED:
            return Control.NOBODY
        return Control.BOT if self.with_bot else Control.AGENT
