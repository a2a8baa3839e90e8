"""Inputs and payloads of what agents do. A payload has either its result or userErrors."""

from __future__ import annotations

import strawberry
from strawberry import ID, UNSET

from domain.sessions import EndOutcome
from models import Channel, TicketPriority, TicketStatus, TicketType
from schema.attachments import attachment_ids
from schema.availability import Availability
from schema.comments import Comment
from schema.errors import CallWarning, UserError
from schema.events import TicketEvent
from schema.sessions import MessagingSession
from schema.tickets import Ticket

IDEMPOTENCY_KEY = "Calls with the same key take effect once (72 hours)."
CLIENT_ID = "Echoed in the events that the call causes, so that the caller can skip its own echo."
EXPECTED_VERSION = "Refuse with STALE_VERSION when the ticket is at another version."


def idempotency_key() -> str | None:
    return strawberry.field(default=None, description=IDEMPOTENCY_KEY)  # type: ignore[no-any-return]


def client_id() -> str | None:
    return strawberry.field(default=None, description=CLIENT_ID)  # type: ignore[no-any-return]


def expected_version() -> int | None:
    return strawberry.field(default=None, description=EXPECTED_VERSION)  # type: ignore[no-any-return]


@strawberry.interface(description="What every mutation answers.")
class Payload:
    user_errors: list[UserError] = strawberry.field(
        default_factory=list, description="Why nothing was done; empty when it was."
    )
    client_mutation_id: str | None = strawberry.field(default=None, description="As it was sent.")


@strawberry.input(description="End the messaging session of a ticket, or of a conversation.")
class EndSessionInput:
    ticket_id: ID | None = strawberry.field(default=None, description="Either this or conversationId.")
    conversation_id: ID | None = strawberry.field(
        default=None, description="For admins: a conversation that a bot has alone, so that there is no ticket yet."
    )
    closing_message: str | None = strawberry.field(
        default=None, description="Sent to the customer just before the end."
    )
    expected_version: int | None = expected_version()
    idempotency_key: str | None = idempotency_key()
    client_id: str | None = client_id()
    client_mutation_id: str | None = None


@strawberry.type(description="How the end went.")
class EndSessionPayload(Payload):
    outcome: EndOutcome | None = None
    session: MessagingSession | None = None
    ticket: Ticket | None = None
    event: TicketEvent | None = strawberry.field(default=None, description="The one end event of the session.")
    warnings: list[CallWarning] = strawberry.field(default_factory=list)


@strawberry.input(description="End many sessions, each on its own: one refusal does not undo the others.")
class EndSessionsInput:
    ticket_ids: list[ID] = strawberry.field(description="At most 100.")
    closing_message: str | None = None
    client_id: str | None = client_id()
    client_mutation_id: str | None = None


@strawberry.type(description="How one end of many went.")
class EndSessionsResult:
    ticket_id: ID
    outcome: EndOutcome | None = None
    user_errors: list[UserError] = strawberry.field(default_factory=list)


@strawberry.type(description="One result for each ticket, in the order of the input.")
class EndSessionsPayload(Payload):
    results: list[EndSessionsResult] = strawberry.field(default_factory=list)


@strawberry.input(description="Write on a ticket.")
class PostCommentInput:
    ticket_id: ID
    body: str = strawberry.field(description="1 to 10,000 characters.")
    channel: Channel
    attachment_ids: list[ID] | None = attachment_ids()
    expected_version: int | None = expected_version()
    idempotency_key: str | None = idempotency_key()
    client_id: str | None = client_id()
    client_mutation_id: str | None = None


@strawberry.type(description="What was written.")
class PostCommentPayload(Payload):
    comment: Comment | None = None
    ticket: Ticket | None = None


@strawberry.input(description="Change fields of a ticket. What is left out stays; null empties what may be empty.")
class UpdateTicketInput:
    ticket_id: ID
    status: TicketStatus | None = UNSET
    assignee_id: ID | None = UNSET
    group_id: ID | None = UNSET
    tags: list[str] | None = UNSET
    priority: TicketPriority | None = UNSET
    type: TicketType | None = UNSET
    requester_id: ID | None = strawberry.field(
        default=UNSET, description="Once no session is live. The organisation follows."
    )
    expected_version: int | None = expected_version()
    idempotency_key: str | None = idempotency_key()
    client_id: str | None = client_id()
    client_mutation_id: str | None = None


@strawberry.type(description="The ticket after the change; null when the change took it out of the caller's reach.")
class UpdateTicketPayload(Payload):
    ticket: Ticket | None = None


@strawberry.input(description="Apply a macro to a ticket, as a whole or not at all.")
class ApplyMacroInput:
    ticket_id: ID
    macro_id: ID
    expected_version: int | None = expected_version()
    idempotency_key: str | None = idempotency_key()
    client_id: str | None = client_id()
    client_mutation_id: str | None = None


@strawberry.type(description="What the macro did.")
class ApplyMacroPayload(Payload):
    ticket: Ticket | None = None
    comment: Comment | None = None
    end_session_outcome: EndOutcome | None = None


@strawberry.input(description="Replace the text of a comment for ever.")
class RedactCommentInput:
    comment_id: ID
    client_id: str | None = client_id()
    client_mutation_id: str | None = None


@strawberry.type(description="The comment as it reads now.")
class RedactCommentPayload(Payload):
    comment: Comment | None = None


@strawberry.type(description="The availability after the call.")
class SetAvailabilityPayload(Payload):
    availability: Availability | None = None


@strawberry.input(description="Tell the other side that one is writing. Nothing is stored.")
class SendTypingInput:
    ticket_id: ID | None = strawberry.field(default=None, description="For agents.")
    conversation_id: ID | None = strawberry.field(default=None, description="For customers.")
    client_mutation_id: str | None = None


@strawberry.type(description="Whether the signal went anywhere: after the end of a session it does not.")
class SendTypingPayload(Payload):
    delivered: bool = False


@strawberry.input(description="Note how far one has read.")
class MarkReadInput:
    message_id: ID = strawberry.field(description="The last message (customers) or comment (agents) that was read.")
    client_mutation_id: str | None = None


@strawberry.type(description="The mark was noted.")
class MarkReadPayload(Payload):
    marked: bool = False


@strawberry.input(description="Revoke a token.")
class RevokeTokenInput:
    token_id: ID
    client_mutation_id: str | None = None


@strawberry.type(description="The token is worth nothing now, and its sockets close.")
class RevokeTokenPayload(Payload):
    revoked: bool = False


def given(**values: object) -> dict[str, object]:
    """The arguments that were given at all."""
    return {name: value for name, value in values.items() if value is not UNSET}
