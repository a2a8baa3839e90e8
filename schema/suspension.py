"""Suspending customers, and what they write meanwhile."""

from __future__ import annotations

from datetime import datetime

import strawberry
from strawberry import ID

import models
from models import Channel, Suspension
from schema.context import Info
from schema.ids import encode_id
from schema.payloads import Payload, client_id, idempotency_key
from schema.people import User


@strawberry.type(description="What a suspended customer wrote. It is in no conversation and no ticket.")
class SuspendedMessage:
    id: ID
    row: strawberry.Private[models.SuspendedMessage]
    channel: Channel
    body: str
    received_at: datetime

    @classmethod
    def of(cls, row: models.SuspendedMessage) -> SuspendedMessage:
        return cls(
            id=encode_id("SuspendedMessage", row.id),
            row=row,
            channel=row.channel,
            body=row.body,
            received_at=row.received_at,
        )

    @strawberry.field(description="Who wrote it.")
    async def user(self, info: Info) -> User:
        user = await info.context.loaders.users.load(self.row.end_user_id)
        assert user is not None, "a message names a customer who is gone"
        return User.of(user)


@strawberry.input(description="Suspend a customer. His live session ends; he is not told.")
class SuspendUserInput:
    user_id: ID
    scope: Suspension = strawberry.field(description="MESSAGING leaves e-mail and the help centre to him.")
    idempotency_key: str | None = idempotency_key()
    client_id: str | None = client_id()
    client_mutation_id: str | None = None


@strawberry.input(description="Lift the suspension of a customer. His ended session stays ended.")
class LiftSuspensionInput:
    user_id: ID
    idempotency_key: str | None = idempotency_key()
    client_id: str | None = client_id()
    client_mutation_id: str | None = None


@strawberry.type(description="The customer after the call.")
class SuspensionPayload(Payload):
    user: User | None = None
    changed: bool = strawberry.field(default=False, description="False when it was so before.")
