"""Rules R120, R144 and R150: closing tickets, and switching messaging off."""

from __future__ import annotations

import asyncio

from domain.comments import post_comment
from domain.errors import ChannelUnavailable, TicketClosed
from domain.lifecycle import close_ticket
from domain.messages import send_message
from domain.settings import update_messaging_settings
from domain.tickets import UpdatedTicket, update_ticket
from domain.transactions import Call
from models import Channel, EndReason, EventType, MessagingSession, SessionState, Ticket, TicketStatus
from tests.factories import World, columns
from tests.invariants import assert_consistent


async def test_closing_ends_the_live_session_with_it(world: World) -> None:
    """R120, R52: in one audit; whoever closes, the end is the system's."""
    ticket = await world.live_ticket(status=TicketStatus.SOLVED)
    await close_ticket(Call(world.admin), ticket.id)
    session = await world.session(ticket)
    assert (session.state, session.end_reason) == (SessionState.ENDED, EndReason.TICKET_CLOSED)
    assert (session.ended_by_kind, session.ended_by_id) == ("SYSTEM", None)
    closed, ended = (await world.events(ticket))[-2:]
    assert (closed.type, closed.actor_id) == (EventType.TICKET_FIELD_CHANGED, world.admin.id)
    assert (closed.payload["field"], closed.payload["to"]) == ("status", "CLOSED")
    assert (ended.type, ended.actor_kind.value, ended.actor_id) == (EventType.MESSAGING_SESSION_ENDED, "SYSTEM", None)
    assert closed.audit_id == ended.audit_id
    await assert_consistent(world)


async def test_closing_what_has_ended_or_is_closed_ends_nothing(world: World) -> None:
    """R120, R35."""
    ticket = await world.ended_ticket()
    kept = columns(await world.session(ticket))
    await close_ticket(Call(world.system), ticket.id)
    before = await world.fingerprint()
    await close_ticket(Call(world.system), ticket.id)
    assert columns(await world.session(ticket)) == kept
    assert await world.fingerprint() == before


async def test_a_ticket_of_another_requester_by_now_is_closed_under_its_customers_lock(world: World) -> None:
    """R151, R74: the end is ordered against the messages of who is in the conversation."""
    customer, other = await world.customer(), await world.customer()
    for _ in range(6):
        ticket = await world.live_ticket(customer=customer)
        await Ticket.filter(id=ticket.id).update(requester_id=other.id)
        closed, sent = await asyncio.gather(
            close_ticket(Call(world.system), ticket.id), send_message(Call(customer), body="Wait")
        )
        assert closed == UpdatedTicket(ticket.id)
        assert (await world.session(ticket)).state is SessionState.ENDED
        last = await MessagingSession.get(conversation_id=sent.conversation_id)
        assert last.end_user_id == customer.id
        if last.state is not SessionState.ENDED:
            await world.end(await Ticket.get(conversation_id=sent.conversation_id), world.admin)
    await assert_consistent(world)


async def test_a_closed_ticket_takes_nothing(world: World) -> None:
    """R144: no note, no reply, no change of any field."""
    ticket = await world.live_ticket()
    await close_ticket(Call(world.system), ticket.id)
    other = await world.customer()
    for channel in (Channel.INTERNAL_NOTE, Channel.EMAIL, Channel.MESSAGING):
        async with world.refuses(TicketClosed):
            await post_comment(Call(world.admin), ticket.id, body="x", channel=channel)
    for values in ({"tags": ["x"]}, {"requester_id": other.id}, {"assignee_id": world.admin.id}):
        async with world.refuses(TicketClosed):
            await update_ticket(Call(world.admin), ticket.id, values)


async def test_with_messaging_off_live_sessions_are_finished_and_none_begins(world: World) -> None:
    """R150: both sides write on, the agent ends, and then it is over."""
    customer = await world.customer()
    ticket = await world.live_ticket(customer=customer, assignee=world.admin)
    await update_messaging_settings(Call(world.admin), {"messaging_enabled": False})
    assert (await world.session(ticket)).state is SessionState.ACTIVE
    await send_message(Call(customer), body="Still here")
    await world.comment(ticket, world.admin, "Me too", Channel.MESSAGING)
    composer = await world.composer(ticket, world.admin)
    assert [(each.channel.value, each.enabled) for each in composer.channels] == [
        ("MESSAGING", True),
        ("EMAIL", True),
        ("INTERNAL_NOTE", True),
    ]
    assert [action.value for action in composer.actions] == ["END_SESSION"]
    await world.end(ticket, world.admin, closing_message="Good bye")
    async with world.refuses(ChannelUnavailable):
        await send_message(Call(customer), body="One more thing")
    async with world.refuses(ChannelUnavailable):
        await send_message(Call(await world.customer()), body="Hello")
    await update_messaging_settings(Call(world.admin), {"messaging_enabled": True})
    assert (await world.message(customer, "One more thing")).continuation_of_id == ticket.id
    await assert_consistent(world)


async def test_messages_beside_a_switch_off_are_taken_or_refused(world: World) -> None:
    """R150, R13: no session begins after the switch-off."""
    for _ in range(6):
        await update_messaging_settings(Call(world.admin), {"messaging_enabled": True})
        customer, started = await world.customer(), await MessagingSession.all().count()
        sent, _ = await asyncio.gather(
            send_message(Call(customer), body="Hello"),
            update_messaging_settings(Call(world.admin), {"messaging_enabled": False}),
            return_exceptions=True,
        )
        refused = isinstance(sent, ChannelUnavailable)
        assert await MessagingSession.all().count() == started + (not refused)
    await assert_consistent(world)
