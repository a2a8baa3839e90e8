"""Readers of the event log: whoever acts on facts after their commit, with a stored position.

A reader deals with whole updates (all events of one audit) in the order of their commits. Its position moves after
what it did, so a crash in between makes it meet an update twice: what it does must be safe to repeat.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from dataclasses import dataclass
from itertools import groupby
from uuid import UUID

from tortoise.expressions import F, Subquery
from tortoise.transactions import in_transaction

from domain.transactions import shielded
from models import Account, ActorKind, Event, LogReader
from models.database import WRITER

BATCH = 200


@dataclass(frozen=True, slots=True)
class Update:
    """The facts of one committed transaction, in order."""

    account_id: UUID
    audit_id: UUID
    events: tuple[Event, ...]

    @property
    def actor_kind(self) -> ActorKind:
        return self.events[0].actor_kind

    @property
    def actor_id(self) -> UUID | None:
        return self.events[0].actor_id

    @property
    def last_position(self) -> int:
        return int(self.events[-1].position)


Handle = Callable[[Update], Awaitable[None]]


async def lagging_accounts(name: str, among: Collection[UUID]) -> list[UUID]:
    """Those of the accounts whose log goes on past this reader's position."""
    if not among:
        return []
    done = LogReader.filter(name=name).annotate(head=F("account__last_position")).filter(position__gte=F("head"))
    behind = Account.filter(id__in=list(among), last_position__gt=0, id__not_in=Subquery(done.values("account_id")))
    return list(await behind.values_list("id", flat=True))  # type: ignore[arg-type]


async def start_at_head(name: str, account_id: UUID) -> None:
    """Let a reader that had nothing to do so far begin now: what happened before is not its business.

    Called inside the unit of work that gives it something to do.
    """
    account = await Account.get(id=account_id)
    reader, _ = await LogReader.get_or_create(account_id=account_id, name=name)
    await LogReader.filter(id=reader.id).update(position=account.last_position)


async def read_updates(name: str, account_id: UUID, handle: Handle) -> int:
    """Let `handle` deal with every update past the reader's position. Returns how many there were.

    What `handle` raises is passed on; the updates before it count as dealt with.
    """
    reader, _ = await LogReader.get_or_create(account_id=account_id, name=name)
    count = 0
    async for batch in _batches(account_id, reader.position):
        done = reader.position
        try:
            for update in batch:
                await handle(update)
                done = update.last_position
                count += 1
        finally:
            await shielded(_move(reader, done))
        reader.position = done
    return count


async def _move(reader: LogReader, position: int) -> None:
    """Only ever forward: another process may read the same log. In a transaction of its own, beside all others."""
    async with in_transaction(WRITER):
        await LogReader.filter(id=reader.id, position__lt=position).update(position=position)


async def _batches(account_id: UUID, position: int) -> AsyncIterator[list[Update]]:
    while rows := await Event.filter(account_id=account_id, position__gt=position).order_by("position").limit(BATCH):
        if len(rows) == BATCH:  # the rest of the last update
            last = rows[-1]
            rest = Event.filter(account_id=account_id, audit_id=last.audit_id, position__gt=last.position)
            rows += await rest.order_by("position")
        updates = [
            Update(account_id, audit_id, tuple(events))
            for audit_id, events in groupby(rows, key=lambda row: row.audit_id)
        ]
        position = rows[-1].position
        yield updates
