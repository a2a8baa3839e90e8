"""Rules 3.11: two things at the same moment. Each test ends by reading the whole account for contradictions."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from domain.actors import Actor
from domain.comments import post_comment
from domain.errors import SessionEnded
from domain.lifecycle import close_ticket
from domain.messages import SentMessage, send_message
from domain.revisions import edit_message
from domain.sessions import end_session, mark_inactive
from domain.tickets import update_ticket
from domain.transactions import Call
from models import (
    Channel,
    Comment,
    Event,
    EventType,
    InactiveReason,
    MessagingSession,
    SessionState,
    Ticket,
    TicketStatus,
)
from tests.factories import World
from tests.invariants import assert_consistent

A = TypeVar("A")
B = TypeVar("B")

CUSTOMERS = 25
ROUNDS = 20
PAIRS = 60
# Of the first pairs each begins so much later than the other. Chance gives head starts that are shorter than a
# statement takes on a busy machine, where whoever has fewer of them to his first lock may always be first.
CLEARLY_FIRST = [(0.0, 0.2), (0.2, 0.0)] * 2


async def at_once(
    chance: random.Random,
    one: Coroutine[Any, Any, A],
    other: Coroutine[Any, Any, B],
    *,
    pair: int = len(CLEARLY_FIRST),
) -> tuple[A, B | BaseException]:
    """Run both beside each other; chance decides which gets a head start. The second one may be refused.

    Of the first pairs one is clearly first, so that both orders do occur.
    """

    async def delayed(work: Coroutine[Any, Any, Any], seconds: float) -> Any:
        await asyncio.sleep(seconds)
        return await work

    start = chance.choice([(0.0, 0.0), (0.0, 0.004), (0.004, 0.0)])
    if pair < len(CLEARLY_FIRST):
        start = CLEARLY_FIRST[pair]
    first, second = asyncio.create_task(delayed(one, start[0])), asyncio.create_task(delayed(other, start[1]))
    await asyncio.wait({first, second})
    return first.result(), second.exception() or second.result()


async def test_a_message_and_an_end_at_once_five_hundred_times(world: World) -> None:
    """R124, R125, R126: before the end in the old ticket, or in the new one; once, never lost, never behind the end."""
    agent, chance = await world.agent(), random.Random(124)
    customers = [await world.customer(f"Customer {n}") for n in range(CUSTOMERS)]
    told = Counter[str]()
    for lap in range(ROUNDS):
        tickets = [await world.message(customer, f"Opening {lap}") for customer in customers]
        racing = (
            at_once(
                chance,
                end_session(Call(agent), ticket.id),
                send_message(Call(customer), body=f"{lap} of {customer.id}"),
            )
            for ticket, customer in zip(tickets, customers, strict=True)
        )
        for (end, sent), ticket in zip(await asyncio.gather(*racing), tickets, strict=True):
            assert isinstance(sent, SentMessage)
            told["before" if sent.conversation_id == ticket.conversation_id else "after"] += 1
            assert end.outcome == "ENDED"
            await _lies_on_one_side(sent, ticket)
    assert told.total() == CUSTOMERS * ROUNDS
    assert min(told["before"], told["after"]) > 0
    raced = await Comment.filter(account_id=world.id, body__contains=" of ").values_list("body", flat=True)
    assert sorted(map(str, raced)) == sorted(f"{lap} of {c.id}" for lap in range(ROUNDS) for c in customers)
    await assert_consistent(world)


async def _lies_on_one_side(sent: SentMessage, ticket: Ticket) -> None:
    """The message is where its send said, and that is the old ticket (before its end) or the one that continues it."""
    comment = await Comment.get(id=sent.comment_id)
    assert comment.conversation_id == sent.conversation_id
    home = await Ticket.get(conversation_id=sent.conversation_id)
    if home.id != ticket.id:
        assert home.continuation_of_id == ticket.id
        return
    said = await Event.get(comment_id=comment.id, type=EventType.TICKET_COMMENT_ADDED)
    over = await Event.get(ticket_id=ticket.id, type=EventType.MESSAGING_SESSION_ENDED)
    assert (said.ticket_sequence or 0) < (over.ticket_sequence or 0)


@asynccontextmanager
async def watched(customer: Actor) -> AsyncIterator[set[int]]:
    """Look again and again, while the body runs, how many live sessions a customer has."""
    seen: set[int] = set()

    async def look() -> None:
        while True:
            live = MessagingSession.filter(end_user_id=customer.id).exclude(state=SessionState.ENDED)
            seen.add(await live.count())
            await asyncio.sleep(0.001)

    looking = asyncio.create_task(look())
    try:
        yield seen
    finally:
        looking.cancel()
        await asyncio.wait({looking})


async def test_first_messages_at_once_begin_one_session_and_one_ticket(world: World) -> None:
    """R73, R74: after an end, with an end beside them, and for somebody who never wrote before."""
    for ended in (True, False):
        customer = await world.customer()
        if ended:
            await world.end(await world.live_ticket(customer=customer), world.admin)
        tickets = await Ticket.all().count()
        async with watched(customer) as live:
            sending = (send_message(Call(customer), body=f"Message {n}") for n in range(30))
            sent = await asyncio.gather(*sending)
        assert live <= {0, 1}
        [conversation_id] = {message.conversation_id for message in sent}
        thread = await world.thread(await Ticket.get(conversation_id=conversation_id))
        assert sorted(thread) == sorted(f"Message {n}" for n in range(30))
        assert await Ticket.all().count() == tickets + 1
    await assert_consistent(world)


async def test_messages_and_ends_in_a_heap_lose_nothing(world: World) -> None:
    """R74, R124: one customer, who writes while agents end whatever session he has."""
    customer, agents = await world.customer(), [await world.agent(f"Agent {n}") for n in range(3)]
    await world.message(customer, "Opening")

    async def end_what_lives(agent: Actor) -> None:
        for _ in range(10):
            session = await MessagingSession.filter(end_user_id=customer.id).order_by("-started_at").first()
            assert session is not None
            ticket = await Ticket.get(conversation_id=session.conversation_id)
            await end_session(Call(agent), ticket.id)

    async with watched(customer) as live:
        writing = (send_message(Call(customer), body=f"Message {n}") for n in range(40))
        await asyncio.gather(*writing, *(end_what_lives(agent) for agent in agents))
    assert live <= {0, 1}
    assert await Comment.filter(author_id=customer.id).count() == 41
    await assert_consistent(world)


async def test_an_agents_message_beside_an_end_is_before_it_or_refused(world: World) -> None:
    """R127."""
    writer, ender, chance = await world.agent("Writer"), await world.agent("Ender"), random.Random(127)
    told = Counter[type]()
    for pair in range(PAIRS):
        ticket = await world.live_ticket(assignee=writer)
        message = post_comment(Call(writer), ticket.id, body="On its way", channel=Channel.MESSAGING)
        end, posted = await at_once(chance, end_session(Call(ender), ticket.id), message, pair=pair)
        assert end.outcome == "ENDED"
        told[type(posted)] += 1
        history = (await world.history(ticket))[3:]
        expected = [] if isinstance(posted, SessionEnded) else ["TICKET_COMMENT_ADDED"]
        assert history == [*expected, "MESSAGING_SESSION_ENDED"]
        assert await world.thread(ticket) == ["Hello, my order is late.", *("On its way" for _ in expected)]
    assert told.total() == PAIRS
    assert told[SessionEnded] > 0
    assert len(told) == 2
    await assert_consistent(world)


async def test_a_correction_beside_an_end_is_before_it_or_refused(world: World) -> None:
    """R78, R127."""
    customer, chance = await world.customer(), random.Random(78)
    for n in range(20):
        ticket = await world.message(customer, f"Opening {n}")
        comment = await Comment.get(conversation_id=ticket.conversation_id)
        _, edited = await at_once(
            chance,
            end_session(Call(world.admin), ticket.id),
            edit_message(Call(customer), comment.id, body="Corrected"),
        )
        refused = isinstance(edited, SessionEnded)
        assert await world.thread(ticket) == [f"Opening {n}" if refused else "Corrected"]
        assert (await world.history(ticket))[-1] == "MESSAGING_SESSION_ENDED"
    await assert_consistent(world)


async def test_an_end_beside_the_inactivity_timer_wins_for_good(world: World) -> None:
    """R129: the timer was first, and the end says so, or it came too late and changed nothing."""
    chance, told = random.Random(129), Counter[bool]()
    for pair in range(PAIRS):
        ticket = await world.live_ticket()
        session = await world.session(ticket)
        timer = mark_inactive(Call(world.system), session.id, InactiveReason.NO_REPLY)
        _, was_first = await at_once(chance, end_session(Call(world.admin), ticket.id), timer, pair=pair)
        assert isinstance(was_first, bool)
        told[was_first] += 1
        over = (await world.events(ticket))[3:]
        steps = ["MESSAGING_SESSION_STATE_CHANGED"] if was_first else []
        assert [event.type.value for event in over] == [*steps, "MESSAGING_SESSION_ENDED"]
        assert over[-1].payload["previous_state"] == ("INACTIVE" if was_first else "ACTIVE")
        session = await world.session(ticket)
        assert (session.state, session.inactive_reason) == (SessionState.ENDED, None)
    assert min(told[True], told[False]) > 0
    await assert_consistent(world)


async def test_an_end_beside_a_reassignment_keeps_both_facts(world: World) -> None:
    """R130: each once, in either order."""
    owner, heir, chance = await world.agent("Owner"), await world.agent("Heir"), random.Random(130)
    orders = Counter[tuple[str, ...]]()
    for pair in range(PAIRS):
        ticket = await world.live_ticket(assignee=owner, status=TicketStatus.OPEN)
        update = update_ticket(Call(world.admin), ticket.id, {"assignee_id": heir.id})
        end, updated = await at_once(chance, end_session(Call(owner), ticket.id), update, pair=pair)
        assert (end.outcome, isinstance(updated, BaseException)) == ("ENDED", False)
        orders[tuple((await world.history(ticket))[3:])] += 1
        assert ((await Ticket.get(id=ticket.id)).assignee_id, (await world.session(ticket)).ended_by_id) == (
            heir.id,
            owner.id,
        )
    assert set(orders) == {
        ("MESSAGING_SESSION_ENDED", "TICKET_FIELD_CHANGED"),
        ("TICKET_FIELD_CHANGED", "MESSAGING_SESSION_ENDED"),
    }
    await assert_consistent(world)


async def test_an_agents_end_beside_the_closing_of_the_ticket_is_one_end(world: World) -> None:
    """R36, R41: the agent ended it before, or is told that the ticket is closed."""
    for _ in range(20):
        ticket = await world.live_ticket(status=TicketStatus.SOLVED)
        await asyncio.gather(
            end_session(Call(world.admin), ticket.id),
            close_ticket(Call(world.system), ticket.id),
            return_exceptions=True,
        )
        assert (await world.history(ticket)).count("MESSAGING_SESSION_ENDED") == 1
        assert (await Ticket.get(id=ticket.id)).status is TicketStatus.CLOSED
    await assert_consistent(world)


async def test_everything_at_once_contradicts_nothing(world: World) -> None:
    """R36, R50, R73, R74, R124–R130: many hands on few tickets."""
    chance = random.Random(7)
    agents = [await world.agent(f"Agent {n}") for n in range(3)]
    customers = [await world.customer(f"Customer {n}") for n in range(4)]
    tickets = [await world.message(customer, "Opening") for customer in customers]
    sessions = [(await world.session(ticket)).id for ticket in tickets]

    def something() -> Coroutine[Any, Any, object]:
        call, ticket_id = Call(chance.choice(agents)), chance.choice(tickets).id
        options: list[Callable[[], Coroutine[Any, Any, object]]] = [
            lambda: send_message(Call(chance.choice(customers)), body="…"),
            lambda: end_session(call, ticket_id),
            lambda: post_comment(call, ticket_id, body="…", channel=chance.choice(list(Channel))),
            lambda: update_ticket(call, ticket_id, {"assignee_id": chance.choice(agents).id}),
            lambda: update_ticket(call, ticket_id, {"status": chance.choice([TicketStatus.OPEN, TicketStatus.SOLVED])}),
            lambda: mark_inactive(Call(world.system), chance.choice(sessions), InactiveReason.NO_REPLY),
        ]
        return chance.choice(options)()

    results = await asyncio.gather(*(something() for _ in range(200)), return_exceptions=True)
    unexpected = [r for r in results if isinstance(r, BaseException) and not hasattr(r, "code")]
    assert unexpected == []
    await assert_consistent(world)
