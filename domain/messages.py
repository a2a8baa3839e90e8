"""The customer's messages: joining his live session, or beginning a new one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from tortoise.expressions import Subquery

from domain.attachments import check_attachments
from domain.comments import LONGEST_CLIENT_MESSAGE_ID, add_comment, check_body, subject_of
from domain.errors import ChannelUnavailable, Forbidden, InvalidInput, NotFound
from domain.inactivity import due_after, restart_timer
from domain.locks import confirm_actor, lock_live_session, lock_ticket_of, lock_user, read_settings_locked
from domain.suspended_messages import keep_message, was_told_of
from domain.tickets import create_ticket, make_active, reopen
from domain.transactions import Call, Transaction, unit_of_work
from models import (
    AccountSettings,
    Channel,
    Comment,
    Conversation,
    EventType,
    FirstResponder,
    MessagingSession,
    SessionState,
    Ticket,
    TicketCreation,
    User,
    new_id,
)


@dataclass(frozen=True, slots=True)
class SentMessage:
    """The verdict of `send_message`: where the message is."""

    comment_id: UUID
    conversation_id: UUID


async def send_message(
    call: Call,
    *,
    body: str,
    client_message_id: str | None = None,
    conversation_id: UUID | None = None,
    attachment_ids: Sequence[UUID] = (),
) -> SentMessage:
    """The customer writes into the messaging channel.

    The message joins his one session that has not ended, or begins a new one with a new ticket (R68, R73).
    The conversation that a stale widget names decides nothing (R76). A message id that was seen before stores
    nothing (R75).
    """
    check_body(body)
    check_attachments(attachment_ids)
    if client_message_id is not None and not 0 < len(client_message_id) <= LONGEST_CLIENT_MESSAGE_ID:
        raise InvalidInput("A client message id has 1 to 200 characters.", field=("clientMessageId",))

    async def work(tx: Transaction) -> SentMessage:
        settings = await read_settings_locked(tx)
        if not tx.actor.is_customer or tx.actor.id is None:
            raise Forbidden("Only customers write messages this way; agents post comments.")
        customer = await lock_user(tx, tx.actor.id)
        await confirm_actor(tx)
        if conversation_id is not None:
            await _check_own_conversation(customer, conversation_id)
        earlier = await _sent_before(customer, client_message_id)
        if earlier is not None:
            return SentMessage(earlier.id, earlier.conversation_id)
        if customer.suspension is not None:
            return await _keep_aside(tx, settings, customer, body, client_message_id)
        session = await lock_live_session(tx, customer)
        if session is not None:
            comment = await _continue_session(tx, settings, session, body, client_message_id, attachment_ids)
        else:
            comment = await _start_session(tx, settings, customer, body, client_message_id, attachment_ids)
        return SentMessage(comment.id, comment.conversation_id)

    return await unit_of_work(call, work)


async def _check_own_conversation(customer: User, conversation_id: UUID) -> None:
    known = await Conversation.exists(id=conversation_id, end_user_id=customer.id)
    if not (known or await was_told_of(customer, conversation_id)):
        raise NotFound(field=("conversationId",))


async def _keep_aside(
    tx: Transaction, settings: AccountSettings, customer: User, body: str, client_message_id: str | None
) -> SentMessage:
    """A suspended customer gets the answer that anybody would get (R140)."""
    if not settings.messaging_enabled:
        raise ChannelUnavailable("Messaging is switched off.")
    kept = await keep_message(tx, customer, channel=Channel.MESSAGING, body=body, client_message_id=client_message_id)
    return SentMessage(kept.id, kept.conversation_id)


async def _sent_before(customer: User, client_message_id: str | None) -> Comment | None:
    if client_message_id is None:
        return None
    return await Comment.get_or_none(
        account_id=customer.account_id, author_id=customer.id, client_message_id=client_message_id
    )


async def _continue_session(
    tx: Transaction,
    settings: AccountSettings,
    session: MessagingSession,
    body: str,
    client_message_id: str | None,
    attachment_ids: Sequence[UUID],
) -> Comment:
    ticket = await lock_ticket_of(tx, session.conversation_id)
    if session.state is SessionState.INACTIVE:
        await make_active(tx, settings, session, ticket)
    else:
        await restart_timer(tx, settings, session, ticket)
    comment = await add_comment(
        tx,
        session.conversation_id,
        ticket,
        body=body,
        channel=Channel.MESSAGING,
        session=session,
        client_message_id=client_message_id,
        attachment_ids=attachment_ids,
    )
    if ticket is not None:
        reopen(tx, ticket)
    return comment


async def _start_session(
    tx: Transaction,
    settings: AccountSettings,
    customer: User,
    body: str,
    client_message_id: str | None,
    attachment_ids: Sequence[UUID],
) -> Comment:
    if not settings.messaging_enabled:
        raise ChannelUnavailable("Messaging is switched off.")
    old = await last_ticket(customer)
    conversation = await Conversation.create(
        id=new_id(),
        account_id=tx.account_id,
        end_user_id=customer.id,
        channel=Channel.MESSAGING,
        started_at=tx.now,
    )
    session = await MessagingSession.create(
        id=new_id(),
        account_id=tx.account_id,
        conversation_id=conversation.id,
        end_user_id=customer.id,
        channel=Channel.MESSAGING,
        started_at=tx.now,
        last_customer_message_at=tx.now,
        due_at=due_after(settings, tx.now, assigned=False),
        with_bot=settings.first_responder is FirstResponder.BOT,
    )
    ticket: Ticket | None = None
    if settings.first_responder is FirstResponder.AGENT or settings.ticket_creation is TicketCreation.IMMEDIATE:
        ticket = await create_ticket(
            tx,
            conversation_id=conversation.id,
            requester=customer,
            channel=Channel.MESSAGING,
            subject=subject_of(body),
            continues=old,
        )
    tx.record(
        EventType.MESSAGING_SESSION_STARTED,
        ticket=ticket,
        conversation_id=conversation.id,
        session_id=session.id,
    )
    return await add_comment(
        tx,
        conversation.id,
        ticket,
        body=body,
        channel=Channel.MESSAGING,
        session=session,
        client_message_id=client_message_id,
        attachment_ids=attachment_ids,
    )


async def last_ticket(customer: User) -> Ticket | None:
    """The ticket of the customer's last session, which has ended; the new one continues it (R72).

    The last by its number, not by its time: the clocks of two servers may disagree.
    """
    sessions = MessagingSession.filter(account_id=customer.account_id, end_user_id=customer.id)
    return (
        await Ticket.filter(conversation_id__in=Subquery(sessions.values("conversation_id")))
        .order_by("-number")
        .first()
    )
