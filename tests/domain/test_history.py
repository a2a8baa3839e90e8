"""Rules 3.4: the event history."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from domain.comments import post_comment
from domain.errors import Forbidden, NotFound
from domain.lifecycle import close_ticket
from domain.revisions import delete_message, edit_message, mark_read, redact_comment
from domain.sessions import end_session, mark_inactive, preview_end, takes_typing
from domain.tickets import update_ticket
from domain.transactions import Call
from domain.visibility import visible_tickets
from models import (
    Audit,
    Channel,
    Comment,
    Event,
    EventType,
    InactiveReason,
    Ticket,
    TicketAccess,
    TicketPriority,
    TicketStatus,
)
from tests.factories import World
from tests.invariants import assert_consistent

NOON = datetime(2031, 5, 1, 12, 0, 0, 123456, tzinfo=UTC)


async def test_an_end_tells_who_why_when_and_what_was_before(world: World) -> None:
    """R47."""
    agent = await world.agent()
    ticket = await world.live_ticket(assignee=agent)
    await mark_inactive(Call(world.system), (await world.session(ticket)).id, InactiveReason.NO_REPLY)
    end = await end_session(Call(agent, client_id="tab-7", clock=lambda: NOON), ticket.id)
    event = await Event.get(id=end.event_id)
    assert (event.type.value, event.actor_kind.value, event.actor_id) == ("MESSAGING_SESSION_ENDED", "AGENT", agent.id)
    assert (event.ticket_id, event.session_id) == (ticket.id, end.session_id)
    assert (event.conversation_id, event.client_id, event.occurred_at) == (ticket.conversation_id, "tab-7", NOON)
    assert event.payload == {"reason": "AGENT", "previous_state": "INACTIVE", "routing_outcome": "NOT_TRACKED"}
    audit = await Audit.get(id=event.audit_id)
    assert (audit.actor_kind.value, audit.actor_id, audit.created_at) == ("AGENT", agent.id, NOON)
    assert (await world.session(ticket)).ended_at == NOON


async def test_the_events_of_one_update_share_its_audit_in_order(world: World) -> None:
    """R48: the message and the end are one audit, with numbers one after the other; the next update is another."""
    ticket = await world.live_ticket()
    before = (await world.positions())[-1]
    await world.end(ticket, world.admin, closing_message="Goodbye!")
    await world.comment(ticket, world.admin)
    said, over, noted = (await world.events(ticket))[-3:]
    assert [event.position for event in (said, over, noted)] == [before + 1, before + 2, before + 3]
    assert said.audit_id == over.audit_id != noted.audit_id
    assert await Event.filter(audit_id=over.audit_id).count() == 2


async def test_redaction_replaces_the_text_and_keeps_the_fact(world: World) -> None:
    """R49: when, by whom and over which channel something was written stays; what it said is gone, subject included."""
    customer = await world.customer()
    ticket = await world.message(customer, "My card is 4111 1111 1111 1111")
    await world.end(ticket, world.admin)
    [comment] = await Comment.filter(conversation_id=ticket.conversation_id)
    facts = await Event.filter(ticket_id=ticket.id).order_by("position").values()
    await redact_comment(Call(world.admin), comment.id)
    redacted = await Comment.get(id=comment.id)
    assert (redacted.body, redacted.created_at, redacted.author_id) == ("[redacted]", comment.created_at, customer.id)
    assert (await Ticket.get(id=ticket.id)).subject == "[redacted]"
    after = await Event.filter(ticket_id=ticket.id).order_by("position").values()
    assert after[:-1] == facts
    assert (after[-1]["type"], after[-1]["payload"]["change"]) == (EventType.TICKET_COMMENT_CHANGED, "REDACTED")
    assert "4111 1111" not in str(after)  # with its blank: the digits alone may be part of an id


async def test_redaction_needs_its_own_right(world: World) -> None:
    """R49."""
    agent, customer = await world.agent(), await world.customer()
    ticket = await world.live_ticket(customer=customer)
    [comment] = await Comment.filter(conversation_id=ticket.conversation_id)
    for actor in (agent, customer):
        async with world.refuses(Forbidden):
            await redact_comment(Call(actor), comment.id)
    assert await world.thread(ticket) == [comment.body]


async def test_a_message_that_the_customer_took_back_can_be_redacted(world: World) -> None:
    """R49: its text is gone already."""
    customer = await world.customer()
    ticket = await world.live_ticket(customer=customer)
    [comment] = await Comment.filter(conversation_id=ticket.conversation_id)
    await delete_message(Call(customer), comment.id)
    await redact_comment(Call(world.admin), comment.id)
    assert await world.thread(ticket) == ["[redacted]"]


async def test_the_numbers_of_a_ticket_have_no_gap(world: World) -> None:
    """R50: through every kind of change, also those that were refused in between."""
    customer, agent = await world.customer(), await world.agent()
    ticket = await world.live_ticket(customer=customer)
    [first] = await Comment.filter(conversation_id=ticket.conversation_id)
    await edit_message(Call(customer), first.id, body="Hello, my order is very late.")
    await world.comment(ticket, agent, channel=Channel.MESSAGING)
    await update_ticket(Call(agent), ticket.id, {"status": TicketStatus.PENDING, "assignee_id": agent.id})
    await world.message(customer, "Still nothing")
    await world.end(ticket, agent, closing_message="Goodbye!")
    async with world.refuses(Forbidden):
        await redact_comment(Call(agent), first.id)
    await world.comment(ticket, agent)
    assert [event.ticket_sequence for event in await world.events(ticket)] == list(range(1, 15))
    await assert_consistent(world)


async def test_the_numbers_of_a_ticket_have_no_gap_when_many_write_at_once(world: World) -> None:
    """R50."""
    agent = await world.agent()
    ticket = await world.live_ticket()
    await asyncio.gather(*(world.comment(ticket, agent, f"Note {n}") for n in range(40)))
    assert [event.ticket_sequence for event in await world.events(ticket)] == list(range(1, 44))
    assert len(set(await world.thread(ticket))) == 41
    await assert_consistent(world)


async def test_each_fact_of_an_update_has_an_event_of_its_own(world: World) -> None:
    """R51: and what stays as it was has none."""
    agent = await world.agent()
    ticket = await world.live_ticket(status=TicketStatus.OPEN)
    known = len(await world.events(ticket))
    values = {
        "status": TicketStatus.OPEN,
        "assignee_id": agent.id,
        "priority": TicketPriority.HIGH,
        "tags": ["late", "vip"],
    }
    await update_ticket(Call(agent), ticket.id, values)
    events = (await world.events(ticket))[known:]
    assert [(e.type.value, e.payload["field"], e.payload["from"], e.payload["to"]) for e in events] == [
        ("TICKET_FIELD_CHANGED", "assignee", None, str(agent.id)),
        ("TICKET_FIELD_CHANGED", "tags", [], ["late", "vip"]),
        ("TICKET_FIELD_CHANGED", "priority", None, "HIGH"),
    ]
    assert len({event.audit_id for event in events}) == 1


async def test_an_update_that_changes_nothing_is_no_fact(world: World) -> None:
    """R51."""
    ticket = await world.live_ticket()
    before = await world.fingerprint()
    await update_ticket(Call(world.admin), ticket.id, {"status": ticket.status, "tags": [], "assignee_id": None})
    assert await world.fingerprint() == before


async def test_an_end_by_the_closing_of_the_ticket_is_the_systems(world: World) -> None:
    """R52."""
    ticket = await world.live_ticket(status=TicketStatus.SOLVED)
    await close_ticket(Call(world.system), ticket.id)
    closed, ended = (await world.events(ticket))[-2:]
    assert (closed.payload["field"], closed.payload["to"]) == ("status", "CLOSED")
    assert (ended.actor_kind.value, ended.actor_id) == ("SYSTEM", None)
    assert (ended.payload["reason"], ended.audit_id) == ("TICKET_CLOSED", closed.audit_id)
    assert (await world.session(ticket)).ended_by_kind == "SYSTEM"


async def test_closing_a_ticket_twice_ends_nothing_twice(world: World) -> None:
    """R35, R52."""
    ended, live = await world.ended_ticket(), await world.live_ticket()
    for ticket, events in ((ended, 1), (live, 2)):
        known = len(await world.events(ticket))
        await asyncio.gather(*(close_ticket(Call(world.system), ticket.id) for _ in range(5)))
        assert len(await world.events(ticket)) == known + events
    assert (await world.session(ended)).ended_by_kind == "ADMIN"
    await assert_consistent(world)


async def test_without_access_a_ticket_with_a_history_is_like_none(world: World, other_world: World) -> None:
    """R54: for reads and for every verb; an agent of another account, and one whose role does not reach it."""
    ticket = await world.ended_ticket()
    [comment] = await Comment.filter(conversation_id=ticket.conversation_id)
    outsiders = [await world.agent(access=TicketAccess.GROUPS), await other_world.agent(), await world.customer()]
    for outsider in outsiders:
        call = Call(outsider)
        assert not await visible_tickets(outsider).filter(id=ticket.id).exists()
        assert await preview_end(outsider, ticket.id) is None
        verbs: list[Callable[[], Awaitable[object]]] = [
            lambda call=call: update_ticket(call, ticket.id, {"tags": ["mine"]}),  # type: ignore[misc]
            lambda call=call: mark_read(call, comment.id),  # type: ignore[misc]
            lambda call=call: takes_typing(call.actor, ticket.conversation_id),  # type: ignore[misc]
        ]
        for verb in verbs:
            async with world.refuses(NotFound):
                await verb()
    for agent in outsiders[:2]:
        async with world.refuses(NotFound):
            await post_comment(Call(agent), ticket.id, body="…", channel=Channel.INTERNAL_NOTE)
        async with world.refuses(NotFound):
            await redact_comment(Call(agent), comment.id)


async def test_a_history_read_page_by_page_misses_nothing_that_arrives(world: World) -> None:
    """R55: the key is the ticket's own number, which only grows."""
    agent = await world.agent()
    ticket = await world.live_ticket()
    writing = asyncio.gather(*(world.comment(ticket, agent, f"Note {n}") for n in range(30)))
    seen: list[int | None] = []
    while not writing.done() or len(seen) < 33:
        page = await Event.filter(ticket_id=ticket.id, ticket_sequence__gt=len(seen)).order_by("ticket_sequence")[:4]
        seen += [event.ticket_sequence for event in page]
    await writing
    assert seen == list(range(1, 34))
