"""The account's first responder."""

from __future__ import annotations

from enum import StrEnum
from typing import Any
from uuid import UUID

from tortoise import fields
from tortoise.migrations.constraints import CheckConstraint, UniqueConstraint

from models.base import Row, account_key


class BotKind(StrEnum):
    """RULES answers by keywords; HTTP is told by a signed call, and answers through the API."""

    RULES = "RULES"
    HTTP = "HTTP"


class Bot(Row):
    """Who answers first. `answers` is [{"keywords": [str], "reply": str}]."""

    account: Any = account_key()
    account_id: UUID
    name = fields.CharField(max_length=100)
    kind = fields.CharEnumField(BotKind, max_length=8)
    greeting = fields.TextField(null=True)
    answers: list[dict[str, Any]] = fields.JSONField()
    handoff_keywords: list[str] = fields.JSONField()
    handoff_message = fields.TextField(null=True)
    # For HTTP: where messages are posted to, and with which key they are signed.
    url = fields.CharField(max_length=2000, null=True)
    secret = fields.CharField(max_length=200, null=True)
    created_at = fields.DatetimeField()

    class Meta:
        table = "bots"
        constraints = (
            UniqueConstraint(fields=("account_id",), name="one_first_responder_per_account"),
            CheckConstraint(
                check="kind <> 'HTTP' OR (url IS NOT NULL AND secret IS NOT NULL)", name="http_bots_have_an_address"
            ),
        )
