"""Ending a conversation that is named by itself, and not by its ticket: a bot may have it alone (R42)."""

from __future__ import annotations

from uuid import UUID

from domain.actors import Actor
from domain.bots import Held, lock_conversation
from domain.comments import add_comment, check_body
from domain.errors import FeatureDisabled, Forbidden, NotFound, NoTicketYet, Unauthenticated
from domain.idempotency import once
from domain.locks import confirm_actor, find_ticket, read_settings_locked
from domain.sessions import EndOutcome, SessionEnd, already_ended, end_if_allowed, end_locked_session, log_refused_end
from domain.settings import may_agents_end_sessions
from domain.transactions import Call, Transaction
from models import AccountSettings, ActorKind, Channel, EndReason, SessionState


async def end_conversation(
    call: Call, conversation_id: UUID, *, closing_message: str | None = None, expected_version: int | None = None
) -> SessionEnd:
    """End the session of a conversation. With a ticket it is `end_session`; without one it is for admins alone.

    Raises NoTicketYet, and what `end_session` raises.
    """
    if closing_message is not None:
        check_body(closing_message, field="closingMessage")

    async def work(tx: Transaction) -> SessionEnd:
        settings = await read_settings_locked(tx)
        actor = await confirm_actor(tx)
        if actor.is_customer:
            raise Forbidden("A messaging session is ended by the people who answer, not by the customer.")
        held = await lock_conversation(tx, conversation_id)
        if held.ticket is None:
            await _check_without_ticket(actor, settings)
            return await _end_without_ticket(tx, settings, held, closing_message)
        try:
            await find_ticket(tx, held.ticket.id)
        except NotFound:
            raise NotFound(field=("conversationId",)) from None  # as for a conversation that there is none of (R26)
        return await end_if_allowed(tx, settings, held.ticket, held.session, closing_message, expected_version)

    inputs = {
        "conversation_id": str(conversation_id),
        "closing_message": closing_message,
        "expected_version": expected_version,
    }
    try:
        return await once(call, "endSession", inputs, SessionEnd, work)
    except (NotFound, Forbidden, Unauthenticated) as refusal:
        await log_refused_end(call, f"Conversation {conversation_id}", refusal)
        raise


async def _check_without_ticket(actor: Actor, settings: AccountSettings) -> None:
    if actor.kind is not ActorKind.ADMIN:
        raise NoTicketYet(field=("conversationId",))
    if not await may_agents_end_sessions(settings):
        raise FeatureDisabled


async def _end_without_ticket(
    tx: Transaction, settings: AccountSettings, held: Held, closing_message: str | None
) -> SessionEnd:
    session = held.session
    if session.state is SessionState.ENDED:
        return await already_ended(session, None)
    comment_id: UUID | None = None
    if closing_message is not None:
        comment = await add_comment(
            tx, session.conversation_id, None, body=closing_message, channel=Channel.MESSAGING, session=session
        )
        comment_id = comment.id
    event = await end_locked_session(tx, session, None, reason=EndReason.AGENT, settings=settings)
    return SessionEnd(EndOutcome.ENDED.value, None, session.id, event.id, comment_id, ())
