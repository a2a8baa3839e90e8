"""What the end of a session does to capacity (R83–R91, R96–R102): the table of rules 2.5, and what follows."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from domain.capacity import check_counts
from domain.capacity_rules import choose_capacity_rule, delete_capacity_rule, save_capacity_rule
from domain.errors import Forbidden, InvalidInput
from domain.lifecycle import close_ticket
from domain.sessions import end_session, mark_inactive, preview_end
from domain.settings import update_routing_settings
from domain.tickets import update_ticket
from domain.transactions import Call
from models import (
    AgentAvailability,
    Audit,
    CapacityRule,
    Channel,
    EventType,
    InactiveReason,
    LedgerEntry,
    LedgerReason,
    RoutingMode,
    SessionState,
    Ticket,
    TicketStatus,
)
from tests.factories import World
from tests.routing import assigned, ledger, omnichannel, work

MESSAGING, EMAIL = Channel.MESSAGING, Channel.EMAIL


async def end(world: World, ticket: Ticket) -> str:
    """End the session as an admin; the routing outcome that the event keeps."""
    verdict = await world.end(ticket, world.admin)
    event = next(each for each in await world.events(ticket) if each.id == verdict.event_id)
    assert await check_counts(world.id) == []
    return str(event.payload["routing_outcome"])


async def change(world: World, ticket: Ticket, **values: Any) -> None:
    await update_ticket(Call(world.admin), ticket.id, values)
    assert await check_counts(world.id) == []


async def test_a_slot_is_released_at_the_end(world: World) -> None:
    """R83."""
    await omnichannel(world)
    agent = await world.agent()
    ticket = await assigned(world, agent)
    assert await work(agent) == (1, 0)
    assert await end(world, ticket) == "RELEASED"
    assert await work(agent) == (0, 0)
    assert await ledger(agent) == [(MESSAGING, 1, "ASSIGNMENT_CHANGED"), (MESSAGING, -1, "SESSION_ENDED")]


async def test_a_slot_is_kept_where_inactive_ones_count(world: World) -> None:
    """R84."""
    await omnichannel(world, count_inactive_toward_capacity=True)
    agent = await world.agent()
    ticket = await assigned(world, agent)
    assert await end(world, ticket) == "KEPT"
    assert await work(agent) == (1, 0)


@pytest.mark.parametrize("how", ["solved", "unassigned", "reassigned", "closed"])
async def test_a_kept_slot_is_released_once_when_the_ticket_leaves(world: World, how: str) -> None:
    """R85."""
    await omnichannel(world, count_inactive_toward_capacity=True)
    agent, other = await world.agent(), await world.agent("Other")
    ticket = await assigned(world, agent)
    await end(world, ticket)
    match how:
        case "solved":
            await change(world, ticket, status=TicketStatus.SOLVED)
        case "unassigned":
            await change(world, ticket, assignee_id=None)
        case "reassigned":
            await change(world, ticket, assignee_id=other.id)
        case "closed":
            await close_ticket(Call(world.system), ticket.id)
    assert await work(agent) == (0, 0)
    await change_again_if_possible(world, ticket, how)
    assert await work(agent) == (0, 0)
    assert [line[1] for line in await ledger(agent)] == [1, -1]
    assert await check_counts(world.id) == []


async def change_again_if_possible(world: World, ticket: Ticket, how: str) -> None:
    if how != "closed":
        await change(world, ticket, tags=["seen"])


async def test_an_ended_session_is_routed_as_email(world: World) -> None:
    """R86, R48."""
    await omnichannel(world, route_agent_ended_sessions_as_email=True)
    agent = await world.agent()
    ticket = await assigned(world, agent)
    assert await end(world, ticket) == "MOVED_TO_EMAIL"
    assert await work(agent) == (0, 1)
    assert (await Ticket.get(id=ticket.id)).routing_channel is EMAIL
    ended, moved = (await world.events(ticket))[-2:]
    assert (ended.type, moved.type) == (EventType.MESSAGING_SESSION_ENDED, EventType.ROUTING_CHANNEL_CHANGED)
    assert ended.audit_id == moved.audit_id
    assert moved.payload == {"from": "MESSAGING", "to": "EMAIL"}


async def test_the_email_count_may_exceed_its_limit_at_an_end(world: World) -> None:
    """R87."""
    await omnichannel(world, email=1, route_agent_ended_sessions_as_email=True)
    agent = await world.agent()
    for expected in (1, 2, 3):
        await end(world, await assigned(world, agent))
        assert await work(agent) == (0, expected)


async def test_standard_routing_books_nothing(world: World) -> None:
    """R88: an end leaves the live chats, and no capacity record."""
    agent = await world.agent()
    ticket = await assigned(world, agent)
    assert await work(agent) == (1, 0)
    assert await end(world, ticket) == "NOT_TRACKED"
    assert await work(agent) == (0, 0)
    assert await LedgerEntry.filter(account_id=world.id).count() == 0
    assert await AgentAvailability.filter(account_id=world.id).count() == 0


async def test_an_inactive_session_has_no_slot_to_release(world: World) -> None:
    """R89."""
    await omnichannel(world)
    agent = await world.agent()
    ticket = await assigned(world, agent)
    await mark_inactive(Call(world.system), (await world.session(ticket)).id, InactiveReason.NO_REPLY)
    assert await work(agent) == (0, 0)
    assert await end(world, ticket) == "UNCHANGED"
    assert await ledger(agent) == [(MESSAGING, 1, "ASSIGNMENT_CHANGED"), (MESSAGING, -1, "SESSION_BECAME_INACTIVE")]


async def test_an_unassigned_end_changes_nobodys_capacity(world: World) -> None:
    """R90."""
    await omnichannel(world, route_agent_ended_sessions_as_email=True)
    assert await end(world, await world.live_ticket()) == "UNCHANGED"
    assert await LedgerEntry.filter(account_id=world.id).count() == 0


@pytest.mark.parametrize("limits", ["no rule", "no limit"])
async def test_without_a_rule_nothing_is_counted(world: World, limits: str) -> None:
    """R91."""
    await omnichannel(world, messaging=None)
    if limits == "no rule":
        await CapacityRule.filter(account_id=world.id).delete()
    agent = await world.agent()
    assert await end(world, await assigned(world, agent)) == "NOT_CONFIGURED"
    assert await AgentAvailability.filter(account_id=world.id, messaging_work__isnull=False).count() == 0


async def test_the_outcome_tells_of_a_move_to_a_channel_that_is_counted(world: World) -> None:
    """R86, R91: messaging counts nothing, e-mail does."""
    await omnichannel(world, messaging=None, route_agent_ended_sessions_as_email=True)
    agent = await world.agent()
    assert await end(world, await assigned(world, agent)) == "MOVED_TO_EMAIL"
    assert await work(agent) == (0, 1)


async def test_a_repeated_end_releases_once(world: World) -> None:
    """R97: retried, and twenty at once."""
    await omnichannel(world)
    agent = await world.agent()
    ticket = await assigned(world, agent)
    await asyncio.gather(*(world.end(ticket, world.admin) for _ in range(20)))
    call = Call(world.admin, idempotency_key="once")
    await end_session(call, ticket.id)
    await end_session(call, ticket.id)
    assert await work(agent) == (0, 0)
    assert [line[1] for line in await ledger(agent)] == [1, -1]


async def test_the_settings_at_the_end_decide(world: World) -> None:
    """R98: a kept slot stays kept, a released one stays released, whatever is configured later."""
    await omnichannel(world, count_inactive_toward_capacity=True)
    keeper, releaser = await world.agent("Keeper"), await world.agent("Releaser")
    await end(world, await assigned(world, keeper))
    await update_routing_settings(Call(world.admin), {"count_inactive_toward_capacity": False})
    await end(world, await assigned(world, releaser))
    assert (await work(keeper), await work(releaser)) == ((1, 0), (0, 0))
    await update_routing_settings(Call(world.admin), {"count_inactive_toward_capacity": True})
    assert (await work(keeper), await work(releaser)) == ((1, 0), (0, 0))
    assert await check_counts(world.id) == []


async def test_an_end_under_standard_routing_keeps_nothing(world: World) -> None:
    """R98: nobody counted then, whatever is counted later."""
    await omnichannel(world, count_inactive_toward_capacity=True)
    await update_routing_settings(Call(world.admin), {"routing_mode": RoutingMode.STANDARD})
    agent = await world.agent()
    assert await end(world, await assigned(world, agent)) == "NOT_TRACKED"
    await update_routing_settings(Call(world.admin), {"routing_mode": RoutingMode.OMNICHANNEL})
    assert await work(agent) == (0, 0)


async def test_the_ledger_says_why(world: World) -> None:
    """R99: ticket, channel, change, reason, audit."""
    await omnichannel(world)
    agent = await world.agent()
    ticket = await assigned(world, agent)
    verdict = await world.end(ticket, world.admin)
    event = next(each for each in await world.events(ticket) if each.id == verdict.event_id)
    entry = await LedgerEntry.filter(agent_id=agent.id).order_by("-sequence").first()
    assert entry is not None
    assert (entry.ticket_id, entry.channel, entry.change, entry.count_after) == (ticket.id, MESSAGING, -1, 0)
    assert (entry.reason, entry.audit_id) == (LedgerReason.SESSION_ENDED, event.audit_id)


async def test_an_ended_ticket_takes_no_slot_of_its_next_owner(world: World) -> None:
    """R100."""
    await omnichannel(world)
    old, new = await world.agent("Old"), await world.agent("New")
    ticket = await assigned(world, old)
    await end(world, ticket)
    await change(world, ticket, assignee_id=new.id)
    assert (await work(old), await work(new)) == ((0, 0), (0, 0))
    assert await ledger(new) == []


async def test_an_ended_ticket_routed_as_email_moves_with_its_owner(world: World) -> None:
    """R101."""
    await omnichannel(world, route_agent_ended_sessions_as_email=True)
    old, new = await world.agent("Old"), await world.agent("New")
    ticket = await assigned(world, old)
    await end(world, ticket)
    await change(world, ticket, assignee_id=new.id)
    assert (await work(old), await work(new)) == ((0, 0), (0, 1))


async def test_the_slot_is_released_of_whoever_has_it_when_the_end_commits(world: World) -> None:
    """R130."""
    await omnichannel(world)
    one, two = await world.agent("One"), await world.agent("Two")
    for _ in range(10):
        ticket = await assigned(world, one)
        await asyncio.gather(
            world.end(ticket, world.admin), update_ticket(Call(world.admin), ticket.id, {"assignee_id": two.id})
        )
        assert (await work(one), await work(two)) == ((0, 0), (0, 0))
        assert await check_counts(world.id) == []


async def test_counting_inactive_ones_later_counts_the_living(world: World) -> None:
    """R96: a change of settings books what it changes, for every ticket."""
    await omnichannel(world)
    agent = await world.agent()
    ticket = await assigned(world, agent)
    await mark_inactive(Call(world.system), (await world.session(ticket)).id, InactiveReason.NO_REPLY)
    for counted, expected in ((True, 1), (False, 0)):
        await update_routing_settings(Call(world.admin), {"count_inactive_toward_capacity": counted})
        assert await work(agent) == (expected, 0)
        assert await check_counts(world.id) == []
    assert (await ledger(agent))[-2:] == [(MESSAGING, 1, "SETTINGS_CHANGED"), (MESSAGING, -1, "SETTINGS_CHANGED")]


async def test_the_mode_can_be_changed_back_and_forth(world: World) -> None:
    """R96."""
    await omnichannel(world)
    agent = await world.agent()
    await assigned(world, agent)
    for mode, expected in ((RoutingMode.STANDARD, []), (RoutingMode.OMNICHANNEL, [1])):
        await update_routing_settings(Call(world.admin), {"routing_mode": mode})
        row = await AgentAvailability.get(agent_id=agent.id)
        assert [count for count in (row.messaging_work, row.email_work) if count] == expected
        assert await check_counts(world.id) == []


async def test_settings_and_assignments_at_once_leave_true_counts(world: World) -> None:
    """R96: a recount and what it counts, at the same moment."""
    await omnichannel(world)
    agent = await world.agent()
    tickets = [await assigned(world, agent) for _ in range(4)]
    for session in [await world.session(ticket) for ticket in tickets[:2]]:
        await mark_inactive(Call(world.system), session.id, InactiveReason.NO_REPLY)
    for counted in (True, False, True):
        await asyncio.gather(
            update_routing_settings(Call(world.admin), {"count_inactive_toward_capacity": counted}),
            update_ticket(Call(world.admin), tickets[0].id, {"assignee_id": None if counted else agent.id}),
            world.comment(tickets[1], world.admin),
            update_ticket(Call(world.admin), tickets[2].id, {"tags": [str(counted)]}),
        )
        assert await check_counts(world.id) == []


async def test_an_agents_own_rule_counts_for_him_alone(world: World) -> None:
    """R91, R96: rules come, are chosen, and go; agents without one have the default."""
    await omnichannel(world, messaging=None)
    agent = await world.agent()
    await assigned(world, agent)
    assert await work(agent) == (0, 0)
    rule = await save_capacity_rule(Call(world.admin), name="Own", messaging_limit=2, email_limit=None)
    await choose_capacity_rule(Call(world.admin), agent.id, rule.rule_id)  # type: ignore[arg-type]
    assert await work(agent) == (1, 0)
    await delete_capacity_rule(Call(world.admin), rule.rule_id)
    assert await work(agent) == (0, 0)
    assert [line[2] for line in await ledger(agent)] == ["CAPACITY_RULE_CHANGED"] * 2
    named = [entry.audit_id for entry in await LedgerEntry.filter(agent_id=agent.id)]
    assert await Audit.filter(id__in=named).count() == 2  # R99: each line leads to its update
    assert await check_counts(world.id) == []


async def test_only_those_who_may_manage_capacity_rules(world: World) -> None:
    """S1, R99."""
    agent = await world.agent()
    async with world.refuses(Forbidden):
        await save_capacity_rule(Call(agent), name="Mine", messaging_limit=99, email_limit=None)
    async with world.refuses(InvalidInput):
        await save_capacity_rule(Call(world.admin), name="Negative", messaging_limit=-1, email_limit=None)
    assert await CapacityRule.filter(account_id=world.id).count() == 0


async def test_a_preview_says_what_the_end_does(world: World) -> None:
    """D9."""
    await omnichannel(world, route_agent_ended_sessions_as_email=True)
    agent = await world.agent()
    ticket = await assigned(world, agent)
    preview = await preview_end(world.admin, ticket.id)
    assert preview is not None
    assert preview.routing_outcome == await end(world, ticket)


async def test_taking_a_conversation_up_again_takes_the_slot_again(world: World) -> None:
    """R133: also above the limit."""
    await omnichannel(world, messaging=1)
    agent, customer = await world.agent(), await world.customer()
    ticket = await assigned(world, agent, customer=customer)
    await mark_inactive(Call(world.system), (await world.session(ticket)).id, InactiveReason.NO_REPLY)
    await assigned(world, agent)
    assert await work(agent) == (1, 0)
    await world.message(customer, "Still there?")
    assert (await world.session(ticket)).state is SessionState.ACTIVE
    assert await work(agent) == (2, 0)
    assert (await ledger(agent))[-1] == (MESSAGING, 1, "SESSION_BECAME_ACTIVE")
    assert await check_counts(world.id) == []
