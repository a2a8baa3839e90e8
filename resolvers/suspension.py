"""Suspending customers."""

from __future__ import annotations

from domain.suspension import ChangedSuspension, lift_suspension, suspend_user, suspended_messages_page
from resolvers.answers import answering, staff
from schema.context import Info
from schema.ids import decode_id
from schema.paging import Connection, check_first, decode_moment, keyset_page
from schema.people import User
from schema.suspension import LiftSuspensionInput, SuspendedMessage, SuspendUserInput, SuspensionPayload


async def suspended_messages(info: Info, first: int, after: str | None = None) -> Connection[SuspendedMessage]:
    rows = await suspended_messages_page(staff(info), check_first(first), decode_moment(after))
    return keyset_page(
        rows, first, after=after is not None, key=lambda row: (row.received_at, row.id), node=SuspendedMessage.of
    )


@answering(SuspensionPayload)
async def resolve_suspend_user(info: Info, input: SuspendUserInput) -> SuspensionPayload:
    call = info.context.call(client_id=input.client_id, idempotency_key=input.idempotency_key)
    return await _payload(info, await suspend_user(call, decode_id("User", input.user_id, field="userId"), input.scope))


@answering(SuspensionPayload)
async def resolve_lift_suspension(info: Info, input: LiftSuspensionInput) -> SuspensionPayload:
    call = info.context.call(client_id=input.client_id, idempotency_key=input.idempotency_key)
    return await _payload(info, await lift_suspension(call, decode_id("User", input.user_id, field="userId")))


async def _payload(info: Info, change: ChangedSuspension) -> SuspensionPayload:
    row = await info.context.loaders.users.load(change.user_id)
    return SuspensionPayload(user=User.of(row) if row else None, changed=change.changed)
