"""API tokens."""

from __future__ import annotations

from domain.people import revoke_token
from domain.tokens import create_api_token, tokens_page
from resolvers.answers import answering, staff
from schema.context import Info
from schema.ids import decode_id, decode_optional
from schema.paging import Connection, check_first, decode_moment, keyset_page
from schema.tokens import (
    ApiToken,
    CreateApiTokenInput,
    CreateApiTokenPayload,
    RevokeApiTokenInput,
    RevokeApiTokenPayload,
)


async def tokens(info: Info, first: int, after: str | None = None) -> Connection[ApiToken]:
    rows = await tokens_page(staff(info), check_first(first), decode_moment(after))
    return keyset_page(rows, first, after=after is not None, key=lambda row: (row.created_at, row.id), node=ApiToken.of)


@answering(CreateApiTokenPayload)
async def resolve_create_api_token(info: Info, input: CreateApiTokenInput) -> CreateApiTokenPayload:
    token_id, secret = await create_api_token(
        info.context.call(idempotency_key=input.idempotency_key),
        name=input.name,
        days=input.expires_in_days,
        user_id=decode_optional("User", input.user_id, field="userId"),
    )
    row = await info.context.loaders.tokens.load(token_id)
    return CreateApiTokenPayload(api_token=ApiToken.of(row) if row else None, secret=secret)


@answering(RevokeApiTokenPayload)
async def resolve_revoke_api_token(info: Info, input: RevokeApiTokenInput) -> RevokeApiTokenPayload:
    token_id = decode_id("Token", input.token_id, field="tokenId")
    await revoke_token(info.context.call(client_id=input.client_id), token_id)
    row = await info.context.loaders.tokens.load(token_id)
    return RevokeApiTokenPayload(api_token=ApiToken.of(row) if row else None)
