"""Rule R151: giving a ticket to another requester."""

from __future__ import annotations

import asyncio
from uuid import UUID

from domain.customers import conversations_page, requests_page
from domain.errors import Forbidden, InvalidInput, NotFound, SessionLive
from domain.messages import send_message
from domain.sessions import end_session
from domain.suspension import suspend_user
from domain.tickets import update_ticket
from domain.transactions import Call
from models import Channel, EventType, OutboundEmail, SessionState, Suspension, Ticket, TicketAccess, TicketStatus, User
from models import new_id as random_id
from tests.factories import LIGHT, World
from tests.invariants import assert_consistent


async def test_while_the_session_lives_it_is_refused(world: World) -> None:
    """R151: active or not; the same requester again is no change."""
    ticket, other = await world.live_ticket(), await world.customer()
    for _ in range(2):
        async with world.refuses(SessionLive) as refused:
            await update_ticket(Call(world.admin), ticket.id, {"requester_id": other.id, "tags": ["x"]})
        assert refused.value.field == ("requesterId",)
        await update_ticket(Call(world.admin), ticket.id, {"status": TicketStatus.PENDING})
    before = await world.fingerprint()
    await update_ticket(Call(world.admin), ticket.id, {"requester_id": ticket.requester_id})
    assert await world.fingerprint() == before


async def test_after_the_end_it_changes_with_its_organisation(world: World) -> None:
    """R151, R51: one event for each of the two."""
    organization, other = await world.organization(), await world.organization("Umbrella")
    ticket = await world.ended_ticket(customer=await world.customer(organization=organization))
    requester = await world.customer(organization=other)
    await update_ticket(Call(world.admin), ticket.id, {"requester_id": requester.id})
    changed = await Ticket.get(id=ticket.id)
    assert (changed.requester_id, changed.organization_id) == (requester.id, other.id)
    told = [event.payload for event in (await world.events(ticket))[-2:]]
    assert told == [
        {"field": "requester", "from": str(ticket.requester_id), "to": str(requester.id)},
        {"field": "organization", "from": str(organization.id), "to": str(other.id)},
    ]
    await assert_consistent(world)


async def test_a_ticket_without_a_session_can_change_hands_at_any_time(world: World) -> None:
    """R151."""
    ticket, requester = await world.email_ticket(), await world.customer()
    await update_ticket(Call(world.admin), ticket.id, {"requester_id": requester.id})
    assert (await Ticket.get(id=ticket.id)).requester_id == requester.id
    await world.comment(ticket, world.admin, "To you", Channel.EMAIL)
    assert (await OutboundEmail.get()).to_address == (await User.get(id=requester.id)).email


async def test_only_an_active_customer_within_reach_can_be_named(world: World, other_world: World) -> None:
    """R151, R26: of this account, not an agent, not somebody whom the caller cannot know of."""
    group, ticket = await world.group(), await world.email_ticket()
    gone = await world.customer()
    await User.filter(id=gone.id).update(active=False)
    foreign = await other_world.customer()
    await Ticket.filter(id=ticket.id).update(group_id=group.id)
    for whom in (gone.id, world.admin.id, foreign.id, random_id()):
        async with world.refuses(NotFound) as refused:
            await update_ticket(Call(world.admin), ticket.id, {"requester_id": whom})
        assert refused.value.field == ("requesterId",)
    async with world.refuses(InvalidInput):
        await update_ticket(Call(world.admin), ticket.id, {"requester_id": None})
    insider = await world.agent(access=TicketAccess.GROUPS, groups=(group,))
    unknown, known = await world.customer(), await world.customer()
    await world.email_ticket(known, group_id=group.id)
    async with world.refuses(NotFound):
        await update_ticket(Call(insider), ticket.id, {"requester_id": unknown.id})
    await update_ticket(Call(insider), ticket.id, {"requester_id": known.id})
    async with world.refuses(Forbidden):
        await update_ticket(Call(await world.agent(permissions=LIGHT)), ticket.id, {"requester_id": known.id})


async def test_the_request_changes_hands_and_the_conversation_does_not(world: World) -> None:
    """R77, R151: each keeps what he wrote; the old requester's next message begins anew, with his own organisation."""
    mine, theirs = await world.organization(), await world.organization("Umbrella")
    old, new = await world.customer(organization=mine), await world.customer(organization=theirs)
    ticket = await world.ended_ticket(customer=old)
    await update_ticket(Call(world.admin), ticket.id, {"requester_id": new.id})
    assert [each.id for each in await requests_page(new, 9, None)] == [ticket.id]
    assert await requests_page(old, 9, None) == []
    assert [each.id for each in await conversations_page(old, 9, None)] == [ticket.conversation_id]
    assert await conversations_page(new, 9, None) == []
    following = await world.message(old, "Hello again")
    assert (following.requester_id, following.organization_id) == (old.id, mine.id)
    assert following.continuation_of_id == ticket.id
    await assert_consistent(world)


async def test_a_change_and_a_first_message_or_an_end_at_once(world: World) -> None:
    """R151: refused before the end, done after it; the session never has another customer than its ticket."""
    for _ in range(6):
        other, ticket = await world.customer(), await world.live_ticket()
        changed, _ = await asyncio.gather(
            update_ticket(Call(world.admin), ticket.id, {"requester_id": other.id}),
            end_session(Call(world.admin), ticket.id),
            return_exceptions=True,
        )
        done = (await Ticket.get(id=ticket.id)).requester_id == other.id
        assert done != isinstance(changed, SessionLive)
        assert (await world.session(ticket)).state is SessionState.ENDED
        if done:
            types = [event.type for event in await world.events(ticket)]
            requester = [e.payload.get("field") for e in await world.events(ticket)].index("requester")
            assert types.index(EventType.MESSAGING_SESSION_ENDED) < requester
    await assert_consistent(world)


async def test_a_change_and_a_suspension_of_the_new_requester_at_once(world: World) -> None:
    """R139: the ticket is told of the suspension, or its new composer knows of it already; no deadlock."""
    for _ in range(6):
        other, ticket = await world.customer(), await world.email_ticket()
        assert other.id is not None
        await world.message(other)
        await asyncio.gather(
            update_ticket(Call(world.admin), ticket.id, {"requester_id": other.id}),
            suspend_user(Call(world.admin), other.id, Suspension.ALL),
        )
        told: list[UUID] = [event.id for event in await world.events(ticket) if event.type is EventType.USER_SUSPENDED]
        positions = await world.positions()
        assert positions == list(range(1, len(positions) + 1))
        assert len(told) <= 1
        composer = await world.composer(ticket, world.admin)
        assert [each.reason for each in composer.channels] == ["USER_SUSPENDED", None]
    sent = await send_message(Call(other), body="x")
    assert not await Ticket.filter(requester_id=other.id, subject="x").exists()
    assert sent.conversation_id
    await assert_consistent(world)
