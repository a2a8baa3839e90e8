"""Rules 3.9: what the customer is told of an end, by whom, and what reminds the agent."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from tortoise.exceptions import OperationalError

from domain.actors import Actor
from domain.comments import post_comment
from domain.errors import Forbidden, InvalidInput, StaleVersion
from domain.sessions import SessionEnd, end_session
from domain.transactions import Call
from models import (
    Channel,
    Comment,
    Event,
    OutboundEmail,
    Permission,
    SessionState,
    Ticket,
    TicketStatus,
    Visibility,
)
from tests.databases import sabotaged
from tests.factories import AGENT, World, columns, later

TEN_MINUTES = timedelta(minutes=10)
INSTANT = timedelta(microseconds=1)
GOOD_BYE = "I end this conversation now. What you write afterwards becomes a new request."


async def comments_of(ticket: Ticket) -> list[dict[str, Any]]:
    comments = await Comment.filter(conversation_id=ticket.conversation_id).order_by("sequence")
    return [columns(comment) for comment in comments]


async def test_a_silent_end_tells_the_customer_nothing(world: World) -> None:
    """R108: one event for the agents and no comment, no e-mail. His stream is inspected with the streams."""
    agent = await world.agent()
    ticket = await world.live_ticket(assignee=agent)
    thread, history = await comments_of(ticket), await world.history(ticket)
    end = await world.end(ticket, agent)
    assert end.comment_id is None
    assert await comments_of(ticket) == thread
    assert await world.history(ticket) == [*history, "MESSAGING_SESSION_ENDED"]
    assert await OutboundEmail.all().count() == 0
    assert (await Event.get(id=end.event_id)).comment_id is None


async def test_a_closing_message_is_stored_before_the_end(world: World) -> None:
    """R46."""
    agent = await world.agent()
    ticket = await world.live_ticket(assignee=agent)
    end = await world.end(ticket, agent, closing_message=GOOD_BYE)
    message, ended = (await world.events(ticket))[-2:]
    assert [message.type.value, ended.type.value] == ["TICKET_COMMENT_ADDED", "MESSAGING_SESSION_ENDED"]
    assert (message.comment_id, ended.id) == (end.comment_id, end.event_id)
    assert message.audit_id == ended.audit_id
    comment = await Comment.get(id=end.comment_id)
    assert (comment.body, comment.channel, comment.visibility) == (GOOD_BYE, Channel.MESSAGING, Visibility.PUBLIC)
    assert (comment.author_kind, comment.author_id) == ("AGENT", agent.id)
    assert len(await comments_of(ticket)) == 2


@pytest.mark.parametrize(
    "message", ["", " \n\t ", "a" * 10_001, "bell\x07", "nul\x00"], ids=["empty", "blank", "long", "bell", "nul"]
)
async def test_a_closing_message_that_cannot_be_stored_ends_nothing(world: World, message: str) -> None:
    """R46: the message itself is at fault."""
    ticket = await world.live_ticket()
    async with world.refuses(InvalidInput) as caught:
        await world.end(ticket, world.admin, closing_message=message)
    assert caught.value.field == ("closingMessage",)
    assert (await world.session(ticket)).state is SessionState.ACTIVE


async def test_an_error_at_the_closing_message_or_after_it_undoes_both(world: World) -> None:
    """R46: the database is at fault."""
    ticket = await world.live_ticket()
    before, thread, history = await world.fingerprint(), await comments_of(ticket), await world.history(ticket)
    for table in ("comments", "events", "audits"):
        async with sabotaged(table, "INSERT"):
            with pytest.raises(OperationalError, match="nowhere"):
                await world.end(ticket, world.admin, closing_message=GOOD_BYE)
        assert (await world.fingerprint(), await comments_of(ticket)) == (before, thread)
        assert await world.history(ticket) == history
        assert (await world.session(ticket)).state is SessionState.ACTIVE
    assert (await world.end(ticket, world.admin, closing_message=GOOD_BYE)).outcome == "ENDED"


async def test_who_may_not_write_or_is_late_says_nothing(world: World) -> None:
    """R46."""
    ticket = await world.live_ticket(assignee=await world.agent())
    stranger = await world.agent(permissions=AGENT - {Permission.END_OTHERS_SESSIONS})
    async with world.refuses(Forbidden, logged=1):
        await world.end(ticket, stranger, closing_message=GOOD_BYE)
    async with world.refuses(StaleVersion):
        await world.end(ticket, world.admin, closing_message=GOOD_BYE, expected_version=ticket.version + 1)
    await world.end(ticket, world.admin)
    before = await comments_of(ticket)
    late = await world.end(ticket, world.admin, closing_message=GOOD_BYE)
    assert (late.outcome, late.comment_id) == ("ALREADY_ENDED", None)
    assert await comments_of(ticket) == before


async def test_a_notice_that_the_agent_types_himself_comes_before_the_end(world: World) -> None:
    """R111."""
    agent = await world.agent()
    ticket = await world.live_ticket(assignee=agent)
    await world.comment(ticket, agent, GOOD_BYE, Channel.MESSAGING)
    end = await world.end(ticket, agent)
    message, ended = (await world.events(ticket))[-2:]
    assert [message.type.value, ended.type.value] == ["TICKET_COMMENT_ADDED", "MESSAGING_SESSION_ENDED"]
    assert message.position < ended.position
    assert message.audit_id != ended.audit_id
    assert end.warnings == ()
    assert (await world.thread(ticket))[-1] == GOOD_BYE


async def end_after(minutes: int, ticket: Ticket, by: Actor, **more: Any) -> SessionEnd:
    return await end_session(Call(by, clock=later(minutes)), ticket.id, **more)


Before = Callable[[World, Ticket, Actor], Awaitable[Any]]


async def nothing(world: World, ticket: Ticket, agent: Actor) -> None:
    return


async def a_message(world: World, ticket: Ticket, agent: Actor) -> None:
    await world.comment(ticket, agent, channel=Channel.MESSAGING)


async def a_message_of_an_admin(world: World, ticket: Ticket, agent: Actor) -> None:
    await world.comment(ticket, world.admin, channel=Channel.MESSAGING)


async def a_note(world: World, ticket: Ticket, agent: Actor) -> None:
    await world.comment(ticket, agent)


async def a_message_elsewhere(world: World, ticket: Ticket, agent: Actor) -> None:
    await world.comment(await world.live_ticket(), agent, channel=Channel.MESSAGING)


async def a_shorter_time(world: World, ticket: Ticket, agent: Actor) -> None:
    await world.settings(remind_within_minutes=3)
    await a_message(world, ticket, agent)


async def the_option_off(world: World, ticket: Ticket, agent: Actor) -> None:
    await world.settings(remind_agents_to_notify=False)


WARNED = ("CUSTOMER_NOT_TOLD",)


@pytest.mark.parametrize(
    ("before", "minutes", "warnings"),
    [
        (nothing, 0, WARNED),
        (a_message, 0, ()),
        (a_message, 9, ()),
        (a_message, 11, WARNED),
        (a_message_of_an_admin, 9, ()),
        (a_note, 0, WARNED),
        (a_message_elsewhere, 0, WARNED),
        (a_shorter_time, 2, ()),
        (a_shorter_time, 4, WARNED),
        (the_option_off, 0, ()),
    ],
)
async def test_who_ends_without_a_recent_message_is_warned(
    world: World, before: Before, minutes: int, warnings: tuple[str, ...]
) -> None:
    """R114: the customer's own messages tell him nothing, and the end succeeds in any case."""
    agent = await world.agent()
    ticket = await world.live_ticket(assignee=agent)
    await before(world, ticket, agent)
    end = await end_after(minutes, ticket, agent)
    assert (end.outcome, end.warnings) == ("ENDED", warnings)
    assert (await world.session(ticket)).state is SessionState.ENDED


async def test_the_last_minute_counts_and_the_one_after_it_does_not(world: World) -> None:
    """R114: a message of exactly N minutes ago is a recent one."""
    moment = later(60)()
    tickets = [await world.live_ticket() for _ in range(2)]
    for ticket in tickets:
        call = Call(world.admin, clock=lambda: moment)
        await post_comment(call, ticket.id, body=GOOD_BYE, channel=Channel.MESSAGING)
    ends = [
        await end_session(Call(world.admin, clock=lambda: moment + TEN_MINUTES), tickets[0].id),
        await end_session(Call(world.admin, clock=lambda: moment + TEN_MINUTES + INSTANT), tickets[1].id),
    ]
    assert [end.warnings for end in ends] == [(), WARNED]


async def test_a_closing_message_needs_no_reminder(world: World) -> None:
    """R114."""
    end = await end_after(60, await world.live_ticket(), world.admin, closing_message=GOOD_BYE)
    assert (end.outcome, end.warnings) == ("ENDED", ())


async def test_who_ends_once_more_is_not_warned(world: World) -> None:
    """R114 and R35: it is too late to tell the customer."""
    ticket = await world.ended_ticket(status=TicketStatus.OPEN)
    again = await world.end(ticket, world.admin)
    assert (again.outcome, again.warnings) == ("ALREADY_ENDED", ())
