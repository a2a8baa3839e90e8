"""API tokens."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import strawberry
from strawberry import ID

import models
from domain.tokens import public_part, scopes_of
from models import Permission
from schema.context import Info
from schema.ids import encode_id
from schema.payloads import Payload, client_id, idempotency_key
from schema.people import Node, User


@strawberry.type(description="A bearer token, without its secret.")
class ApiToken(Node):
    user_id: strawberry.Private[UUID]
    name: str
    prefix: str = strawberry.field(description="How the token begins: to recognise it, not to use it.")
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None

    @classmethod
    def of(cls, row: models.Token) -> ApiToken:
        return cls(
            id=encode_id("Token", row.id),
            user_id=row.user_id,
            name=row.name,
            prefix=public_part(row),
            created_at=row.created_at,
            expires_at=row.expires_at,
            revoked_at=row.revoked_at,
        )

    @strawberry.field(description="Whose it is: what it may do is what he may do at that moment.")
    async def user(self, info: Info) -> User | None:
        row = await info.context.loaders.users.load(self.user_id)
        return User.of(row) if row else None

    @strawberry.field(description="What its user's role allows now.")
    async def scopes(self, info: Info) -> list[Permission]:
        loaders = info.context.loaders
        user = await loaders.users.load(self.user_id)
        role = await loaders.roles.load(user.role_id) if user and user.role_id else None
        return scopes_of(user, role) if user else []


@strawberry.input(description="Make a token, for oneself or for an integration partner.")
class CreateApiTokenInput:
    name: str = strawberry.field(description="What it is for.")
    user_id: ID | None = strawberry.field(default=None, description="A partner. Null makes it for oneself.")
    expires_in_days: int = strawberry.field(default=90, description="1 to 366.")
    idempotency_key: str | None = idempotency_key()
    client_mutation_id: str | None = None


@strawberry.type(description="The token that was made.")
class CreateApiTokenPayload(Payload):
    api_token: ApiToken | None = None
    secret: str | None = strawberry.field(
        default=None, description="The whole token, told this once: null when the call is repeated with its key."
    )


@strawberry.input(description="Make a token worthless and close its sockets.")
class RevokeApiTokenInput:
    token_id: ID
    client_id: str | None = client_id()
    client_mutation_id: str | None = None


@strawberry.type(description="The token as it is now.")
class RevokeApiTokenPayload(Payload):
    api_token: ApiToken | None = None
