"""Accounts, their settings, and what the account itself keeps: audit log, tokens, idempotency records."""

from __future__ import annotations

from enum import StrEnum
from typing import Any
from uuid import UUID

from tortoise import fields
from tortoise.migrations.constraints import CheckConstraint, UniqueConstraint
from tortoise.models import Model

from models.base import Row, account_key, link, new_id


class TicketCreation(StrEnum):
    """When the first message of a conversation becomes a ticket."""

    IMMEDIATE = "IMMEDIATE"
    AT_HANDOFF = "AT_HANDOFF"


class FirstResponder(StrEnum):
    """Who answers the first message of a conversation."""

    AGENT = "AGENT"
    BOT = "BOT"


class RoutingMode(StrEnum):
    STANDARD = "STANDARD"
    OMNICHANNEL = "OMNICHANNEL"


class RoutingMethod(StrEnum):
    HIGHEST_SPARE_CAPACITY = "HIGHEST_SPARE_CAPACITY"
    ROUND_ROBIN = "ROUND_ROBIN"


class StandardDistribution(StrEnum):
    """How standard routing finds an agent: all at once, or one after the other."""

    BROADCAST = "BROADCAST"
    ASSIGN = "ASSIGN"


class Deployment(Model):
    """One row: when this installation learned to end sessions (decision D10 of the rules)."""

    id = fields.IntField(primary_key=True)
    ending_sessions_since = fields.DatetimeField()

    class Meta:
        table = "deployment"
        constraints = (CheckConstraint(check="id = 1", name="deployment_is_one_row"),)


class Account(Row):
    """A support organisation. `last_position` is the head of its event log, and the last lock of every transaction."""

    slug = fields.CharField(max_length=63, unique=True)
    name = fields.CharField(max_length=200)
    # Part of every cursor. Whoever restores a backup gives the account a new one, so that positions
    # which were handed out and then lost are never mistaken for the new ones.
    epoch = fields.UUIDField(default=new_id)
    last_position = fields.BigIntField(default=0)
    created_at = fields.DatetimeField()

    class Meta:
        table = "accounts"
        constraints = (CheckConstraint(check="last_position >= 0", name="positions_count_from_zero"),)


class TicketCounter(Row):
    """The last ticket number of an account, in a row of its own: the row of the account must be the last lock."""

    account: Any = account_key()
    account_id: UUID
    last_number = fields.IntField(default=0)

    class Meta:
        table = "ticket_counters"
        constraints = (UniqueConstraint(fields=("account_id",), name="one_ticket_counter_per_account"),)


class AccountSettings(Row):
    """The settings of messaging and of routing, each with a version of its own."""

    account: Any = account_key()
    account_id: UUID
    messaging_enabled = fields.BooleanField(default=False)
    # The first time that messaging was switched on; switching off and on again keeps it (R3, R5).
    messaging_enabled_at = fields.DatetimeField(null=True)
    # None until an admin saves a value: the default then follows from `messaging_enabled_at` (R1, R2).
    agents_can_end_sessions = fields.BooleanField(null=True)
    agents_can_collaborate = fields.BooleanField(default=True)
    remind_agents_to_notify = fields.BooleanField(default=True)
    remind_within_minutes = fields.IntField(default=10)
    inactive_after_minutes = fields.IntField(default=10)
    inactive_unassigned_after_minutes = fields.IntField(default=10)
    ticket_creation = fields.CharEnumField(TicketCreation, max_length=16, default=TicketCreation.IMMEDIATE)
    first_responder = fields.CharEnumField(FirstResponder, max_length=16, default=FirstResponder.AGENT)
    # A customer who left the page for so long is inactive. None: nobody looks (R134).
    customer_absence_seconds = fields.IntField(null=True)
    # Solved tickets are closed after so many days. None: never.
    close_solved_after_days = fields.IntField(null=True, default=28, db_default=28)
    survey_question = fields.CharField(
        max_length=500, default="How was your conversation?", db_default="How was your conversation?"
    )
    survey_sampling_percent = fields.IntField(default=100, db_default=100)
    # Part of the account's plan, not a setting of its admins (R123).
    customizable_surveys = fields.BooleanField(default=True, db_default=True)
    messaging_version = fields.IntField(default=1)
    messaging_updated_at = fields.DatetimeField()
    routing_mode = fields.CharEnumField(RoutingMode, max_length=16, default=RoutingMode.STANDARD)
    routing_method = fields.CharEnumField(RoutingMethod, max_length=32, default=RoutingMethod.HIGHEST_SPARE_CAPACITY)
    count_inactive_toward_capacity = fields.BooleanField(default=False)
    route_agent_ended_sessions_as_email = fields.BooleanField(default=False)
    # Standard routing: how chats are given out, and the most that one agent gets. None: no limit.
    standard_distribution = fields.CharEnumField(
        StandardDistribution,
        max_length=16,
        default=StandardDistribution.BROADCAST,
        db_default=StandardDistribution.BROADCAST,
    )
    chat_limit = fields.IntField(null=True)
    # Omnichannel: whether what is routed to an agent is his at once, or waits for his word for so many seconds.
    auto_accept = fields.BooleanField(default=True, db_default=True)
    offer_seconds = fields.IntField(default=60, db_default=60)
    # An agent whose last socket is gone for so long goes offline.
    agent_absence_seconds = fields.IntField(default=60, db_default=60)
    routing_version = fields.IntField(default=1)
    routing_updated_at = fields.DatetimeField()

    class Meta:
        table = "account_settings"
        constraints = (
            UniqueConstraint(fields=("account_id",), name="one_settings_row_per_account"),
            CheckConstraint(
                check="NOT messaging_enabled OR messaging_enabled_at IS NOT NULL", name="enabled_messaging_has_a_date"
            ),
        )


class AuditLogEntry(Row):
    """One line of the account's own log: settings changed, access changed, a refused end (R6, R30). Append-only."""

    account: Any = account_key()
    account_id: UUID
    at = fields.DatetimeField()
    actor_kind = fields.CharField(max_length=16)
    actor_id = fields.UUIDField(null=True)
    action = fields.CharField(max_length=64)
    target = fields.CharField(max_length=200)
    # [{"field": str, "from": any, "to": any}]; never bodies, never secrets.
    changes: list[dict[str, Any]] = fields.JSONField()

    class Meta:
        table = "audit_log_entries"
        indexes = (("account_id", "at"),)


class Token(Row):
    """A bearer token. Only the SHA-256 of its secret is stored: the secret has 256 random bits, so no slow hash."""

    account: Any = account_key()
    account_id: UUID
    user: Any = link("User")
    user_id: UUID
    name = fields.CharField(max_length=200)
    secret_sha256 = fields.CharField(max_length=64)
    created_at = fields.DatetimeField()
    expires_at = fields.DatetimeField()
    revoked_at = fields.DatetimeField(null=True)

    class Meta:
        table = "tokens"


class IdempotencyRecord(Row):
    """The verdict of a mutation, stored in the mutation's own transaction (R37)."""

    account: Any = account_key()
    account_id: UUID
    actor_id = fields.UUIDField()
    key = fields.CharField(max_length=200)
    operation = fields.CharField(max_length=64)
    input_sha256 = fields.CharField(max_length=64)
    result: dict[str, Any] = fields.JSONField()
    created_at = fields.DatetimeField()

    class Meta:
        table = "idempotency_records"
        constraints = (
            UniqueConstraint(fields=("account_id", "actor_id", "key"), name="an_idempotency_key_has_one_effect"),
        )
        indexes = (("created_at",),)
