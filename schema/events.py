"""The history of a ticket: events with one common envelope (R56)."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

import strawberry
from strawberry import ID

import models
from domain.routing import RoutingOutcome
from models import Channel, EndReason, EventType, OfferState, Score, SessionState, SkipReason, Suspension
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


@strawberry.type(description="A ticket was merged into another one. Both have this in their history.")
class TicketMerged(TicketEvent):
    @strawberry.field(description="Whether this is the history of the ticket that goes on.")
    def into_this(self) -> bool:
        return str(self.row.ticket_id) == str(self.row.payload["target"])

    @strawberry.field(description="The id of the ticket that was merged and closed.")
    def source_id(self) -> ID:
        return encode_id("Ticket", UUID(self.row.payload["source"]))

    @strawberry.field(description="The id of the ticket that it was merged into.")
    def target_id(self) -> ID:
        return encode_id("Ticket", UUID(self.row.payload["target"]))


@strawberry.type(description="The requester was suspended, or can write again.")
class RequesterSuspensionChanged(TicketEvent):
    @strawberry.field(description="What he cannot do now; null when he was let in again.")
    def scope(self) -> Suspension | None:
        return Suspension(self.row.payload["scope"]) if self.row.payload["scope"] else None


@strawberry.type(description="The ticket is routed, and counts, as one of another channel.")
class RoutingChannelChanged(TicketEvent):
    @strawberry.field(name="from", description="The channel before.")
    def before(self) -> Channel:
        return Channel(self.row.payload["from"])

    @strawberry.field(description="The channel after.")
    def to(self) -> Channel:
        return Channel(self.row.payload["to"])


@strawberry.type(description="The ticket waits for the word of an agent, or of the first of several.")
class TicketOffered(TicketEvent):
    @strawberry.field(description="The agents who were asked, as users. Each finds the offer in myOffers.")
    def agent_ids(self) -> list[ID]:
        return [encode_id("User", UUID(agent)) for agent in self.row.payload["agents"]]

    @strawberry.field(description="On which channel it would count.")
    def channel(self) -> Channel:
        return Channel(self.row.payload["channel"])

    @strawberry.field(description="Until when. Null: until somebody has it.")
    def expires_at(self) -> datetime | None:
        until = self.row.payload["expires_at"]
        return datetime.fromisoformat(until) if until else None


@strawberry.type(description="An agent accepted or declined an offer, or let it pass.")
class OfferClosed(TicketEvent):
    @strawberry.field(description="The agent, as a user.")
    def agent_id(self) -> ID:
        return encode_id("User", UUID(self.row.payload["agent"]))

    @strawberry.field(description="What became of the offer.")
    def state(self) -> OfferState:
        return OfferState(self.row.payload["state"])


@strawberry.type(description="The customer was asked how it was.")
class SurveyOffered(TicketEvent):
    @strawberry.field(description="What he was asked.")
    async def question(self, info: Info) -> str:
        return (await _survey(info, self.row)).question


@strawberry.type(description="A survey was to be sent, but was not.")
class SurveySkipped(TicketEvent):
    @strawberry.field(description="Why.")
    def reason(self) -> SkipReason:
        return SkipReason(self.row.payload["reason"])


@strawberry.type(description="The customer answered a survey.")
class SurveyAnswered(TicketEvent):
    @strawberry.field(description="What he thought.")
    def score(self) -> Score:
        return Score(self.row.payload["score"])

    @strawberry.field(description="Whether this replaced an earlier answer.")
    def amended(self) -> bool:
        return bool(self.row.payload["amended"])

    @strawberry.field(description="What he wrote, as it reads now.")
    async def comment(self, info: Info) -> str | None:
        return (await _survey(info, self.row)).comment


@strawberry.type(description="A trigger could not do what it was to do, and does not try again.")
class TriggerFailed(TicketEvent):
    @strawberry.field(description="The trigger.")
    def trigger_id(self) -> ID:
        return encode_id("Trigger", UUID(self.row.payload["trigger"]))

    @strawberry.field(description="The code of the refusal, DEPTH after a chain of triggers, or that of a defect.")
    def code(self) -> str:
        return str(self.row.payload["code"])


REFERENCES = {"assignee": "User", "group": "Group", "organization": "Organization", "requester": "User"}


def _shown(field: str, value: Any) -> str | None:
    if value is None:
        return None
    if field in REFERENCES:
        return encode_id(REFERENCES[field], UUID(value))
    return ", ".join(value) if isinstance(value, list) else str(value)


async def _session(info: Info, row: models.Event) -> MessagingSession:
    assert row.conversation_id is not None
    # By its conversation, which has one session: the ticket beside this event asks for the same, and it is read once.
    session = await info.context.loaders.sessions.load(row.conversation_id)
    assert session is not None, "an event names a session that is gone"
    return MessagingSession.of(session)


async def _survey(info: Info, row: models.Event) -> models.Survey:
    survey = await info.context.loaders.surveys.load(UUID(row.payload["survey"]))
    assert survey is not None, "an event names a survey that is gone"
    return survey


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
    EventType.TICKET_MERGED: TicketMerged,
    EventType.USER_SUSPENDED: RequesterSuspensionChanged,
    EventType.USER_UNSUSPENDED: RequesterSuspensionChanged,
    EventType.ROUTING_CHANNEL_CHANGED: RoutingChannelChanged,
    EventType.TICKET_OFFERED: TicketOffered,
    EventType.OFFER_CLOSED: OfferClosed,
    EventType.SURVEY_OFFERED: SurveyOffered,
    EventType.SURVEY_SKIPPED: SurveySkipped,
    EventType.SURVEY_ANSWERED: SurveyAnswered,
    EventType.TRIGGER_FAILED: TriggerFailed,
}


def event_of(row: models.Event) -> TicketEvent:
    """The GraphQL type of a fact."""
    kind = KINDS.get(row.type, OtherTicketEvent)
    return kind(**kind.envelope(row))
