"""Comments: agents' replies and notes, the customer's own, and what may still be done to them afterwards."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from domain.attachments import attach_uploads, check_attachments, withdraw_attachments
from domain.composer import Situation, check_can_comment
from domain.control import HandOffReason, take_from_bot
from domain.errors import Forbidden, InvalidInput, NotFound, SessionEnded, StaleVersion, TicketClosed
from domain.idempotency import once
from domain.locks import confirm_actor, find_ticket, lock_session, lock_ticket, lock_ticket_of, read_settings_locked
from domain.settings import may_agents_end_sessions
from domain.suspended_messages import keep_message, kept_message, suspension_of
from domain.tickets import reopen
from domain.transactions import Call, Transaction, unit_of_work
from models import (
    AccountSettings,
    Channel,
    Comment,
    Conversation,
    Event,
    EventType,
    MessagingSession,
    OutboundEmail,
    Permission,
    ReadMark,
    SessionState,
    Suspension,
    Ticket,
    TicketStatus,
    User,
    Visibility,
    new_id,
)

LONGEST_BODY = 10_000
LONGEST_CLIENT_MESSAGE_ID = 200
LONGEST_REACTION = 16
REDACTED = "[redacted]"
DELETED = ""

# Line breaks and tabs are text. Other control characters are not, and half a surrogate pair cannot be stored.
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class PostedComment:
    """The verdict of `post_comment`."""

    comment_id: UUID
    ticket_id: UUID


@dataclass(frozen=True, slots=True)
class ChangedMessage:
    """The verdict of changing one's own message, or of redacting somebody's."""

    comment_id: UUID


@dataclass(frozen=True, slots=True)
class ReadComment:
    """The verdict of `mark_read`. Only of a message may the other side learn that it was read."""

    conversation_id: UUID
    is_message: bool


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
    _record_comment(tx, EventType.TICKET_COMMENT_ADDED, comment, ticket, session)
    return comment


def _record_comment(
    tx: Transaction,
    type: EventType,
    comment: Comment,
    ticket: Ticket | None,
    session: MessagingSession | None,
    **more: Any,
) -> Event:
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


async def edit_message(call: Call, comment_id: UUID, *, body: str) -> ChangedMessage:
    """The customer corrects a message of his live session. Refused with SessionEnded after the end (R78)."""
    check_body(body)

    async def change(tx: Transaction, comment: Comment) -> str:
        comment.body, comment.edited_at = body, tx.now
        return "EDITED"

    return await _change_own_message(call, comment_id, change)


async def delete_message(call: Call, comment_id: UUID) -> ChangedMessage:
    """The customer takes back a message of his live session; that there was one stays visible."""

    async def change(tx: Transaction, comment: Comment) -> str:
        comment.body, comment.deleted_at = DELETED, tx.now
        await withdraw_attachments(tx, comment.id)
        return "DELETED"

    return await _change_own_message(call, comment_id, change)


async def react_to_message(call: Call, comment_id: UUID, *, reaction: str | None) -> ChangedMessage:
    """The customer puts a sign (an emoji) on a message of his live session, or takes it away."""
    reaction = reaction and reaction.strip()
    if reaction is not None and not 0 < len(reaction) <= LONGEST_REACTION:
        raise InvalidInput(f"A reaction has 1 to {LONGEST_REACTION} characters.", field=("reaction",))

    async def change(tx: Transaction, comment: Comment) -> str:
        comment.reaction = reaction
        return "REACTED"

    return await _change_own_message(call, comment_id, change, own=False)


async def _change_own_message(call: Call, comment_id: UUID, change: Any, *, own: bool = True) -> ChangedMessage:
    async def work(tx: Transaction) -> ChangedMessage:
        actor = await confirm_actor(tx)
        if not actor.is_customer:
            raise Forbidden
        # What was kept aside has no session either, and its author must not learn more than that (R140).
        kept = await kept_message(actor, comment_id)
        found = kept or await customer_message(tx, comment_id)
        session = await lock_session(tx, found.conversation_id)
        if kept is not None or session is None or session.state is SessionState.ENDED:
            raise SessionEnded("This conversation has ended; its messages stay as they are.")
        ticket = await lock_ticket_of(tx, found.conversation_id)
        comment = await Comment.get(id=comment_id)
        if own and comment.author_id != actor.id:
            raise Forbidden("You can change your own messages only.")
        if comment.deleted_at is not None or comment.redacted_at is not None:
            raise NotFound
        what = await change(tx, comment)
        await comment.save()
        _record_comment(tx, EventType.TICKET_COMMENT_CHANGED, comment, ticket, session, change=what)
        return ChangedMessage(comment.id)

    return await unit_of_work(call, work)


async def customer_message(tx: Transaction, comment_id: UUID) -> Comment:
    """A message that this end user can see in his widget. Raises NotFound."""
    comment = await Comment.get_or_none(id=comment_id, account_id=tx.account_id, channel=Channel.MESSAGING)
    mine = comment and await Conversation.exists(id=comment.conversation_id, end_user_id=tx.actor.id)
    if comment is None or not mine:
        raise NotFound
    return comment


async def redact_comment(call: Call, comment_id: UUID) -> ChangedMessage:
    """Replace personal text for ever, and take its files away. That, when and by whom it was written stays (R49)."""

    async def work(tx: Transaction) -> ChangedMessage:
        actor = await confirm_actor(tx)
        if actor.is_customer:
            raise Forbidden
        found = await Comment.get_or_none(id=comment_id, account_id=tx.account_id)
        if found is None:
            raise NotFound
        ticket = await lock_ticket_of(tx, found.conversation_id)
        if ticket is None:
            raise NotFound
        await find_ticket(tx, ticket.id)
        if not actor.may(Permission.REDACT_COMMENTS):
            raise Forbidden
        comment = await Comment.get(id=comment_id)
        if comment.sequence == 1:  # the subject was taken from it, however it was edited since
            ticket.subject = REDACTED
        comment.body, comment.redacted_at = REDACTED, tx.now
        await comment.save()
        await withdraw_attachments(tx, comment.id)
        _record_comment(tx, EventType.TICKET_COMMENT_CHANGED, comment, ticket, None, change="REDACTED")
        return ChangedMessage(comment.id)

    return await unit_of_work(call, work)


async def mark_read(call: Call, comment_id: UUID) -> ReadComment:
    """Note how far the caller has read a conversation. Changes no session and no ticket (R63).

    A mark never moves back.
    """

    async def work(tx: Transaction) -> ReadComment:
        actor = await confirm_actor(tx)
        if actor.is_customer and (kept := await kept_message(actor, comment_id)) is not None:
            return ReadComment(kept.conversation_id, is_message=False)
        comment = await _readable(tx, comment_id)
        # Locked, or of two windows that read at the same moment the slower could move the mark back.
        mine = ReadMark.filter(conversation_id=comment.conversation_id, reader_id=actor.id)
        mark = await mine.select_for_update().get_or_none()
        if mark is None:
            await ReadMark.create(
                account_id=tx.account_id,
                conversation_id=comment.conversation_id,
                reader_id=actor.id,
                sequence=comment.sequence,
                read_at=tx.now,
            )
        elif mark.sequence < comment.sequence:
            mark.sequence, mark.read_at = comment.sequence, tx.now
            await mark.save()
        heard = not actor.is_customer or await suspension_of(tx) is None
        return ReadComment(comment.conversation_id, is_message=heard and comment.channel is Channel.MESSAGING)

    return await unit_of_work(call, work)


async def _readable(tx: Transaction, comment_id: UUID) -> Comment:
    if tx.actor.is_customer:
        return await customer_message(tx, comment_id)
    comment = await Comment.get_or_none(id=comment_id, account_id=tx.account_id)
    ticket = comment and await Ticket.get_or_none(conversation_id=comment.conversation_id)
    if comment is None or ticket is None:
        raise NotFound
    await find_ticket(tx, ticket.id)
    return comment


def subject_of(body: str) -> str:
    """The subject of a ticket that begins with this text: its first line, at most 80 characters."""
    # A text that was taken back is empty, and has no first line.
    line = " ".join(next(iter(body.strip().splitlines()), "").split())
    return line if len(line) <= 80 else line[:79].rstrip() + "…"
