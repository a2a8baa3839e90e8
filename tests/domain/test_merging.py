"""Rules R120, R146, R147: a ticket merged into another one."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from domain.errors import Forbidden, InvalidInput, NotFound, SessionLive, TicketClosed
from domain.lifecycle import close_ticket
from domain.merging import MergedTickets, merge_tickets
from domain.messages import send_message
from domain.sessions import end_session
from domain.tickets import update_ticket
from domain.transactions import Call
from models import (
    ActorKind,
    Audit,
    Channel,
    EndReason,
    EventType,
    Permission,
    SessionState,
    Ticket,
    TicketAccess,
    TicketStatus,
)
from tests.factories import AGENT, World, columns
from tests.invariants import assert_consistent

MERGER = AGENT | {Permission.MERGE_TICKETS}


async def pair(world: World, **fields: Any) -> tuple[Ticket, Ticket]:
    """Two tickets of one customer: one with an ended session, and one that came by mail."""
    customer = await world.customer()
    source = await world.ended_ticket(customer=customer, **fields)
    return source, await world.email_ticket(customer, **fields)


async def again(ticket: Ticket) -> Ticket:
    return await Ticket.get(id=ticket.id)


async def test_the_source_is_closed_as_a_part_of_the_target(world: World) -> None:
    """R147: both are told in one audit, each with the other's id; the target's fields stay."""
    source, target = await pair(world, tags=["a"])
    agent = await world.agent(permissions=MERGER)
    kept, before = columns(await again(target)), len(await world.history(source))
    assert await merge_tickets(Call(agent), source.id, target.id) == MergedTickets(source.id, target.id)
    source, target = await again(source), await again(target)
    assert (source.status, source.merged_into_id, target.merged_into_id) == (TicketStatus.CLOSED, target.id, None)
    changed = {"version", "last_sequence", "updated_at"}
    assert {k: v for k, v in columns(target).items() if k not in changed} == {
        k: v for k, v in kept.items() if k not in changed
    }
    there, here = (await world.events(source))[before:], (await world.events(target))[-1:]
    assert [event.type.value for event in there] == ["TICKET_MERGED", "TICKET_FIELD_CHANGED"]
    assert [event.type.value for event in here] == ["TICKET_MERGED"]
    assert there[0].payload == here[0].payload == {"source": str(source.id), "target": str(target.id)}
    assert len({event.audit_id for event in there + here}) == 1
    assert {(event.actor_kind.value, event.actor_id) for event in there + here} == {("AGENT", agent.id)}
    await assert_consistent(world)


async def test_a_live_session_of_the_source_is_not_cut_off_by_the_way(world: World) -> None:
    """R146, D8."""
    customer = await world.customer()
    target, source = await world.email_ticket(customer), await world.live_ticket(customer=customer)
    for state in (SessionState.ACTIVE, SessionState.INACTIVE):
        if state is SessionState.INACTIVE:
            await update_ticket(Call(world.admin), source.id, {"status": TicketStatus.PENDING})
        async with world.refuses(SessionLive):
            await merge_tickets(Call(world.admin), source.id, target.id)
        assert (await world.session(source)).state is state


async def test_it_ends_with_the_merge_when_that_is_said(world: World) -> None:
    """R120, R146, R52: in the same audit, by the system."""
    customer = await world.customer()
    target, source = await world.email_ticket(customer), await world.live_ticket(customer=customer)
    await merge_tickets(Call(world.admin), source.id, target.id, end_session=True)
    session = await world.session(source)
    assert (session.state, session.end_reason) == (SessionState.ENDED, EndReason.TICKET_MERGED)
    assert (session.ended_by_kind, session.ended_by_id) == ("SYSTEM", None)
    merged, closed, ended = (await world.events(source))[-3:]
    assert [each.type for each in (merged, closed, ended)] == [
        EventType.TICKET_MERGED,
        EventType.TICKET_FIELD_CHANGED,
        EventType.MESSAGING_SESSION_ENDED,
    ]
    assert (ended.actor_kind, ended.payload["reason"]) == (ActorKind.SYSTEM, "TICKET_MERGED")
    assert merged.audit_id == closed.audit_id == ended.audit_id
    assert (await Audit.get(id=ended.audit_id)).actor_id == world.admin.id
    await assert_consistent(world)


async def test_the_session_of_the_target_goes_on(world: World) -> None:
    """R147: untouched, whether it lives or has ended, and with end_session too."""
    customer = await world.customer()
    source, target = await world.email_ticket(customer), await world.live_ticket(customer=customer)
    kept = columns(await world.session(target))
    await merge_tickets(Call(world.admin), source.id, target.id, end_session=True)
    assert columns(await world.session(target)) == kept
    assert await world.message(customer, "And this") == await again(target)
    ended = await world.ended_ticket()
    requester = {"requester_id": ended.requester_id}
    other = await world.email_ticket()
    await Ticket.filter(id=other.id).update(**requester)
    kept = columns(await world.session(ended))
    await merge_tickets(Call(world.admin), other.id, ended.id)
    assert columns(await world.session(ended)) == kept


async def test_the_customers_next_message_begins_anew(world: World) -> None:
    """R146, R68."""
    customer = await world.customer()
    target, source = await world.email_ticket(customer), await world.live_ticket(customer=customer)
    await merge_tickets(Call(world.admin), source.id, target.id, end_session=True)
    new = await world.message(customer, "Hello again")
    assert new.id not in (source.id, target.id)
    assert new.continuation_of_id == source.id
    assert (await world.thread(source), await world.thread(target)) == (["Hello, my order is late."], ["Dear all, …"])


async def test_merging_again_into_the_same_target_changes_nothing(world: World) -> None:
    """R37: with a key or without; into another one it is closed."""
    source, target = await pair(world)
    third = await world.email_ticket()
    await Ticket.filter(id=third.id).update(requester_id=source.requester_id)
    call = Call(world.admin, idempotency_key="k")
    first = await merge_tickets(call, source.id, target.id)
    before = await world.fingerprint()
    assert await merge_tickets(call, source.id, target.id) == first
    assert await merge_tickets(Call(world.admin), source.id, target.id) == first
    assert await world.fingerprint() == before
    async with world.refuses(TicketClosed) as refused:
        await merge_tickets(Call(world.admin), source.id, third.id)
    assert refused.value.field == ("sourceId",)


async def test_what_cannot_be_merged(world: World) -> None:
    """R144, R146: not itself, not two customers' tickets, nothing closed, merged or deleted."""
    source, target = await pair(world)
    call, stranger = Call(world.admin), await world.email_ticket()
    async with world.refuses(InvalidInput) as refused:
        await merge_tickets(call, source.id, source.id)
    assert refused.value.field == ("targetId",)
    async with world.refuses(InvalidInput):
        await merge_tickets(call, source.id, stranger.id)
    closed = await world.email_ticket()
    await Ticket.filter(id=closed.id).update(requester_id=source.requester_id)
    await close_ticket(Call(world.system), closed.id)
    for one, other, field in ((source, closed, "targetId"), (closed, target, "sourceId")):
        async with world.refuses(TicketClosed) as refused_closed:
            await merge_tickets(call, one.id, other.id)
        assert refused_closed.value.field == (field,)
    await Ticket.filter(id=closed.id).update(status=TicketStatus.OPEN, deleted_at=source.created_at)
    for one, other in ((source, closed), (closed, target)):
        async with world.refuses(NotFound):
            await merge_tickets(call, one.id, other.id)


async def test_who_may_merge(world: World, other_world: World) -> None:
    """R26: both must be visible and editable, and merging needs a right of its own."""
    group, other = await world.group(), await world.group("Elsewhere")
    source, target = await pair(world, group_id=group.id)
    only_notes = frozenset({Permission.MERGE_TICKETS, Permission.INTERNAL_NOTES})
    for permissions in (AGENT, only_notes):
        agent = await world.agent(permissions=permissions)
        async with world.refuses(Forbidden):
            await merge_tickets(Call(agent), source.id, target.id)
    async with world.refuses(NotFound):
        await merge_tickets(Call(other_world.admin), source.id, target.id)
    insider = await world.agent(access=TicketAccess.GROUPS, groups=(group,), permissions=MERGER)
    for hidden, field in ((source, "sourceId"), (target, "targetId")):
        await Ticket.filter(id=hidden.id).update(group_id=other.id)
        async with world.refuses(NotFound) as refused:
            await merge_tickets(Call(insider), source.id, target.id)
        assert refused.value.field == (field,)
        await Ticket.filter(id=hidden.id).update(group_id=group.id)
    await merge_tickets(Call(insider), source.id, target.id)
    assert (await again(source)).merged_into_id == target.id


async def test_the_customer_cannot_merge(world: World) -> None:
    """R28."""
    customer = await world.customer()
    source, target = await world.email_ticket(customer), await world.email_ticket(customer)
    async with world.refuses(Forbidden):
        await merge_tickets(Call(customer), source.id, target.id)


async def test_each_into_the_other_at_once_merges_one_of_them(world: World) -> None:
    """Locks of two tickets in one order: no deadlock, and never a circle."""
    outcomes = Counter[str]()
    for _ in range(6):
        one, other = await pair(world)
        done = await asyncio.gather(
            merge_tickets(Call(world.admin), one.id, other.id),
            merge_tickets(Call(world.admin), other.id, one.id),
            return_exceptions=True,
        )
        outcomes.update(type(each).__name__ for each in done)
        targets = {(await again(one)).merged_into_id, (await again(other)).merged_into_id}
        assert targets in ({None, one.id}, {None, other.id})
    assert outcomes == {"MergedTickets": 6, "TicketClosed": 6}
    await assert_consistent(world)


async def test_many_merges_into_one_target_at_once(world: World) -> None:
    """All of them, each told once on the target."""
    customer = await world.customer()
    target = await world.email_ticket(customer)
    sources = [await world.email_ticket(customer) for _ in range(5)]
    await asyncio.gather(*(merge_tickets(Call(world.admin), source.id, target.id) for source in sources * 2))
    told = [event.payload["source"] for event in await world.events(target) if event.type is EventType.TICKET_MERGED]
    assert sorted(told) == sorted(str(source.id) for source in sources)
    await assert_consistent(world)


async def test_a_message_an_end_and_a_merge_at_once(world: World) -> None:
    """R124: the message is in the source before the end, or begins anew; the session ends once."""
    for _ in range(6):
        customer = await world.customer()
        target, source = await world.email_ticket(customer), await world.live_ticket(customer=customer)
        sent, merged, _ = await asyncio.gather(
            send_message(Call(customer), body="Wait"),
            merge_tickets(Call(world.admin), source.id, target.id, end_session=True),
            end_session(Call(world.admin), source.id),
            return_exceptions=True,
        )
        assert isinstance(merged, MergedTickets)
        home = await Ticket.get(conversation_id=sent.conversation_id)  # type: ignore[union-attr]
        assert "Wait" in await world.thread(home)
        assert home.id == source.id or home.continuation_of_id == source.id
        assert (await world.history(source)).count("MESSAGING_SESSION_ENDED") == 1
    await assert_consistent(world)


async def test_nothing_can_be_done_to_a_merged_ticket(world: World) -> None:
    """R144."""
    source, target = await pair(world)
    await merge_tickets(Call(world.admin), source.id, target.id)
    async with world.refuses(TicketClosed):
        await update_ticket(Call(world.admin), source.id, {"status": TicketStatus.OPEN})
    for channel in (Channel.INTERNAL_NOTE, Channel.EMAIL, Channel.MESSAGING):
        async with world.refuses(TicketClosed):
            await world.comment(source, world.admin, "x", channel)
    with pytest.raises(TicketClosed):
        await end_session(Call(world.admin), source.id)
