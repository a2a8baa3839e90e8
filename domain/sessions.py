"""Messaging sessions and their end."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from uuid import UUID

from domain.actors import Actor, system
from domain.comments import check_body, check_version, reply, situation_of
from domain.composer import check_can_comment, check_can_end
from domain.errors import Forbidden, NotFound, Refusal, Unauthenticated
from domain.idempotency import once
from domain.locks import (
    confirm_actor,
    find_ticket,
    lock_customer_of,
    lock_session,
    lock_ticket,
    lock_ticket_of,
    read_settings_locked,
)
from domain.routing import becomes_email, keeps_slot, routing_outcome
from domain.suspended_messages import was_told_of
from domain.tickets import make_inactive, set_routing_channel
from domain.transactions import Call, Transaction, unit_of_work
from domain.visibility import visible_tickets
from models import (
    AccountSettings,
    ActorKind,
    Channel,
    Comment,
    EndReason,
    Event,
    EventType,
    InactiveReason,
    MessagingSession,
    SessionState,
    Ticket,
)

MOST_AT_ONCE = 100
# These ends follow from something else that was done, to the ticket or its customer: nobody gave the command (R52).
CONSEQUENCES = (
    EndReason.TICKET_CLOSED,
    EndReason.TICKET_MERGED,
    EndReason.TICKET_DELETED,
    EndReason.USER_SUSPENDED,
)


class EndOutcome(StrEnum):
    """Whether this call ended the session, or an earlier one had."""

    ENDED = "ENDED"
    ALREADY_ENDED = "ALREADY_ENDED"


class EndWarning(StrEnum):
    """What the agent should know, although the end succeeded."""

    CUSTOMER_NOT_TOLD = "CUSTOMER_NOT_TOLD"


@dataclass(frozen=True, slots=True)
class SessionEnd:
    """The verdict of `end_session`. `event_id` is the one end event of the session, whoever ended it."""

    outcome: str
    ticket_id: UUID | None
    session_id: UUID
    event_id: UUID
    comment_id: UUID | None
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class EndPreview:
    """What ending would do now. `reason` is the refusal's code when it is not allowed."""

    allowed: bool
    reason: str | None
    routing_outcome: str | None
    ticket: Ticket


async def end_session(
    call: Call, ticket_id: UUID, *, closing_message: str | None = None, expected_version: int | None = None
) -> SessionEnd:
    """End the session of a ticket, at once and for everyone (R32).

    With a closing message, message and end are one: the message is stored before the end, or nothing happens (R46).
    Ending an ended session changes nothing and says who ended it (R35).

    Raises NotFound, Forbidden, FeatureDisabled, NoMessagingSession, TicketClosed, StaleVersion, InvalidInput,
    BusyRetry.
    A refusal for want of permission leaves one line in the account's log (R30).
    """
    if closing_message is not None:
        check_body(closing_message, field="closingMessage")

    async def work(tx: Transaction) -> SessionEnd:
        settings = await read_settings_locked(tx)
        actor = await confirm_actor(tx)
        ticket, session = await lock_for_end(tx, actor, ticket_id)
        return await end_if_allowed(tx, settings, ticket, session, closing_message, expected_version)

    inputs = {"ticket_id": str(ticket_id), "closing_message": closing_message, "expected_version": expected_version}
    try:
        return await once(call, "endSession", inputs, SessionEnd, work)
    except (NotFound, Forbidden, Unauthenticated) as refusal:
        await log_refused_end(call, f"Ticket {ticket_id}", refusal)
        raise


async def end_if_allowed(
    tx: Transaction,
    settings: AccountSettings,
    ticket: Ticket,
    session: MessagingSession | None,
    closing_message: str | None,
    expected_version: int | None,
) -> SessionEnd:
    """The end of a locked session by an agent, if he may; or who had ended it."""
    situation = await situation_of(settings, ticket, session)
    check_can_end(tx.actor, situation)
    assert session is not None  # or check_can_end had raised
    if session.state is SessionState.ENDED:
        return await already_ended(session, ticket)
    check_version(ticket, expected_version)
    if closing_message is not None:
        check_can_comment(tx.actor, situation, Channel.MESSAGING)
    return await end_with_message(tx, settings, ticket, session, closing_message)


async def lock_for_end(tx: Transaction, actor: Actor, ticket_id: UUID) -> tuple[Ticket, MessagingSession | None]:
    """The ticket and its session, locked behind their end user."""
    if actor.is_customer:
        raise Forbidden("A messaging session is ended by the people who answer, not by the customer.")
    seen = await find_ticket(tx, ticket_id)
    await lock_customer_of(tx, seen)
    session = await lock_session(tx, seen.conversation_id)
    return await lock_ticket(tx, ticket_id), session


async def end_with_message(
    tx: Transaction,
    settings: AccountSettings,
    ticket: Ticket,
    session: MessagingSession,
    closing_message: str | None,
) -> SessionEnd:
    """The end of a locked live session by somebody who may, after his closing message."""
    comment: Comment | None = None
    warnings: tuple[str, ...] = ()
    if closing_message is not None:
        comment = await reply(tx, ticket, body=closing_message, channel=Channel.MESSAGING, session=session)
    elif settings.remind_agents_to_notify and not await _was_told(tx, settings, session):
        warnings = (EndWarning.CUSTOMER_NOT_TOLD.value,)
    event = await end_locked_session(tx, session, ticket, reason=EndReason.AGENT, settings=settings)
    return SessionEnd(
        EndOutcome.ENDED.value, ticket.id, session.id, event.id, comment.id if comment else None, warnings
    )


async def end_locked_session(
    tx: Transaction,
    session: MessagingSession,
    ticket: Ticket | None,
    *,
    reason: EndReason | str,
    settings: AccountSettings | None = None,
) -> Event:
    """ACTIVE or INACTIVE → ENDED on a locked session: the one place where a session ends.

    The ticket's own fields stay as they are (R103); nothing is sent to the customer (R108). While a bot has the
    conversation alone there is no ticket. An end that follows from something else is the system's (R52).
    """
    reason = EndReason(reason)
    by = system(tx.account_id) if reason in CONSEQUENCES else tx.actor
    settings = settings or await tx.hold_settings()
    previous = session.state
    outcome = await routing_outcome(settings, ticket, session, reason)
    # The lock already decides who wins. The condition says it once more, for whoever forgets the lock.
    won = (
        await MessagingSession.filter(id=session.id)
        .exclude(state=SessionState.ENDED)
        .update(
            state=SessionState.ENDED,
            inactive_reason=None,
            slot_kept=keeps_slot(settings),
            due_at=None,
            ended_at=tx.now,
            end_reason=reason,
            ended_by_kind=by.kind.value,
            ended_by_id=by.id,
        )
    )
    assert won == 1, "a locked live session was ended by somebody else"
    await session.refresh_from_db()
    ended = tx.record(
        EventType.MESSAGING_SESSION_ENDED,
        ticket=ticket,
        conversation_id=session.conversation_id,
        session_id=session.id,
        by=by,
        reason=reason.value,
        previous_state=previous.value,
        routing_outcome=outcome.value,
    )
    if ticket is not None and becomes_email(settings, ticket, reason):
        set_routing_channel(tx, ticket, Channel.EMAIL)
    return ended


async def already_ended(session: MessagingSession, ticket: Ticket | None) -> SessionEnd:
    """The verdict of ending what had ended before."""
    event = await Event.get(session_id=session.id, type=EventType.MESSAGING_SESSION_ENDED)
    return SessionEnd(EndOutcome.ALREADY_ENDED.value, ticket.id if ticket else None, session.id, event.id, None, ())


async def _was_told(tx: Transaction, settings: AccountSettings, session: MessagingSession) -> bool:
    """Whether a person wrote to the customer lately: then he may know that the session ends (R114)."""
    since = tx.now - timedelta(minutes=settings.remind_within_minutes)
    return await Comment.filter(
        conversation_id=session.conversation_id,
        channel=Channel.MESSAGING,
        author_kind__in=[ActorKind.AGENT.value, ActorKind.ADMIN.value],
        created_at__gte=since,
    ).exists()


async def log_refused_end(call: Call, target: str, refusal: Refusal) -> None:
    """One line in the account's log (R30)."""

    async def work(tx: Transaction) -> None:
        reason = [{"field": "reason", "from": None, "to": refusal.code.value}]
        await tx.log("SESSION_END_REFUSED", target, reason)

    await unit_of_work(call, work)


async def preview_end(actor: Actor, ticket_id: UUID) -> EndPreview | None:
    """What `end_session` would do, without doing it. None for a ticket that the actor may not see."""
    ticket = await visible_tickets(actor).get_or_none(id=ticket_id)
    if ticket is None:
        return None
    session = await MessagingSession.get_or_none(conversation_id=ticket.conversation_id)
    settings = await AccountSettings.get(account_id=actor.account_id)
    try:
        check_can_end(actor, await situation_of(settings, ticket, session))
    except Refusal as refusal:
        return EndPreview(False, refusal.code.value, None, ticket)
    assert session is not None
    if session.state is SessionState.ENDED:
        return EndPreview(False, "SESSION_ENDED", None, ticket)
    outcome = await routing_outcome(settings, ticket, session, EndReason.AGENT)
    return EndPreview(True, None, outcome.value, ticket)


async def mark_inactive(call: Call, session_id: UUID, reason: InactiveReason) -> bool:
    """ACTIVE → INACTIVE, for timers and presence. Returns whether it changed: an ended session stays ended (R129)."""

    async def work(tx: Transaction) -> bool:
        await tx.hold_settings()
        found = await MessagingSession.get_or_none(id=session_id, account_id=tx.account_id)
        if found is None:
            raise NotFound
        session = await lock_session(tx, found.conversation_id)
        if session is None or session.state is not SessionState.ACTIVE:
            return False
        await make_inactive(tx, session, await lock_ticket_of(tx, session.conversation_id), reason)
        return True

    return await unit_of_work(call, work)


async def takes_typing(actor: Actor, conversation_id: UUID) -> bool:
    """Whether a typing signal goes anywhere: only while the session lives (R62). Raises NotFound."""
    session = await MessagingSession.get_or_none(conversation_id=conversation_id, account_id=actor.account_id)
    if actor.is_customer:
        if session is None and await was_told_of(actor, conversation_id):
            return False
        if session is None or session.end_user_id != actor.id:
            raise NotFound
    elif not await visible_tickets(actor).filter(conversation_id=conversation_id).exists():
        raise NotFound
    return session is not None and session.state is not SessionState.ENDED
