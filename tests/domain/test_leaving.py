"""Rule R149: the tickets of an agent who is deactivated."""

from __future__ import annotations

import asyncio

import pytest

from domain.actors import Actor, load_actor
from domain.deletion import delete_ticket
from domain.errors import Forbidden, NotFound
from domain.lifecycle import close_ticket
from domain.macros import MacroAction, MacroActionKind, apply_macro, save_macro
from domain.messages import send_message
from domain.people import deactivate
from domain.tickets import update_ticket
from domain.transactions import Call
from models import Event, EventType, SessionState, Ticket, TicketStatus, User
from tests.factories import World
from tests.invariants import assert_consistent

RETURNED = (TicketStatus.NEW, TicketStatus.OPEN, TicketStatus.PENDING, TicketStatus.ON_HOLD)


async def test_unsolved_tickets_go_back_to_the_queue_and_their_sessions_go_on(world: World) -> None:
    """R149: each with its event, in the audit of the deactivation; a live session keeps its state."""
    agent, colleague = await world.agent(), await world.agent()
    tickets = [await world.live_ticket(assignee=agent, status=status) for status in RETURNED]
    tickets.append(await world.live_ticket(assignee=agent, status=TicketStatus.SOLVED))
    mail = await world.email_ticket(assignee_id=agent.id, status=TicketStatus.OPEN)
    theirs = await world.live_ticket(assignee=colleague)
    assert agent.id is not None
    await deactivate(Call(world.admin), agent.id)
    (told,) = await Event.filter(type=EventType.AGENT_ACCESS_CHANGED)
    statuses = (*RETURNED, TicketStatus.SOLVED, TicketStatus.OPEN)
    for ticket, status in zip([*tickets, mail], statuses, strict=True):
        now, event = await Ticket.get(id=ticket.id), (await world.events(ticket))[-1]
        assert (now.assignee_id, now.status, now.group_id) == (None, status, ticket.group_id)
        assert event.payload == {"field": "assignee", "from": str(agent.id), "to": None}
        assert (event.audit_id, event.actor_id) == (told.audit_id, world.admin.id)
        # His streams end before they could learn of it.
        assert event.position > told.position
    for ticket in tickets:
        assert (await world.session(ticket)).state is SessionState.ACTIVE
    assert (await Ticket.get(id=theirs.id)).assignee_id == colleague.id
    await assert_consistent(world)


async def test_what_he_has_solved_stays_his(world: World) -> None:
    """R149: it is history who solved or closed a ticket."""
    agent = await world.agent()
    solved = await world.ended_ticket(assignee=agent, status=TicketStatus.SOLVED)
    closed = await world.live_ticket(assignee=agent)
    await close_ticket(Call(world.system), closed.id)
    before = [await world.history(solved), await world.history(closed)]
    assert agent.id is not None
    await deactivate(Call(world.admin), agent.id)
    for ticket in (solved, closed):
        assert (await Ticket.get(id=ticket.id)).assignee_id == agent.id
    assert [await world.history(solved), await world.history(closed)] == before


async def test_a_deleted_ticket_comes_back_without_him(world: World) -> None:
    """R148, R149."""
    agent = await world.agent()
    ticket = await world.email_ticket(assignee_id=agent.id)
    await delete_ticket(Call(world.admin), ticket.id)
    assert agent.id is not None
    await deactivate(Call(world.admin), agent.id)
    assert (await Ticket.get(id=ticket.id)).assignee_id is None
    await assert_consistent(world)


async def test_deactivating_again_or_without_the_right_moves_nothing(world: World) -> None:
    """R149, R25."""
    agent = await world.agent()
    ticket = await world.live_ticket(assignee=agent)
    assert agent.id is not None
    async with world.refuses(Forbidden):
        await deactivate(Call(await world.agent()), agent.id)
    await deactivate(Call(world.admin), agent.id)
    before, lines = await world.fingerprint(), len(await world.log())
    await deactivate(Call(world.admin), agent.id)
    assert (await world.fingerprint(), len(await world.log())) == (before, lines)
    async with world.refuses(NotFound):
        await update_ticket(Call(world.admin), ticket.id, {"assignee_id": agent.id})


async def test_no_ticket_is_given_to_who_leaves_at_the_same_moment(world: World) -> None:
    """R149: by hand or by a macro: it is his before he leaves and comes back, or he cannot be named."""
    for lap in range(8):
        agent = await world.agent()
        assert agent.id is not None
        ticket, other = await world.live_ticket(), await world.live_ticket(assignee=agent)
        actions = [MacroAction(MacroActionKind.SET_ASSIGNEE, str(agent.id))]
        macro = await save_macro(Call(world.admin), title=f"To him {lap}", actions=actions, shared=True)
        done = await asyncio.gather(
            update_ticket(Call(world.admin), ticket.id, {"assignee_id": agent.id})
            if lap % 2
            else apply_macro(Call(world.admin), ticket.id, macro.macro_id),
            deactivate(Call(world.admin), agent.id),
            send_message(Call(await _customer_of(world, other)), body="Hello?"),
            return_exceptions=True,
        )
        assert done[0] is not None
        assert isinstance(done[0], NotFound) or not isinstance(done[0], BaseException)
        assert not any(isinstance(each, BaseException) for each in done[1:])
        assert not await Ticket.filter(assignee_id=agent.id).exists()
        assert not (await User.get(id=agent.id)).active
    await assert_consistent(world)


async def _customer_of(world: World, ticket: Ticket) -> Actor:
    actor = await load_actor(world.id, ticket.requester_id)
    assert actor is not None
    return actor


async def test_an_end_user_is_not_deactivated_this_way(world: World) -> None:
    """R149."""
    customer = await world.customer()
    assert customer.id is not None
    with pytest.raises(NotFound):
        await deactivate(Call(world.admin), customer.id)
