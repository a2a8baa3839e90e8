"""What may still be done to comments: editing, taking back, reacting, redacting, and noting how far one has read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from domain.attachments import withdraw_attachments
from domain.comments import check_body, record_comment
from domain.errors import Forbidden, InvalidInput, NotFound, SessionEnded
from domain.locks import confirm_actor, find_ticket, lock_session, lock_ticket_of
from domain.suspended_messages import kept_message, suspension_of
from domain.transactions import Call, Transaction, unit_of_work
from models import Channel, Comment, Conversation, EventType, Permission, ReadMark, SessionState, Ticket

LONGEST_REACTION = 16
REDACTED = "[redacted]"
DELETED = ""


@dataclass(frozen=True, slots=True)
class ChangedMessage:
    """The verdict of changing one's own message, or of redacting somebody's."""

    comment_id: UUID


@dataclass(frozen=True, slots=True)
class ReadComment:
    """The verdict of `mark_read`. Only of a message may the other side learn that it was read."""

    conversation_id: UUID
    is_message: bool


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
        await tx.hold_settings()
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
        record_comment(tx, EventType.TICKET_COMMENT_CHANGED, comment, ticket, session, change=what)
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
        await tx.hold_settings()
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
        record_comment(tx, EventType.TICKET_COMMENT_CHANGED, comment, ticket, None, change="REDACTED")
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
