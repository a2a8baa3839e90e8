"""Who answers first, in two kinds: by keywords here, or by a signed call to a program elsewhere (R70).

Both are readers of the event log: what the customer wrote is committed long before a bot thinks about it.
"""

from __future__ import annotations

import logging
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

from tortoise.expressions import Q
from tortoise.functions import Max

from domain.actors import system
from domain.bots import Held, bot_actor, hand_over, lock_conversation, reply_key, reply_with, say, unanswered_since
from domain.control import HandOffReason
from domain.errors import BusyRetry
from domain.ids import global_id
from domain.passes import each
from domain.readers import Update, lagging_accounts, read_updates
from domain.transactions import Call, Transaction, unit_of_work
from models import (
    ActorKind,
    Bot,
    BotKind,
    Channel,
    Comment,
    DeliveryState,
    EventType,
    MessagingSession,
    OutboundCall,
    SessionState,
    new_id,
    utc_now,
)
from models.database import is_contention, is_unavailable

log = logging.getLogger("deskwire.bots")

READER = "bots"
PATIENCE = timedelta(minutes=2)
"""How long a customer waits for a bot before people get his conversation."""

Clock = Callable[[], datetime]

_WORD = re.compile(r"\w+")


class Responder(Protocol):
    """Something that answers a customer's message."""

    async def answer(self, comment_id: UUID, conversation_id: UUID) -> bool:
        """Deal with a message, once, if the bot has its conversation. Returns whether something was done."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What a bot of rules does about a message."""

    says: tuple[str, ...]
    hands_off: bool


def words(text: str) -> list[str]:
    """The words of a text, without regard to case and to how its characters are composed."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def mentions(said: list[str], keyword: str) -> bool:
    """Whether the words of a keyword stand in a text, one behind the other."""
    wanted = words(keyword)
    return any(said[at : at + len(wanted)] == wanted for at in range(len(said) - len(wanted) + 1))


def decide(bot: Bot, body: str, *, first: bool) -> Decision:
    """A wish for a person comes first, then the first answer that fits; what the bot does not know is for people.

    The first message is greeted. A greeting is an answer to a first message that the bot does not know.
    """
    said = words(body)
    greeting = (bot.greeting,) if first and bot.greeting else ()
    wants_person = any(mentions(said, keyword) for keyword in bot.handoff_keywords)
    fitting = (a["reply"] for a in bot.answers if any(mentions(said, keyword) for keyword in a["keywords"]))
    reply = None if wants_person else next(fitting, None)
    if reply is not None:
        return Decision((*greeting, reply), hands_off=False)
    if greeting and not wants_person:
        return Decision(greeting, hands_off=False)
    farewell = (bot.handoff_message,) if bot.handoff_message else ()
    return Decision((*greeting, *farewell), hands_off=True)


class Rules:
    """Answers by keywords, in one unit of work."""

    def __init__(self, bot: Bot, clock: Clock) -> None:
        self._bot = bot
        self._call = Call(bot_actor(bot), clock=clock)

    async def answer(self, comment_id: UUID, conversation_id: UUID) -> bool:
        async def work(tx: Transaction) -> bool:
            held = await lock_conversation(tx, conversation_id)
            comment = await Comment.get(id=comment_id)
            if not _is_open(held.session, comment) or await reply_with(self._bot, reply_key(comment_id)):
                return False
            decision = decide(self._bot, comment.body, first=comment.sequence == 1)
            for part, text in enumerate(decision.says):
                await say(tx, held, text, reply_key(comment_id, part))
            if decision.hands_off:
                await hand_over(tx, held, HandOffReason.BOT)
            return True

        return await unit_of_work(self._call, work)


class Http:
    """Queues a signed call, once for each message. The program answers through the API (replyAsBot)."""

    def __init__(self, bot: Bot, clock: Clock) -> None:
        self._bot = bot
        self._call = Call(bot_actor(bot), clock=clock)

    async def answer(self, comment_id: UUID, conversation_id: UUID) -> bool:
        async def work(tx: Transaction) -> bool:
            held = await lock_conversation(tx, conversation_id)
            comment = await Comment.get(id=comment_id)
            key = call_key(comment_id)
            queued = await OutboundCall.exists(account_id=tx.account_id, key=key)
            if queued or not _is_open(held.session, comment):
                return False
            await OutboundCall.create(
                id=new_id(),
                account_id=tx.account_id,
                bot_id=self._bot.id,
                key=key,
                body=_body(held, comment),
                next_attempt_at=tx.now,
                created_at=tx.now,
            )
            return True

        return await unit_of_work(self._call, work)


def call_key(comment_id: UUID) -> str:
    """The key of the call that tells a bot of a message."""
    return f"bot:{comment_id}"


def _is_open(session: MessagingSession, comment: Comment) -> bool:
    return session.with_bot and session.state is not SessionState.ENDED and comment.deleted_at is None


def _body(held: Held, comment: Comment) -> dict[str, object]:
    return {
        "type": "message",
        "conversationId": global_id("Conversation", comment.conversation_id),
        "message": {"id": global_id("Message", comment.id), "body": comment.body},
        "customer": {"id": global_id("User", held.customer.id), "name": held.customer.name},
    }


def responder_of(bot: Bot, clock: Clock) -> Responder:
    """The kind of responder that this bot is."""
    return Http(bot, clock) if bot.kind is BotKind.HTTP else Rules(bot, clock)


async def answer_messages(clock: Clock = utc_now) -> int:
    """A pass: the bots deal with what customers wrote to them. Returns how many messages something was done about."""
    bots = {bot.account_id: bot for bot in await Bot.all()}
    behind = await lagging_accounts(READER, bots)
    count = 0
    for account_id in behind:
        reading = _Reading(responder_of(bots[account_id], clock))
        try:
            await read_updates(READER, account_id, reading.handle)
        except Exception:
            log.exception("the bot of account %s could not go on; it is tried again", account_id)
        count += reading.count
    return count


class _Reading:
    """One walk of a responder along the log."""

    def __init__(self, responder: Responder) -> None:
        self._responder = responder
        self.count = 0

    async def handle(self, update: Update) -> None:
        for event in update.events:
            to_widget = event.type is EventType.TICKET_COMMENT_ADDED and event.payload.get("customer") is not None
            if to_widget and event.actor_kind is ActorKind.END_USER:
                assert event.comment_id is not None
                assert event.conversation_id is not None
                await self._answer(event.comment_id, event.conversation_id)

    async def _answer(self, comment_id: UUID, conversation_id: UUID) -> None:
        if not await MessagingSession.exists(conversation_id=conversation_id, with_bot=True):
            return  # without a lock: a conversation that the bot has lost never comes back to it
        try:
            self.count += await self._responder.answer(comment_id, conversation_id)
        except Exception as error:
            if isinstance(error, BusyRetry) or is_contention(error) or is_unavailable(error):
                raise
            # One message that cannot be answered must not silence the bot: people get it, when the bot was
            # silent for too long.
            log.exception("the bot failed on message %s", comment_id)


async def hand_off_silent_bots(clock: Clock = utc_now) -> int:
    """A pass: people get the conversations in which a bot owes an answer for PATIENCE, or could not be reached."""
    late = clock() - PATIENCE
    unreached = await _unreached(late)
    sessions = MessagingSession.filter(with_bot=True).exclude(state=SessionState.ENDED)
    candidates = sessions.filter(Q(state=SessionState.ACTIVE) | Q(conversation_id__in=list(unreached)))
    found = await candidates.order_by("last_customer_message_at", "id").values_list("conversation_id", "account_id")
    waiting = await _waiting_since(late, [row[0] for row in found])

    async def act(item: tuple[UUID, UUID]) -> bool:
        conversation_id, account_id = item
        call = Call(system(account_id), clock=clock)
        return await _hand_off_if_silent(call, conversation_id, PATIENCE if conversation_id in waiting else None)

    return await each(log, [(row[0], row[1]) for row in found if row[0] in waiting | unreached], act)


async def _waiting_since(late: datetime, conversation_ids: list[UUID]) -> set[UUID]:
    """Those of the conversations in which a message of the customer is so old, and nobody wrote after it."""
    messages = Comment.filter(conversation_id__in=conversation_ids, channel=Channel.MESSAGING)
    answers = (
        messages.exclude(author_kind=ActorKind.END_USER).annotate(last=Max("sequence")).group_by("conversation_id")
    )
    answered = {row["conversation_id"]: row["last"] for row in await answers.values("conversation_id", "last")}
    asked = messages.filter(author_kind=ActorKind.END_USER, deleted_at=None, created_at__lte=late)
    rows = await asked.values_list("conversation_id", "sequence")
    return {conversation_id for conversation_id, sequence in rows if sequence > answered.get(conversation_id, 0)}


async def _unreached(since: datetime) -> set[UUID]:
    """The conversations of messages of which a bot could lately not be told."""
    failed = OutboundCall.filter(bot_id__isnull=False, state=DeliveryState.FAILED, finished_at__gte=since)
    comment_ids = [UUID(call.key.removeprefix("bot:")) for call in await failed]
    return set(await Comment.filter(id__in=comment_ids).values_list("conversation_id", flat=True))  # type: ignore[arg-type]


async def _hand_off_if_silent(call: Call, conversation_id: UUID, patience: timedelta | None) -> bool:
    """Under the locks, once more: the bot still owes an answer (for so long). No patience is for a bot out of reach."""

    async def work(tx: Transaction) -> bool:
        await tx.hold_settings()
        held = await lock_conversation(tx, conversation_id)
        if held.session.state is SessionState.ENDED or not held.session.with_bot:
            return False
        since = await unanswered_since(held.session)
        if since is None or (patience is not None and since > tx.now - patience):
            return False
        await hand_over(tx, held, HandOffReason.BOT_SILENT)
        return True

    return await unit_of_work(call, work)
