"""Macros: prepared updates that an agent applies with one call."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from tortoise import fields

from models.base import Row, account_key, link


class Macro(Row):
    """Shared with the account, or personal to its owner. `actions` is [{"kind": str, "value": str | None}]."""

    account: Any = account_key()
    account_id: UUID
    owner: Any = link("User", null=True)
    owner_id: UUID | None
    title = fields.CharField(max_length=200)
    actions: list[dict[str, Any]] = fields.JSONField()
    active = fields.BooleanField(default=True)
    created_at = fields.DatetimeField()

    class Meta:
        table = "macros"
        indexes = (("account_id", "title"),)
