"""Rules R120, R148 and R77: deleted tickets, and restored ones."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest

from domain.actors import Actor
from domain.comments import comment_on_request
from domain.customers import conversations_page, requests_page
from domain.deletion import delete_ticket, deleted_tickets_page, restore_ticket
from domain.errors import Forbidden, NotFound
from domain.lifecycle import close_ticket
from domain.merging import merge_tickets
from domain.messages import send_message
from domain.revisions import mark_read, redact_comment
from domain.sessions import end_session, preview_end
from domain.tickets import update_ticket
from domain.transactions import Call
from domain.views import TicketFilter, tickets_in
from domain.visibility import audience_from_json, may_see
from models import (
    ActorKind,
    Audit,
    Comment,
    EndReason,
    EventType,
    Permission,
    SessionState,
    Ticket,
    TicketAccess,
    TicketStatus,
    utc_now,
)
from tests.factories import AGENT, World, columns
from tests.invariants import assert_consistent

DELETER = AGENT | {Permission.DELETE_TICKETS}


async def test_a_deletion_ends_the_live_session_with_it(world: World) -> None:
    """R120, R52: in one audit that names the agent, and an end by the system."""
    agent = await world.agent(permissions=DELETER)
    ticket = await world.live_ticket()
    await delete_ticket(Call(agent), ticket.id)
    session = await world.session(ticket)
    assert (session.state, session.end_reason, session.ended_by_kind) == (
        SessionState.ENDED,
        EndReason.TICKET_DELETED,
        "SYSTEM",
    )
    deleted, ended = (await world.events(ticket))[-2:]
    assert (deleted.type, deleted.actor_id) == (EventType.TICKET_DELETED, agent.id)
    assert (ended.type, ended.actor_kind) == (EventType.MESSAGING_SESSION_ENDED, ActorKind.SYSTEM)
    assert deleted.audit_id == ended.audit_id
    assert (await Audit.get(id=ended.audit_id)).actor_id == agent.id
    assert (await Ticket.get(id=ticket.id)).deleted_at == session.ended_at
    await assert_consistent(world)


async def test_a_deleted_ticket_is_there_for_nobody(world: World) -> None:
    """R148, R26: like one that never was, for admins, the system and the customer too."""
    customer = await world.customer()
    ticket, other = await world.email_ticket(customer), await world.email_ticket(customer)
    comment = await Comment.get(conversation_id=ticket.conversation_id)
    await delete_ticket(Call(world.admin), ticket.id)
    call = Call(world.admin)
    tries: list[Callable[[], Awaitable[object]]] = [
        lambda: update_ticket(call, ticket.id, {"tags": ["x"]}),
        lambda: world.comment(ticket, world.admin),
        lambda: redact_comment(call, comment.id),
        lambda: mark_read(call, comment.id),
        lambda: delete_ticket(call, ticket.id),
        lambda: merge_tickets(call, ticket.id, other.id),
        lambda: merge_tickets(call, other.id, ticket.id),
        lambda: close_ticket(Call(world.system), ticket.id),
        lambda: comment_on_request(Call(customer), ticket.id, body="x"),
    ]
    for attempt in tries:
        async with world.refuses(NotFound):
            await attempt()
    async with world.refuses(NotFound, logged=1):
        await end_session(call, ticket.id)
    assert await preview_end(world.admin, ticket.id) is None
    for actor in (world.admin, world.system, await world.agent()):
        assert [each.id for each in await tickets_in(actor, TicketFilter())] == [other.id]
    assert [each.id for each in await requests_page(customer, 9, None)] == [other.id]


async def test_the_customer_keeps_his_messages_and_begins_anew(world: World) -> None:
    """R77, R68, R72: the new ticket continues the deleted one."""
    customer = await world.customer()
    ticket = await world.live_ticket(customer=customer)
    await delete_ticket(Call(world.admin), ticket.id)
    assert [each.id for each in await conversations_page(customer, 9, None)] == [ticket.conversation_id]
    message = await Comment.get(conversation_id=ticket.conversation_id)
    assert (await mark_read(Call(customer), message.id)).is_message
    new = await world.message(customer, "Hello again")
    assert (new.id != ticket.id, new.continuation_of_id) == (True, ticket.id)
    await assert_consistent(world)


async def test_a_restored_ticket_is_what_it_was_with_its_session_ended(world: World) -> None:
    """R148: and whoever writes meanwhile, or after, does so in a session of its own."""
    customer, agent = await world.customer(), await world.agent()
    ticket = await world.live_ticket(
        customer=customer, assignee=agent, tags=["a"], status=TicketStatus.OPEN, group=await world.group()
    )
    before = columns(await Ticket.get(id=ticket.id))
    await delete_ticket(Call(world.admin), ticket.id)
    await restore_ticket(Call(world.admin), ticket.id)
    after = columns(await Ticket.get(id=ticket.id))
    changed = {name for name in after if after[name] != before[name]}
    assert changed == {"version", "last_sequence", "updated_at"}
    session = await world.session(ticket)
    assert (session.state, session.end_reason) == (SessionState.ENDED, EndReason.TICKET_DELETED)
    assert (await world.history(ticket))[-3:] == ["TICKET_DELETED", "MESSAGING_SESSION_ENDED", "TICKET_RESTORED"]
    assert await world.message(customer, "Hello again") != ticket
    composer = await world.composer(ticket, agent)
    assert (composer.channels[0].channel.value, composer.channels[0].reason) == ("MESSAGING", "SESSION_ENDED")
    await assert_consistent(world)


async def test_deleting_and_restoring_twice(world: World) -> None:
    """R37: the second deletion finds nothing, the second restoring changes nothing; a key repeats the verdict."""
    ticket = await world.email_ticket()
    call = Call(world.admin, idempotency_key="k")
    first = await delete_ticket(call, ticket.id)
    assert await delete_ticket(call, ticket.id) == first
    await restore_ticket(Call(world.admin), ticket.id)
    before = await world.fingerprint()
    await restore_ticket(Call(world.admin), ticket.id)
    assert await world.fingerprint() == before


async def test_a_closed_ticket_can_be_deleted_and_restored(world: World) -> None:
    """Being gone changes nothing of what it says."""
    ticket = await world.ended_ticket()
    await close_ticket(Call(world.system), ticket.id)
    await delete_ticket(Call(world.admin), ticket.id)
    await restore_ticket(Call(world.admin), ticket.id)
    assert (await Ticket.get(id=ticket.id)).status is TicketStatus.CLOSED
    assert (await world.history(ticket))[-2:] == ["TICKET_DELETED", "TICKET_RESTORED"]


async def test_who_may_delete_and_restore(world: World, other_world: World) -> None:
    """R26, R27: visible and allowed; what is deleted is visible to those who may restore it, within their reach."""
    group = await world.group()
    ticket = await world.email_ticket(group_id=group.id)
    owner = await world.customer()
    await Ticket.filter(id=ticket.id).update(requester_id=owner.id)
    insider = await world.agent(access=TicketAccess.GROUPS, groups=(group,), permissions=DELETER)
    outsider = await world.agent(access=TicketAccess.GROUPS, permissions=DELETER)
    unable = await world.agent()
    for act in (delete_ticket, restore_ticket):
        for caller, refusal in (
            (unable, Forbidden),
            (owner, Forbidden),
            (outsider, NotFound),
            (other_world.admin, NotFound),
        ):
            async with world.refuses(refusal):
                await act(Call(caller), ticket.id)
    await delete_ticket(Call(insider), ticket.id)
    for caller in (unable, owner, outsider, other_world.admin):
        async with world.refuses(NotFound):
            await restore_ticket(Call(caller), ticket.id)
    await restore_ticket(Call(insider), ticket.id)
    assert (await Ticket.get(id=ticket.id)).deleted_at is None


async def test_the_deleted_tickets_are_listed_for_who_may_restore_them(world: World, other_world: World) -> None:
    """The last deleted first, by pages, and within reach."""
    group, start = await world.group(), utc_now()
    tickets = [await world.email_ticket(group_id=group.id if number % 2 else None) for number in range(4)]
    for minute, ticket in enumerate(tickets[:3]):
        clock = lambda minute=minute: start + timedelta(minutes=minute)  # noqa: E731
        await delete_ticket(Call(world.admin, clock=clock), ticket.id)
    insider = await world.agent(access=TicketAccess.GROUPS, groups=(group,), permissions=DELETER)

    async def numbers(actor: Actor, first: int = 9, after: object = None) -> list[int]:
        return [each.number for each in await deleted_tickets_page(actor, first, after)]  # type: ignore[arg-type]

    assert await numbers(world.admin) == [3, 2, 1]
    last = await Ticket.get(number=3)
    assert last.deleted_at is not None
    assert await numbers(world.admin, 1, (last.deleted_at, last.id)) == [2, 1]
    assert await numbers(insider) == [2]
    assert await numbers(other_world.admin) == []
    for nobody in (await world.agent(), await world.customer()):
        with pytest.raises(Forbidden):
            await numbers(nobody)


async def test_an_event_keeps_whether_its_ticket_was_deleted(world: World) -> None:
    """Lists tell from it that a row left; events from before there was a deletion say no."""
    ticket = await world.email_ticket()
    await delete_ticket(Call(world.admin), ticket.id)
    await restore_ticket(Call(world.admin), ticket.id)
    kept = []
    for event in (await world.events(ticket))[-2:]:
        for attributes in (event.ticket_before, event.ticket_after):
            assert attributes is not None
            kept.append(may_see(world.admin, audience_from_json(world.id, attributes)))
    assert kept == [True, False, False, True]
    older = (await world.events(ticket))[-1].ticket_before or {}
    del older["deleted"]
    assert may_see(world.admin, audience_from_json(world.id, older))


async def test_a_message_and_a_deletion_at_once(world: World) -> None:
    """R124: before the end in the old ticket, or in a new one; and two deletions are one."""
    for _ in range(6):
        customer = await world.customer()
        ticket = await world.live_ticket(customer=customer)
        sent, *deletions = await asyncio.gather(
            send_message(Call(customer), body="Wait"),
            delete_ticket(Call(world.admin), ticket.id),
            delete_ticket(Call(world.admin), ticket.id),
            return_exceptions=True,
        )
        assert sorted(type(each).__name__ for each in deletions) == ["DeletedTicket", "NotFound"]
        home = await Ticket.get(conversation_id=sent.conversation_id)  # type: ignore[union-attr]
        assert home.id == ticket.id or home.continuation_of_id == ticket.id
        assert (await world.history(ticket)).count("MESSAGING_SESSION_ENDED") == 1
    await assert_consistent(world)


async def test_two_who_restore_at_once_restore_once(world: World) -> None:
    """R36, in spirit."""
    ticket = await world.email_ticket()
    await delete_ticket(Call(world.admin), ticket.id)
    await asyncio.gather(*(restore_ticket(Call(world.admin), ticket.id) for _ in range(5)))
    assert (await world.history(ticket)).count("TICKET_RESTORED") == 1
    assert await tickets_in(world.admin, TicketFilter()).count() == 1
