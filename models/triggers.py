"""Triggers, what they did, and how far each reader of the event log has come."""

from __future__ import annotations

from enum import StrEnum
from typing import Any
from uuid import UUID

from tortoise import fields
from tortoise.migrations.constraints import UniqueConstraint

from models.base import Row, account_key, link


class RunState(StrEnum):
    """DONE and FAILED are final; RETRYING is tried again."""

    DONE = "DONE"
    RETRYING = "RETRYING"
    FAILED = "FAILED"


class Trigger(Row):
    """What happens by itself after an update that meets its conditions.

    `conditions` is a list of {"match": "ALL" | "ANY", "rules": [{"subject", "operator", "value"}]}: every entry
    must hold. `actions` is [{"kind": str, "value": str | None}].
    """

    account: Any = account_key()
    account_id: UUID
    title = fields.CharField(max_length=200)
    active = fields.BooleanField(default=True)
    place = fields.IntField(default=0)
    conditions: list[dict[str, Any]] = fields.JSONField()
    actions: list[dict[str, Any]] = fields.JSONField()
    created_at = fields.DatetimeField()

    class Meta:
        table = "triggers"
        indexes = (("account_id", "place"),)


class TriggerRun(Row):
    """That a trigger ran after an update: at most once (R121), in the transaction of what it did.

    `effect_audit_id` is the update that it caused. `depth` counts the triggers that led to it.
    """

    account: Any = account_key()
    account_id: UUID
    trigger: Any = link("Trigger")
    trigger_id: UUID
    audit_id = fields.UUIDField()
    ticket: Any = link("Ticket", null=True)
    ticket_id: UUID | None
    effect_audit_id = fields.UUIDField(null=True)
    depth = fields.IntField()
    state = fields.CharEnumField(RunState, max_length=16)
    attempts = fields.IntField(default=1)
    next_attempt_at = fields.DatetimeField(null=True)
    error = fields.CharField(max_length=200, null=True)
    at = fields.DatetimeField()

    class Meta:
        table = "trigger_runs"
        constraints = (UniqueConstraint(fields=("trigger_id", "audit_id"), name="a_trigger_runs_once_per_update"),)
        indexes = (("state", "next_attempt_at"), ("effect_audit_id",))


class LogReader(Row):
    """How far a reader of an account's event log has come. Everything up to `position` is dealt with."""

    account: Any = account_key()
    account_id: UUID
    name = fields.CharField(max_length=32)
    position = fields.BigIntField(default=0)

    class Meta:
        table = "log_readers"
        constraints = (UniqueConstraint(fields=("account_id", "name"), name="one_position_per_reader"),)
