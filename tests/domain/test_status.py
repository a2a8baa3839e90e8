"""Rules 3.8: what an end does to the ticket's fields and clocks (nothing), and what a status does to a session."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from domain.errors import InvalidInput, NoMessagingSession, TicketClosed
from domain.lifecycle import close_ticket
from domain.sessions import end_session, mark_inactive
from domain.tickets import update_ticket
from domain.transactions import Call
from models import (
    Channel,
    EventType,
    InactiveReason,
    SessionState,
    Ticket,
    TicketPriority,
    TicketStatus,
)
from tests.factories import World, columns, later

LIVE = [status for status in TicketStatus if status is not TicketStatus.CLOSED]
WAITING = [TicketStatus.PENDING, TicketStatus.ON_HOLD, TicketStatus.SOLVED]
LONG_AGO = datetime(2021, 3, 4, 5, 6, 7, tzinfo=UTC)

# What every event changes: they say that something happened, not what.
COUNTERS = {"version", "last_sequence", "updated_at"}


async def fields_of(ticket: Ticket) -> dict[str, Any]:
    stored = columns(await Ticket.get(id=ticket.id))
    return {name: value for name, value in stored.items() if name not in COUNTERS}


async def rich_ticket(world: World, status: TicketStatus) -> Ticket:
    """A live ticket of which every field has a value that could be lost."""
    return await world.live_ticket(
        assignee=await world.agent(),
        group=await world.group(f"Group {status}"),
        status=status,
        custom_status="WAITING_FOR_PARTS",
        priority=TicketPriority.HIGH,
        tags=["late", "vip"],
        custom_fields={"order": 4711},
        cc_ids=[str(world.admin.id)],
        follower_ids=[str(world.admin.id)],
        first_replied_at=LONG_AGO,
        status_changed_at=LONG_AGO,
        solved_at=LONG_AGO if status is TicketStatus.SOLVED else None,
    )


async def test_an_end_changes_no_field_and_no_clock_of_the_ticket(world: World) -> None:
    """R103 and R107: whatever the status. What stops is the session's own clock."""
    for status in LIVE:
        ticket = await rich_ticket(world, status)
        before, sequence, version = await fields_of(ticket), ticket.last_sequence, ticket.version
        await end_session(Call(world.admin, clock=later(30)), ticket.id)
        assert await fields_of(ticket) == before
        now = await Ticket.get(id=ticket.id)
        assert (now.last_sequence, now.version) == (sequence + 1, version + 1)
        session = await world.session(ticket)
        assert session.ended_at is not None
        assert (session.ended_at - session.started_at).total_seconds() == pytest.approx(30 * 60, abs=60)
        assert (await world.events(ticket))[-1].occurred_at == session.ended_at


async def test_a_ticket_that_nobody_answered_is_not_answered_by_the_end(world: World) -> None:
    """R107: the closing message is an answer, the end is none."""
    silent, told = await world.live_ticket(), await world.live_ticket()
    await world.end(silent, world.admin)
    await world.end(told, world.admin, closing_message="Good-bye.")
    assert (await fields_of(silent))["first_replied_at"] is None
    assert (await fields_of(told))["first_replied_at"] is not None


async def test_after_the_end_the_status_changes_as_on_any_ticket(world: World) -> None:
    """R105: and the session stays as it ended (R39)."""
    agent = await world.agent()
    ended, ordinary = await world.ended_ticket(assignee=agent), await world.email_ticket(assignee_id=agent.id)
    session = columns(await world.session(ended))
    for ticket in (ended, ordinary):
        count = len(await world.events(ticket))
        for status in [*WAITING, TicketStatus.OPEN, TicketStatus.SOLVED]:
            await update_ticket(Call(agent), ticket.id, {"status": status})
            assert (await Ticket.get(id=ticket.id)).status is status
        assert (await world.history(ticket))[count:] == ["TICKET_FIELD_CHANGED"] * 5
        steps = [(event.payload["from"], event.payload["to"]) for event in (await world.events(ticket))[count:]]
        assert steps == [
            ("NEW", "PENDING"),
            ("PENDING", "ON_HOLD"),
            ("ON_HOLD", "SOLVED"),
            ("SOLVED", "OPEN"),
            ("OPEN", "SOLVED"),
        ]
        assert (await Ticket.get(id=ticket.id)).solved_at is not None
        for status in (TicketStatus.NEW, TicketStatus.CLOSED):
            async with world.refuses(InvalidInput):
                await update_ticket(Call(agent), ticket.id, {"status": status})
    assert columns(await world.session(ended)) == session


@pytest.mark.parametrize("status", WAITING)
async def test_a_waiting_status_makes_a_live_session_inactive(world: World, status: TicketStatus) -> None:
    """R106."""
    agent, customer = await world.agent(), await world.customer()
    ticket = await world.live_ticket(customer=customer, assignee=agent)
    await update_ticket(Call(agent), ticket.id, {"status": status})
    session = await world.session(ticket)
    assert (session.state, session.inactive_reason) == (SessionState.INACTIVE, InactiveReason.TICKET_STATUS)
    assert (session.ended_at, session.end_reason) == (None, None)
    field, state = (await world.events(ticket))[-2:]
    assert (field.type, field.payload) == (
        EventType.TICKET_FIELD_CHANGED,
        {"field": "status", "from": "NEW", "to": status.value},
    )
    assert (state.type, state.payload) == (
        EventType.MESSAGING_SESSION_STATE_CHANGED,
        {"previous_state": "ACTIVE", "state": "INACTIVE", "reason": "TICKET_STATUS"},
    )
    assert field.audit_id == state.audit_id

    again = await world.message(customer, "One more thing.")
    assert (again.id, again.status) == (ticket.id, TicketStatus.OPEN)
    assert (await world.session(ticket)).state is SessionState.ACTIVE


async def test_open_and_other_fields_leave_a_live_session_active(world: World) -> None:
    """R106: the other half."""
    agent = await world.agent()
    ticket = await world.live_ticket(assignee=agent)
    await update_ticket(Call(agent), ticket.id, {"status": TicketStatus.OPEN, "tags": ["late"]})
    assert (await world.session(ticket)).state is SessionState.ACTIVE
    assert (await world.history(ticket))[-2:] == ["TICKET_FIELD_CHANGED"] * 2


async def test_a_session_that_is_inactive_already_keeps_its_reason(world: World) -> None:
    """R106."""
    ticket = await world.live_ticket()
    await mark_inactive(Call(world.system), (await world.session(ticket)).id, InactiveReason.USER_OFFLINE)
    await update_ticket(Call(world.admin), ticket.id, {"status": TicketStatus.PENDING})
    assert (await world.session(ticket)).inactive_reason is InactiveReason.USER_OFFLINE
    assert (await world.history(ticket)).count("MESSAGING_SESSION_STATE_CHANGED") == 1


async def test_a_status_makes_no_session_where_there_is_none(world: World) -> None:
    """R106."""
    ticket = await world.email_ticket()
    await update_ticket(Call(world.admin), ticket.id, {"status": TicketStatus.PENDING})
    assert (await world.history(ticket))[-1] == "TICKET_FIELD_CHANGED"
    async with world.refuses(NoMessagingSession):
        await world.end(ticket, world.admin)


async def test_closing_a_solved_ticket_keeps_when_it_was_solved(world: World) -> None:
    """R107: closing stops no clock that had stopped before, and a closed ticket takes no change."""
    ticket = await world.ended_ticket(status=TicketStatus.SOLVED, solved_at=LONG_AGO)
    await close_ticket(Call(world.system), ticket.id)
    closed = await Ticket.get(id=ticket.id)
    assert (closed.status, closed.solved_at) == (TicketStatus.CLOSED, LONG_AGO)
    history = await world.history(ticket)
    async with world.refuses(TicketClosed):
        await update_ticket(Call(world.admin), ticket.id, {"status": TicketStatus.OPEN})
    async with world.refuses(TicketClosed):
        await world.comment(ticket, world.admin, channel=Channel.EMAIL)
    await close_ticket(Call(world.system), ticket.id)
    assert await world.history(ticket) == history
