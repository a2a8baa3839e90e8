"""R134 and the agents who went away: rows of presence, and what follows from an absence."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from uuid import UUID

import pytest

from domain.actors import Actor
from domain.errors import InvalidInput
from domain.messages import send_message
from domain.presence import note_gone, note_present, renew, sweep_presence
from domain.settings import update_messaging_settings
from domain.transactions import Call
from models import (
    AgentAvailability,
    AgentStatus,
    Event,
    EventType,
    InactiveReason,
    MessagingSession,
    Presence,
    SessionState,
    Ticket,
    new_id,
)
from tests.domain.test_timers import START, at
from tests.factories import World
from tests.invariants import assert_consistent

SECOND = timedelta(seconds=1)
HERE, THERE = new_id(), new_id()


async def available(agent: Actor, status: AgentStatus = AgentStatus.ONLINE) -> None:
    await AgentAvailability.create(
        account_id=agent.account_id, agent_id=agent.id, status=status, changed_at=START - SECOND
    )


async def absence(agent: Actor) -> tuple[AgentStatus, datetime | None]:
    row = await AgentAvailability.get(agent_id=agent.id)
    return row.status, row.absent_since


async def conversation(world: World, customer: Actor) -> Ticket:
    sent = await send_message(Call(customer, clock=at(START)), body="Hello?")
    return await Ticket.get(conversation_id=sent.conversation_id)


async def left_at(world: World, ticket: Ticket) -> datetime | None:
    return (await world.session(ticket)).customer_left_at


async def rows() -> set[tuple[UUID, UUID]]:
    return {(row.user_id, row.process_id) for row in await Presence.all()}


async def test_an_agent_is_absent_when_his_last_socket_anywhere_is_gone(world: World) -> None:
    """Two processes: only the last one counts; twice gone is gone once; coming back does not put him online."""
    agent = await world.agent()
    await available(agent)
    for process in (HERE, HERE, THERE):
        await note_present(agent, process, START)
    assert await rows() == {(agent.id, HERE), (agent.id, THERE)}
    await note_gone(agent, HERE, START + SECOND)
    assert await absence(agent) == (AgentStatus.ONLINE, None)
    await note_gone(agent, THERE, START + 2 * SECOND)
    await note_gone(agent, THERE, START + 9 * SECOND)
    assert await absence(agent) == (AgentStatus.ONLINE, START + 2 * SECOND)
    assert await sweep_presence(at(START + 61 * SECOND)) == 0
    assert sum(await asyncio.gather(*(sweep_presence(at(START + 62 * SECOND)) for _ in range(2)))) == 1
    assert (await absence(agent))[0] is AgentStatus.OFFLINE
    await note_present(agent, HERE, START + 70 * SECOND)
    assert await absence(agent) == (AgentStatus.OFFLINE, None)
    event = await Event.get(account_id=world.id, type=EventType.AGENT_AVAILABILITY_CHANGED)
    changed = {name: event.payload[name]["status"] for name in ("from", "to")}
    assert (event.payload["user"], changed) == (str(agent.id), {"from": "ONLINE", "to": "OFFLINE"})
    assert (event.actor_kind.value, event.ticket_id) == ("SYSTEM", None)
    await assert_consistent(world)


async def test_who_is_back_in_time_stays_online(world: World) -> None:
    """A reload of the page, and an agent whose row of availability nobody has made yet."""
    agent, other = await world.agent(), await world.agent("Other")
    await available(agent, AgentStatus.AWAY)
    for who in (agent, other):
        await note_present(who, HERE, START)
        await note_gone(who, HERE, START)
    await note_present(agent, THERE, START + 30 * SECOND)
    assert await renew(THERE, START + 1000 * SECOND) == {agent.id}
    assert await sweep_presence(at(START + 1000 * SECOND)) == 0
    assert await absence(agent) == (AgentStatus.AWAY, None)
    assert not await AgentAvailability.exists(agent_id=other.id)


async def test_rows_that_nobody_renews_are_of_a_dead_process(world: World) -> None:
    """After 30 seconds; the absence counts from then, so that after a restart everybody has time to come back."""
    agent, customer = await world.agent(), await world.customer()
    ticket = await conversation(world, customer)
    await available(agent)
    for who in (agent, customer):
        await note_present(who, HERE, START)
    living = await world.agent("Living")
    await available(living)
    await note_present(living, HERE, START)
    await note_present(living, THERE, START + 20 * SECOND)
    assert await sweep_presence(at(START + 30 * SECOND)) == 0
    assert sum(await asyncio.gather(*(sweep_presence(at(START + 31 * SECOND)) for _ in range(2)))) == 3
    assert await rows() == {(living.id, THERE)}
    assert await absence(agent) == (AgentStatus.ONLINE, START + 31 * SECOND)
    assert await left_at(world, ticket) == START + 31 * SECOND
    assert await absence(living) == (AgentStatus.ONLINE, None)
    assert await renew(HERE, START + 32 * SECOND) == set()


async def test_a_customer_who_left_is_inactive_and_not_ended(world: World) -> None:
    """R134: after the grace time, once; his next message makes the session active."""
    customer = await world.customer()
    ticket = await conversation(world, customer)
    await update_messaging_settings(Call(world.admin), {"customer_absence_seconds": 30})
    await note_present(customer, HERE, START)
    assert await left_at(world, ticket) is None
    await note_gone(customer, HERE, START + SECOND)
    assert await left_at(world, ticket) == START + SECOND
    assert await sweep_presence(at(START + 30 * SECOND)) == 0
    assert sum(await asyncio.gather(*(sweep_presence(at(START + 31 * SECOND)) for _ in range(2)))) == 1
    session = await world.session(ticket)
    assert (session.state, session.inactive_reason) == (SessionState.INACTIVE, InactiveReason.USER_OFFLINE)
    assert session.due_at is None
    event = (await world.events(ticket))[-1]
    assert event.payload == {"previous_state": "ACTIVE", "state": "INACTIVE", "reason": "USER_OFFLINE"}
    await note_present(customer, HERE, START + 40 * SECOND)
    session = await world.session(ticket)
    assert (session.state, session.customer_left_at) == (SessionState.INACTIVE, None)
    await conversation(world, customer)
    assert (await world.session(ticket)).state is SessionState.ACTIVE
    await assert_consistent(world)


async def test_nobody_looks_for_customers_unless_the_account_wants_it(world: World) -> None:
    """R134: off by default. Somebody without a live session is nobody to look for."""
    customer, stranger = await world.customer(), await world.customer()
    ticket = await conversation(world, customer)
    for who in (customer, stranger):
        await note_present(who, HERE, START)
        await note_gone(who, HERE, START)
    assert await sweep_presence(at(START + timedelta(days=1))) == 0
    assert (await world.session(ticket)).state is SessionState.ACTIVE
    for wrong in (0, 86401):
        async with world.refuses(InvalidInput) as caught:
            await update_messaging_settings(Call(world.admin), {"customer_absence_seconds": wrong})
        assert caught.value.field == ("customerAbsenceSeconds",)
    await update_messaging_settings(Call(world.admin), {"customer_absence_seconds": 60})
    await update_messaging_settings(Call(world.admin), {"customer_absence_seconds": None})
    assert (await world.settings()).customer_absence_seconds is None


async def test_who_writes_without_a_socket_is_not_gone(world: World) -> None:
    """R134: his absence counts from his last sign of life."""
    customer = await world.customer()
    await conversation(world, customer)
    await update_messaging_settings(Call(world.admin), {"customer_absence_seconds": 30})
    await note_present(customer, HERE, START)
    await note_gone(customer, HERE, START)
    await send_message(Call(customer, clock=at(START + 25 * SECOND)), body="Still here")
    assert await sweep_presence(at(START + 54 * SECOND)) == 0
    assert await sweep_presence(at(START + 55 * SECOND)) == 1


async def test_an_ended_session_notes_no_presence(world: World) -> None:
    """R39, R134."""
    customer = await world.customer()
    ticket = await conversation(world, customer)
    await note_present(customer, HERE, START)
    await world.end(ticket, world.admin)
    await note_gone(customer, HERE, START + SECOND)
    assert await left_at(world, ticket) is None
    assert await MessagingSession.filter(state=SessionState.ENDED).count() == 1


@pytest.mark.parametrize("lap", range(5))
async def test_coming_back_beside_the_sweep(world: World, lap: int) -> None:
    """He is online and here, or offline and here; never offline because of an absence that is over."""
    agent = await world.agent()
    await available(agent)
    await note_present(agent, HERE, START)
    await note_gone(agent, HERE, START)
    now = START + timedelta(minutes=5)
    swept, _ = await asyncio.gather(sweep_presence(at(now)), note_present(agent, THERE, now))
    status, absent = await absence(agent)
    assert absent is None
    assert (status is AgentStatus.OFFLINE) == (swept == 1)
