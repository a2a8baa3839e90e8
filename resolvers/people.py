"""Who is asking, and who else works here."""

from __future__ import annotations

from domain.directory import account_of, agents_page, groups_page, roles_of, user_of
from domain.people import revoke_token
from resolvers.answers import answering, staff
from schema.context import Info
from schema.ids import decode_id, encode_id
from schema.paging import Connection, check_first, decode_name, keyset_page
from schema.payloads import RevokeTokenInput, RevokeTokenPayload
from schema.people import Account, Agent, Group, Role, User, Viewer


async def viewer(info: Info) -> Viewer:
    actor = info.context.actor
    user = await user_of(actor)
    return Viewer(
        token_id=encode_id("Token", actor.token_id) if actor.token_id else None,
        user=User.of(user),
        row=user,
        account=Account.of(await account_of(actor)),
        permissions=sorted(actor.access.permissions),
    )


async def agents(
    info: Info, first: int, after: str | None = None, active: bool = True, partners: bool = False
) -> Connection[Agent]:
    rows = await agents_page(staff(info), check_first(first), decode_name(after), active=active, partners=partners)
    return keyset_page(rows, first, after=after is not None, key=lambda row: (row.name, row.id), node=Agent.of)


async def groups(info: Info, first: int, after: str | None = None) -> Connection[Group]:
    rows = await groups_page(staff(info), check_first(first), decode_name(after))
    return keyset_page(rows, first, after=after is not None, key=lambda row: (row.name, row.id), node=Group.of)


async def roles(info: Info) -> list[Role]:
    return [Role.of(row) for row in await roles_of(staff(info))]


async def sync_cursor(info: Info) -> str:
    return await info.context.feeds.sync_cursor(info.context.actor)


@answering(RevokeTokenPayload)
async def resolve_revoke_token(info: Info, input: RevokeTokenInput) -> RevokeTokenPayload:
    await revoke_token(info.context.call(), decode_id("Token", input.token_id, field="tokenId"))
    return RevokeTokenPayload(revoked=True)
