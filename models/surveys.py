"""Satisfaction surveys."""

from __future__ import annotations

from enum import StrEnum
from typing import Any
from uuid import UUID

from tortoise import fields
from tortoise.migrations.constraints import CheckConstraint, UniqueConstraint

from models.base import Row, account_key, link


class SurveyState(StrEnum):
    OFFERED = "OFFERED"
    ANSWERED = "ANSWERED"
    SKIPPED = "SKIPPED"


class SkipReason(StrEnum):
    """Why a survey that a trigger asked for was not sent (R118)."""

    ALREADY_OFFERED = "ALREADY_OFFERED"
    NO_REACHABLE_CHANNEL = "NO_REACHABLE_CHANNEL"
    USER_SUSPENDED = "USER_SUSPENDED"
    SAMPLING = "SAMPLING"


class Score(StrEnum):
    GOOD = "GOOD"
    BAD = "BAD"


class Survey(Row):
    """A survey, or the decision not to send one. `number` counts those offered for a ticket. Skipped ones have none."""

    account: Any = account_key()
    account_id: UUID
    ticket: Any = link("Ticket")
    ticket_id: UUID
    session: Any = link("MessagingSession", null=True)
    session_id: UUID | None
    end_user: Any = link("User")
    end_user_id: UUID
    number = fields.IntField(null=True)
    state = fields.CharEnumField(SurveyState, max_length=16)
    skip_reason: Any = fields.CharEnumField(SkipReason, max_length=32, null=True)
    question = fields.CharField(max_length=500)
    score: Any = fields.CharEnumField(Score, max_length=8, null=True)
    comment = fields.TextField(null=True)
    created_at = fields.DatetimeField()
    answered_at = fields.DatetimeField(null=True)

    class Meta:
        table = "surveys"
        constraints = (
            # R117: two triggers at the same moment still offer one.
            UniqueConstraint(fields=("ticket_id", "number"), name="surveys_of_a_ticket_are_counted"),
            CheckConstraint(check="(state = 'SKIPPED') = (skip_reason IS NOT NULL)", name="skipped_surveys_say_why"),
            CheckConstraint(
                check="(state = 'ANSWERED') = (score IS NOT NULL AND answered_at IS NOT NULL)",
                name="answered_surveys_have_a_score",
            ),
        )
        indexes = (("account_id", "created_at"), ("end_user_id", "state"))
