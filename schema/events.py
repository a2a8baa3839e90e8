"""The history of a ticket: events with one common envelope (R56)."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

import strawberry
from strawberry import ID

import models
from domain.routing import RoutingOutcome
from models import EndReason, EventType, SessionState
from schema.comments import Comment
from schema.context import Info
from schema.ids import encode_id
from schema.people import Actor, Node, actor_of
from schema.sessions import MessagingSession


@strawberry.interface(description="A fact. Its sequence orders it within its ticket, without gaps.")
class TicketEvent(Node):
    row: strawberry.Private[models.Event]
    type: EventType
    sequence: int | None = strawberry.field(description="Null for facts of the account, such as changed settings.")
    audit_id: ID = strawberry.field(description="Shared by all events of one update.")
    occurred_at: datetime

    @classmethod
    def envelope(cls, row: models.Event) -> dict[str, Any]:
        return {
            "id": encode_id("TicketEvent", row.id),
            "row": row,
            "type": row.type,
            "sequence": row.ticket_sequence,
            "audit_id": encode_id("Audit", row.audit_id),
            "occurred_at": row.occurred_at,
        }

    @strawberry.field(description="Who did it.")
    async def actor(self, info: Info) -> Actor:
        return await actor_of(info, self.row.actor_kind, self.row.actor_id)


@strawberry.type(description="A fact that needs no more than the envelope.")
class OtherTicketEvent(TicketEvent):
    pass


@strawberry.type(description="The messaging session ended.")
class MessagingSessionEnded(TicketEvent):
    @strawberry.field(description="Why.")
    def reason(self) -> EndReason:
        return EndReason(self.row.payload["reason"])

    @strawberry.field(description="The state before.")
    def previous_state(self) -> SessionState:
        return SessionState(self.row.payload["previous_state"])

    @strawberry.field(description="What became of the agent's slot, by the settings of that moment.")
    def routing_outcome(self) -> RoutingOutcome:
        return RoutingOutcome(self.row.payload["routing_outcome"])

    @strawberry.field(description="The session.")
    async def session(self, info: Info) -> MessagingSession:
        return await _session(info, self.row)


@strawberry.type(description="The messaging session became active or inactive.")
class MessagingSessionStateChanged(TicketEvent):
    @strawberry.field(description="The state before.")
    def previous_state(self) -> SessionState:
        return SessionState(self.row.payload["previous_state"])

    @strawberry.field(description="The state after.")
    def state(self) -> SessionState:
        return SessionState(self.row.payload["state"])

    @strawberry.field(description="The session.")
    async def session(self, info: Info) -> MessagingSession:
        return await _session(info, self.row)


@strawberry.type(description="Somebody wrote.")
class TicketCommentAdded(TicketEvent):
    @strawberry.field(description="What was written, as it reads now.")
    async def comment(self, info: Info) -> Comment:
        return await _comment(info, self.row)


@strawberry.type(description="A comment was edited, deleted, redacted, or got a reaction.")
class TicketCommentChanged(TicketEvent):
    @strawberry.field(description="EDITED, DELETED, REDACTED or REACTED.")
    def change(self) -> str:
        return str(self.row.payload["change"])

    @strawberry.field(description="The comment, as it reads now.")
    async def comment(self, info: Info) -> Comment:
        return await _comment(info, self.row)


@strawberry.type(description="A reply by e-mail could not be sent, or came back: EMAIL_FAILED or EMAIL_BOUNCED.")
class EmailUndelivered(TicketEvent):
    @strawberry.field(description="The reply. What went wrong is in its emailDelivery.")
    async def comment(self, info: Info) -> Comment:
        return await _comment(info, self.row)


@strawberry.type(description="A field of the ticket changed.")
class TicketFieldChanged(TicketEvent):
    @strawberry.field(description="Which field, as the ticket calls it.")
    def field(self) -> str:
        return str(self.row.payload["field"])

    @strawberry.field(name="from", description="The value before, as text; people and groups as global ids.")
    def before(self) -> str | None:
        return _shown(self.row.payload["field"], self.row.payload["from"])

    @strawberry.field(description="The value after.")
    def to(self) -> str | None:
        return _shown(self.row.payload["field"], self.row.payload["to"])


REFERENCES = {"assignee": "User", "group": "Group", "organization": "Organization", "requester": "User"}


def _shown(field: str, value: Any) -> str | None:
    if value is None:
        return None
    if field in REFERENCES:
        return encode_id(REFERENCES[field], UUID(value))
    return ", ".join(value) if isinstance(value, list) else str(value)


async def _session(info: Info, row: models.Event) -> MessagingSession:
    assert row.session_id is not None
    session = await info.context.loaders.sessions_by_id.load(row.session_id)
    assert session is not None, "an event names a session that is gone"
    return MessagingSession.of(session)


async def _comment(info: Info, row: models.Event) -> Comment:
    assert row.comment_id is not None
    comment = await info.context.loaders.comments.load(row.comment_id)
    assert comment is not None, "an event names a comment that is gone"
    return Comment.of(comment)


KINDS: dict[EventType, type[TicketEvent]] = {
    EventType.EMAIL_BOUNCED: EmailUndelivered,
    EventType.EMAIL_FAILED: EmailUndelivered,
    EventType.MESSAGING_SESSION_ENDED: MessagingSessionEnded,
    EventType.MESSAGING_SESSION_STATE_CHANGED: MessagingSessionStateChanged,
    EventType.TICKET_COMMENT_ADDED: TicketCommentAdded,
    EventType.TICKET_COMMENT_CHANGED: TicketCommentChanged,
    EventType.TICKET_FIELD_CHANGED: TicketFieldChanged,
}


def event_of(row: models.Event) -> TicketEvent:
    """The GraphQL type of a fact."""
    kind = KINDS.get(row.type, OtherTicketEvent)
    return kind(**kind.envelope(row))
