"""Webhooks: addresses of partners, and what is delivered there."""

from __future__ import annotations

from enum import StrEnum
from typing import Any
from uuid import UUID

from tortoise import fields
from tortoise.migrations.constraints import UniqueConstraint

from models.base import Row, account_key, link


class DeliveryState(StrEnum):
    """SENT and FAILED are final; PENDING is tried when its time comes."""

    PENDING = "PENDING"
    SENT = "SENT"
    FAILED = "FAILED"


class Webhook(Row):
    """An address that triggers notify. Deliveries are signed with `secret`, which is shown once."""

    account: Any = account_key()
    account_id: UUID
    url = fields.CharField(max_length=2000)
    event_types: list[str] = fields.JSONField()
    secret = fields.CharField(max_length=200)
    active = fields.BooleanField(default=True)
    created_at = fields.DatetimeField()

    class Meta:
        table = "webhooks"
        indexes = (("account_id", "created_at"),)


class OutboundCall(Row):
    """One signed HTTP call that waits, or was made: to a webhook, or to a bot. `key` names what it tells, once."""

    account: Any = account_key()
    account_id: UUID
    webhook: Any = link("Webhook", null=True)
    webhook_id: UUID | None
    bot: Any = link("Bot", null=True)
    bot_id: UUID | None
    key = fields.CharField(max_length=100)
    body: dict[str, Any] = fields.JSONField()
    state = fields.CharEnumField(DeliveryState, max_length=8, default=DeliveryState.PENDING)
    attempts = fields.IntField(default=0)
    next_attempt_at = fields.DatetimeField()
    response_code = fields.IntField(null=True)
    created_at = fields.DatetimeField()
    finished_at = fields.DatetimeField(null=True)

    class Meta:
        table = "outbound_calls"
        constraints = (UniqueConstraint(fields=("account_id", "key"), name="a_call_is_queued_once"),)
        indexes = (("state", "next_attempt_at"),)
