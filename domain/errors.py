"""What the domain refuses, and how it says so.

    Refusal                  an expected answer: the state of affairs, with a stable code
    ├── NotFound             missing, or not accessible: the two look alike (R26)
    ├── Forbidden            visible, but not allowed
    ├── StaleVersion         somebody was faster; carries the ticket as it is now
    └── … one class for each state of affairs below

Everything else that is raised is a defect, is logged once and never shown.
"""

from __future__ import annotations

from enum import StrEnum
from uuid import UUID


class ErrorCode(StrEnum):
    """The codes of refusals. New ones may be added."""

    NOT_FOUND = "NOT_FOUND"
    FORBIDDEN = "FORBIDDEN"
    FEATURE_DISABLED = "FEATURE_DISABLED"
    NO_MESSAGING_SESSION = "NO_MESSAGING_SESSION"
    SESSION_ENDED = "SESSION_ENDED"
    NO_TICKET_YET = "NO_TICKET_YET"
    TICKET_CLOSED = "TICKET_CLOSED"
    CHANNEL_UNAVAILABLE = "CHANNEL_UNAVAILABLE"
    USER_SUSPENDED = "USER_SUSPENDED"
    SESSION_LIVE = "SESSION_LIVE"
    OFFER_CLOSED = "OFFER_CLOSED"
    STALE_VERSION = "STALE_VERSION"
    BUSY_RETRY = "BUSY_RETRY"
    CURSOR_EXPIRED = "CURSOR_EXPIRED"
    ACCESS_REVOKED = "ACCESS_REVOKED"
    SLOW_CONSUMER = "SLOW_CONSUMER"
    TOO_MANY_CONNECTIONS = "TOO_MANY_CONNECTIONS"
    IDEMPOTENCY_CONFLICT = "IDEMPOTENCY_CONFLICT"
    INVALID_INPUT = "INVALID_INPUT"
    INVALID_ID = "INVALID_ID"
    INVALID_CURSOR = "INVALID_CURSOR"
    UNAUTHENTICATED = "UNAUTHENTICATED"


class Refusal(Exception):
    """An expected "no". Nothing was written.

    `field` names the argument at fault as a path from the input object, for instance ("body",).
    """

    code: ErrorCode
    says = "This cannot be done."

    def __init__(self, message: str | None = None, *, field: tuple[str, ...] = ()) -> None:
        super().__init__(message or self.says)
        self.message = message or self.says
        self.field = field


class NotFound(Refusal):
    """Missing, or not accessible."""

    code = ErrorCode.NOT_FOUND
    says = "There is no such thing, or you may not see it."


class Forbidden(Refusal):
    """Visible, but not allowed."""

    code = ErrorCode.FORBIDDEN
    says = "Your role does not allow this. Ask an admin of your account."


class FeatureDisabled(Refusal):
    """Agents may not end sessions in this account."""

    code = ErrorCode.FEATURE_DISABLED
    says = "Ending sessions is switched off. An admin can switch it on under Channels > Messaging > Ending sessions."


class NoMessagingSession(Refusal):
    """The ticket did not come over messaging."""

    code = ErrorCode.NO_MESSAGING_SESSION
    says = "This ticket has no messaging session."


class SessionEnded(Refusal):
    """Nothing more can be said in this session."""

    code = ErrorCode.SESSION_ENDED
    says = "The messaging session of this conversation has ended. Use another channel or an internal note."


class NoTicketYet(Refusal):
    """A bot has the conversation alone (R42)."""

    code = ErrorCode.NO_TICKET_YET
    says = "A bot has this conversation alone, and there is no ticket yet. Only the bot or an admin may end it."


class TicketClosed(Refusal):
    """A closed ticket is history."""

    code = ErrorCode.TICKET_CLOSED
    says = "This ticket is closed and takes no changes."


class ChannelUnavailable(Refusal):
    """No address to reach the customer by, or the channel is off."""

    code = ErrorCode.CHANNEL_UNAVAILABLE
    says = "The customer cannot be reached over this channel."


class UserSuspended(Refusal):
    """The customer is suspended."""

    code = ErrorCode.USER_SUSPENDED
    says = "This customer is suspended and cannot be reached this way."


class SessionLive(Refusal):
    """Only possible when the session has ended."""

    code = ErrorCode.SESSION_LIVE
    says = "The messaging session of this ticket has not ended. End it first."


class OfferClosed(Refusal):
    """Somebody else has it, or it took too long."""

    code = ErrorCode.OFFER_CLOSED
    says = "This offer is no longer open."


class StaleVersion(Refusal):
    """Somebody changed it first. `ticket_id` names the ticket to show, if it is one."""

    code = ErrorCode.STALE_VERSION
    says = "This has changed since you read it. Read it again and repeat what still makes sense."

    def __init__(self, current: int, *, ticket_id: UUID | None = None) -> None:
        super().__init__(f"{self.says} It is at version {current} now.", field=("expectedVersion",))
        self.ticket_id = ticket_id


class BusyRetry(Refusal):
    """Tried again as often as makes sense, in vain."""

    code = ErrorCode.BUSY_RETRY
    says = "Too many changes at the same moment. Nothing was changed; try again."


class CursorExpired(Refusal):
    """The stream cannot be taken up from there."""

    code = ErrorCode.CURSOR_EXPIRED
    says = "This cursor can no longer be resumed from. Load the data afresh and subscribe with its syncCursor."


class AccessRevoked(Refusal):
    """Access was lost while streaming."""

    code = ErrorCode.ACCESS_REVOKED
    says = "You no longer have access."


class SlowConsumer(Refusal):
    """A stream was ended because its reader fell behind."""

    code = ErrorCode.SLOW_CONSUMER
    says = "You read more slowly than things happen. Subscribe again with the cursor in this error."

    def __init__(self, cursor: str) -> None:
        super().__init__()
        self.extensions = {"cursor": cursor}


class TooManyConnections(Refusal):
    """A person, an account or a process has as many live connections as it may have."""

    code = ErrorCode.TOO_MANY_CONNECTIONS
    says = "There are too many live connections. Try again later."


class IdempotencyConflict(Refusal):
    """One key, two different requests."""

    code = ErrorCode.IDEMPOTENCY_CONFLICT
    says = "This idempotency key was used with other input. Use a new key for a new request."


class InvalidInput(Refusal):
    """A value that cannot be taken; the message says which would."""

    code = ErrorCode.INVALID_INPUT


class FileTooLarge(InvalidInput):
    """More bytes than a file may have."""

    def __init__(self, most_bytes: int) -> None:
        super().__init__(f"A file may have {most_bytes:,} bytes. This one has more.", field=("file",))


class TooManyUploads(InvalidInput):
    """Uploads that are attached to nothing."""

    def __init__(self, count: int) -> None:
        super().__init__(f"{count} of your files are attached to nothing. Attach some, or wait until they expire.")


class InvalidId(Refusal):
    """Not an id, or one of another kind of thing."""

    code = ErrorCode.INVALID_ID
    says = "This is not an id of the expected kind. Use ids as the API returned them."


class InvalidCursor(Refusal):
    """Not a cursor of ours."""

    code = ErrorCode.INVALID_CURSOR
    says = "This is not a cursor that the API returned."


class Unauthenticated(Refusal):
    """Nobody whom we know."""

    code = ErrorCode.UNAUTHENTICATED
    says = "Send a valid token as 'Authorization: Bearer …'."
