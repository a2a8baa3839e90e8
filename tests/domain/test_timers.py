"""Rules 3.12: what the clock does by itself, with clocks that the tests set."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from domain.actors import Actor
from domain.comments import post_comment
from domain.errors import InvalidInput
from domain.messages import send_message
from domain.people import issue_token
from domain.sessions import end_session
from domain.settings import update_messaging_settings
from domain.tickets import update_ticket
from domain.timers import close_solved_tickets, expire_sessions, purge_expired
from domain.transactions import Call
from models import (
    Account,
    Channel,
    EndReason,
    Event,
    EventType,
    IdempotencyRecord,
    InactiveReason,
    MessagingSession,
    SessionState,
    Ticket,
    TicketStatus,
    Token,
    User,
    utc_now,
)
from models.database import migrate, opened
from tests.factories import World, authenticate
from tests.invariants import assert_consistent

MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)
START = datetime.fromisoformat("2026-03-01T12:00:00.123456+00:00")
Clock = Callable[[], datetime]


def at(moment: datetime) -> Clock:
    return lambda: moment


async def started(world: World, moment: datetime = START, customer: Actor | None = None) -> Ticket:
    """A ticket whose session's only message is of that moment."""
    sent = await send_message(Call(customer or await world.customer(), clock=at(moment)), body="Hello?")
    return await Ticket.get(conversation_id=sent.conversation_id)


async def state(world: World, ticket: Ticket) -> tuple[SessionState, InactiveReason | None]:
    session = await world.session(ticket)
    return session.state, session.inactive_reason


async def due(world: World, ticket: Ticket) -> datetime | None:
    return (await world.session(ticket)).due_at


async def change(world: World, ticket: Ticket, **values: Any) -> None:
    await update_ticket(Call(world.admin), ticket.id, values)


ACTIVE = (SessionState.ACTIVE, None)
NO_REPLY = (SessionState.INACTIVE, InactiveReason.NO_REPLY)


async def test_a_silent_customer_is_inactive_after_ten_minutes(world: World) -> None:
    """R132: not a moment before; by the system, once, with its event."""
    ticket = await started(world)
    assert await due(world, ticket) == START + 10 * MINUTE
    assert await expire_sessions(at(START + 10 * MINUTE - timedelta(microseconds=1))) == 0
    assert await state(world, ticket) == ACTIVE
    assert await expire_sessions(at(START + 10 * MINUTE)) == 1
    assert (await state(world, ticket), await due(world, ticket)) == (NO_REPLY, None)
    event = (await world.events(ticket))[-1]
    assert (event.type, event.actor_kind, event.actor_id) == (
        EventType.MESSAGING_SESSION_STATE_CHANGED,
        world.system.kind,
        None,
    )
    assert event.payload == {"previous_state": "ACTIVE", "state": "INACTIVE", "reason": "NO_REPLY"}
    assert event.occurred_at == START + 10 * MINUTE
    assert await expire_sessions(at(START + DAY)) == 0
    await assert_consistent(world)


async def test_the_setting_is_for_sessions_that_somebody_has(world: World) -> None:
    """R132: unassigned always 10 minutes. Who gets or loses the ticket moves the timer, who passes it on does not."""
    agent, other = await world.agent(), await world.agent("Other")
    await update_messaging_settings(Call(world.admin), {"inactive_after_minutes": 45})
    ticket = await started(world)
    assert await due(world, ticket) == START + 10 * MINUTE
    for assignee, minutes in ((agent.id, 45), (other.id, 45), (None, 10), (agent.id, 45)):
        await change(world, ticket, assignee_id=assignee)
        assert await due(world, ticket) == START + minutes * MINUTE
    assert await expire_sessions(at(START + 44 * MINUTE)) == 0
    assert await expire_sessions(at(START + 45 * MINUTE)) == 1
    await change(world, ticket, assignee_id=None)
    assert (await state(world, ticket), await due(world, ticket)) == (NO_REPLY, None)


async def test_a_changed_setting_moves_the_timers_of_its_account(world: World, other_world: World) -> None:
    """R132: of sessions that live and that somebody has; to the microsecond, and of no other account."""
    agent = await world.agent()
    held, free, silent = [await started(world) for _ in range(3)]
    foreign = await started(other_world)
    ended = await world.ended_ticket()
    for ticket in (held, silent):
        await change(world, ticket, assignee_id=agent.id)
    await change(other_world, foreign, assignee_id=(await other_world.agent()).id)
    await change(world, silent, status=TicketStatus.PENDING)
    await update_messaging_settings(Call(world.admin), {"inactive_after_minutes": 3})
    expected = {held: START + 3 * MINUTE, free: START + 10 * MINUTE, silent: None, ended: None}
    assert {ticket: await due(world, ticket) for ticket in expected} == expected
    assert await due(other_world, foreign) == START + 10 * MINUTE
    whole = await started(world, START.replace(microsecond=0))
    await change(world, whole, assignee_id=agent.id)
    await update_messaging_settings(Call(world.admin), {"inactive_after_minutes": 1500})
    assert await due(world, whole) == START.replace(microsecond=0) + 1500 * MINUTE
    assert await due(world, held) == START + 1500 * MINUTE


async def test_a_changed_setting_and_an_assignment_at_once(world: World) -> None:
    """R132: whichever is first, the timer is by the new setting and the new assignee."""
    agent = await world.agent()
    for lap in range(1, 16):
        tickets = [await started(world) for _ in range(3)]
        await change(world, tickets[0], assignee_id=agent.id)
        await asyncio.gather(
            update_messaging_settings(Call(world.admin), {"inactive_after_minutes": 10 + lap}),
            change(world, tickets[0], assignee_id=None),
            change(world, tickets[1], assignee_id=agent.id),
        )
        minutes = [10, 10 + lap, 10]
        assert [await due(world, ticket) for ticket in tickets] == [START + each * MINUTE for each in minutes]


async def test_unassigned_sessions_know_no_other_time(world: World) -> None:
    """R132."""
    for minutes in (9, 11):
        async with world.refuses(InvalidInput) as caught:
            await update_messaging_settings(Call(world.admin), {"inactive_unassigned_after_minutes": minutes})
        assert caught.value.field == ("inactiveUnassignedAfterMinutes",)
        assert "10 minutes" in caught.value.message
    assert not (await update_messaging_settings(Call(world.admin), {"inactive_unassigned_after_minutes": 10})).changed


async def test_the_customer_moves_the_timer_and_the_agent_does_not(world: World) -> None:
    """R135, R132."""
    customer, agent = await world.customer(), await world.agent()
    ticket = await started(world, customer=customer)
    for channel in (Channel.MESSAGING, Channel.INTERNAL_NOTE, Channel.EMAIL):
        later = Call(agent, clock=at(START + 5 * MINUTE))
        await post_comment(later, ticket.id, body="…", channel=channel)
        assert await due(world, ticket) == START + 10 * MINUTE
    await started(world, START + 6 * MINUTE, customer)
    assert await due(world, ticket) == START + 16 * MINUTE
    assert await expire_sessions(at(START + 15 * MINUTE)) == 0
    assert await expire_sessions(at(START + 16 * MINUTE)) == 1


async def test_an_inactive_customer_who_writes_is_active_again(world: World) -> None:
    """R133: in the same ticket; his timer runs anew."""
    customer = await world.customer()
    ticket = await started(world, customer=customer)
    assert await expire_sessions(at(START + DAY)) == 1
    again = await started(world, START + 2 * DAY, customer)
    assert again.id == ticket.id
    assert (await state(world, ticket), await due(world, ticket)) == (ACTIVE, START + 2 * DAY + 10 * MINUTE)
    assert (await world.session(ticket)).last_customer_message_at == START + 2 * DAY
    assert await world.thread(ticket) == ["Hello?", "Hello?"]
    told = [event.payload["state"] for event in await world.events(ticket) if "state" in event.payload]
    assert told == ["INACTIVE", "ACTIVE"]
    await assert_consistent(world)


@pytest.mark.parametrize("status", [TicketStatus.PENDING, TicketStatus.ON_HOLD, TicketStatus.SOLVED])
async def test_a_status_that_waits_makes_the_session_inactive(world: World, status: TicketStatus) -> None:
    """R106, R133: not ended; its timer stops, and the customer's next message makes it active."""
    customer = await world.customer()
    ticket = await started(world, customer=customer)
    await change(world, ticket, status=status)
    assert await state(world, ticket) == (SessionState.INACTIVE, InactiveReason.TICKET_STATUS)
    assert await due(world, ticket) is None
    assert await expire_sessions(at(START + DAY)) == 0
    assert (await started(world, START + MINUTE, customer)).id == ticket.id
    assert (await state(world, ticket), await due(world, ticket)) == (ACTIVE, START + 11 * MINUTE)
    assert (await Ticket.get(id=ticket.id)).status is TicketStatus.OPEN


async def test_overdue_timers_run_once_and_in_order_after_a_downtime(world: World, other_world: World) -> None:
    """R136: fifty sessions, begun in no order, and two processes that start at the same moment."""
    chance = random.Random(136)
    minutes = chance.sample(range(1000), 50)
    tickets = [await started(world, START + each * MINUTE) for each in minutes]
    foreign = await started(other_world)
    results = await asyncio.gather(*(expire_sessions(at(START + 30 * DAY)) for _ in range(2)))
    assert sum(results) == 51
    events = await Event.filter(account_id=world.id, type=EventType.MESSAGING_SESSION_STATE_CHANGED).order_by(
        "position"
    )
    order = sorted(zip(minutes, tickets, strict=True), key=lambda pair: pair[0])
    assert [event.ticket_id for event in events] == [ticket.id for _, ticket in order]
    assert {(await state(world, ticket)) for ticket in tickets} == {NO_REPLY}
    assert await state(other_world, foreign) == NO_REPLY
    await assert_consistent(world)


async def test_a_timer_survives_a_restart(database_url: str) -> None:
    """R136: it is stored, and whoever opens the database next finds it overdue."""
    async with opened(database_url):
        world = await World.create("acme")
        ticket = await started(world)
    async with opened(database_url):
        assert await migrate() == 0
        assert await expire_sessions(at(START + DAY)) == 1
        assert await state(world, ticket) == NO_REPLY


async def test_a_pass_that_is_cut_off_is_taken_up_by_the_next(world: World) -> None:
    """R136: what it had done stays done, and nothing is done twice."""
    tickets = [await started(world, START + each * MINUTE) for each in range(20)]
    running = asyncio.create_task(expire_sessions(at(START + DAY)))
    while not await MessagingSession.filter(state=SessionState.INACTIVE).exists():  # noqa: ASYNC110  # a row of a table
        await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    done = await MessagingSession.filter(state=SessionState.INACTIVE).count()
    assert 0 < done < 20
    assert await expire_sessions(at(START + DAY)) == 20 - done
    events = await Event.filter(account_id=world.id, type=EventType.MESSAGING_SESSION_STATE_CHANGED).order_by(
        "position"
    )
    assert [event.ticket_id for event in events] == [ticket.id for ticket in tickets]


async def test_a_timer_that_fails_stops_no_other(world: World, other_world: World) -> None:
    """R136: what cannot be stored is left as it was, the others go on, and the next pass tries it again."""
    broken, whole = await started(world), await started(other_world, START + MINUTE)
    await Account.filter(id=world.id).update(last_position=0)  # its next events would have numbers that are taken
    assert await expire_sessions(at(START + DAY)) == 1
    assert (await state(world, broken), await state(other_world, whole)) == (ACTIVE, NO_REPLY)
    assert await due(world, broken) == START + 10 * MINUTE
    await Account.filter(id=world.id).update(last_position=len(await world.positions()))
    assert await expire_sessions(at(START + DAY)) == 1
    await assert_consistent(world)


async def test_an_end_beside_the_due_timer_wins_for_good(world: World) -> None:
    """R129: the final state is ENDED; the timer was first or did nothing."""
    chance, told = random.Random(129), Counter[int]()
    for lap in range(30):
        ticket = await started(world, START + lap * MINUTE)

        # Mostly at the same moment; now and then one of them is clearly first, so that both orders do occur.
        late_end, late_timer = chance.choice([(0.0, 0.0), (0.003, 0.0), (0.006, 0.0), (0.2, 0.0), (0.0, 0.2)])

        async def end(ticket: Ticket = ticket, seconds: float = late_end) -> None:
            await asyncio.sleep(seconds)
            await end_session(Call(world.admin), ticket.id)

        async def expire(seconds: float = late_timer) -> int:
            await asyncio.sleep(seconds)
            return await expire_sessions(at(START + DAY))

        _, expired = await asyncio.gather(end(), expire())
        told[expired] += 1
        session = await world.session(ticket)
        assert (session.state, session.inactive_reason, session.due_at) == (SessionState.ENDED, None, None)
        assert (await world.history(ticket))[3:] == ["MESSAGING_SESSION_STATE_CHANGED"] * expired + [
            "MESSAGING_SESSION_ENDED"
        ]
    assert told.keys() == {0, 1}
    await assert_consistent(world)


async def test_a_message_beside_the_due_timer_leaves_the_session_active(world: World) -> None:
    """R132, R133: whichever is first, who has just written is active, and his timer runs."""
    customer = await world.customer()
    for lap in range(30):
        ticket = await started(world, START + lap * DAY, customer)
        now = START + lap * DAY + 10 * MINUTE
        await asyncio.gather(expire_sessions(at(now)), started(world, now, customer))
        assert (await state(world, ticket), await due(world, ticket)) == (ACTIVE, now + 10 * MINUTE)
    await assert_consistent(world)


# Closing


async def solved(world: World, moment: datetime) -> Ticket:
    ticket = await started(world, moment)
    await update_ticket(Call(world.admin, clock=at(moment)), ticket.id, {"status": TicketStatus.SOLVED})
    return ticket


async def test_tickets_that_are_solved_for_long_are_closed(world: World, other_world: World) -> None:
    """R120, R14: 28 days unless the account says otherwise; their sessions end with them, by the system."""
    await update_messaging_settings(Call(other_world.admin), {"close_solved_after_days": None})
    old, young, never = await solved(world, START), await solved(world, START + DAY), await solved(other_world, START)
    still_open = await started(world)
    assert await close_solved_tickets(at(START + 28 * DAY - MINUTE)) == 0
    assert sum(await asyncio.gather(*(close_solved_tickets(at(START + 28 * DAY)) for _ in range(2)))) == 1
    statuses = [(await Ticket.get(id=each.id)).status.value for each in (old, young, never, still_open)]
    assert statuses == ["CLOSED", "SOLVED", "SOLVED", "NEW"]
    session = await world.session(old)
    assert (session.state, session.end_reason, session.ended_by_kind) == (
        SessionState.ENDED,
        EndReason.TICKET_CLOSED,
        "SYSTEM",
    )
    assert (await world.history(old)).count("MESSAGING_SESSION_ENDED") == 1
    await update_messaging_settings(Call(world.admin), {"close_solved_after_days": 3})
    assert await close_solved_tickets(at(START + 4 * DAY)) == 1
    assert (await Ticket.get(id=young.id)).status is TicketStatus.CLOSED
    await assert_consistent(world)


async def test_a_customer_who_writes_beside_the_closing_loses_nothing(world: World) -> None:
    """R120, R124: he reopened the ticket, or wrote into a new one."""
    told = Counter[str]()
    for lap in range(20):
        customer = await world.customer()
        ticket = await started(world, START, customer)
        await update_ticket(Call(world.admin, clock=at(START)), ticket.id, {"status": TicketStatus.SOLVED})
        _, mine = await asyncio.gather(
            close_solved_tickets(at(START + 30 * DAY + lap * MINUTE)), started(world, START + 30 * DAY, customer)
        )
        status = (await Ticket.get(id=ticket.id)).status
        told[status.value] += 1
        assert (mine.id == ticket.id) == (status is TicketStatus.OPEN)
        assert status in (TicketStatus.OPEN, TicketStatus.CLOSED)
    assert told.total() == 20
    await assert_consistent(world)


# Housekeeping


async def test_what_nobody_needs_any_more_is_forgotten(world: World) -> None:
    """R37: verdicts for 72 hours; tokens for 30 days after they expired. What still counts stays."""
    ticket, user = await started(world), await User.get(id=world.admin.id)
    for hours in (0, 1):
        call = Call(world.admin, idempotency_key=f"key {hours}", clock=at(START + timedelta(hours=hours)))
        await post_comment(call, ticket.id, body="…", channel=Channel.INTERNAL_NOTE)
    old = await issue_token(user, "old", START - 120 * DAY + MINUTE)
    kept = await issue_token(user, "kept", START - 110 * DAY)
    now = START + timedelta(hours=72, seconds=1)
    assert await purge_expired(at(now)) == 2
    assert [each.key for each in await IdempotencyRecord.filter(account_id=world.id)] == ["key 1"]
    assert not await Token.exists(id=old.token_id)
    assert await Token.exists(id=kept.token_id)
    assert await authenticate(old.secret, utc_now()) is None
    assert await purge_expired(at(now)) == 0
    again = Call(world.admin, idempotency_key="key 1", clock=at(now))
    await post_comment(again, ticket.id, body="…", channel=Channel.INTERNAL_NOTE)
    assert await world.thread(ticket) == ["Hello?", "…", "…"]
