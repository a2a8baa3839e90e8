"""The account's bot, and acting in its name."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from domain.bot_settings import bot_of, save_bot
from domain.bots import bot_reply, end_as_bot, hand_off
from domain.sessions import EndOutcome
from resolvers.answers import answering, staff
from schema.bots import (
    Bot,
    EndConversationAsBotInput,
    EndConversationAsBotPayload,
    HandOffConversationInput,
    HandOffConversationPayload,
    ReplyAsBotInput,
    ReplyAsBotPayload,
    SaveBotInput,
    SaveBotPayload,
)
from schema.context import Info
from schema.customers import Message
from schema.ids import decode_id, decode_optional
from schema.tickets import Ticket


async def bot(info: Info) -> Bot | None:
    row = await bot_of(staff(info))
    return Bot.of(row) if row else None


@answering(SaveBotPayload)
async def resolve_save_bot(info: Info, input: SaveBotInput) -> SaveBotPayload:
    saved = await save_bot(info.context.call(), input.form(), new_secret=input.new_secret)
    return SaveBotPayload(bot=await bot(info), signing_secret=saved.secret)


def _call(info: Info, input: Any) -> Any:
    return info.context.call(client_id=input.client_id, idempotency_key=input.idempotency_key)


def _conversation_id(input: Any) -> UUID:
    return decode_id("Conversation", input.conversation_id, field="conversationId")


@answering(ReplyAsBotPayload)
async def resolve_reply_as_bot(info: Info, input: ReplyAsBotInput) -> ReplyAsBotPayload:
    message_id = decode_optional("Message", input.in_reply_to, field="inReplyTo")
    reply = await bot_reply(_call(info, input), _conversation_id(input), body=input.body, in_reply_to=message_id)
    row = await info.context.loaders.comments.load(reply.comment_id)
    return ReplyAsBotPayload(message=Message.of(row) if row else None)


@answering(HandOffConversationPayload)
async def resolve_hand_off_conversation(info: Info, input: HandOffConversationInput) -> HandOffConversationPayload:
    handed = await hand_off(_call(info, input), _conversation_id(input), note=input.note)
    ticket = await info.context.loaders.tickets.load(handed.ticket_id)
    return HandOffConversationPayload(handed_off=True, ticket=Ticket.of(ticket) if ticket else None)


@answering(EndConversationAsBotPayload)
async def resolve_end_conversation_as_bot(info: Info, input: EndConversationAsBotInput) -> EndConversationAsBotPayload:
    end = await end_as_bot(_call(info, input), _conversation_id(input))
    return EndConversationAsBotPayload(outcome=EndOutcome(end.outcome))
