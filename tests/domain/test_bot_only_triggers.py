"""R42: a trigger ends a conversation that a bot has alone; there is no ticket yet."""

from __future__ import annotations

import asyncio

from domain.sessions import mark_inactive
from domain.transactions import Call
from domain.trigger_runs import run_triggers
from models import Event, EventType, InactiveReason, MessagingSession, SessionState, Ticket
from tests.automation import END, every, rule, runs, settle, trigger
from tests.bots import put_in_front, writes
from tests.factories import World
from tests.invariants import assert_consistent

SILENT = every(rule("SESSION_STATE", "CHANGED_TO", "INACTIVE"))


async def silent(world: World) -> MessagingSession:
    """A conversation that the bot has alone, and that became inactive."""
    sent = await writes(await world.customer())
    session = await MessagingSession.get(conversation_id=sent.conversation_id)
    await mark_inactive(Call(world.system), session.id, InactiveReason.NO_REPLY)
    return session


async def test_a_trigger_ends_what_a_bot_has_alone(world: World) -> None:
    """R42, R52, R121: once, with its own reason and name; no ticket is made for it."""
    await put_in_front(world)
    ending = await trigger(world, SILENT, END)
    session = await silent(world)
    assert await settle() == 1
    await session.refresh_from_db()
    assert (session.state, session.end_reason, session.ended_by_id) == (SessionState.ENDED, "TRIGGER", ending.id)
    assert await Ticket.filter(account_id=world.id).count() == 0
    (event,) = await Event.filter(type=EventType.MESSAGING_SESSION_ENDED)
    (run,) = await runs(ending)
    assert (event.actor_kind, event.ticket_id, event.audit_id) == ("TRIGGER", None, run.effect_audit_id)
    assert await settle() == 0
    await assert_consistent(world)


async def test_several_readers_end_it_once(world: World) -> None:
    """R42, R121: at the same moment."""
    await put_in_front(world)
    ending = await trigger(world, SILENT, END)
    await silent(world)
    await asyncio.gather(*(run_triggers() for _ in range(4)))
    assert len(await runs(ending)) == 1
    assert await Event.filter(type=EventType.MESSAGING_SESSION_ENDED).count() == 1


async def test_other_conditions_and_other_actions_leave_it_alone(world: World) -> None:
    """R42: what is about tickets holds for none, and does nothing."""
    await put_in_front(world)
    await trigger(world, every(rule("STATUS", "IS", "NEW"), rule("SESSION_STATE", "IS", "INACTIVE")), END)
    session = await silent(world)
    assert await settle() == 0
    assert (await MessagingSession.get(id=session.id)).state is SessionState.INACTIVE
