"""The account's bot: saving it, and what it does in the conversations that it has (R70, R128, R137, R138).

The bot acts as an actor of its own. A partner whose role may act as the bot does so in its name.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from domain.actors import EVERYTHING, Actor
from domain.comments import add_comment, check_body, subject_of
from domain.control import HandOffReason, take_from_bot
from domain.errors import Forbidden, NotFound, SessionEnded
from domain.idempotency import once
from domain.locks import confirm_actor, lock_session, lock_ticket_of, lock_user, read_settings_locked
from domain.messages import last_ticket
from domain.sessions import EndOutcome, SessionEnd, already_ended, end_locked_session
from domain.tickets import create_ticket
from domain.transactions import Call, Transaction
from models import (
    ActorKind,
    Bot,
    Channel,
    Comment,
    Conversation,
    EndReason,
    Event,
    EventType,
    MessagingSession,
    Permission,
    SessionState,
    Ticket,
    User,
)


@dataclass(frozen=True, slots=True)
class BotReply:
    """The verdict of `bot_reply`: where the bot's message is."""

    comment_id: UUID
    conversation_id: UUID


@dataclass(frozen=True, slots=True)
class HandedOff:
    """The verdict of `hand_off`: the ticket, and the event by which people got the conversation, whoever caused it."""

    ticket_id: UUID
    event_id: UUID


@dataclass(frozen=True, slots=True)
class Held:
    """A conversation with all its locks. Without a ticket, the bot has it alone."""

    customer: User
    session: MessagingSession
    ticket: Ticket | None


def bot_actor(bot: Bot) -> Actor:
    """The bot as the one who acts."""
    return Actor(account_id=bot.account_id, kind=ActorKind.BOT, id=bot.id, access=EVERYTHING)


async def act_as_bot(tx: Transaction) -> Bot:
    """Go on in the bot's name: what is recorded is its doing. Raises Forbidden, NotFound, Unauthenticated."""
    actor = await confirm_actor(tx)
    if actor.kind is not ActorKind.BOT and not actor.may(Permission.ACT_AS_BOT):
        raise Forbidden("Your role does not let you act as the bot.")
    bot = await Bot.get_or_none(account_id=tx.account_id)
    if bot is None:
        raise NotFound("There is no bot in this account.")
    tx.actor = bot_actor(bot)
    return bot


async def lock_conversation(tx: Transaction, conversation_id: UUID) -> Held:
    """A conversation over messaging: its end user, session and ticket, locked. Raises NotFound."""
    conversation = await Conversation.get_or_none(id=conversation_id, account_id=tx.account_id)
    if conversation is None:
        raise NotFound(field=("conversationId",))
    customer = await lock_user(tx, conversation.end_user_id)
    session = await lock_session(tx, conversation_id)
    if session is None:
        raise NotFound(field=("conversationId",))
    return Held(customer, session, await lock_ticket_of(tx, conversation_id))


def check_control(session: MessagingSession) -> None:
    """Raises SessionEnded, Forbidden: only who has the conversation speaks in it."""
    if session.state is SessionState.ENDED:
        raise SessionEnded("This conversation has ended. Nothing was delivered.")
    if not session.with_bot:
        raise Forbidden("An agent has taken over this conversation. Nothing was delivered.")


async def bot_reply(call: Call, conversation_id: UUID, *, body: str, in_reply_to: UUID | None = None) -> BotReply:
    """The bot writes to the customer. To each message that it names there is one reply: a second one changes nothing.

    Raises NotFound, SessionEnded (R128), InvalidInput, and Forbidden when the conversation is no longer the bot's.
    """
    check_body(body)

    async def work(tx: Transaction) -> BotReply:
        await tx.hold_settings()
        bot = await act_as_bot(tx)
        held = await lock_conversation(tx, conversation_id)
        key = None
        if in_reply_to is not None:
            await _check_question(held.session, in_reply_to)
            key = reply_key(in_reply_to)
            earlier = await reply_with(bot, key)
            if earlier is not None:
                return BotReply(earlier.id, conversation_id)
        check_control(held.session)
        comment = await say(tx, held, body, key)
        return BotReply(comment.id, conversation_id)

    inputs = {"conversation_id": str(conversation_id), "body": body, "in_reply_to": in_reply_to and str(in_reply_to)}
    return await once(call, "replyAsBot", inputs, BotReply, work)


def reply_key(comment_id: UUID, part: int = 0) -> str:
    """The client message id of a bot's reply, by which it is stored once."""
    return f"bot:{comment_id}:{part}"


async def reply_with(bot: Bot, key: str) -> Comment | None:
    """The bot's reply with this key, if it is stored."""
    return await Comment.get_or_none(account_id=bot.account_id, author_id=bot.id, client_message_id=key)


async def _check_question(session: MessagingSession, comment_id: UUID) -> None:
    question = Comment.filter(id=comment_id, conversation_id=session.conversation_id, channel=Channel.MESSAGING)
    if not await question.exists():
        raise NotFound("There is no such message in this conversation.", field=("inReplyTo",))


async def say(tx: Transaction, held: Held, body: str, key: str | None) -> Comment:
    """The bot's message in a locked conversation, which it has."""
    return await add_comment(
        tx,
        held.session.conversation_id,
        held.ticket,
        body=body,
        channel=Channel.MESSAGING,
        session=held.session,
        client_message_id=key,
    )


async def hand_off(call: Call, conversation_id: UUID, *, note: str | None = None) -> HandedOff:
    """The bot gives the conversation to people, with a ticket if it has none yet, and a note for them.

    Once: a repeated hand-off, or one after an agent took over, changes nothing and says what happened first (R137).
    Raises NotFound, Forbidden, SessionEnded, InvalidInput.
    """
    if note is not None:
        check_body(note, field="note")

    async def work(tx: Transaction) -> HandedOff:
        await tx.hold_settings()
        await act_as_bot(tx)
        held = await lock_conversation(tx, conversation_id)
        if not held.session.with_bot and held.ticket is not None:
            earlier = Event.filter(ticket_id=held.ticket.id, type=EventType.CONVERSATION_HANDED_OFF)
            event = await earlier.order_by("ticket_sequence").first()
            if event is not None:
                return HandedOff(held.ticket.id, event.id)
        check_control(held.session)
        ticket, event_id = await hand_over(tx, held, HandOffReason.BOT, note=note)
        return HandedOff(ticket.id, event_id)

    inputs = {"conversation_id": str(conversation_id), "note": note}
    return await once(call, "handOffConversation", inputs, HandedOff, work)


async def hand_over(
    tx: Transaction, held: Held, reason: HandOffReason, *, note: str | None = None
) -> tuple[Ticket, UUID]:
    """People get a locked conversation that the bot has: the ticket, and the id of the event that says so."""
    ticket = held.ticket or await create_ticket(
        tx,
        conversation_id=held.session.conversation_id,
        requester=held.customer,
        channel=Channel.MESSAGING,
        subject=await _subject(held.session),
        continues=await last_ticket(held.customer),
    )
    event = await take_from_bot(tx, held.session, ticket, reason)
    assert event is not None, "a conversation was handed over that the bot did not have"
    if note is not None:
        await add_comment(tx, ticket.conversation_id, ticket, body=note, channel=Channel.INTERNAL_NOTE)
    return ticket, event.id


async def _subject(session: MessagingSession) -> str:
    """From the customer's first message that he has not taken back."""
    said = Comment.filter(conversation_id=session.conversation_id, author_kind=ActorKind.END_USER, deleted_at=None)
    first = await said.order_by("sequence").first()
    return subject_of(first.body) if first else ""


async def end_as_bot(call: Call, conversation_id: UUID) -> SessionEnd:
    """The bot ends a conversation that it has, also one without a ticket (R42).

    Raises NotFound, and Forbidden when the conversation is no longer the bot's.
    """

    async def work(tx: Transaction) -> SessionEnd:
        settings = await read_settings_locked(tx)
        await act_as_bot(tx)
        held = await lock_conversation(tx, conversation_id)
        session, ticket = held.session, held.ticket
        if session.state is SessionState.ENDED:
            return await already_ended(session, ticket)
        check_control(session)
        event = await end_locked_session(tx, session, ticket, reason=EndReason.BOT, settings=settings)
        ticket_id = ticket.id if ticket else None
        return SessionEnd(EndOutcome.ENDED.value, ticket_id, session.id, event.id, None, ())

    return await once(call, "endConversationAsBot", {"conversation_id": str(conversation_id)}, SessionEnd, work)


async def unanswered_since(session: MessagingSession) -> datetime | None:
    """When the customer wrote the first of his messages that nobody has answered; None if all are."""
    messages = Comment.filter(conversation_id=session.conversation_id, channel=Channel.MESSAGING)
    answer = await messages.exclude(author_kind=ActorKind.END_USER).order_by("-sequence").first()
    after = messages.filter(author_kind=ActorKind.END_USER, sequence__gt=answer.sequence if answer else 0)
    first = await after.filter(deleted_at=None).order_by("sequence").first()
    return first.created_at if first else None
