"""Comments: agents' replies and notes, and the customer's own."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from domain.attachments import attach_uploads, check_attachments
from domain.composer import Situation, check_can_comment
from domain.control import HandOffReason, take_from_bot
from domain.errors import Forbidden, InvalidInput, StaleVersion, TicketClosed
from domain.idempotency import once
from domain.locks import confirm_actor, find_ticket, lock_session, lock_ticket, read_settings_locked
from domain.settings import may_agents_end_sessions
from domain.suspended_messages import keep_message, suspension_of
from domain.tickets import reopen
from domain.transactions import Call, Transaction
from models import (
    AccountSettings,
    Channel,
    Comment,
    Conversation,
    Event,
    EventType,
    MessagingSession,
    OutboundEmail,
    Suspension,
    Ticket,
    TicketStatus,
    User,
    Visibility,
    new_id,
)

LONGEST_BODY = 10_000
LONGEST_CLIENT_MESSAGE_ID = 200

# Line breaks and tabs are text. Other control characters are not, and half a surrogate pair cannot be stored.
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class PostedComment:
    """The verdict of `post_comment`."""

    comment_id: UUID
    ticket_id: UUID


def check_body(body: str, *, field: str = "body") -> None:
    """Raises InvalidInput unless the text has 1 to LONGEST_BODY characters, at least one of them visible."""
    if not body.strip():
        raise InvalidInput("Write something: the text is empty.", field=(field,))
    if len(body) > LONGEST_BODY:
        raise InvalidInput(
            f"The text has {len(body)} characters; {LONGEST_BODY} are the most. Send it in parts.", field=(field,)
        )
    if _CONTROL.search(body):
        raise InvalidInput("The text contains control characters.", field=(field,))


async def situation_of(settings: AccountSettings, ticket: Ticket, session: MessagingSession | None) -> Situation:
    """All that decides what may be done on a ticket."""
    return Situation(
        ticket=ticket,
        session=session,
        requester=await User.get(id=ticket.requester_id),
        can_end=await may_agents_end_sessions(settings),
        collaborate=settings.agents_can_collaborate,
    )


async def post_comment(
    call: Call,
    ticket_id: UUID,
    *,
    body: str,
    channel: Channel,
    expected_version: int | None = None,
    attachment_ids: Sequence[UUID] = (),
) -> PostedComment:
    """An agent's reply over a channel, or an internal note (R58–R61), with files that he has uploaded (R64).

    Raises NotFound, Forbidden, SessionEnded, TicketClosed, ChannelUnavailable, StaleVersion, InvalidInput.
    """
    check_body(body)
    check_attachments(attachment_ids)

    async def work(tx: Transaction) -> PostedComment:
        settings = await read_settings_locked(tx)
        actor = await confirm_actor(tx)
        if actor.is_customer:
            raise Forbidden
        seen = await find_ticket(tx, ticket_id)
        # Holding the session orders a message before or after the end of it, never across (R127).
        session = await lock_session(tx, seen.conversation_id)
        ticket = await lock_ticket(tx, ticket_id)
        check_can_comment(actor, await situation_of(settings, ticket, session), channel)
        check_version(ticket, expected_version)
        comment = await reply(tx, ticket, body=body, channel=channel, session=session, attachment_ids=attachment_ids)
        return PostedComment(comment.id, ticket.id)

    inputs = {"ticket_id": str(ticket_id), "body": body, "channel": channel, "expected_version": expected_version}
    files = {"attachment_ids": list(map(str, attachment_ids))}
    return await once(call, "postComment", inputs | files, PostedComment, work)


def check_version(ticket: Ticket, expected: int | None) -> None:
    """Raises StaleVersion when the caller has not seen the ticket as it is (R38)."""
    if expected is not None and expected != ticket.version:
        raise StaleVersion(ticket.version, ticket_id=ticket.id)


async def reply(
    tx: Transaction,
    ticket: Ticket,
    *,
    body: str,
    channel: Channel,
    session: MessagingSession | None,
    attachment_ids: Sequence[UUID] = (),
) -> Comment:
    """Store what an agent wrote on a locked ticket, for which he was found entitled."""
    files = attachment_ids
    comment = await add_comment(
        tx, ticket.conversation_id, ticket, body=body, channel=channel, session=session, attachment_ids=files
    )
    if channel is not Channel.INTERNAL_NOTE and ticket.first_replied_at is None:
        ticket.first_replied_at = tx.now
    if channel is Channel.MESSAGING and tx.actor.is_staff:  # a trigger's text does not take over
        await take_from_bot(tx, session, ticket, HandOffReason.AGENT)
    if channel is Channel.EMAIL:
        requester = await User.get(id=ticket.requester_id)
        await OutboundEmail.create(
            account_id=tx.account_id, comment_id=comment.id, to_address=requester.email, created_at=tx.now
        )
    return comment


async def add_comment(
    tx: Transaction,
    conversation_id: UUID,
    ticket: Ticket | None,
    *,
    body: str,
    channel: Channel,
    session: MessagingSession | None = None,
    client_message_id: str | None = None,
    attachment_ids: Sequence[UUID] = (),
) -> Comment:
    """Append to the thread of a conversation, whose ticket (or, without one, session) is locked.

    The files are uploads of the actor; NotFound when one of them is not there for him.
    """
    conversation = await Conversation.get(id=conversation_id)
    conversation.last_comment_sequence += 1
    await conversation.save(update_fields=["last_comment_sequence"])
    comment = await Comment.create(
        id=new_id(),
        account_id=tx.account_id,
        conversation_id=conversation_id,
        sequence=conversation.last_comment_sequence,
        author_kind=tx.actor.kind.value,
        author_id=tx.actor.id,
        channel=channel,
        visibility=Visibility.INTERNAL if channel is Channel.INTERNAL_NOTE else Visibility.PUBLIC,
        body=body,
        client_message_id=client_message_id,
        created_at=tx.now,
    )
    await attach_uploads(tx, comment, attachment_ids)
    record_comment(tx, EventType.TICKET_COMMENT_ADDED, comment, ticket, session)
    return comment


def record_comment(
    tx: Transaction,
    type: EventType,
    comment: Comment,
    ticket: Ticket | None,
    session: MessagingSession | None,
    **more: Any,
) -> Event:
    """Note a fact about a comment: that it was added, or changed."""
    return tx.record(
        type,
        ticket=ticket,
        conversation_id=comment.conversation_id,
        session_id=session.id if session else None,
        comment_id=comment.id,
        channel=comment.channel.value,
        visibility=comment.visibility.value,
        # Whose widget shows it: the stream of a customer is told from this alone.
        customer=str(session.end_user_id) if session and comment.channel is Channel.MESSAGING else None,
        **more,
    )


async def comment_on_request(
    call: Call, ticket_id: UUID, *, body: str, attachment_ids: Sequence[UUID] = ()
) -> PostedComment:
    """The customer comments on his own ticket through the help centre, under the rules of e-mail (R80).

    The ended session stays ended; the ticket is reopened like by any answer of the customer.
    """
    check_body(body)
    check_attachments(attachment_ids)

    async def work(tx: Transaction) -> PostedComment:
        await tx.hold_settings()
        actor = await confirm_actor(tx)
        if not actor.is_customer:
            raise Forbidden
        if await suspension_of(tx) is Suspension.ALL:
            return await _keep_aside(tx, ticket_id, body)
        return await comment_as_requester(
            tx, ticket_id, body=body, channel=Channel.HELP_CENTER, attachment_ids=attachment_ids
        )

    inputs = {"ticket_id": str(ticket_id), "body": body, "attachment_ids": [str(each) for each in attachment_ids]}
    return await once(call, "commentOnRequest", inputs, PostedComment, work)


async def _keep_aside(tx: Transaction, ticket_id: UUID, body: str) -> PostedComment:
    """A suspended customer gets the answer that anybody would get (R140)."""
    ticket = await find_ticket(tx, ticket_id)
    _check_takes_answers(ticket)
    customer = await User.get(id=tx.actor.id)
    kept = await keep_message(
        tx, customer, channel=Channel.HELP_CENTER, body=body, conversation_id=ticket.conversation_id
    )
    return PostedComment(kept.id, ticket.id)


def _check_takes_answers(ticket: Ticket) -> None:
    if ticket.status is TicketStatus.CLOSED:
        raise TicketClosed("This request is closed. Write a new one.")


async def comment_as_requester(
    tx: Transaction, ticket_id: UUID, *, body: str, channel: Channel, attachment_ids: Sequence[UUID] = ()
) -> PostedComment:
    """The requester's own comment on his ticket, over another channel than messaging."""
    ticket = await lock_ticket(tx, ticket_id)
    _check_takes_answers(ticket)
    comment = await add_comment(
        tx, ticket.conversation_id, ticket, body=body, channel=channel, attachment_ids=attachment_ids
    )
    reopen(tx, ticket)
    return PostedComment(comment.id, ticket.id)


def subject_of(body: str) -> str:
    """The subject of a ticket that begins with this text: its first line, at most 80 characters."""
    # A text that was taken back is empty, and has no first line.
    line = " ".join(next(iter(body.strip().splitlines()), "").split())
    return line if len(line) <= 80 else line[:79].rstrip() + "…"
