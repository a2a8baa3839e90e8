"""Who answers in a session: a bot at first, if the account has one in front; then people, and never the bot again."""

from __future__ import annotations

from enum import StrEnum

from domain.transactions import Transaction
from models import Event, EventType, MessagingSession, SessionState, Ticket


class HandOffReason(StrEnum):
    """Why the bot no longer answers: it said so, an agent took over, or it was silent for too long."""

    BOT = "BOT"
    AGENT = "AGENT"
    BOT_SILENT = "BOT_SILENT"


async def take_from_bot(
    tx: Transaction, session: MessagingSession | None, ticket: Ticket, reason: HandOffReason
) -> Event | None:
    """From now on people answer in a locked session. The fact, if the bot had it until now (R137)."""
    if session is None or not session.with_bot or session.state is SessionState.ENDED:
        return None
    session.with_bot = False
    await session.save(update_fields=["with_bot"])
    return tx.record(
        EventType.CONVERSATION_HANDED_OFF,
        ticket=ticket,
        conversation_id=session.conversation_id,
        session_id=session.id,
        reason=reason.value,
    )
