"""Running triggers: after each update of a ticket, once, whatever happens to the process in between.

A run and all that it does are one transaction of its own, after the update's commit: what made it run stands in any
case (R122). What fails is tried again, and written down when it failed for good.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

from domain.actors import EVERYTHING, Actor
from domain.bot_only_triggers import end_without_ticket
from domain.conditions import facts_of, hold
from domain.errors import BusyRetry, ErrorCode, NotFound, Refusal
from domain.locks import lock_ticket, read_settings_locked
from domain.readers import Update, lagging_accounts, read_updates
from domain.sessions import lock_for_end
from domain.transactions import Call, Transaction, unit_of_work
from domain.trigger_actions import Work
from models import (
    ActorKind,
    Event,
    EventType,
    MessagingSession,
    RunState,
    Ticket,
    Trigger,
    TriggerRun,
    new_id,
    utc_now,
)

READER = "triggers"
MOST_ATTEMPTS = 5
DEEPEST = 5
"""How many triggers may run because of each other, one after the other (R121)."""
FIRST_PAUSE = timedelta(seconds=10)
"""After the first failure; each further one makes it three times as long."""
MOST_AT_ONCE = 100
DEPTH = "DEPTH"
DEFECT = "INTERNAL_SERVER_ERROR"
# Of these, waiting changes nothing.
FOR_GOOD = frozenset({
    ErrorCode.SESSION_ENDED,
    ErrorCode.TICKET_CLOSED,
    ErrorCode.NO_MESSAGING_SESSION,
    ErrorCode.INVALID_INPUT,
    ErrorCode.FEATURE_DISABLED,
})  # fmt: skip

logger = logging.getLogger("deskwire.triggers")
Clock = Callable[[], datetime]


async def run_triggers(clock: Clock = utc_now) -> int:
    """Pass: run what the updates since last time call for, over all accounts. Returns how many runs did something."""
    done: list[bool] = []
    busy = await Trigger.filter(active=True).distinct().values_list("account_id", flat=True)
    for account_id in await lagging_accounts(READER, busy):  # type: ignore[arg-type]  # typed as rows
        try:
            await read_updates(READER, account_id, partial(_after_update, clock=clock, done=done))
        except BusyRetry:
            continue  # the reader stays where it was, and comes here again
        except Exception:
            logger.exception("triggers of account %s stopped; they go on with the next pass", account_id)
    return sum(done)


async def _after_update(update: Update, *, clock: Clock, done: list[bool]) -> None:
    # What is only about triggers that failed starts no triggers, or they would start each other for ever.
    if all(event.ticket_id is None for event in update.events):
        done.append(await end_without_ticket(update, clock))
        return
    if all(event.ticket_id is None or event.type is EventType.TRIGGER_FAILED for event in update.events):
        return
    triggers = await Trigger.filter(account_id=update.account_id, active=True).order_by("place", "id")
    for trigger in triggers:
        ticket_id = await _concerned(trigger, update.events)
        if ticket_id is not None:
            occasion = Occasion(update.audit_id, ticket_id, _of_ticket(update.events, ticket_id))
            done.append(await _attempt(trigger, occasion, clock))


async def _concerned(trigger: Trigger, events: Sequence[Event]) -> UUID | None:
    """The first ticket of an update for which the conditions hold, as it looks without any lock."""
    tickets = dict.fromkeys(event.ticket_id for event in events if event.ticket_id is not None)
    for ticket_id in tickets:
        ticket = await Ticket.get_or_none(id=ticket_id, deleted_at=None)
        if ticket is not None:
            session = await MessagingSession.get_or_none(conversation_id=ticket.conversation_id)
            if hold(trigger.conditions, facts_of(ticket, session, events)):
                return ticket_id
    return None


def _of_ticket(events: Iterable[Event], ticket_id: UUID) -> list[Event]:
    return [event for event in events if event.ticket_id == ticket_id]


async def retry_triggers(clock: Clock = utc_now) -> int:
    """Pass: try again what failed and is due. Returns how many runs did something."""
    due = TriggerRun.filter(state=RunState.RETRYING, next_attempt_at__lte=clock())
    done = []
    for run in await due.order_by("next_attempt_at", "id").limit(MOST_AT_ONCE):
        try:
            done.append(await _retry(run, clock))
        except BusyRetry:
            continue
        except Exception:
            logger.exception("run %s of trigger %s could not be tried again", run.id, run.trigger_id)
    return sum(done)


async def _retry(run: TriggerRun, clock: Clock) -> bool:
    trigger = await Trigger.get_or_none(id=run.trigger_id)
    if trigger is None or run.ticket_id is None:
        return False
    events = await Event.filter(audit_id=run.audit_id, ticket_id=run.ticket_id).order_by("position")
    return await _attempt(trigger, Occasion(run.audit_id, run.ticket_id, events, again=True), clock)


@dataclass(frozen=True, slots=True)
class Occasion:
    """The update that a trigger runs after, and the ticket that it is about; `again` when it failed before."""

    audit_id: UUID
    ticket_id: UUID
    events: Sequence[Event]
    again: bool = False

    def is_over(self, run: TriggerRun | None, now: datetime) -> bool:
        """Whether another process was faster, or this one died before it noted how far it had come."""
        if run is None:
            return self.again
        due = run.state is RunState.RETRYING and run.next_attempt_at is not None and run.next_attempt_at <= now
        return not (self.again and due)


async def _attempt(trigger: Trigger, occasion: Occasion, clock: Clock) -> bool:
    """Run a trigger on an occasion, unless it did. A failure is written down. Raises BusyRetry."""
    actor = Actor(account_id=trigger.account_id, kind=ActorKind.TRIGGER, id=trigger.id, access=EVERYTHING)
    call = Call(actor, clock=clock)
    try:
        return await unit_of_work(call, partial(_run, occasion=occasion))
    except BusyRetry:
        raise
    except Refusal as refusal:
        code, for_good = refusal.code.value, refusal.code in FOR_GOOD
    except Exception:
        logger.exception("trigger %s failed on ticket %s", trigger.id, occasion.ticket_id)
        code, for_good = DEFECT, False
    await unit_of_work(call, partial(_note_failure, occasion=occasion, code=code, for_good=for_good))
    return False


async def _run(tx: Transaction, occasion: Occasion) -> bool:
    settings = await read_settings_locked(tx)
    try:
        ticket, session = await lock_for_end(tx, tx.actor, occasion.ticket_id)
    except NotFound:  # it was deleted since
        return await _leave(await _earlier(tx, occasion))
    run = await _earlier(tx, occasion)
    if occasion.is_over(run, tx.now):
        return False
    trigger = await Trigger.get_or_none(id=tx.actor.id, active=True)
    # What the update changed, and the ticket as it is now that nobody else can change it.
    facts = facts_of(ticket, session, occasion.events)
    if trigger is None or ticket.deleted_at is not None or not hold(trigger.conditions, facts):
        return await _leave(run)
    run = run or await _new(tx, occasion)
    if await _stops_here(tx, run, ticket):
        return False
    await Work(tx, settings, ticket, session, occasion.events).do(trigger.actions)
    run.state, run.next_attempt_at, run.error = RunState.DONE, None, None
    run.effect_audit_id, run.at = tx.audit_id, tx.now
    await run.save()
    return True


async def _stops_here(tx: Transaction, run: TriggerRun, ticket: Ticket) -> bool:
    """Whether triggers have started each other for long enough: a chain is DEEPEST long, and of all the runs that one
    update led to, each trigger has so many. The second matters when each starts several: those would multiply.
    """
    if run.depth == 1:
        return False
    mine = [each for each in await _relatives(tx, run) if each.trigger_id == run.trigger_id]
    if run.depth <= DEEPEST and len(mine) < DEEPEST:
        return False
    if any(each.error == DEPTH for each in mine):  # said already
        run.state, run.error = RunState.FAILED, DEPTH
        await run.save()
    else:
        await _fail(tx, run, ticket, DEPTH)
    return True


async def _relatives(tx: Transaction, run: TriggerRun) -> list[TriggerRun]:
    """All runs that the update led to which somebody made, and which led to this run."""
    audit_id = run.audit_id
    while (cause := await TriggerRun.filter(effect_audit_id=audit_id).first()) is not None:
        audit_id = cause.audit_id
    triggers = await Trigger.filter(account_id=tx.account_id).values_list("id", flat=True)
    found: list[TriggerRun] = []
    audits = [audit_id]
    while audits:
        children = await TriggerRun.filter(trigger_id__in=triggers, audit_id__in=audits)
        found += children
        audits = [child.effect_audit_id for child in children if child.effect_audit_id is not None]
    return found


async def _earlier(tx: Transaction, occasion: Occasion) -> TriggerRun | None:
    return await TriggerRun.get_or_none(trigger_id=tx.actor.id, audit_id=occasion.audit_id)


async def _leave(run: TriggerRun | None) -> bool:
    """What waited to be tried again no longer needs to be."""
    if run is not None and run.state is RunState.RETRYING:
        run.state, run.next_attempt_at = RunState.DONE, None
        await run.save()
    return False


async def _new(tx: Transaction, occasion: Occasion) -> TriggerRun:
    cause = await TriggerRun.filter(effect_audit_id=occasion.audit_id).first()
    return TriggerRun(
        id=new_id(),
        account_id=tx.account_id,
        trigger_id=tx.actor.id,
        audit_id=occasion.audit_id,
        ticket_id=occasion.ticket_id,
        depth=cause.depth + 1 if cause else 1,
        state=RunState.DONE,
        at=tx.now,
    )


async def _note_failure(tx: Transaction, occasion: Occasion, code: str, for_good: bool) -> None:
    ticket = await lock_ticket(tx, occasion.ticket_id)
    run = await _earlier(tx, occasion)
    if occasion.is_over(run, tx.now):
        return
    if run is None:
        run = await _new(tx, occasion)
    else:
        run.attempts += 1
    if for_good or run.attempts >= MOST_ATTEMPTS:
        await _fail(tx, run, ticket, code)
        return
    run.state, run.error, run.at = RunState.RETRYING, code, tx.now
    run.next_attempt_at = tx.now + FIRST_PAUSE * 3 ** (run.attempts - 1)
    await run.save()


async def _fail(tx: Transaction, run: TriggerRun, ticket: Ticket, code: str) -> None:
    """Give a run up: the history of the ticket and the account's log say so, without any text."""
    run.state, run.next_attempt_at, run.error, run.at = RunState.FAILED, None, code, tx.now
    run.effect_audit_id = tx.audit_id
    await run.save()
    tx.record(EventType.TRIGGER_FAILED, ticket=ticket, trigger=str(run.trigger_id), code=code)
    await tx.log("TRIGGER_FAILED", f"Trigger {run.trigger_id}", [{"field": "code", "from": None, "to": code}])
