"""What becomes of tickets: merged into others, deleted, restored."""

from __future__ import annotations

from datetime import datetime

import strawberry
from strawberry import ID

import models
from schema.context import Info
from schema.ids import encode_id
from schema.payloads import Payload, client_id, idempotency_key
from schema.people import User
from schema.tickets import Ticket


@strawberry.input(description="Merge a ticket into another one of the same requester.")
class MergeTicketsInput:
    source_id: ID = strawberry.field(description="It is closed, and its history is read from the target.")
    target_id: ID
    end_session: bool = strawberry.field(
        default=False, description="End a live session of the source; without this it refuses with SESSION_LIVE."
    )
    idempotency_key: str | None = idempotency_key()
    client_id: str | None = client_id()
    client_mutation_id: str | None = None


@strawberry.type(description="Both tickets after the merge.")
class MergeTicketsPayload(Payload):
    source: Ticket | None = None
    target: Ticket | None = None


@strawberry.input(description="Delete a ticket: nobody sees it until it is restored. A live session ends.")
class DeleteTicketInput:
    ticket_id: ID
    idempotency_key: str | None = idempotency_key()
    client_id: str | None = client_id()
    client_mutation_id: str | None = None


@strawberry.type(description="Which ticket is gone.")
class DeleteTicketPayload(Payload):
    deleted_ticket_id: ID | None = None


@strawberry.input(description="Restore a deleted ticket. Its session stays ended.")
class RestoreTicketInput:
    ticket_id: ID
    idempotency_key: str | None = idempotency_key()
    client_id: str | None = client_id()
    client_mutation_id: str | None = None


@strawberry.type(description="The ticket, which is back.")
class RestoreTicketPayload(Payload):
    ticket: Ticket | None = None


@strawberry.type(description="A ticket that was deleted. Its id is that of the ticket: restore it to see more.")
class DeletedTicket:
    id: ID
    row: strawberry.Private[models.Ticket]
    number: int
    subject: str
    deleted_at: datetime

    @classmethod
    def of(cls, row: models.Ticket) -> DeletedTicket:
        assert row.deleted_at is not None
        return cls(
            id=encode_id("Ticket", row.id), row=row, number=row.number, subject=row.subject, deleted_at=row.deleted_at
        )

    @strawberry.field(description="The customer.")
    async def requester(self, info: Info) -> User:
        user = await info.context.loaders.users.load(self.row.requester_id)
        assert user is not None, "a ticket names a requester who is gone"
        return User.of(user)
