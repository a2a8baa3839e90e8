"""Rules 3.3: the end itself. Errors in the middle of it are in test_transactions, who is first in test_races."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import pytest
from tortoise.exceptions import OperationalError

from domain.comments import comment_on_request
from domain.errors import Forbidden, InvalidInput, NoMessagingSession, NotFound, StaleVersion, TicketClosed
from domain.lifecycle import close_ticket
from domain.messages import send_message
from domain.sessions import SessionEnd, end_session, mark_inactive
from domain.settings import update_messaging_settings
from domain.tickets import update_ticket
from domain.transactions import Call
from models import (
    Account,
    Audit,
    Channel,
    EndReason,
    Event,
    EventType,
    InactiveReason,
    MessagingSession,
    SessionState,
    Ticket,
    TicketStatus,
    new_id,
)
from tests.databases import sabotaged
from tests.factories import World
from tests.invariants import assert_consistent


async def test_an_end_is_one_audit_with_one_event(world: World) -> None:
    """R32."""
    agent = await world.agent()
    ticket = await world.live_ticket(assignee=agent)
    before, audits = await world.history(ticket), await Audit.all().count()
    end = await world.end(ticket, agent)
    session = await world.session(ticket)
    assert (end.outcome, session.state, session.end_reason) == ("ENDED", SessionState.ENDED, EndReason.AGENT)
    assert (session.ended_by_kind, session.ended_by_id) == ("AGENT", agent.id)
    assert session.ended_at is not None
    assert await world.history(ticket) == [*before, "MESSAGING_SESSION_ENDED"]
    assert await Audit.all().count() == audits + 1
    await assert_consistent(world)


async def test_the_verdict_names_ticket_session_and_event(world: World) -> None:
    """R32."""
    ticket = await world.live_ticket()
    end = await world.end(ticket, world.admin)
    session = await world.session(ticket)
    event = (await world.events(ticket))[-1]
    assert end == SessionEnd("ENDED", ticket.id, session.id, event.id, None, end.warnings)


async def test_an_inactive_session_ends_like_an_active_one(world: World) -> None:
    """R32: live is what has not ended."""
    ticket = await world.live_ticket()
    await mark_inactive(Call(world.system), (await world.session(ticket)).id, InactiveReason.NO_REPLY)
    assert (await world.end(ticket, world.admin)).outcome == "ENDED"
    session = await world.session(ticket)
    assert (session.state, session.inactive_reason) == (SessionState.ENDED, None)


async def test_the_end_of_one_session_leaves_all_others_alone(world: World) -> None:
    """R32."""
    ended, other = await world.live_ticket(), await world.live_ticket()
    await world.end(ended, world.admin)
    assert (await world.session(other)).state is SessionState.ACTIVE
    assert (await Ticket.get(id=other.id)).version == other.version


async def test_ending_twice_says_who_ended_it_first(world: World) -> None:
    """R35."""
    first, second = await world.agent("First"), await world.agent("Second")
    ticket = await world.live_ticket(assignee=first)
    end = await world.end(ticket, first)
    before, session = await world.fingerprint(), await _row(ticket)
    for again in (await world.end(ticket, first), await world.end(ticket, second)):
        assert again == SessionEnd("ALREADY_ENDED", ticket.id, end.session_id, end.event_id, None, ())
    assert await world.fingerprint() == before
    assert await _row(ticket) == session
    assert session["ended_by_id"] == first.id


async def test_a_second_end_keeps_its_closing_message_to_itself(world: World) -> None:
    """R35, R46: the message belongs to an end that did not happen."""
    ticket = await world.ended_ticket()
    before = await world.fingerprint()
    again = await world.end(ticket, world.admin, closing_message="Goodbye!")
    assert (again.outcome, again.comment_id) == ("ALREADY_ENDED", None)
    assert await world.fingerprint() == before


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


async def test_the_one_event_of_two_ends_at_once_names_the_winner(world: World) -> None:
    """R36."""
    agents = [await world.agent(name) for name in ("One", "Two", "Three", "Four")]
    tickets = [await world.live_ticket() for _ in range(10)]
    for ticket in tickets:
        ends = await asyncio.gather(*(end_session(Call(agent), ticket.id) for agent in agents))
        [winner] = [agent for agent, end in zip(agents, ends, strict=True) if end.outcome == "ENDED"]
        [event] = await Event.filter(ticket_id=ticket.id, type=EventType.MESSAGING_SESSION_ENDED)
        assert (event.actor_id, (await world.session(ticket)).ended_by_id) == (winner.id, winner.id)
    await assert_consistent(world)


async def test_an_end_of_a_ticket_that_has_changed_is_refused(world: World) -> None:
    """R38."""
    ticket = await world.live_ticket()
    await world.comment(ticket, world.admin)
    async with world.refuses(StaleVersion) as refusal:
        await world.end(ticket, world.admin, expected_version=ticket.version)
    assert isinstance(refusal.value, StaleVersion)
    assert (refusal.value.ticket_id, refusal.value.field) == (ticket.id, ("expectedVersion",))
    assert f"version {ticket.version + 1} " in refusal.value.message
    assert (await world.session(ticket)).state is SessionState.ACTIVE


async def test_an_end_with_the_present_version_succeeds(world: World) -> None:
    """R38."""
    ticket = await world.live_ticket()
    assert (await world.end(ticket, world.admin, expected_version=ticket.version)).outcome == "ENDED"
    assert (await Ticket.get(id=ticket.id)).version == ticket.version + 1


async def test_nothing_revives_an_ended_session(world: World) -> None:
    """R39: not a message, a reassignment, a status, a timer, a setting, an admin, nor the closing of the ticket."""
    agent, customer = await world.agent(), await world.customer()
    ticket = await world.live_ticket(customer=customer)
    await world.end(ticket, agent)
    ended = await _row(ticket)

    async def status(value: TicketStatus) -> None:
        await update_ticket(Call(agent), ticket.id, {"status": value})

    async def setting(value: bool) -> None:
        await update_messaging_settings(Call(world.admin), {"agents_can_end_sessions": value})

    happenings: list[Any] = [
        lambda: send_message(Call(customer), body="Hello again?"),
        lambda: update_ticket(Call(world.admin), ticket.id, {"assignee_id": agent.id}),
        *(lambda s=s: status(s) for s in (TicketStatus.PENDING, TicketStatus.SOLVED, TicketStatus.OPEN)),
        lambda: mark_inactive(Call(world.system), ended["id"], InactiveReason.NO_REPLY),
        lambda: comment_on_request(Call(customer), ticket.id, body="By the help centre"),
        lambda: world.comment(ticket, agent, channel=Channel.EMAIL),
        lambda: setting(False),
        lambda: setting(True),
        lambda: world.end(ticket, world.admin),
        lambda: close_ticket(Call(world.system), ticket.id),
    ]
    for happen in happenings:
        await happen()
        assert await _row(ticket) == ended
    await assert_consistent(world)


async def test_a_ticket_without_a_session_has_nothing_to_end(world: World) -> None:
    """R40."""
    ticket = await world.email_ticket()
    async with world.refuses(NoMessagingSession):
        await world.end(ticket, world.admin)


async def test_closing_a_ticket_has_ended_its_session(world: World) -> None:
    """R41: and the agent who comes too late is told that the ticket is closed."""
    ticket = await world.live_ticket()
    await close_ticket(Call(world.system), ticket.id)
    session = await world.session(ticket)
    assert (session.state, session.end_reason) == (SessionState.ENDED, EndReason.TICKET_CLOSED)
    async with world.refuses(TicketClosed):
        await world.end(ticket, world.admin)


async def test_a_session_that_nobody_has_yet_can_be_ended(world: World) -> None:
    """R43."""
    ticket = await world.live_ticket()
    assert ticket.assignee_id is None
    assert (await world.end(ticket, await world.agent())).outcome == "ENDED"
    assert (await Ticket.get(id=ticket.id)).assignee_id is None


async def test_many_ends_are_each_a_matter_of_its_own(world: World) -> None:
    """R45: a result for each, an audit for each that ended, and no failure undoes another end."""
    live = [await world.live_ticket() for _ in range(3)]
    ended, email = await world.ended_ticket(), await world.email_ticket()
    closed = await world.live_ticket()
    await close_ticket(Call(world.system), closed.id)
    ids: list[UUID] = [live[0].id, email.id, live[1].id, ended.id, new_id(), closed.id, live[2].id]
    results = await asyncio.gather(*(end_session(Call(world.admin), id) for id in ids), return_exceptions=True)
    told = [r.outcome if isinstance(r, SessionEnd) else type(r) for r in results]
    assert told == ["ENDED", NoMessagingSession, "ENDED", "ALREADY_ENDED", NotFound, TicketClosed, "ENDED"]
    audits = {(await world.events(ticket))[-1].audit_id for ticket in live}
    assert len(audits) == 3
    await assert_consistent(world)


async def test_a_closing_message_is_the_last_word_before_the_end(world: World) -> None:
    """R46: one audit, the message with the lower number, in the agent's name and public."""
    agent = await world.agent()
    ticket = await world.live_ticket(assignee=agent)
    end = await world.end(ticket, agent, closing_message="Glad to help. Goodbye!")
    said, over = (await world.events(ticket))[-2:]
    assert [said.type.value, over.type.value] == ["TICKET_COMMENT_ADDED", "MESSAGING_SESSION_ENDED"]
    assert (said.comment_id, said.payload["visibility"], said.actor_id) == (end.comment_id, "PUBLIC", agent.id)
    assert (said.audit_id, said.ticket_sequence) == (over.audit_id, (over.ticket_sequence or 0) - 1)
    assert await world.thread(ticket) == ["Hello, my order is late.", "Glad to help. Goodbye!"]


@pytest.mark.parametrize("text", ["", " \n", "x" * 10_001, "bell\x07"])
async def test_without_a_fit_closing_message_there_is_no_end(world: World, text: str) -> None:
    """R46."""
    ticket = await world.live_ticket()
    async with world.refuses(InvalidInput) as refusal:
        await world.end(ticket, world.admin, closing_message=text)
    assert refusal.value.field == ("closingMessage",)
    assert (await world.session(ticket)).state is SessionState.ACTIVE


async def test_who_may_not_write_to_the_customer_cannot_end_with_a_message(world: World) -> None:
    """R46: without collaboration the conversation is the assignee's; ending it silently is another right."""
    await world.settings(agents_can_collaborate=False)
    ticket = await world.live_ticket(assignee=await world.agent("Owner"))
    other = await world.agent("Other")
    async with world.refuses(Forbidden, logged=1):
        await world.end(ticket, other, closing_message="Goodbye!")
    assert (await world.session(ticket)).state is SessionState.ACTIVE
    assert (await world.end(ticket, other)).outcome == "ENDED"


async def test_when_the_closing_message_cannot_be_stored_the_session_goes_on(world: World) -> None:
    """R46: the database refuses the comment."""
    ticket = await world.live_ticket()
    before = await world.fingerprint()
    async with sabotaged("comments", "INSERT"):
        with pytest.raises(OperationalError):
            await world.end(ticket, world.admin, closing_message="Goodbye!")
    assert await world.fingerprint() == before
    assert (await world.session(ticket)).state is SessionState.ACTIVE
    await assert_consistent(world)


async def _row(ticket: Ticket) -> dict[str, Any]:
    [row] = await MessagingSession.filter(conversation_id=ticket.conversation_id).values()
    return row
