"""The timer of a session: when it becomes inactive unless its customer writes before (R132).

`due_at` is stored, so a timer survives a restart. Only the customer's messages move it (R135); it is None while the
session is inactive, and after the end.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

from domain.transactions import Transaction
from models import AccountSettings, MessagingSession, SessionState, Ticket

UNASSIGNED_MINUTES = 10

_LATER = {
    # The fraction of the second is kept as it is written; strftime would round it.
    "sqlite": "strftime('%Y-%m-%d %H:%M:%S', last_customer_message_at, ?) || substr(last_customer_message_at, 20)",
    "postgres": "last_customer_message_at + %s::interval",
}


def due_after(settings: AccountSettings, last_message_at: datetime, *, assigned: bool) -> datetime:
    """When a session becomes inactive. The account decides for those that somebody has; the others wait 10 minutes."""
    minutes = settings.inactive_after_minutes if assigned else UNASSIGNED_MINUTES
    return last_message_at + timedelta(minutes=minutes)


async def restart_timer(
    tx: Transaction, settings: AccountSettings, session: MessagingSession, ticket: Ticket | None
) -> None:
    """The customer wrote into his (locked, active) session."""
    session.last_customer_message_at = tx.now
    session.due_at = due_after(settings, tx.now, assigned=_is_assigned(ticket))
    if session.customer_left_at is not None:
        # Gone from his sockets, but he writes: his absence counts from this sign of life.
        session.customer_left_at = tx.now
    await session.save(update_fields=["last_customer_message_at", "due_at", "customer_left_at"])


async def move_timer(session: MessagingSession, ticket: Ticket) -> None:
    """Somebody got the ticket of a locked session, or nobody has it any more.

    The settings are read behind the lock of the session. `move_timers` locks the sessions before it reads who has
    them. So the later of the two sees what the other did.
    """
    if session.state is SessionState.ACTIVE:
        settings = await AccountSettings.get(account_id=session.account_id)
        session.due_at = due_after(settings, session.last_customer_message_at, assigned=_is_assigned(ticket))
        await session.save(update_fields=["due_at"])


async def move_timers(account_id: UUID, minutes: int) -> None:
    """The setting changed: set the timers of all sessions that somebody has. The settings are locked."""
    connection = MessagingSession._meta.db
    dialect = connection.capabilities.dialect
    mark, later = ("?", f"+{minutes} minutes") if dialect == "sqlite" else ("%s", f"{minutes} minutes")
    if dialect != "sqlite":
        # In a statement of its own: the next one then sees who has the tickets now that nobody can move them.
        locked = "SELECT id FROM messaging_sessions WHERE account_id = %s AND state = 'ACTIVE' ORDER BY id FOR UPDATE"
        await connection.execute_query(locked, [str(account_id)])
    await connection.execute_query(
        f"UPDATE messaging_sessions SET due_at = {_LATER[dialect]}"  # noqa: S608  # texts of ours
        f" WHERE account_id = {mark} AND state = 'ACTIVE' AND conversation_id IN"
        f" (SELECT conversation_id FROM tickets WHERE account_id = {mark} AND assignee_id IS NOT NULL)",
        [later, str(account_id), str(account_id)],
    )


def _is_assigned(ticket: Ticket | None) -> bool:
    return ticket is not None and ticket.assignee_id is not None
