"""What subscriptions deliver. Every item carries the cursor that resumes after it."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import strawberry
from strawberry import ID

from schema.customers import Conversation, Message, MessageAuthorKind, Survey
from schema.events import TicketEvent
from schema.tickets import Ticket


@strawberry.enum(description="What happened to a row of the list. ADDED may repeat a row.")
class InboxChange(StrEnum):
    ADDED = "ADDED"
    UPDATED = "UPDATED"
    REMOVED = "REMOVED"


@strawberry.enum(description="What the other side is doing.")
class SignalKind(StrEnum):
    TYPING = "TYPING"
    READ = "READ"


@strawberry.type(description="A session ended.")
class SessionEnded:
    cursor: str
    client_id: str | None
    event: TicketEvent
    ticket: Ticket


@strawberry.type(description="A ticket was created.")
class TicketCreated:
    cursor: str
    client_id: str | None
    ticket: Ticket


@strawberry.type(description="Something happened on a ticket.")
class TicketActivity:
    cursor: str
    client_id: str | None
    event: TicketEvent
    ticket: Ticket


@strawberry.type(description="A row entered, changed or left a list.")
class InboxItem:
    cursor: str
    client_id: str | None
    change: InboxChange
    ticket_id: ID
    ticket: Ticket | None = strawberry.field(description="Null when the row was removed.")


@strawberry.type(description="A message for the customer, or one that he sent from another device.")
class MessageReceived:
    cursor: str
    conversation: Conversation
    message: Message | None
    survey: Survey | None


@strawberry.type(description="Something ephemeral: best effort, never replayed.")
class ConversationSignal:
    kind: SignalKind
    side: MessageAuthorKind
    at: datetime
