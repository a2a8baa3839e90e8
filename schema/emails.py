"""What became of replies by e-mail, for those who wrote them."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import strawberry

import models


@strawberry.enum(description="How far a reply by e-mail is.")
class EmailState(StrEnum):
    WAITING = "WAITING"
    SENT = "SENT"
    FAILED = "FAILED"
    BOUNCED = "BOUNCED"


@strawberry.type(description="A reply on its way by e-mail. SENT: a server took it; BOUNCED: it came back later.")
class EmailDelivery:
    state: EmailState
    sent_at: datetime | None
    attempts: int = strawberry.field(description="How often it was tried.")
    error: str | None = strawberry.field(description="What the last server said that did not take it.")

    @classmethod
    def of(cls, row: models.OutboundEmail) -> EmailDelivery:
        return cls(state=_state(row), sent_at=row.sent_at, attempts=row.attempts, error=row.error)


def _state(row: models.OutboundEmail) -> EmailState:
    if row.bounced_at is not None:
        return EmailState.BOUNCED
    if row.failed_at is not None:
        return EmailState.FAILED
    return EmailState.SENT if row.sent_at is not None else EmailState.WAITING
