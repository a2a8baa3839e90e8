"""What the customer's widget asks and does."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from domain.comments import comment_on_request
from domain.customers import conversations_page, requests_page
from domain.messages import send_message
from domain.revisions import ChangedMessage, delete_message, edit_message, react_to_message
from domain.suspended_messages import as_if_sent
from resolvers.answers import answering, customer
from schema.attachments import decode_attachments
from schema.context import Info
from schema.customers import (
    ChangeMessagePayload,
    CommentOnRequestInput,
    CommentOnRequestPayload,
    Conversation,
    DeleteMessageInput,
    EditMessageInput,
    Message,
    ReactToMessageInput,
    Request,
    SendMessageInput,
    SendMessagePayload,
)
from schema.ids import decode_id, decode_optional
from schema.paging import Connection, check_first, decode_moment, keyset_page


async def my_conversations(info: Info, first: int, after: str | None = None) -> Connection[Conversation]:
    rows = await conversations_page(customer(info), check_first(first), decode_moment(after))
    return keyset_page(
        rows, first, after=after is not None, key=lambda row: (row.started_at, row.id), node=Conversation.of
    )


async def my_requests(info: Info, first: int, after: str | None = None) -> Connection[Request]:
    rows = await requests_page(customer(info), check_first(first), decode_moment(after))
    return keyset_page(rows, first, after=after is not None, key=lambda row: (row.created_at, row.id), node=Request.of)


@answering(SendMessagePayload)
async def resolve_send_message(info: Info, input: SendMessageInput) -> SendMessagePayload:
    sent = await send_message(
        info.context.call(client_id=input.client_id),
        body=input.body,
        client_message_id=input.client_message_id,
        conversation_id=decode_optional("Conversation", input.conversation_id, field="conversationId"),
        attachment_ids=decode_attachments(input.attachment_ids),
    )
    message = await info.context.loaders.comments.load(sent.comment_id)
    conversation = await info.context.loaders.conversations.load(sent.conversation_id)
    if message is None:  # it was kept aside, which its author must not see
        message, conversation = await as_if_sent(info.context.actor, sent.comment_id)
    assert conversation is not None
    return SendMessagePayload(message=Message.of(message), conversation=Conversation.of(conversation))


async def _changed(info: Info, changed: ChangedMessage) -> ChangeMessagePayload:
    row = await info.context.loaders.comments.load(changed.comment_id)
    return ChangeMessagePayload(message=Message.of(row) if row else None)


def _message_id(input: Any) -> UUID:
    return decode_id("Message", input.message_id, field="messageId")


@answering(ChangeMessagePayload)
async def resolve_edit_message(info: Info, input: EditMessageInput) -> ChangeMessagePayload:
    return await _changed(info, await edit_message(info.context.call(), _message_id(input), body=input.body))


@answering(ChangeMessagePayload)
async def resolve_delete_message(info: Info, input: DeleteMessageInput) -> ChangeMessagePayload:
    return await _changed(info, await delete_message(info.context.call(), _message_id(input)))


@answering(ChangeMessagePayload)
async def resolve_react_to_message(info: Info, input: ReactToMessageInput) -> ChangeMessagePayload:
    changed = await react_to_message(info.context.call(), _message_id(input), reaction=input.reaction)
    return await _changed(info, changed)


@answering(CommentOnRequestPayload)
async def resolve_comment_on_request(info: Info, input: CommentOnRequestInput) -> CommentOnRequestPayload:
    call = info.context.call(idempotency_key=input.idempotency_key)
    request_id = decode_id("Request", input.request_id, field="requestId")
    files = decode_attachments(input.attachment_ids)
    posted = await comment_on_request(call, request_id, body=input.body, attachment_ids=files)
    row = await info.context.loaders.tickets.load(posted.ticket_id)
    return CommentOnRequestPayload(request=Request.of(row) if row else None)
