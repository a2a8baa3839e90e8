"""E-mail: what waits to be sent, and what came in."""

from __future__ import annotations

from enum import StrEnum
from typing import Any
from uuid import UUID

from tortoise import fields
from tortoise.migrations.constraints import UniqueConstraint

from models.base import Row, account_key, link


class InboundOutcome(StrEnum):
    """What became of a mail that came in."""

    COMMENT = "COMMENT"
    TICKET = "TICKET"
    FOLLOW_UP = "FOLLOW_UP"
    SUSPENDED = "SUSPENDED"
    BOUNCE = "BOUNCE"
    AUTO_REPLY = "AUTO_REPLY"
    LOOP = "LOOP"
    REJECTED = "REJECTED"


class OutboundEmail(Row):
    """An e-mail reply that was stored with its comment and waits to be sent (R60)."""

    account: Any = account_key()
    account_id: UUID
    comment: Any = link("Comment")
    comment_id: UUID
    to_address = fields.CharField(max_length=320)
    created_at = fields.DatetimeField()
    sent_at = fields.DatetimeField(null=True)
    attempts = fields.IntField(default=0, db_default=0)
    # None: at once.
    next_attempt_at = fields.DatetimeField(null=True)
    failed_at = fields.DatetimeField(null=True)
    bounced_at = fields.DatetimeField(null=True)
    error = fields.CharField(max_length=500, null=True)

    class Meta:
        table = "outbound_emails"
        constraints = (UniqueConstraint(fields=("comment_id",), name="a_reply_is_queued_once"),)
        indexes = (("sent_at", "failed_at", "next_attempt_at"),)


class InboundEmail(Row):
    """A mail that came in, and what became of it. The same mail twice is one (by its Message-ID)."""

    account: Any = account_key()
    account_id: UUID
    message_id = fields.CharField(max_length=255)
    from_address = fields.CharField(max_length=320)
    subject = fields.CharField(max_length=500)
    outcome = fields.CharEnumField(InboundOutcome, max_length=16)
    reason = fields.CharField(max_length=200, null=True)
    ticket: Any = link("Ticket", null=True)
    ticket_id: UUID | None
    comment: Any = link("Comment", null=True)
    comment_id: UUID | None
    received_at = fields.DatetimeField()

    class Meta:
        table = "inbound_emails"
        constraints = (UniqueConstraint(fields=("account_id", "message_id"), name="a_mail_comes_in_once"),)
        indexes = (("account_id", "from_address", "received_at"), ("comment_id",))
