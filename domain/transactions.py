"""The unit of work: one transaction, one audit, its events, and the bell after the commit.

Cancelling a task inside a Tortoise transaction loses the connection for ever, and GraphQL servers do cancel.
So every unit of work runs in a task of its own, which nobody cancels, and is awaited to its end.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, TypeVar
from uuid import UUID

from tortoise.exceptions import IntegrityError
from tortoise.transactions import in_transaction

from domain.actors import Actor
from domain.capacity import Booking, may_take_slots, reason_from, settle
from domain.errors import BusyRetry, InvalidInput
from domain.failpoints import pass_through
from domain.withdrawal import withdraw
from models import (
    Account,
    AccountSettings,
    Audit,
    AuditLogEntry,
    Event,
    EventType,
    Offer,
    Ticket,
    new_id,
    utc_now,
)
from models.database import WRITER, inside_transaction, is_contention, share

T = TypeVar("T")

ATTEMPTS = 6
LONGEST_CLIENT_ID = 200

# Called after every commit that wrote events, with the account and its new position. Filled by `deskwire`;
# it must return at once and never raise, and losing a call must cost nothing but time.
Announce = Callable[[UUID, int], None]


def _say_nothing(account_id: UUID, position: int) -> None:
    return


_announce: Announce = _say_nothing


def announce_to(announce: Announce | None) -> None:
    """Say where the bell hangs. One per process."""
    global _announce
    _announce = announce or _say_nothing


@dataclass(frozen=True, slots=True)
class Call:
    """Who calls a verb, and with which marks.

    `client_id` is echoed in the events, so that the client that caused them can skip its own echo (R162);
    `idempotency_key` makes the call take effect once (R37); `clock` is the time, for tests.
    """

    actor: Actor
    client_id: str | None = None
    idempotency_key: str | None = None
    clock: Callable[[], datetime] = utc_now

    def __post_init__(self) -> None:
        if self.client_id is not None and not 0 < len(self.client_id) <= LONGEST_CLIENT_ID:
            raise InvalidInput(f"A client id has 1 to {LONGEST_CLIENT_ID} characters.", field=("clientId",))


class Transaction:
    """What one unit of work has changed so far. Verbs record facts on it; the facts are stored when it commits."""

    def __init__(self, call: Call) -> None:
        self.call = call
        self.actor = call.actor
        self.account_id = call.actor.account_id
        self.audit_id = new_id()
        self.settings: AccountSettings | None = None
        self._events: list[Event] = []
        self._tickets: dict[UUID, Ticket] = {}
        self._before: dict[UUID, dict[str, Any] | None] = {}

    @cached_property
    def now(self) -> datetime:
        """The moment of this unit of work. First asked for when the locks are held, so it follows their order."""
        return self.call.clock()

    async def hold_settings(self) -> AccountSettings:
        """The account's settings, held against changes until the commit. Before other locks, where that is possible."""
        if self.settings is None:
            await share(AccountSettings, "account_id", self.account_id)
            self.settings = await AccountSettings.get(account_id=self.account_id)
        return self.settings

    def follow(self, ticket: Ticket, *, created: bool = False) -> None:
        """Save this locked (or new) ticket at the end, if a fact about it was recorded."""
        self._tickets[ticket.id] = ticket
        self._before[ticket.id] = None if created else attributes_of(ticket)

    def record(
        self,
        type: EventType,
        *,
        ticket: Ticket | None = None,
        conversation_id: UUID | None = None,
        session_id: UUID | None = None,
        comment_id: UUID | None = None,
        by: Actor | None = None,
        **payload: Any,
    ) -> Event:
        """Note a fact. Its ticket must be followed, hence locked: the sequence is taken here.

        `by` is who did this one fact, where it is not who did the update (R52). The audit names the latter; his own
        fact comes first.
        """
        by = by or self.actor
        if ticket is not None:
            ticket.last_sequence += 1
            conversation_id = conversation_id or ticket.conversation_id
        event = Event(
            id=new_id(),
            account_id=self.account_id,
            audit_id=self.audit_id,
            type=type,
            actor_kind=by.kind,
            actor_id=by.id,
            client_id=self.call.client_id,
            ticket_id=ticket.id if ticket else None,
            ticket_sequence=ticket.last_sequence if ticket else None,
            conversation_id=conversation_id,
            session_id=session_id,
            comment_id=comment_id,
            payload=payload,
        )
        self._events.append(event)
        return event

    async def log(self, action: str, target: str, changes: list[dict[str, Any]]) -> None:
        """Write a line into the account's own log."""
        await AuditLogEntry.create(
            account_id=self.account_id,
            at=self.now,
            actor_kind=self.actor.kind,
            actor_id=self.actor.id,
            action=action,
            target=target,
            changes=changes,
        )

    async def store(self) -> int | None:
        """Save tickets, audit and events. Takes the account's position: the last lock of the transaction."""
        if not self._events:
            return None
        await self._close_offers()
        await self._settle_capacity()
        await self._save_tickets()
        last = await _take_positions(self.account_id, len(self._events))
        await pass_through("after_position_lock")
        await Audit.create(
            id=self.audit_id,
            account_id=self.account_id,
            actor_kind=self.actor.kind,
            actor_id=self.actor.id,
            created_at=self.now,
        )
        for position, event in enumerate(self._events, start=last - len(self._events) + 1):
            event.position = position
            event.occurred_at = self.now
            if event.ticket_id is not None:
                event.ticket_before = self._before[event.ticket_id]
                event.ticket_after = attributes_of(self._tickets[event.ticket_id])
        await Event.bulk_create(self._events)
        return last

    def _touched(self) -> list[Ticket]:
        return [self._tickets[each] for each in sorted({event.ticket_id for event in self._events if event.ticket_id})]

    async def _close_offers(self) -> None:
        """An offer was made for a ticket as it was: of this group, on this channel, without an owner (R44)."""
        changed = [event.ticket_id for event in self._events if event.ticket_id and event.type in _END_OFFERS]
        if changed:
            await withdraw(Offer.filter(ticket_id__in=changed), self.now)

    async def _settle_capacity(self) -> None:
        """Book what the update changed of agents' work. The one place where counts change (R96)."""
        tickets = may_take_slots(self._touched())
        if tickets:
            reasons = {
                ticket.id: reason_from(event for event in self._events if event.ticket_id == ticket.id)
                for ticket in tickets
            }
            booking = Booking(self.account_id, self.audit_id, self.now)
            await settle(booking, await self.hold_settings(), tickets, reasons)

    async def _save_tickets(self) -> None:
        for ticket in self._touched():
            ticket.version += 1
            ticket.updated_at = self.now
            await ticket.save()


_END_OFFERS = (
    EventType.TICKET_FIELD_CHANGED,
    EventType.ROUTING_CHANNEL_CHANGED,
    EventType.MESSAGING_SESSION_ENDED,
    EventType.TICKET_DELETED,
    EventType.TICKET_MERGED,
)


def attributes_of(ticket: Ticket) -> dict[str, Any]:
    """What decides who may see a ticket and which lists hold it, as an event keeps it."""
    identifiers = ("requester_id", "group_id", "organization_id", "assignee_id")
    kept: dict[str, Any] = {
        name: str(value) if (value := getattr(ticket, name)) is not None else None for name in identifiers
    }
    kept |= {"status": ticket.status.value, "channel": ticket.channel.value, "tags": list(ticket.tags)}
    return kept | {"deleted": ticket.deleted_at is not None}


async def _take_positions(account_id: UUID, count: int) -> int:
    connection = Account._meta.db
    mark = "?" if connection.capabilities.dialect == "sqlite" else "%s"
    rows = await connection.execute_query_dict(
        f"UPDATE accounts SET last_position = last_position + {mark} WHERE id = {mark} RETURNING last_position",  # noqa: S608
        [count, str(account_id)],
    )
    return int(rows[0]["last_position"])


async def unit_of_work(call: Call, work: Callable[[Transaction], Awaitable[T]]) -> T:
    """Run `work` in a transaction of its own, store its facts, commit, ring the bell.

    Deadlocks and the like are tried again from the start; when that does not help, BusyRetry, and nothing happened.
    """
    return await shielded(_tried_again(call, work))


async def _tried_again(call: Call, work: Callable[[Transaction], Awaitable[T]]) -> T:
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return await _once(call, work)
        except Exception as error:
            # A broken constraint means that somebody was faster with the same key: the next try sees what he did.
            if not (is_contention(error) or isinstance(error, IntegrityError)):
                raise
            if attempt == ATTEMPTS:
                if isinstance(error, IntegrityError):
                    raise
                raise BusyRetry from error
        await asyncio.sleep(random.uniform(0, 0.02 * 2**attempt))
    raise AssertionError("unreachable")


async def _once(call: Call, work: Callable[[Transaction], Awaitable[T]]) -> T:
    transaction = Transaction(call)
    mark = inside_transaction.set(True)
    try:
        async with in_transaction(WRITER):
            result = await work(transaction)
            position = await transaction.store()
            await pass_through("before_commit")
    finally:
        inside_transaction.reset(mark)
    await pass_through("after_commit")
    if position is not None:
        _announce(transaction.account_id, position)
    return result


async def shielded(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end in a task of its own, even when the caller is cancelled; only then pass the cancellation on."""
    task = asyncio.create_task(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        if not task.cancelled():
            task.exception()  # looked at, so that asyncio does not complain that nobody did
        raise cancelled
    return task.result()
