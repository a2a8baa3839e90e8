"""Triggers after updates of conversations that a bot has alone: there is no ticket, so all they can do is end (R42)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from uuid import UUID

from domain.actors import EVERYTHING, Actor
from domain.conditions import facts_without_ticket, hold
from domain.locks import lock_session, lock_user, read_settings_locked
from domain.readers import Update
from domain.sessions import end_locked_session
from domain.transactions import Call, Transaction, unit_of_work
from models import (
    ActorKind,
    EndReason,
    Event,
    MessagingSession,
    RunState,
    SessionState,
    Ticket,
    Trigger,
    TriggerRun,
    new_id,
)

ENDS = "END_SESSION"


async def end_without_ticket(update: Update, clock: Callable[[], datetime]) -> bool:
    """Let the first trigger that ends sessions, and whose conditions hold, end this one. Returns whether one did.

    Its other actions are about tickets, and do nothing here.
    """
    session_id = next((event.session_id for event in update.events if event.session_id is not None), None)
    session = await MessagingSession.get_or_none(id=session_id) if session_id else None
    if session is None or session.state is SessionState.ENDED:
        return False
    for trigger in await Trigger.filter(account_id=update.account_id, active=True).order_by("place", "id"):
        if _ends(trigger) and hold(trigger.conditions, facts_without_ticket(session, update.events)):
            actor = Actor(account_id=trigger.account_id, kind=ActorKind.TRIGGER, id=trigger.id, access=EVERYTHING)
            work = partial(_end, trigger_id=trigger.id, session=session, events=update.events)
            if await unit_of_work(Call(actor, clock=clock), work):
                return True
    return False


def _ends(trigger: Trigger) -> bool:
    return any(action["kind"] == ENDS for action in trigger.actions)


async def _end(tx: Transaction, trigger_id: UUID, session: MessagingSession, events: Sequence[Event]) -> bool:
    settings = await read_settings_locked(tx)
    await lock_user(tx, session.end_user_id)
    locked = await lock_session(tx, session.conversation_id)
    if locked is None or locked.state is SessionState.ENDED:
        return False
    if await Ticket.exists(conversation_id=session.conversation_id):
        return False  # handed over meanwhile: what happens there is an update of its own
    audit_id = events[0].audit_id
    if await TriggerRun.exists(trigger_id=trigger_id, audit_id=audit_id):
        return False
    trigger = await Trigger.get_or_none(id=trigger_id, active=True)
    if trigger is None or not hold(trigger.conditions, facts_without_ticket(locked, events)):
        return False
    await end_locked_session(tx, locked, None, reason=EndReason.TRIGGER, settings=settings)
    await TriggerRun.create(
        id=new_id(),
        account_id=tx.account_id,
        trigger_id=trigger_id,
        audit_id=audit_id,
        effect_audit_id=tx.audit_id,
        depth=1,
        state=RunState.DONE,
        at=tx.now,
    )
    return True
