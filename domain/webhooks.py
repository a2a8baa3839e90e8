"""Webhooks: registering an address, queueing what it is told, and the state of each delivery."""

from __future__ import annotations

import random
import secrets
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeVar
from urllib.parse import urlsplit
from uuid import UUID

from tortoise.connection import get_connection

from domain.actors import Actor, system
from domain.errors import BusyRetry, Forbidden, InvalidInput
from domain.keyset import beyond
from domain.locks import confirm_actor
from domain.transactions import Call, Transaction, unit_of_work
from models import Bot, DeliveryState, Event, EventType, OutboundCall, Permission, Ticket, Visibility, Webhook, new_id
from models.database import READER

T = TypeVar("T")

MOST_ATTEMPTS = 8
LONGEST_URL = 2000
FIRST_PAUSE = timedelta(seconds=5)
"""After the first failure; each further one makes it three times as long. All attempts span an hour and a half."""
LEASE = timedelta(seconds=60)
"""How long an attempt belongs to the process that makes it. Then it counts as failed, and another may try."""


@dataclass(frozen=True, slots=True)
class CreatedWebhook:
    """The verdict of `create_webhook`. The secret is told this once."""

    webhook_id: UUID
    secret: str


@dataclass(frozen=True, slots=True)
class DueCall:
    """One attempt that is ours to make. `attempt` counts from 1."""

    id: UUID
    account_id: UUID
    key: str
    url: str
    secret: str
    body: dict[str, Any]
    attempt: int
    to_webhook: bool


def check_can_manage_webhooks(actor: Actor) -> None:
    """Raises Forbidden."""
    if actor.is_customer or not actor.may(Permission.MANAGE_TRIGGERS):
        raise Forbidden("Only admins and roles with the right to manage triggers may do this.")


async def create_webhook(call: Call, *, url: str, event_types: Iterable[EventType] = ()) -> CreatedWebhook:
    """Register an address that triggers can notify. Raises Forbidden, InvalidInput.

    `event_types` are the facts that it is told of; none means all.
    """
    check_url(url)
    types = sorted({type.value for type in event_types})

    async def work(tx: Transaction) -> CreatedWebhook:
        check_can_manage_webhooks(await confirm_actor(tx))
        secret = f"whsec_{secrets.token_urlsafe(32)}"
        webhook = await Webhook.create(
            id=new_id(), account_id=tx.account_id, url=url, event_types=types, secret=secret, created_at=tx.now
        )
        # Only the host: a path may hold what only the two sides shall know.
        host = {"field": "host", "from": None, "to": urlsplit(url).hostname}
        await tx.log("WEBHOOK_CREATED", f"Webhook {webhook.id}", [host])
        return CreatedWebhook(webhook.id, secret)

    return await unit_of_work(call, work)


def check_url(url: str) -> None:
    """Raises InvalidInput unless this is the address of something that speaks HTTP."""
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good or len(url) > LONGEST_URL or not url.isascii() or any(char <= " " for char in url):
        raise InvalidInput(
            f"A webhook has an http or https address of at most {LONGEST_URL} characters.", field=("url",)
        )
    if parts.username is not None or parts.password is not None:
        raise InvalidInput("Leave user and password out: deliveries are signed instead.", field=("url",))


async def webhooks_page(actor: Actor, first: int, after: tuple[datetime, UUID] | None) -> list[Webhook]:
    """Up to first + 1 webhooks, the oldest first. Raises Forbidden."""
    check_can_manage_webhooks(actor)
    mine = Webhook.filter(account_id=actor.account_id).filter(beyond("created_at", after, descending=False))
    return await mine.order_by("created_at", "id").limit(first + 1)


async def notify_webhook(tx: Transaction, webhook: Webhook, ticket: Ticket, events: Iterable[Event]) -> None:
    """Queue a call that tells a webhook of an update, once however many triggers want it to.

    It is told ids and facts, never what somebody wrote, and nothing of internal notes (R164).
    """
    told = [event for event in events if _may_tell(webhook, event)]
    if not told:
        return
    key = f"{webhook.id.hex}:{told[0].audit_id.hex}"
    if await OutboundCall.exists(account_id=tx.account_id, key=key):
        return
    await OutboundCall.create(
        id=new_id(),
        account_id=tx.account_id,
        webhook_id=webhook.id,
        key=key,
        body=_body(ticket, told),
        next_attempt_at=tx.now,
        created_at=tx.now,
    )


def _may_tell(webhook: Webhook, event: Event) -> bool:
    if event.payload.get("visibility") == Visibility.INTERNAL:
        return False
    return not webhook.event_types or event.type.value in webhook.event_types


def _body(ticket: Ticket, events: list[Event]) -> dict[str, Any]:
    return {
        "eventId": str(events[0].id),
        "auditId": str(events[0].audit_id),
        "ticket": {"id": str(ticket.id), "number": ticket.number, "status": ticket.status.value},
        "events": [
            {
                "id": str(event.id),
                "type": event.type.value,
                "sequence": event.ticket_sequence,
                "occurredAt": event.occurred_at.isoformat(),
                "actorKind": event.actor_kind.value,
            }
            for event in events
        ],
    }


async def claim_due_calls(clock: Callable[[], datetime], most: int) -> list[DueCall]:
    """Up to so many calls that are due, each claimed by us alone. Those whose receiver is gone fail here."""
    due = OutboundCall.filter(state=DeliveryState.PENDING, next_attempt_at__lte=clock())
    claimed = []
    for row in await due.order_by("next_attempt_at", "id").limit(most):
        with suppress(BusyRetry):  # it is still due next time
            claimed.append(await _in_transaction(row.account_id, clock, partial(_claim, call_id=row.id)))
    return [call for call in claimed if call is not None]


async def _claim(tx: Transaction, call_id: UUID) -> DueCall | None:
    row = await OutboundCall.filter(id=call_id, state=DeliveryState.PENDING).select_for_update().get_or_none()
    if row is None or row.next_attempt_at > tx.now:
        return None  # another process has it
    row.attempts += 1
    row.next_attempt_at = tx.now + LEASE
    receiver = await _receiver(row)
    # An attempt too many: the process that made the last one died over it.
    if receiver is None or row.attempts > MOST_ATTEMPTS:
        row.attempts, row.state, row.finished_at = row.attempts - 1, DeliveryState.FAILED, tx.now
    await row.save()
    if row.state is DeliveryState.FAILED or receiver is None:
        return None
    url, secret = receiver
    return DueCall(row.id, row.account_id, row.key, url, secret, row.body, row.attempts, row.webhook_id is not None)


async def _receiver(row: OutboundCall) -> tuple[str, str] | None:
    """The address and the secret of whom a call is for, as they are now."""
    if row.webhook_id is not None:
        webhook = await Webhook.get_or_none(id=row.webhook_id, active=True)
        return (webhook.url, webhook.secret) if webhook else None
    bot = await Bot.get_or_none(id=row.bot_id) if row.bot_id else None
    return (bot.url, bot.secret) if bot and bot.url and bot.secret else None


async def finish_call(
    call: DueCall, code: int | None, clock: Callable[[], datetime], *, sent: bool, for_good: bool = False
) -> None:
    """Note what became of an attempt; `code` is what the receiver answered, if it did.

    A failed one is made again later, unless it was the last or failed `for_good`.
    """

    async def work(tx: Transaction) -> None:
        row = await OutboundCall.filter(id=call.id, state=DeliveryState.PENDING).select_for_update().get_or_none()
        if row is None or row.attempts != call.attempt:
            return  # it took so long that another attempt was begun: what that one comes to counts
        row.response_code = code
        if sent or for_good or call.attempt >= MOST_ATTEMPTS:
            row.state, row.finished_at = DeliveryState.SENT if sent else DeliveryState.FAILED, tx.now
        else:
            row.next_attempt_at = tx.now + pause_after(call.attempt)
        await row.save()

    await _in_transaction(call.account_id, clock, work)


def pause_after(attempt: int) -> timedelta:
    """How long to wait after a failed attempt: three times as long as before, give or take a fifth."""
    return FIRST_PAUSE * float(3 ** (attempt - 1)) * random.uniform(0.8, 1.2)


async def _in_transaction(
    account_id: UUID, clock: Callable[[], datetime], work: Callable[[Transaction], Awaitable[T]]
) -> T:
    return await unit_of_work(Call(system(account_id), clock=clock), work)


async def last_deliveries(account_id: UUID, webhook_ids: list[UUID], most: int) -> list[OutboundCall]:
    """The newest calls of each of these webhooks, up to so many of each, in the order of time."""
    connection = get_connection(READER)
    mark = "?" if connection.capabilities.dialect == "sqlite" else "%s"
    marks = ", ".join([mark] * len(webhook_ids))
    statement = (
        "SELECT id FROM (SELECT id, ROW_NUMBER() OVER (PARTITION BY webhook_id ORDER BY created_at DESC, id DESC)"  # noqa: S608  # marks only
        f" AS place FROM outbound_calls WHERE account_id = {mark} AND webhook_id IN ({marks})) AS placed"
        f" WHERE place <= {mark}"
    )
    values = [str(account_id), *map(str, webhook_ids), most]
    rows = await connection.execute_query_dict(statement, values)
    return await OutboundCall.filter(id__in=[UUID(str(row["id"])) for row in rows]).order_by("created_at", "id")
