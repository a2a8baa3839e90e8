"""What happens by the clock alone: inactivity, the closing of solved tickets, housekeeping (R132, R136).

Each is a pass: it asks the tables what is due, and each thing asks again under its locks. So two processes may run
the same pass at the same moment, and the next pass takes up what one that was cut off has left.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from uuid import UUID

from tortoise.queryset import QuerySet
from tortoise.transactions import in_transaction

from domain.actors import system
from domain.bots import Held, hand_over, unanswered_since
from domain.control import HandOffReason
from domain.idempotency import KEPT_FOR
from domain.lifecycle import close_if_solved
from domain.locks import lock_session, lock_ticket_of, lock_user
from domain.passes import each
from domain.tickets import make_inactive
from domain.transactions import Call, Transaction, shielded, unit_of_work
from models import (
    AccountSettings,
    IdempotencyRecord,
    InactiveReason,
    MessagingSession,
    OutboundCall,
    SessionState,
    Ticket,
    TicketStatus,
    Token,
    utc_now,
)
from models.database import WRITER

log = logging.getLogger("deskwire.timers")

CALLS_KEPT_FOR = timedelta(days=30)
TOKENS_KEPT_FOR = timedelta(days=30)

Clock = Callable[[], datetime]
IsDue = Callable[[MessagingSession, datetime], bool]


async def expire_sessions(clock: Clock = utc_now) -> int:
    """A pass: sessions whose customer was silent for too long become inactive, in the order of their timers."""
    due = MessagingSession.filter(state=SessionState.ACTIVE, due_at__lte=clock()).order_by("due_at", "id")

    async def act(item: tuple[UUID, UUID]) -> bool:
        session_id, account_id = item
        return await expire(Call(system(account_id), clock=clock), session_id, InactiveReason.NO_REPLY, _is_overdue)

    return await each(log, [(row[0], row[1]) for row in await due.values_list("id", "account_id")], act)


def _is_overdue(session: MessagingSession, now: datetime) -> bool:
    return session.due_at is not None and session.due_at <= now


async def expire(call: Call, session_id: UUID, reason: InactiveReason, is_due: IsDue) -> bool:
    """ACTIVE → INACTIVE, if that is still due under the locks. Returns whether it was.

    A customer who waits for a silent bot is given to people first: nobody looks after a bot's inactive session.
    """

    async def work(tx: Transaction) -> bool:
        await tx.hold_settings()
        found = await MessagingSession.get_or_none(id=session_id, account_id=tx.account_id)
        if found is None:
            return False
        customer = await lock_user(tx, found.end_user_id)
        session = await lock_session(tx, found.conversation_id)
        if session is None or session.state is not SessionState.ACTIVE or not is_due(session, tx.now):
            return False
        ticket = await lock_ticket_of(tx, session.conversation_id)
        if session.with_bot and await unanswered_since(session) is not None:
            ticket, _ = await hand_over(tx, Held(customer, session, ticket), HandOffReason.BOT_SILENT)
        await make_inactive(tx, session, ticket, reason)
        return True

    return await unit_of_work(call, work)


async def close_solved_tickets(clock: Clock = utc_now) -> int:
    """A pass: tickets that are solved for `close_solved_after_days` are closed for good. None: never."""
    count = 0
    for settings in await AccountSettings.filter(close_solved_after_days__isnull=False):
        assert settings.close_solved_after_days is not None
        solved_by = clock() - timedelta(days=settings.close_solved_after_days)
        call = Call(system(settings.account_id), clock=clock)

        async def act(ticket_id: UUID, call: Call = call, solved_by: datetime = solved_by) -> bool:
            return await close_if_solved(call, ticket_id, since=solved_by)

        solved = Ticket.filter(account_id=settings.account_id, status=TicketStatus.SOLVED, deleted_at=None)
        old = solved.filter(status_changed_at__lte=solved_by).order_by("status_changed_at", "id")
        count += await each(log, await old.values_list("id", flat=True), act)  # type: ignore[arg-type]  # typed as rows
    return count


async def purge_expired(clock: Clock = utc_now) -> int:
    """A pass: verdicts of old calls and long expired tokens are forgotten. Returns how many rows.

    (Presences of dead processes are more than litter; `sweep_presence` deals with them.)
    """
    verdicts = IdempotencyRecord.filter(created_at__lt=clock() - KEPT_FOR)
    tokens = Token.filter(expires_at__lt=clock() - TOKENS_KEPT_FOR)
    # Their bodies hold what customers wrote to bots.
    calls = OutboundCall.filter(finished_at__lt=clock() - CALLS_KEPT_FOR)
    return sum([await shielded(_delete(rows)) for rows in (verdicts, tokens, calls)])


async def _delete(rows: QuerySet[IdempotencyRecord] | QuerySet[Token] | QuerySet[OutboundCall]) -> int:
    async with in_transaction(WRITER):
        return await rows.delete()
