"""Messaging sessions and their end."""

from __future__ import annotations

from datetime import datetime

import strawberry

import models
from domain.routing import RoutingOutcome
from domain.sessions import EndPreview
from models import ActorKind, Control, EndReason, InactiveReason, SessionState, TicketStatus
from schema.context import Info
from schema.ids import encode_id
from schema.people import Actor, Node, actor_of


@strawberry.type(description="The live exchange of a conversation.")
class MessagingSession(Node):
    row: strawberry.Private[models.MessagingSession]
    state: SessionState
    inactive_reason: InactiveReason | None
    control: Control = strawberry.field(description="Who answers: the bot at first, if the account has one in front.")
    started_at: datetime
    ended_at: datetime | None
    end_reason: EndReason | None

    @classmethod
    def of(cls, row: models.MessagingSession) -> MessagingSession:
        return cls(
            id=encode_id("MessagingSession", row.id),
            row=row,
            state=row.state,
            inactive_reason=row.inactive_reason,
            control=row.control,
            started_at=row.started_at,
            ended_at=row.ended_at,
            end_reason=row.end_reason,
        )

    @strawberry.field(description="Who ended it.")
    async def ended_by(self, info: Info) -> Actor | None:
        if self.row.ended_by_kind is None:
            return None
        return await actor_of(info, ActorKind(self.row.ended_by_kind), self.row.ended_by_id)


@strawberry.type(description="What ending the session would do now.")
class SessionEndPreview:
    allowed: bool
    reason: str | None = strawberry.field(description="The code of the refusal, when it is not allowed.")
    routing_outcome: RoutingOutcome | None
    survey_will_be_sent: bool
    customer_will_be_notified: bool
    ticket_status_after: TicketStatus

    @classmethod
    def of(cls, preview: EndPreview, *, survey_will_be_sent: bool) -> SessionEndPreview:
        return cls(
            allowed=preview.allowed,
            reason=preview.reason,
            routing_outcome=RoutingOutcome(preview.routing_outcome) if preview.routing_outcome else None,
            survey_will_be_sent=survey_will_be_sent,
            customer_will_be_notified=False,
            ticket_status_after=preview.ticket.status,
        )
