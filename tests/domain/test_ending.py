"""Rules 3.3: the end itself."""

from __future__ import annotations

import asyncio

from domain.sessions import end_session
from domain.transactions import Call
from models import Account, Event, EventType, SessionState
from tests.factories import World


async def test_an_end_is_one_audit_with_one_event(world: World) -> None:
    """R32."""
    agent = await world.agent()
    ticket = await world.live_ticket(assignee=agent)
    end = await world.end(ticket, agent)
    session = await world.session(ticket)
    assert (end.outcome, session.state, session.end_reason) == ("ENDED", SessionState.ENDED, "AGENT")
    assert session.ended_by_id == agent.id
    assert (await world.history(ticket))[-1] == "MESSAGING_SESSION_ENDED"


async def test_fifty_ends_at_once_are_one_end(world: World) -> None:
    """R36."""
    agent = await world.agent()
    ticket = await world.live_ticket(assignee=agent)
    ends = await asyncio.gather(*(end_session(Call(agent), ticket.id) for _ in range(50)))
    assert sorted(end.outcome for end in ends) == ["ALREADY_ENDED"] * 49 + ["ENDED"]
    assert len({end.event_id for end in ends}) == 1
    assert await Event.filter(type=EventType.MESSAGING_SESSION_ENDED).count() == 1
    account = await Account.get(id=world.id)
    assert await world.positions() == list(range(1, account.last_position + 1))
