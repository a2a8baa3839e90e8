"""A bot answers first: who has a conversation, when it gets its ticket, and how the bot lets go (R70, R128, R137)."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine
from datetime import timedelta
from typing import Any, TypeVar

import pytest

from domain.bot_settings import BotForm, KeywordAnswer, save_bot
from domain.bots import BotReply, HandedOff, bot_reply, end_as_bot, hand_off
from domain.comments import post_comment
from domain.conversations import end_conversation
from domain.errors import FeatureDisabled, Forbidden, InvalidInput, NotFound, NoTicketYet, SessionEnded
from domain.revisions import delete_message
from domain.settings import update_messaging_settings
from domain.tickets import update_ticket
from domain.timers import expire_sessions
from domain.transactions import Call
from models import (
    AuditLogEntry,
    Bot,
    BotKind,
    Channel,
    Comment,
    Control,
    EndReason,
    Event,
    EventType,
    FirstResponder,
    MessagingSession,
    SessionState,
    Ticket,
    TicketCreation,
    TicketStatus,
    new_id,
)
from tests.bots import (
    AT_ONCE,
    HTTP,
    LATER,
    RULES,
    as_bot,
    happened,
    partner,
    put_in_front,
    said_in,
    session_of,
    ticket_of,
    writes,
)
from tests.domain.test_timers import START, at
from tests.factories import World
from tests.invariants import assert_consistent

T = TypeVar("T")


async def after(seconds: float, work: Coroutine[Any, Any, T]) -> T:
    await asyncio.sleep(seconds)
    return await work


# Settings


async def test_a_bot_answers_first_once_there_is_one(world: World, other_world: World) -> None:
    """R70: another account's bot is none."""
    await save_bot(Call(other_world.admin), RULES)
    bot_first = {"first_responder": FirstResponder.BOT}
    async with world.refuses(InvalidInput) as caught:
        await update_messaging_settings(Call(world.admin), bot_first)
    assert caught.value.field == ("firstResponder",)
    await save_bot(Call(world.admin), RULES)
    assert (await update_messaging_settings(Call(world.admin), bot_first)).changed
    sent = await writes(await world.customer())
    assert (await session_of(sent)).control is Control.BOT
    await update_messaging_settings(Call(world.admin), {"first_responder": FirstResponder.AGENT})
    assert (await session_of(await writes(await world.customer()))).control is Control.AGENT


async def test_an_account_has_one_bot_which_only_who_manages_channels_describes(world: World) -> None:
    """R8: saved again it is the same one; the log keeps what changed, and no text of it and no secret."""
    for caller in (await world.agent(), await world.customer(), await partner(world)):
        async with world.refuses(Forbidden):
            await save_bot(Call(caller), RULES)
    saves = await asyncio.gather(*(save_bot(Call(world.admin), HTTP) for _ in range(4)))
    assert len({saved.bot_id for saved in saves}) == 1
    (secret,) = [saved.secret for saved in saves if saved.secret]
    assert secret == (await Bot.get(account_id=world.id)).secret
    renewed = await save_bot(Call(world.admin), HTTP, new_secret=True)
    assert renewed.secret not in (None, secret)
    assert (await save_bot(Call(world.admin), RULES)).secret is None
    bot = await Bot.get(account_id=world.id)
    assert (bot.kind, bot.url, bot.secret) == (BotKind.RULES, None, None)
    log = str([line.changes for line in await AuditLogEntry.filter(account_id=world.id, action="BOT_SAVED")])
    assert "https://bot.example/messages" in log
    assert not any(text in log for text in (secret, renewed.secret or "", "Refunds take", "colleague"))


@pytest.mark.parametrize(
    ("form", "field"),
    [
        (BotForm(" ", BotKind.RULES), "name"),
        (BotForm("x" * 101, BotKind.RULES), "name"),
        (BotForm("R", BotKind.RULES, greeting=" "), "greeting"),
        (BotForm("R", BotKind.RULES, handoff_message="\x00"), "handoffMessage"),
        (BotForm("R", BotKind.RULES, answers=(KeywordAnswer((), "…"),)), "answers"),
        (BotForm("R", BotKind.RULES, answers=(KeywordAnswer(("?!",), "…"),)), "answers"),
        (BotForm("R", BotKind.RULES, answers=(KeywordAnswer(("a",), ""),)), "answers"),
        (BotForm("R", BotKind.RULES, answers=(KeywordAnswer(("a",), "…"),) * 101), "answers"),
        (BotForm("R", BotKind.RULES, handoff_keywords=("",)), "handoffKeywords"),
        (BotForm("R", BotKind.HTTP), "url"),
        (BotForm("R", BotKind.HTTP, url="ftp://bot.example"), "url"),
        (BotForm("R", BotKind.HTTP, url="https://me:secret@bot.example"), "url"),
        (BotForm("R", BotKind.HTTP, url="https://bot.example:99999"), "url"),
        (BotForm("R", BotKind.HTTP, url="https://bot.example/" + "x" * 2000), "url"),
    ],
)
async def test_a_bot_that_cannot_work_is_not_saved(world: World, form: BotForm, field: str) -> None:
    async with world.refuses(InvalidInput) as caught:
        await save_bot(Call(world.admin), form)
    assert caught.value.field == (field,)
    assert not await Bot.exists(account_id=world.id)


# The ticket


async def test_by_default_the_ticket_is_there_at_once(world: World) -> None:
    """R70, R137: IMMEDIATE; the bot has the conversation, and hands off the ticket that there is."""
    bot, customer = await put_in_front(world, creation=AT_ONCE), await world.customer()
    old = await world.ended_ticket(customer=customer)
    sent = await writes(customer, "Where is my order?")
    ticket = await ticket_of(sent)
    assert ticket is not None
    assert (ticket.continuation_of_id, (await session_of(sent)).control) == (old.id, Control.BOT)
    handed = await hand_off(as_bot(bot), sent.conversation_id)
    assert handed.ticket_id == ticket.id
    assert (await session_of(sent)).control is Control.AGENT
    assert (await world.history(ticket))[-1] == "CONVERSATION_HANDED_OFF"
    assert await Ticket.filter(account_id=world.id).count() == 2
    await assert_consistent(world)


async def test_at_hand_off_the_ticket_is_made_in_the_same_transaction(world: World) -> None:
    """R70, R71, R72, R137: AT_HANDOFF; the subject is of what he did not take back, and the old ticket is linked."""
    bot, customer = await put_in_front(world), await world.customer()
    await update_messaging_settings(Call(world.admin), {"ticket_creation": TicketCreation.IMMEDIATE})
    old = await world.ended_ticket(customer=customer)
    await update_messaging_settings(Call(world.admin), {"ticket_creation": TicketCreation.AT_HANDOFF})
    sent = await writes(customer, "Oops")
    await delete_message(Call(customer), sent.comment_id)
    await writes(customer, "Where is my order?\nIt is late.")
    assert await ticket_of(sent) is None
    handed = await hand_off(as_bot(bot), sent.conversation_id, note="Asked twice.")
    ticket = await ticket_of(sent)
    assert ticket is not None
    assert (ticket.id, ticket.subject, ticket.status) == (handed.ticket_id, "Where is my order?", TicketStatus.NEW)
    assert (ticket.continuation_of_id, ticket.requester_id, ticket.assignee_id) == (old.id, customer.id, None)
    events = await world.events(ticket)
    assert [event.type.value for event in events] == [
        "TICKET_CREATED",
        "CONVERSATION_HANDED_OFF",
        "TICKET_COMMENT_ADDED",
    ]
    assert {(event.actor_kind.value, event.actor_id, event.audit_id) for event in events} == {
        ("BOT", bot.id, events[0].audit_id)
    }
    assert events[1].id == handed.event_id
    assert events[1].payload == {"reason": "BOT"}
    assert (await said_in(sent))[-1] == ("BOT", "Asked twice.")
    note = await Comment.get(conversation_id=sent.conversation_id, author_id=bot.id)
    assert note.channel is Channel.INTERNAL_NOTE
    await assert_consistent(world)


@pytest.mark.parametrize("creation", [AT_ONCE, LATER])
async def test_duplicates_of_a_hand_off_are_ignored(world: World, creation: TicketCreation) -> None:
    """R137: one after the other, at the same moment, and after the end; each is told what the first did."""
    bot = await put_in_front(world, creation=creation)
    for _ in range(5):
        sent = await writes(await world.customer())
        calls = (hand_off(as_bot(bot), sent.conversation_id, note=f"Note {n}") for n in range(4))
        results = set(await asyncio.gather(*calls))
        assert len(results) == 1
        assert await hand_off(as_bot(bot), sent.conversation_id) in results
        ticket = await ticket_of(sent)
        assert ticket is not None
        assert (await world.history(ticket)).count("CONVERSATION_HANDED_OFF") == 1
        assert [kind for kind, _ in await said_in(sent)] == ["END_USER", "BOT"]
        await world.end(ticket, world.admin)
        assert await hand_off(as_bot(bot), sent.conversation_id) in results
    await assert_consistent(world)


# Who has it


async def test_an_agent_who_writes_takes_over(world: World) -> None:
    """R138: a message to the customer does; a note, an e-mail and the bot's own words do not."""
    bot, agent = await put_in_front(world, creation=AT_ONCE), await world.agent()
    sent = await writes(await world.customer())
    ticket = await ticket_of(sent)
    assert ticket is not None
    for channel in (Channel.INTERNAL_NOTE, Channel.EMAIL):
        await post_comment(Call(agent), ticket.id, body="…", channel=channel)
    await bot_reply(as_bot(bot), sent.conversation_id, body="I am a bot.")
    assert (await session_of(sent)).control is Control.BOT
    await post_comment(Call(agent), ticket.id, body="I am not.", channel=Channel.MESSAGING)
    assert (await session_of(sent)).control is Control.AGENT
    event = (await world.events(ticket))[-1]
    assert (event.type, event.actor_id, event.payload) == (
        EventType.CONVERSATION_HANDED_OFF,
        agent.id,
        {"reason": "AGENT"},
    )
    async with world.refuses(Forbidden) as caught:
        await bot_reply(as_bot(bot), sent.conversation_id, body="Can I help?")
    assert "taken over" in caught.value.message
    assert await hand_off(as_bot(bot), sent.conversation_id) == HandedOff(ticket.id, event.id)
    await post_comment(Call(agent), ticket.id, body="Once more.", channel=Channel.MESSAGING)
    assert (await world.history(ticket)).count("CONVERSATION_HANDED_OFF") == 1
    await assert_consistent(world)


async def test_who_is_given_the_ticket_takes_over(world: World) -> None:
    """R138: with the assignment; a group alone answers nobody."""
    await put_in_front(world, creation=AT_ONCE)
    sent = await writes(await world.customer())
    ticket = await ticket_of(sent)
    assert ticket is not None
    await update_ticket(Call(world.admin), ticket.id, {"group_id": (await world.group()).id, "tags": ["x"]})
    assert (await session_of(sent)).control is Control.BOT
    await update_ticket(Call(world.admin), ticket.id, {"assignee_id": (await world.agent()).id})
    assert (await session_of(sent)).control is Control.AGENT
    assert (await world.history(ticket))[-1] == "CONVERSATION_HANDED_OFF"


async def test_after_the_end_nobody_has_it_and_a_new_session_begins_with_the_bot(world: World) -> None:
    """R138, R128, R68: what the bot says afterwards is refused, and not delivered."""
    bot, customer = await put_in_front(world, creation=AT_ONCE), await world.customer()
    sent = await writes(customer)
    ticket = await ticket_of(sent)
    assert ticket is not None
    first = await bot_reply(as_bot(bot), sent.conversation_id, body="One moment.", in_reply_to=sent.comment_id)
    await world.end(ticket, world.admin)
    assert (await session_of(sent)).control is Control.NOBODY
    async with world.refuses(SessionEnded):
        await bot_reply(as_bot(bot), sent.conversation_id, body="Here I am.")
    async with world.refuses(SessionEnded):
        await hand_off(as_bot(bot), sent.conversation_id)
    assert await bot_reply(as_bot(bot), sent.conversation_id, body="…", in_reply_to=sent.comment_id) == first
    again = await writes(customer)
    assert again.conversation_id != sent.conversation_id
    assert (await session_of(again)).control is Control.BOT
    assert (await session_of(sent)).control is Control.NOBODY
    await assert_consistent(world)


async def test_a_bots_reply_beside_an_end_is_before_it_or_refused(world: World) -> None:
    """R128: thirty times at the same moment."""
    bot, told = await put_in_front(world, creation=AT_ONCE), Counter[type]()
    for lap in range(30):
        sent = await writes(await world.customer())
        ticket = await ticket_of(sent)
        assert ticket is not None
        end, replied = await asyncio.gather(
            # Now and then one is clearly first, so that both orders do occur.
            after([0.0, 0.004, 0.0, 0.2][lap % 4], world.end(ticket, world.admin)),
            after([0.0, 0.0, 0.2, 0.0][lap % 4], bot_reply(as_bot(bot), sent.conversation_id, body="Late?")),
            return_exceptions=True,
        )
        assert not isinstance(end, BaseException)
        told[type(replied)] += 1
        history = (await world.history(ticket))[3:]
        before = [] if isinstance(replied, SessionEnded) else ["TICKET_COMMENT_ADDED"]
        assert history == [*before, "MESSAGING_SESSION_ENDED"]
    assert told.keys() == {SessionEnded, BotReply}
    await assert_consistent(world)


async def test_a_take_over_beside_a_hand_off_is_one(world: World) -> None:
    """R137: bot and agent at the same moment, and the agent's message is never lost."""
    bot, agent = await put_in_front(world, creation=AT_ONCE), await world.agent()
    for _ in range(15):
        sent = await writes(await world.customer())
        ticket = await ticket_of(sent)
        assert ticket is not None
        handed, _ = await asyncio.gather(
            hand_off(as_bot(bot), sent.conversation_id),
            post_comment(Call(agent), ticket.id, body="Mine.", channel=Channel.MESSAGING),
        )
        event = await Event.get(ticket_id=ticket.id, type=EventType.CONVERSATION_HANDED_OFF)
        assert handed == HandedOff(ticket.id, event.id)
        assert ("AGENT", "Mine.") in await said_in(sent)
    await assert_consistent(world)


# Replies


async def test_a_reply_to_a_message_is_stored_once(world: World) -> None:
    """R70, R75: also at the same moment, and from two programs; a reply to nothing is one each time."""
    bot, sent = await put_in_front(world), await writes(await world.customer())
    program = Call(await partner(world))
    replies = await asyncio.gather(
        *(
            bot_reply(call, sent.conversation_id, body=f"Answer {n}", in_reply_to=sent.comment_id)
            for n, call in enumerate((as_bot(bot), program, program, as_bot(bot)))
        )
    )
    assert len(set(replies)) == 1
    assert len(await said_in(sent)) == 2
    for _ in range(2):
        await bot_reply(program, sent.conversation_id, body="By the way")
    once = Call(program.actor, idempotency_key="k")
    keyed = [await bot_reply(once, sent.conversation_id, body="And") for _ in range(2)]
    assert keyed[0] == keyed[1]
    assert (await said_in(sent))[2:] == [("BOT", "By the way"), ("BOT", "By the way"), ("BOT", "And")]
    authors = {(each.author_kind, each.author_id) for each in await Comment.filter(author_kind="BOT")}
    assert authors == {("BOT", bot.id)}
    assert {kind for kind, _ in (await happened(sent))[2:]} == {"BOT"}
    await assert_consistent(world)


async def test_only_who_may_act_as_the_bot_speaks_in_its_name(world: World, other_world: World) -> None:
    """R128, R26: and only in conversations of its account, in reply to messages of that conversation."""
    await put_in_front(world)
    sent, other = await writes(await world.customer()), await writes(await world.customer())
    mail = await world.email_ticket()
    program = Call(await partner(world))
    for caller in (await world.agent(), await world.customer()):
        for attempt in (
            bot_reply(Call(caller), sent.conversation_id, body="…"),
            hand_off(Call(caller), sent.conversation_id),
            end_as_bot(Call(caller), sent.conversation_id),
        ):
            async with world.refuses(Forbidden):
                await attempt
    for conversation_id in (new_id(), mail.conversation_id):
        async with world.refuses(NotFound):
            await bot_reply(program, conversation_id, body="…")
    async with world.refuses(NotFound) as caught:
        await bot_reply(program, sent.conversation_id, body="…", in_reply_to=other.comment_id)
    assert caught.value.field == ("inReplyTo",)
    await save_bot(Call(other_world.admin), RULES)
    async with other_world.refuses(NotFound):
        await bot_reply(Call(await partner(other_world)), sent.conversation_id, body="…")
    async with world.refuses(InvalidInput):
        await bot_reply(program, sent.conversation_id, body=" ")


# Ending without a ticket


async def test_who_may_end_a_conversation_that_a_bot_has_alone(world: World) -> None:
    """R42: the bot and an admin; agents and partners are told that there is no ticket yet."""
    bot, customer = await put_in_front(world), await world.customer()
    sent = await writes(customer)
    for caller in (await world.agent(), await partner(world)):
        async with world.refuses(NoTicketYet) as caught:
            await end_conversation(Call(caller), sent.conversation_id)
        assert caught.value.code == "NO_TICKET_YET"
    async with world.refuses(Forbidden, logged=1):
        await end_conversation(Call(customer), sent.conversation_id)
    end = await end_conversation(Call(world.admin), sent.conversation_id, closing_message="Good bye.")
    assert (end.outcome, end.ticket_id) == ("ENDED", None)
    session = await session_of(sent)
    assert (session.state, session.end_reason, session.ended_by_id) == (
        SessionState.ENDED,
        EndReason.AGENT,
        world.admin.id,
    )
    assert session.control is Control.NOBODY
    assert (await said_in(sent))[-1] == ("ADMIN", "Good bye.")
    event = await Event.get(session_id=session.id, type=EventType.MESSAGING_SESSION_ENDED)
    assert (event.ticket_id, event.conversation_id) == (None, sent.conversation_id)
    assert event.payload == {"reason": "AGENT", "previous_state": "ACTIVE", "routing_outcome": "NOT_TRACKED"}
    again = await end_conversation(Call(world.admin), sent.conversation_id)
    assert (again.outcome, again.event_id) == ("ALREADY_ENDED", end.event_id)
    second = await writes(customer)
    ended = await end_as_bot(as_bot(bot), second.conversation_id)
    session = await session_of(second)
    assert (session.end_reason, session.ended_by_kind, session.ended_by_id) == (EndReason.BOT, "BOT", bot.id)
    assert (await end_as_bot(as_bot(bot), second.conversation_id)).event_id == ended.event_id
    assert await Ticket.filter(account_id=world.id).count() == 0
    await assert_consistent(world)


async def test_with_a_ticket_a_conversation_is_ended_like_its_ticket(world: World, other_world: World) -> None:
    """R42, R26, R14: by its own id too; the rules of ending hold, and the bot cannot end what people have."""
    bot = await put_in_front(world, creation=AT_ONCE)
    sent = await writes(await world.customer())
    ticket = await ticket_of(sent)
    assert ticket is not None
    outsider = await other_world.agent()
    async with other_world.refuses(NotFound, logged=1):
        await end_conversation(Call(outsider), sent.conversation_id)
    await hand_off(as_bot(bot), sent.conversation_id)
    async with world.refuses(Forbidden):
        await end_as_bot(as_bot(bot), sent.conversation_id)
    end = await end_conversation(Call(await world.agent()), sent.conversation_id)
    assert (end.outcome, end.ticket_id) == ("ENDED", ticket.id)


async def test_the_setting_governs_admins_and_not_the_bot(world: World) -> None:
    """R14, R42."""
    bot, sent = await put_in_front(world), await writes(await world.customer())
    await update_messaging_settings(Call(world.admin), {"agents_can_end_sessions": False})
    async with world.refuses(FeatureDisabled):
        await end_conversation(Call(world.admin), sent.conversation_id)
    assert (await end_as_bot(as_bot(bot), sent.conversation_id)).outcome == "ENDED"


async def test_an_end_beside_a_hand_off_leaves_one_truth(world: World) -> None:
    """R42, R137, R138: a ticket and then the end of it, or an end without a ticket."""
    bot, told = await put_in_front(world), Counter[bool]()
    for lap in range(20):
        sent = await writes(await world.customer())
        handed, ended = await asyncio.gather(
            hand_off(as_bot(bot), sent.conversation_id),
            after(0.002 * (lap % 4), end_conversation(Call(world.admin), sent.conversation_id)),
            return_exceptions=True,
        )
        assert not isinstance(ended, BaseException)
        ticket, session = await ticket_of(sent), await session_of(sent)
        assert session.state is SessionState.ENDED
        assert (ticket is None) == isinstance(handed, SessionEnded)
        told[ticket is None] += 1
    assert told.total() == 20
    await assert_consistent(world)


async def test_a_bots_session_is_inactive_after_ten_minutes(world: World) -> None:
    """R132, R52: without a ticket too. The bot had answered, so it keeps the conversation."""
    bot = await put_in_front(world)
    sent = await writes(await world.customer(), moment=START)
    await bot_reply(as_bot(bot, clock=at(START)), sent.conversation_id, body="Hi.")
    assert await expire_sessions(at(START + timedelta(minutes=10))) == 1
    session = await session_of(sent)
    assert (session.state, session.with_bot, await ticket_of(sent)) == (SessionState.INACTIVE, True, None)
    event = await Event.get(session_id=session.id, type=EventType.MESSAGING_SESSION_STATE_CHANGED)
    assert (event.ticket_id, event.actor_kind.value) == (None, "SYSTEM")
    assert await MessagingSession.filter(account_id=world.id, state=SessionState.ACTIVE).count() == 0
