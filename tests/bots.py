"""An account with a bot in front, for tests."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from domain.actors import Actor
from domain.bot_settings import BotForm, KeywordAnswer, save_bot
from domain.bots import bot_actor
from domain.messages import SentMessage, send_message
from domain.settings import update_messaging_settings
from domain.transactions import Call
from models import (
    Bot,
    BotKind,
    Comment,
    Event,
    FirstResponder,
    MessagingSession,
    Permission,
    Ticket,
    TicketCreation,
    UserKind,
    utc_now,
)
from tests.factories import AGENT, World

AT_ONCE, LATER = TicketCreation.IMMEDIATE, TicketCreation.AT_HANDOFF

RULES = BotForm(
    name="Robin",
    kind=BotKind.RULES,
    answers=(
        KeywordAnswer(("opening hours", "geöffnet"), "We are open from 9 to 5."),
        KeywordAnswer(("refund",), "Refunds take three days."),
    ),
    handoff_keywords=("human", "real person"),
    handoff_message="A colleague will be with you.",
)
HTTP = BotForm(name="Robin", kind=BotKind.HTTP, url="https://bot.example/messages")


async def put_in_front(world: World, form: BotForm = RULES, creation: TicketCreation = LATER) -> Bot:
    """The account's bot, which answers first from now on."""
    await save_bot(Call(world.admin), form)
    values = {"first_responder": FirstResponder.BOT, "ticket_creation": creation}
    await update_messaging_settings(Call(world.admin), values)
    return await Bot.get(account_id=world.id)


async def partner(world: World) -> Actor:
    """A program that may act as the bot."""
    permissions = AGENT | {Permission.ACT_AS_BOT}
    return await world.agent("Bot program", permissions=permissions, kind=UserKind.PARTNER)


async def writes(customer: Actor, body: str = "Hello?", moment: datetime | None = None) -> SentMessage:
    return await send_message(Call(customer, clock=(lambda: moment) if moment else utc_now), body=body)


async def said_in(sent: SentMessage) -> list[tuple[str, str]]:
    """Who said what in a conversation, in order; notes among it."""
    comments = await Comment.filter(conversation_id=sent.conversation_id).order_by("sequence")
    return [(comment.author_kind, comment.body) for comment in comments]


async def session_of(sent: SentMessage) -> MessagingSession:
    return await MessagingSession.get(conversation_id=sent.conversation_id)


async def ticket_of(sent: SentMessage) -> Ticket | None:
    return await Ticket.get_or_none(conversation_id=sent.conversation_id)


async def happened(sent: SentMessage) -> list[tuple[str, str]]:
    """The types of a conversation's events and who caused them, with or without a ticket."""
    events = await Event.filter(conversation_id=sent.conversation_id).order_by("position")
    return [(event.actor_kind.value, event.type.value) for event in events]


def as_bot(bot: Bot, **more: Any) -> Call:
    return Call(bot_actor(bot), **more)
