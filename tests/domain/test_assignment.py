"""Giving work out (R43, R44, R88, R92–R95): who gets what, in which order, and what two routers do at once."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from domain.actors import Actor
from domain.assignment import EMAIL_TAG, give, offer_to_all, route_account
from domain.availability import set_status
from domain.capacity import check_counts
from domain.errors import Forbidden, NotFound, OfferClosed, SessionEnded
from domain.locks import lock_ticket
from domain.offers import accept_offer, decline_offer, expire_offers, open_offers
from domain.people import deactivate, set_groups, set_role, update_role
from domain.queues import delete_queue, save_queue
from domain.sessions import mark_inactive
from domain.settings import update_routing_settings
from domain.tickets import set_routing_channel, update_ticket
from domain.transactions import Call, Transaction, unit_of_work
from models import (
    AgentStatus,
    Channel,
    EventType,
    InactiveReason,
    Offer,
    OfferState,
    Permission,
    RoutingMethod,
    RoutingMode,
    StandardDistribution,
    Ticket,
    TicketAccess,
    TicketStatus,
    utc_now,
)
from tests.factories import AGENT, LIGHT, World, later
from tests.routing import assigned, omnichannel, online, owner, route, work


async def settings(world: World, **values: Any) -> None:
    await update_routing_settings(Call(world.admin), values)


async def offers(ticket: Ticket) -> list[tuple[str, str]]:
    """The offers of a ticket: to whom, and what became of them."""
    return [(str(each.agent_id), each.state.value) for each in await Offer.filter(ticket_id=ticket.id).order_by("id")]


async def test_waiting_tickets_are_given_to_whoever_has_room_the_oldest_first(world: World) -> None:
    """R92: two slots, four tickets."""
    await omnichannel(world, messaging=2)
    agent = await world.agent()
    tickets = [await world.live_ticket() for _ in range(4)]
    await online(agent)
    assert await route(world) == 2
    assert [await owner(ticket) for ticket in tickets] == [agent.id, agent.id, None, None]
    assert await work(agent) == (2, 0)
    assert [(await Ticket.get(id=ticket.id)).status for ticket in tickets][:3] == ["OPEN", "OPEN", "NEW"]


async def test_a_released_slot_goes_to_the_oldest(world: World) -> None:
    """R92, R83: and not to a newer one."""
    await omnichannel(world, messaging=1)
    agent = await world.agent()
    first, second, third = [await world.live_ticket() for _ in range(3)]
    await online(agent)
    await route(world)
    await world.end(first, agent)
    assert await route(world) == 1
    assert (await owner(second), await owner(third)) == (agent.id, None)


@pytest.mark.parametrize("status", [AgentStatus.AWAY, AgentStatus.TRANSFERS_ONLY, AgentStatus.OFFLINE])
async def test_nothing_is_given_to_who_takes_nothing(world: World, status: AgentStatus) -> None:
    """R93."""
    await omnichannel(world)
    agent = await world.agent()
    await online(agent)
    await set_status(Call(agent), agent.id, status)  # type: ignore[arg-type]
    ticket = await world.live_ticket()
    assert await route(world) == 0
    assert await owner(ticket) is None


async def test_each_channel_may_have_its_status(world: World) -> None:
    """R93: away takes e-mail; a channel can be switched off by itself."""
    await omnichannel(world)
    agent = await world.agent()
    chat, mail = await world.live_ticket(), await world.email_ticket(tags=[EMAIL_TAG])
    await set_status(Call(agent), agent.id, AgentStatus.AWAY)  # type: ignore[arg-type]
    assert await route(world) == 1
    assert (await owner(chat), await owner(mail)) == (None, agent.id)
    only_chats = {Channel.EMAIL: AgentStatus.OFFLINE}
    await set_status(Call(agent), agent.id, AgentStatus.ONLINE, channels=only_chats)  # type: ignore[arg-type]
    another = await world.email_ticket(tags=[EMAIL_TAG])
    assert await route(world) == 1
    assert (await owner(chat), await owner(another)) == (agent.id, None)


async def test_email_waits_for_an_agent_only_when_it_is_tagged(world: World) -> None:
    """R92."""
    await omnichannel(world)
    agent = await world.agent()
    await online(agent)
    ticket = await world.email_ticket()
    assert await route(world) == 0
    await update_ticket(Call(world.admin), ticket.id, {"tags": [EMAIL_TAG]})
    assert await route(world) == 1
    assert await work(agent) == (0, 1)


async def test_two_tickets_never_take_one_slot(world: World) -> None:
    """R94: many routers at the same moment."""
    await omnichannel(world, messaging=1)
    agents = [await world.agent(f"Agent {number}") for number in range(2)]
    tickets = [await world.live_ticket() for _ in range(4)]
    await online(*agents)
    await asyncio.gather(*(route_account(world.id) for _ in range(8)))
    owners = [await owner(ticket) for ticket in tickets]
    assert sorted(map(str, owners[:2])) == sorted(str(agent.id) for agent in agents)
    assert owners[2:] == [None, None]
    assert [await work(agent) for agent in agents] == [(1, 0), (1, 0)]
    assert await check_counts(world.id) == []


async def test_one_slot_and_two_tickets_at_the_same_moment(world: World) -> None:
    """R94."""
    await omnichannel(world, messaging=1)
    agent = await world.agent()
    await online(agent)
    tickets = [await world.live_ticket() for _ in range(2)]
    call = Call(world.system)
    assert agent.id is not None
    given = await asyncio.gather(*(give(call, ticket.id, agent.id, Channel.MESSAGING) for ticket in tickets))
    assert sorted(map(bool, given)) == [False, True]
    assert await work(agent) == (1, 0)


async def test_work_by_hand_may_exceed_the_limit(world: World) -> None:
    """R95: and then nothing more comes by itself."""
    await omnichannel(world, messaging=1)
    agent = await world.agent()
    await online(agent)
    for _ in range(3):
        await assigned(world, agent)
    assert await work(agent) == (3, 0)
    await world.live_ticket()
    assert await route(world) == 0


async def test_the_most_room_comes_first(world: World) -> None:
    """R88, R92: highest spare capacity."""
    await omnichannel(world, messaging=3)
    busy, idle = await world.agent("Busy"), await world.agent("Idle")
    await online(busy, idle)
    await assigned(world, busy)
    tickets = [await world.live_ticket() for _ in range(2)]
    assert await route(world) == 2
    assert await owner(tickets[0]) == idle.id
    assert (await work(busy))[0] + (await work(idle))[0] == 3


async def test_round_robin_takes_turns(world: World) -> None:
    """R92: the longest without a ticket is next, however much room the others have."""
    await omnichannel(world, messaging=10, routing_method=RoutingMethod.ROUND_ROBIN)
    agents = [await world.agent(f"Agent {number}") for number in range(3)]
    await online(*agents)
    tickets = [await world.live_ticket() for _ in range(9)]
    await route(world)
    owners = [await owner(ticket) for ticket in tickets]
    assert sorted(map(str, owners[:3])) == sorted(str(agent.id) for agent in agents)
    assert owners[:3] == owners[3:6] == owners[6:]


async def test_only_the_eligible_get_a_ticket(world: World) -> None:
    """S1: its group, his reach, his rights."""
    await omnichannel(world)
    billing, repairs = await world.group("Billing"), await world.group("Repairs")
    member = await world.agent("Member", groups=(billing,))
    outsider = await world.agent("Outsider", groups=(repairs,), access=TicketAccess.GROUPS)
    light = await world.agent("Light", groups=(billing,), permissions=LIGHT)
    mute = await world.agent("Mute", groups=(billing,), permissions=AGENT - {Permission.MESSAGING})
    await online(outsider, light, mute)
    ticket = await world.live_ticket(group=billing)
    assert await route(world) == 0
    await online(member)
    assert await route(world) == 1
    assert await owner(ticket) == member.id


async def test_who_sees_only_his_own_tickets_is_given_some(world: World) -> None:
    """S1: assignment is how he gets to see one."""
    await omnichannel(world)
    agent = await world.agent(access=TicketAccess.ASSIGNED)
    await online(agent)
    ticket = await world.live_ticket()
    assert await route(world) == 1
    assert await owner(ticket) == agent.id


async def test_a_queue_names_the_groups(world: World) -> None:
    """S1: the first queue whose conditions hold."""
    await omnichannel(world)
    experts = await world.group("Experts")
    expert, other = await world.agent("Expert", groups=(experts,)), await world.agent("Other")
    await save_queue(Call(world.admin), name="All", conditions=[], group_ids=[experts.id])
    await online(other)
    ticket = await world.live_ticket()
    assert await route(world) == 0
    await online(expert)
    assert await route(world) == 1
    assert await owner(ticket) == expert.id


async def test_an_ended_session_is_never_offered_again(world: World) -> None:
    """R43."""
    await omnichannel(world, route_agent_ended_sessions_as_email=True)
    agent = await world.agent()
    ticket = await world.live_ticket()
    await world.end(ticket, world.admin)
    await online(agent)
    assert await route(world) == 0
    assert await owner(ticket) is None


async def test_an_inactive_session_waits_like_an_active_one(world: World) -> None:
    """R92, R95: and takes no slot while it is inactive."""
    await omnichannel(world, messaging=1)
    agent = await world.agent()
    ticket = await world.live_ticket()
    await mark_inactive(Call(world.system), (await world.session(ticket)).id, InactiveReason.NO_REPLY)
    await online(agent)
    assert await route(world) == 1
    assert await work(agent) == (0, 0)


async def test_inactive_sessions_do_not_use_up_a_pass(world: World) -> None:
    """R92: they take no slot, so one pass gives them all, and an active one, too."""
    await omnichannel(world, messaging=1)
    agent = await world.agent()
    tickets = [await world.live_ticket() for _ in range(4)]
    for ticket in tickets[:2]:
        await mark_inactive(Call(world.system), (await world.session(ticket)).id, InactiveReason.NO_REPLY)
    await online(agent)
    assert await route(world) == 3
    assert [await owner(ticket) for ticket in tickets] == [agent.id, agent.id, agent.id, None]
    assert await work(agent) == (1, 0)


async def test_standard_routing_assigns_in_turn_up_to_the_chat_limit(world: World) -> None:
    """R88."""
    await settings(world, standard_distribution=StandardDistribution.ASSIGN, chat_limit=2)
    agents = [await world.agent(f"Agent {number}") for number in range(2)]
    await online(*agents)
    tickets = [await world.live_ticket() for _ in range(6)]
    assert await route(world) == 4
    owners = [await owner(ticket) for ticket in tickets]
    assert owners[0] != owners[1]
    assert owners[:2] == owners[2:4]
    assert owners[4:] == [None, None]
    await world.end(tickets[0], world.admin)
    assert await route(world) == 1
    assert await owner(tickets[4]) == owners[0]


async def test_standard_routing_broadcasts_to_all(world: World) -> None:
    """R88: the first who accepts has it."""
    one, two, offline = [await world.agent(name) for name in ("One", "Two", "Offline")]
    await online(one, two)
    ticket = await world.live_ticket()
    assert await route(world) == 1
    assert await owner(ticket) is None
    assert (len(await open_offers(one)), len(await open_offers(two)), len(await open_offers(offline))) == (1, 1, 0)
    event = (await world.events(ticket))[-1]
    assert event.type is EventType.TICKET_OFFERED
    assert sorted(event.payload["agents"]) == sorted([str(one.id), str(two.id)])
    assert await route(world) == 0
    offer = (await open_offers(two))[0]
    await accept_offer(Call(two), offer.id)
    assert await owner(ticket) == two.id
    assert sorted(state for _, state in await offers(ticket)) == ["ACCEPTED", "WITHDRAWN"]


async def offered(world: World, agent: Actor, **more: Any) -> tuple[Ticket, Offer]:
    """A ticket that is offered to the agent, by omnichannel routing without automatic acceptance."""
    await omnichannel(world, **{"auto_accept": False, "offer_seconds": 30} | more)
    await online(agent)
    ticket = await world.live_ticket()
    assert await route(world) == 1
    return ticket, (await open_offers(agent))[0]


async def test_an_offer_reserves_the_slot_and_is_accepted(world: World) -> None:
    """R92, R94."""
    agent = await world.agent()
    ticket, offer = await offered(world, agent, messaging=1)
    second = await world.live_ticket()
    assert await route(world) == 0
    await accept_offer(Call(agent), offer.id)
    await accept_offer(Call(agent), offer.id)
    assert (await owner(ticket), await owner(second)) == (agent.id, None)
    assert await work(agent) == (1, 0)
    assert (await world.history(ticket)).count("OFFER_CLOSED") == 1


async def test_a_declined_offer_goes_to_somebody_else(world: World) -> None:
    """R92: and not to him again, for a while."""
    agent, other = await world.agent(), await world.agent("Other")
    ticket, offer = await offered(world, agent)
    await decline_offer(Call(agent), offer.id)
    assert await route(world) == 0
    await online(other)
    assert await route(world) == 1
    assert [each.ticket_id for each in await open_offers(other)] == [ticket.id]
    with pytest.raises(OfferClosed):
        await accept_offer(Call(agent), offer.id)


async def test_who_declined_is_asked_again_later(world: World) -> None:
    """R92: nothing waits for ever while somebody eligible has room."""
    agent = await world.agent()
    _, offer = await offered(world, agent)
    await decline_offer(Call(agent), offer.id)
    assert await route_account(world.id, later(4)) == 0
    assert await route_account(world.id, later(6)) == 1


async def test_an_offer_expires(world: World) -> None:
    """R92: once, with two sweeps at the same moment."""
    agent = await world.agent()
    ticket, offer = await offered(world, agent)
    assert await expire_offers() == 0
    late = lambda: utc_now() + timedelta(seconds=31)  # noqa: E731
    assert sum(await asyncio.gather(expire_offers(late), expire_offers(late))) == 1
    assert await offers(ticket) == [(str(agent.id), "EXPIRED")]
    with pytest.raises(OfferClosed):
        await accept_offer(Call(agent), offer.id)


async def test_an_end_withdraws_the_offer(world: World) -> None:
    """R44."""
    agent = await world.agent()
    ticket, offer = await offered(world, agent)
    await world.end(ticket, world.admin)
    assert await offers(ticket) == [(str(agent.id), "WITHDRAWN")]
    async with world.refuses(SessionEnded):
        await accept_offer(Call(agent), offer.id)


@pytest.mark.parametrize("how", ["moved", "untagged", "another channel"])
async def test_an_offer_ends_when_its_ticket_becomes_another_one(world: World, how: str) -> None:
    """R44, R102, S1: it was made for a ticket of this group, on this channel, that waits."""
    await omnichannel(world, auto_accept=False)
    agent, group = await world.agent(), await world.group()
    await online(agent)
    ticket = await world.email_ticket(tags=[EMAIL_TAG]) if how == "untagged" else await world.live_ticket()
    await route(world)
    match how:
        case "moved":
            await update_ticket(Call(world.admin), ticket.id, {"group_id": group.id})
        case "untagged":
            await update_ticket(Call(world.admin), ticket.id, {"tags": []})
        case "another channel":
            await route_as_email(world, ticket)
    assert await offers(ticket) == [(str(agent.id), "WITHDRAWN")]
    assert await route(world) == (how == "another channel")


async def route_as_email(world: World, ticket: Ticket) -> None:
    async def work(tx: Transaction) -> None:
        set_routing_channel(tx, await lock_ticket(tx, ticket.id), Channel.EMAIL)

    await unit_of_work(Call(world.system), work)


@pytest.mark.parametrize("how", ["groups", "role", "rights", "deactivated"])
async def test_an_offer_ends_when_the_agents_access_changes(world: World, how: str) -> None:
    """R25, R92: he may not be the one any more, and the ticket does not wait for his word."""
    agent, role = await world.agent(groups=(await world.group(),)), await world.role()
    ticket, _ = await offered(world, agent, offer_seconds=3600)
    assert agent.id is not None
    match how:
        case "groups":
            await set_groups(Call(world.admin), agent.id, frozenset())
        case "role":
            await set_role(Call(world.admin), agent.id, (await world.role(permissions=LIGHT)).id)
        case "rights":
            await update_role(Call(world.admin), role.id, ticket_access=TicketAccess.ALL, permissions=LIGHT)
        case "deactivated":
            await deactivate(Call(world.admin), agent.id)
    assert await offers(ticket) == [(str(agent.id), "WITHDRAWN")]
    other = await world.agent("Other", permissions=AGENT - {Permission.END_OTHERS_SESSIONS})
    await online(other)
    assert await route(world) == 1
    assert [each.ticket_id for each in await open_offers(other)] == [ticket.id]


async def test_who_was_asked_by_broadcast_is_assigned_when_that_is_the_way(world: World) -> None:
    """R88: an offer of a broadcast has no end of its own."""
    agent = await world.agent()
    await online(agent)
    ticket = await world.live_ticket()
    await route(world)
    await settings(world, standard_distribution=StandardDistribution.ASSIGN)
    assert await offers(ticket) == [(str(agent.id), "WITHDRAWN")]
    assert await route(world) == 1
    assert await owner(ticket) == agent.id


@pytest.mark.parametrize("changed", [{"auto_accept": True}, {"routing_mode": RoutingMode.STANDARD}])
async def test_an_offer_ends_with_the_routing_that_made_it(world: World, changed: dict[str, Any]) -> None:
    """R44, R92."""
    agent = await world.agent()
    ticket, _ = await offered(world, agent)
    await settings(world, offer_seconds=20)
    assert len(await open_offers(agent)) == 1
    await settings(world, **changed)
    assert await offers(ticket) == [(str(agent.id), "WITHDRAWN")]


async def test_an_offer_ends_when_queues_change(world: World) -> None:
    """S1: the ticket may be for other groups now."""
    agent, experts = await world.agent(), await world.group("Experts")
    ticket, _ = await offered(world, agent)
    queue = await save_queue(Call(world.admin), name="All", conditions=[], group_ids=[experts.id])
    assert await offers(ticket) == [(str(agent.id), "WITHDRAWN")]
    assert await route(world) == 0
    await delete_queue(Call(world.admin), queue.queue_id)
    assert await route(world) == 1


@pytest.mark.parametrize("how", ["groups", "group", "queue", "role"])
async def test_what_was_decided_without_locks_is_decided_again_under_them(world: World, how: str) -> None:
    """R25, S1: between a look at who is eligible and the gift, he may have become somebody else."""
    await omnichannel(world)
    group, other = await world.group(), await world.group("Other")
    agent = await world.agent(groups=(group,))
    await online(agent)
    ticket = await world.live_ticket(group=group)
    assert agent.id is not None
    match how:
        case "groups":
            await set_groups(Call(world.admin), agent.id, frozenset())
        case "group":
            await update_ticket(Call(world.admin), ticket.id, {"group_id": other.id})
        case "queue":
            await save_queue(Call(world.admin), name="All", conditions=[], group_ids=[other.id])
        case "role":
            await set_role(Call(world.admin), agent.id, (await world.role(permissions=LIGHT)).id)
    assert await give(Call(world.system), ticket.id, agent.id, Channel.MESSAGING) is False
    assert await owner(ticket) is None


async def test_nothing_is_broadcast_once_routing_is_another(world: World) -> None:
    """R88: an offer without an end would block the ticket for good."""
    agent, gone = await world.agent(), await world.agent("Gone")
    await online(agent, gone)
    ticket = await world.live_ticket()
    assert agent.id is not None
    assert gone.id is not None
    await deactivate(Call(world.admin), gone.id)
    assert await offer_to_all(Call(world.system), ticket.id, [agent.id, gone.id])
    assert await offers(ticket) == [(str(agent.id), "OPEN")]
    await settings(world, standard_distribution=StandardDistribution.ASSIGN)
    assert not await offer_to_all(Call(world.system), ticket.id, [agent.id])
    await settings(world, standard_distribution=StandardDistribution.BROADCAST)
    assert await give(Call(world.system), ticket.id, agent.id, Channel.MESSAGING) is None
    assert await offers(ticket) == [(str(agent.id), "WITHDRAWN")]


@pytest.mark.parametrize("how", ["assigned", "solved", "offline"])
async def test_an_offer_is_withdrawn_when_it_makes_no_sense_any_more(world: World, how: str) -> None:
    """R44."""
    agent, other = await world.agent(), await world.agent("Other")
    ticket, offer = await offered(world, agent)
    match how:
        case "assigned":
            await update_ticket(Call(world.admin), ticket.id, {"assignee_id": other.id})
        case "solved":
            await update_ticket(Call(world.admin), ticket.id, {"status": TicketStatus.SOLVED})
        case "offline":
            await set_status(Call(agent), agent.id, AgentStatus.OFFLINE)  # type: ignore[arg-type]
    assert await offers(ticket) == [(str(agent.id), OfferState.WITHDRAWN.value)]
    async with world.refuses(OfferClosed):
        await accept_offer(Call(agent), offer.id)


async def test_an_end_and_an_acceptance_at_the_same_moment(world: World) -> None:
    """R44, R130: either his, then released; or withdrawn, and refused."""
    await omnichannel(world, auto_accept=False)
    agent = await world.agent()
    await online(agent)
    for _ in range(10):
        ticket = await world.live_ticket()
        await route(world)
        offer = (await open_offers(agent))[0]
        ended, accepted = await asyncio.gather(
            world.end(ticket, world.admin), accept_offer(Call(agent), offer.id), return_exceptions=True
        )
        assert not isinstance(ended, BaseException)
        assert await owner(ticket) == (None if isinstance(accepted, SessionEnded) else agent.id)
        assert await work(agent) == (0, 0)
        assert await check_counts(world.id) == []


async def test_two_agents_accept_a_broadcast_at_the_same_moment(world: World) -> None:
    """R94: one has it."""
    one, two = await world.agent("One"), await world.agent("Two")
    await online(one, two)
    ticket = await world.live_ticket()
    await route(world)
    words = [(agent, (await open_offers(agent))[0]) for agent in (one, two)]
    results = await asyncio.gather(
        *(accept_offer(Call(agent), offer.id) for agent, offer in words), return_exceptions=True
    )
    assert sorted(type(result).__name__ for result in results) == ["DecidedOffer", "OfferClosed"]
    assert await owner(ticket) in (one.id, two.id)


async def test_offers_are_ones_own(world: World, other_world: World) -> None:
    """R27."""
    agent = await world.agent()
    _, offer = await offered(world, agent)
    for stranger in (await world.agent("Other"), world.admin, await other_world.agent()):
        async with world.refuses(NotFound):
            await accept_offer(Call(stranger), offer.id)
    async with world.refuses(Forbidden):
        await accept_offer(Call(await world.customer()), offer.id)


async def test_availability_is_ones_own(world: World) -> None:
    """S1: others' needs the right."""
    agent, other = await world.agent(), await world.agent("Other")
    async with world.refuses(Forbidden):
        await set_status(Call(agent), other.id, AgentStatus.ONLINE)  # type: ignore[arg-type]
    async with world.refuses(NotFound):
        await set_status(Call(world.admin), (await world.customer()).id, AgentStatus.ONLINE)  # type: ignore[arg-type]
    await set_status(Call(world.admin), other.id, AgentStatus.ONLINE)  # type: ignore[arg-type]


async def test_switching_omnichannel_routing_on_sets_everybody_offline(world: World) -> None:
    """Rules 2.5."""
    await omnichannel(world)
    agent = await world.agent()
    await settings(world, routing_mode=RoutingMode.STANDARD)
    await online(agent)
    await settings(world, routing_mode=RoutingMode.OMNICHANNEL)
    await world.live_ticket()
    assert await route(world) == 0


async def test_losing_the_group_ends_eligibility(world: World) -> None:
    """S1, R25: as of now."""
    await omnichannel(world)
    group = await world.group()
    agent = await world.agent(groups=(group,))
    await online(agent)
    ticket = await world.live_ticket(group=group)
    assert agent.id is not None
    await set_groups(Call(world.admin), agent.id, frozenset())
    assert await route(world) == 0
    assert await owner(ticket) is None
