"""The two kinds of bots, reading the log: by keywords, and by a signed call; and what happens when a bot is dead."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from domain.bot_settings import save_bot
from domain.bots import bot_reply, hand_off
from domain.comments import post_comment
from domain.ids import global_id
from domain.responders import PATIENCE, READER, answer_messages, decide, hand_off_silent_bots, words
from domain.settings import update_messaging_settings
from domain.timers import expire_sessions
from domain.transactions import Call
from models import (
    Account,
    Bot,
    BotKind,
    Channel,
    Control,
    DeliveryState,
    Event,
    EventType,
    FirstResponder,
    LogReader,
    OutboundCall,
    SessionState,
    User,
)
from tests.bots import AT_ONCE, HTTP, RULES, as_bot, happened, put_in_front, said_in, session_of, ticket_of, writes
from tests.databases import sabotaged
from tests.domain.test_timers import START, at
from tests.factories import World
from tests.invariants import assert_consistent

FAREWELL = ("BOT", "A colleague will be with you.")
GREETING = replace(RULES, greeting="Hi, I am Robin.")


def bot(**values: object) -> Bot:
    answers = [{"keywords": list(each.keywords), "reply": each.reply} for each in RULES.answers]
    given = {"greeting": None, "handoff_message": "Bye.", "answers": answers, "handoff_keywords": ["human"]} | values
    return Bot(name="Robin", kind=BotKind.RULES, **given)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("When are you GEÖFFNET?", ("We are open from 9 to 5.",)),
        ("geo\u0308ffnet", ("We are open from 9 to 5.",)),
        ("Opening\nhours, please", ("We are open from 9 to 5.",)),
        ("hours of opening", ("Bye.",)),
        ("a refund and opening hours", ("We are open from 9 to 5.",)),
        ("Refunds?", ("Bye.",)),
        ("a refund, but by a human", ("Bye.",)),
        ("…", ("Bye.",)),
    ],
)
def test_words_decide(body: str, says: tuple[str, ...]) -> None:
    """R70: whole words, in a row, without regard to case or composition; a wish for a person comes first."""
    decision = decide(bot(), body, first=False)
    assert (decision.says, decision.hands_off) == (says, says == ("Bye.",))


@pytest.mark.parametrize(
    ("body", "first", "says", "hands_off"),
    [
        ("Good morning", True, ("Hi.",), False),
        ("Good morning", False, ("Bye.",), True),
        ("A refund", True, ("Hi.", "Refunds take three days."), False),
        ("A human", True, ("Hi.", "Bye."), True),
    ],
)
def test_the_first_message_is_greeted(body: str, first: bool, says: tuple[str, ...], hands_off: bool) -> None:
    """R70: a greeting is an answer to what the bot does not know yet."""
    decision = decide(bot(greeting="Hi."), body, first=first)
    assert (decision.says, decision.hands_off) == (says, hands_off)


def test_without_a_farewell_it_hands_off_in_silence() -> None:
    assert decide(bot(handoff_message=None), "…", first=True).says == ()
    assert words("Straße ＡＢＣ") == ["strasse", "abc"]


async def test_a_bot_of_rules_answers_and_then_hands_off(world: World) -> None:
    """R70, R137: at once in the customer's conversation, as itself; after the hand-off it is silent."""
    made, customer = await put_in_front(world, GREETING), await world.customer()
    sent = await writes(customer)
    assert await answer_messages() == 1
    await writes(customer, "Do I get a refund?")
    assert await answer_messages() == 1
    await writes(customer, "Let me talk to a real person!")
    assert await answer_messages() == 1
    await writes(customer, "And a refund?")
    assert await answer_messages() == 0
    assert await said_in(sent) == [
        ("END_USER", "Hello?"),
        ("BOT", "Hi, I am Robin."),
        ("END_USER", "Do I get a refund?"),
        ("BOT", "Refunds take three days."),
        ("END_USER", "Let me talk to a real person!"),
        FAREWELL,
        ("END_USER", "And a refund?"),
    ]
    ticket = await ticket_of(sent)
    assert ticket is not None
    assert (ticket.subject, (await session_of(sent)).control) == ("Hello?", Control.AGENT)
    event = await Event.get(ticket_id=ticket.id, type=EventType.CONVERSATION_HANDED_OFF)
    assert (event.actor_kind.value, event.actor_id, event.payload) == ("BOT", made.id, {"reason": "BOT"})
    said = await Event.filter(conversation_id=sent.conversation_id, actor_kind="BOT", type="TICKET_COMMENT_ADDED")
    assert {each.payload["customer"] for each in said} == {str(customer.id)}
    await assert_consistent(world)


async def test_what_it_does_not_know_is_for_people(world: World) -> None:
    """R70, R137: farewell, ticket and hand-off are one transaction."""
    await put_in_front(world)
    sent = await writes(await world.customer(), "My parcel is wet.")
    assert await answer_messages() == 1
    assert (await said_in(sent))[1:] == [FAREWELL]
    events = await Event.filter(conversation_id=sent.conversation_id, actor_kind="BOT").order_by("position")
    kinds = [event.type.value for event in events]
    assert kinds == ["TICKET_COMMENT_ADDED", "TICKET_CREATED", "CONVERSATION_HANDED_OFF"]
    assert len({event.audit_id for event in events}) == 1


@pytest.mark.parametrize("form", [GREETING, HTTP])
async def test_a_message_is_dealt_with_once(world: World, form: object) -> None:
    """R70: two processes at the same moment, and a reader whose position was lost in a crash."""
    await put_in_front(world, form)  # type: ignore[arg-type]  # one of the two forms
    customers = [await world.customer(f"Customer {n}") for n in range(6)]
    sent = [await writes(customer, "A refund?") for customer in customers]
    assert sum(await asyncio.gather(*(answer_messages() for _ in range(3)))) == 6
    before = [await said_in(each) for each in sent], await OutboundCall.all().count()
    await LogReader.filter(account_id=world.id, name=READER).update(position=0)
    assert await answer_messages() == 0
    assert ([await said_in(each) for each in sent], await OutboundCall.all().count()) == before
    assert before[1] == (6 if form is HTTP else 0)
    assert (await LogReader.get(account_id=world.id, name=READER)).position == (
        await Account.get(id=world.id)
    ).last_position
    await assert_consistent(world)


async def test_one_that_cannot_be_answered_silences_nobody(world: World) -> None:
    """R70: it is left to people, who get it when the bot was silent for too long."""
    await put_in_front(world)
    sent = await writes(await world.customer(), "A refund?", START)
    async with sabotaged("comments", "INSERT"):
        assert await answer_messages(at(START)) == 0
    other = await writes(await world.customer(), "A refund?", START)
    assert await answer_messages(at(START)) == 1
    assert (len(await said_in(sent)), len(await said_in(other))) == (1, 2)
    assert await hand_off_silent_bots(at(START + PATIENCE)) == 1
    assert ((await session_of(sent)).control, (await session_of(other)).control) == (Control.AGENT, Control.BOT)


async def test_a_bot_begins_with_what_is_written_from_then_on(world: World, other_world: World) -> None:
    """R70: nothing of before; nothing of conversations that an agent has; nothing of other accounts, notes or mails."""
    before = await writes(await world.customer(), "A refund?")
    await put_in_front(world)
    await world.email_ticket()
    foreign = await writes(await other_world.customer(), "A refund?")
    await update_messaging_settings(Call(world.admin), {"first_responder": FirstResponder.AGENT})
    direct = await writes(await world.customer(), "A refund?")
    assert await answer_messages() == 0
    for sent in (before, foreign, direct):
        assert len(await said_in(sent)) == 1
    assert (await LogReader.get(account_id=world.id, name=READER)).position > 0


async def test_a_program_is_told_of_each_message(world: World) -> None:
    """R70: one call for each, in order, with the ids that the API takes; none once people have the conversation."""
    made, customer = await put_in_front(world, HTTP), await world.customer("Cleo")
    sent = await writes(customer, "Hello?", START)
    second = await writes(customer, "Anyone?", START + timedelta(seconds=1))
    # A moment for each call: ids of one millisecond are in no order.
    moments = [START + timedelta(seconds=seconds) for seconds in (2, 3)]
    clock = iter(moments)
    assert await answer_messages(lambda: next(clock)) == 2
    calls = await OutboundCall.all().order_by("created_at")
    assert [call.key for call in calls] == [f"bot:{sent.comment_id}", f"bot:{second.comment_id}"]
    assert calls[0].body == {
        "type": "message",
        "conversationId": global_id("Conversation", sent.conversation_id),
        "message": {"id": global_id("Message", sent.comment_id), "body": "Hello?"},
        "customer": {"id": global_id("User", (await User.get(id=customer.id)).id), "name": "Cleo"},
    }
    assert {(call.bot_id, call.webhook_id, call.state, call.attempts) for call in calls} == {
        (made.id, None, DeliveryState.PENDING, 0)
    }
    assert [call.next_attempt_at for call in calls] == moments
    await bot_reply(as_bot(made), sent.conversation_id, body="Hi.")
    await hand_off(as_bot(made), sent.conversation_id)
    await writes(customer, "Are you there?")
    assert await answer_messages() == 0
    assert await OutboundCall.all().count() == 2


async def test_a_bot_that_changes_its_kind_goes_on(world: World) -> None:
    """R70: whatever it is now, it answers the next message."""
    await put_in_front(world, HTTP)
    customer = await world.customer()
    sent = await writes(customer, "A refund?")
    assert await answer_messages() == 1
    await save_bot(Call(world.admin), RULES)
    await writes(customer, "A refund?")
    assert await answer_messages() == 1
    assert (await said_in(sent))[-1] == ("BOT", "Refunds take three days.")


# A bot that says nothing


async def test_a_customer_is_not_stuck_with_a_silent_bot(world: World) -> None:
    """R137: after two minutes people get him, once, by the system; two processes at the same moment."""
    await put_in_front(world, HTTP)
    sent = await writes(await world.customer(), "Hello?", START)
    answered = await writes(await world.customer(), "Hello?", START)
    made = await Bot.get(account_id=world.id)
    await bot_reply(as_bot(made, clock=at(START)), answered.conversation_id, body="Hi.")
    late = START + PATIENCE
    assert await hand_off_silent_bots(at(late - timedelta(microseconds=1))) == 0
    assert sum(await asyncio.gather(*(hand_off_silent_bots(at(late)) for _ in range(3)))) == 1
    ticket = await ticket_of(sent)
    assert ticket is not None
    assert (await session_of(sent)).control is Control.AGENT
    assert (await session_of(answered)).control is Control.BOT
    event = (await world.events(ticket))[-1]
    assert (event.type, event.payload) == (EventType.CONVERSATION_HANDED_OFF, {"reason": "BOT_SILENT"})
    assert (await happened(sent))[2:] == [("SYSTEM", "TICKET_CREATED"), ("SYSTEM", "CONVERSATION_HANDED_OFF")]
    await assert_consistent(world)


async def test_who_writes_on_and_on_does_not_wait_longer(world: World) -> None:
    """R137: the patience counts from the first message without an answer; a note answers nobody."""
    made, customer = await put_in_front(world, HTTP, AT_ONCE), await world.customer()
    minute = timedelta(minutes=1)
    sent = await writes(customer, "One", START)
    await bot_reply(as_bot(made, clock=at(START)), sent.conversation_id, body="Hi.")
    for n in range(1, 4):
        await writes(customer, f"{n} more", START + n * minute)
    ticket = await ticket_of(sent)
    assert ticket is not None
    await post_comment(Call(world.admin), ticket.id, body="Poor man.", channel=Channel.INTERNAL_NOTE)
    assert await hand_off_silent_bots(at(START + 3 * minute - timedelta(seconds=1))) == 0
    assert await hand_off_silent_bots(at(START + 3 * minute)) == 1


async def test_a_bot_that_could_not_be_reached_is_waited_for_no_longer(world: World) -> None:
    """R137: delivery failed for good; unless it has answered by now."""
    made = await put_in_front(world, HTTP)
    sent, answered = [await writes(await world.customer(), "Hello?", START) for _ in range(2)]
    assert await answer_messages(at(START)) == 2
    soon = START + timedelta(seconds=20)
    await bot_reply(as_bot(made, clock=at(soon)), answered.conversation_id, body="Hi.")
    await OutboundCall.filter(account_id=world.id).update(state=DeliveryState.FAILED, finished_at=soon)
    assert await hand_off_silent_bots(at(soon)) == 1
    assert ((await session_of(sent)).control, (await session_of(answered)).control) == (Control.AGENT, Control.BOT)
    assert await hand_off_silent_bots(at(soon)) == 0


async def test_a_session_whose_bot_owes_an_answer_is_not_put_to_sleep_with_it(world: World) -> None:
    """R132, R136: after a downtime the timer gives it to people in the same transaction."""
    await put_in_front(world, HTTP)
    sent = await writes(await world.customer(), "Hello?", START)
    assert await expire_sessions(at(START + timedelta(days=1))) == 1
    session = await session_of(sent)
    assert (session.state, session.control) == (SessionState.INACTIVE, Control.AGENT)
    assert [kind for _, kind in await happened(sent)][2:] == [
        "TICKET_CREATED",
        "CONVERSATION_HANDED_OFF",
        "MESSAGING_SESSION_STATE_CHANGED",
    ]
    await assert_consistent(world)
