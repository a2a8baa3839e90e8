"""A mutation with an idempotency key takes effect once; its verdict is stored in its own transaction (R37).

What is stored is the verdict (the outcome, and which rows it concerns), not the rows: a retry learns what its first
call did, and reads the rows as they are now.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import fields
from datetime import timedelta
from typing import Any, TypeVar, get_type_hints
from uuid import UUID

import orjson

from domain.errors import IdempotencyConflict, InvalidInput, Refusal
from domain.transactions import Call, Transaction, unit_of_work
from models import IdempotencyRecord

KEPT_FOR = timedelta(hours=72)
LONGEST_KEY = 200

V = TypeVar("V")


async def once(
    call: Call,
    operation: str,
    inputs: dict[str, Any],
    verdict: type[V],
    work: Callable[[Transaction], Awaitable[V]],
) -> V:
    """`unit_of_work`, once per (account, actor, key). `verdict` is a flat dataclass of UUIDs, strings and tuples."""
    if call.idempotency_key is None:
        return await unit_of_work(call, work)
    key = call.idempotency_key
    if not 0 < len(key) <= LONGEST_KEY:
        raise InvalidInput(f"An idempotency key has 1 to {LONGEST_KEY} characters.", field=("idempotencyKey",))
    digest = hashlib.sha256(orjson.dumps([operation, inputs], option=orjson.OPT_SORT_KEYS)).hexdigest()

    async def work_once(tx: Transaction) -> V:
        earlier = await _record(call, key)
        if earlier is not None and _counts(call, earlier, digest):
            return _restored(verdict, earlier.result)
        if earlier is not None:
            await earlier.delete()
        result = await work(tx)
        # Two calls with one key at the same moment: the second breaks the constraint here, is rolled back,
        # tried again, and finds the record of the first.
        await IdempotencyRecord.create(
            account_id=tx.account_id,
            actor_id=call.actor.id,  # who called, also where the unit of work goes on in a bot's name
            key=key,
            operation=operation,
            input_sha256=digest,
            result=orjson.loads(orjson.dumps(result)),
            created_at=tx.now,
        )
        return result

    try:
        return await unit_of_work(call, work_once)
    except Refusal:
        # The first call with this key may have ended after we looked for it: what it did is then what refuses us.
        earlier = await _record(call, key)
        if earlier is None or not _counts(call, earlier, digest):
            raise
        return _restored(verdict, earlier.result)


async def _record(call: Call, key: str) -> IdempotencyRecord | None:
    return await IdempotencyRecord.get_or_none(account_id=call.actor.account_id, actor_id=call.actor.id, key=key)


def _counts(call: Call, earlier: IdempotencyRecord, digest: str) -> bool:
    """Whether the key is still kept. Raises IdempotencyConflict when it was used with other input."""
    if earlier.created_at <= call.clock() - KEPT_FOR:
        return False
    if earlier.input_sha256 != digest:
        raise IdempotencyConflict(field=("idempotencyKey",))
    return True


def _restored(verdict: type[V], stored: dict[str, Any]) -> V:
    hints = get_type_hints(verdict)
    values: dict[str, Any] = {}
    for field in fields(verdict):  # type: ignore[arg-type]  # every verdict is a dataclass
        value = stored[field.name]
        if value is not None and hints[field.name] in (UUID, UUID | None):
            value = UUID(value)
        elif isinstance(value, list):
            value = tuple(value)
        values[field.name] = value
    return verdict(**values)
