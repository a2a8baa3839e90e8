"""Agents' comments, and read marks and typing of both sides."""

from __future__ import annotations

from uuid import UUID

from domain.actors import Actor
from domain.comments import post_comment
from domain.customers import conversation_of
from domain.errors import InvalidInput, NotFound
from domain.revisions import mark_read, redact_comment
from domain.sessions import takes_typing
from resolvers.answers import answering
from schema.attachments import decode_attachments
from schema.comments import Comment
from schema.context import Info, Signal
from schema.ids import decode_id
from schema.payloads import (
    MarkReadInput,
    MarkReadPayload,
    PostCommentInput,
    PostCommentPayload,
    RedactCommentInput,
    RedactCommentPayload,
    SendTypingInput,
    SendTypingPayload,
)
from schema.tickets import Ticket


@answering(PostCommentPayload)
async def resolve_post_comment(info: Info, input: PostCommentInput) -> PostCommentPayload:
    posted = await post_comment(
        info.context.call(client_id=input.client_id, idempotency_key=input.idempotency_key),
        decode_id("Ticket", input.ticket_id, field="ticketId"),
        body=input.body,
        channel=input.channel,
        expected_version=input.expected_version,
        attachment_ids=decode_attachments(input.attachment_ids),
    )
    ticket = await info.context.loaders.tickets.load(posted.ticket_id)
    comment = await info.context.loaders.comments.load(posted.comment_id)
    if ticket is None or comment is None:  # lost between the call and its retry
        raise NotFound
    return PostCommentPayload(comment=Comment.of(comment), ticket=Ticket.of(ticket))


@answering(RedactCommentPayload)
async def resolve_redact_comment(info: Info, input: RedactCommentInput) -> RedactCommentPayload:
    call = info.context.call(client_id=input.client_id)
    redacted = await redact_comment(call, decode_id("Comment", input.comment_id, field="commentId"))
    row = await info.context.loaders.comments.load(redacted.comment_id)
    return RedactCommentPayload(comment=Comment.of(row) if row else None)


@answering(MarkReadPayload)
async def resolve_mark_read(info: Info, input: MarkReadInput) -> MarkReadPayload:
    kind = "Message" if info.context.actor.is_customer else "Comment"
    read = await mark_read(info.context.call(), decode_id(kind, input.message_id, field="messageId"))
    if read.is_message:  # a note, and hence that it was read, is nothing to the customer (R53)
        await _signal(info, read.conversation_id, "READ")
    return MarkReadPayload(marked=True)


@answering(SendTypingPayload)
async def resolve_send_typing(info: Info, input: SendTypingInput) -> SendTypingPayload:
    conversation_id = await _conversation(info.context.actor, input)
    if not await takes_typing(info.context.actor, conversation_id):
        return SendTypingPayload(delivered=False)
    await _signal(info, conversation_id, "TYPING")
    return SendTypingPayload(delivered=True)


async def _conversation(actor: Actor, input: SendTypingInput) -> UUID:
    """Raises NotFound, InvalidInput."""
    ticket_id, conversation_id = input.ticket_id, input.conversation_id
    if (ticket_id is None) == (conversation_id is None) or actor.is_customer == (conversation_id is None):
        raise InvalidInput("Agents name the ticket, customers the conversation.")
    return await conversation_of(
        actor,
        ticket_id=decode_id("Ticket", ticket_id, field="ticketId") if ticket_id is not None else None,
        conversation_id=decode_id("Conversation", conversation_id, field="conversationId")
        if conversation_id is not None
        else None,
    )


async def _signal(info: Info, conversation_id: UUID, kind: str) -> None:
    actor = info.context.actor
    assert actor.id is not None
    await info.context.feeds.signal(Signal(actor.account_id, conversation_id, kind, actor.id, actor.kind.value))
