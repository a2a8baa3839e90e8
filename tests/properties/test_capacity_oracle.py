"""The oracles of the state machine see what is wrong: each thing is broken on purpose, and named."""

from __future__ import annotations

import pytest

from domain.assignment import EMAIL_TAG
from domain.tickets import update_ticket
from domain.transactions import Call
from models import (
    AgentAvailability,
    AgentStatus,
    Channel,
    LedgerEntry,
    LedgerReason,
    MessagingSession,
    Offer,
    RoutingMethod,
    RoutingMode,
    SessionState,
    StandardDistribution,
    Ticket,
    TicketStatus,
    User,
    new_id,
)
from tests.properties.capacity_oracle import findings
from tests.properties.desk import Desk
from tests.properties.routing_oracle import findings_of_pass
from tests.properties.rows import Rows

ONLINE, OFFLINE = AgentStatus.ONLINE, AgentStatus.OFFLINE


@pytest.fixture
async def desk(database: str) -> Desk:
    """Omnichannel routing, two slots for messages and one for mail, everybody online; nothing to do."""
    desk = await Desk.create("desk")
    await desk.save_rule(None, 2, 1, True)
    await desk.change_settings({"routing_mode": RoutingMode.OMNICHANNEL})
    for agent in range(len(desk.agents)):
        await desk.set_status(agent, ONLINE, {})
    return desk


async def found(desk: Desk) -> list[str]:
    return await findings(await Rows.read(desk.world.id))


async def first(desk: Desk) -> Ticket:
    return await Ticket.get(account_id=desk.world.id, number=1)


async def busy(desk: Desk) -> Ticket:
    """A ticket that its agent works on."""
    await desk.message(0)
    await desk.route()
    assert await found(desk) == []
    return await first(desk)


async def test_a_count_behind_the_domains_back(desk: Desk) -> None:
    """R96."""
    ticket = await busy(desk)
    await AgentAvailability.filter(agent_id=ticket.assignee_id).update(messaging_work=2)
    assert await found(desk) == [f"MESSAGING of {ticket.assignee_id}: stored 2, recounted 1, ledger 1"]


@pytest.mark.parametrize("how", ["solved", "unassigned", "another channel", "inactive"])
async def test_a_ticket_behind_the_domains_back(desk: Desk, how: str) -> None:
    """R96."""
    ticket = await busy(desk)
    row = Ticket.filter(id=ticket.id)
    match how:
        case "solved":
            await row.update(status=TicketStatus.SOLVED)
        case "unassigned":
            await row.update(assignee_id=None)
        case "another channel":
            await row.update(routing_channel=Channel.EMAIL)
        case "inactive":
            await MessagingSession.filter(conversation_id=ticket.conversation_id).update(state=SessionState.INACTIVE)
    wrong = await found(desk)
    assert f"MESSAGING of {ticket.assignee_id}: stored 1, recounted 0, ledger 1" in wrong
    assert any(each.startswith("ticket 1 has slot") for each in wrong)


async def test_a_kept_slot_behind_the_logs_back(desk: Desk) -> None:
    """R98: what the session keeps is not what the log says that the settings were."""
    ticket = await busy(desk)
    await desk.change_settings({"count_inactive_toward_capacity": True})
    await desk.end(0, 0)
    assert await found(desk) == []
    await AgentAvailability.filter(agent_id=ticket.assignee_id).update(messaging_work=0)
    assert await found(desk) == [f"MESSAGING of {ticket.assignee_id}: stored 0, recounted 1, ledger 1"]


@pytest.mark.parametrize(
    ("sequence", "count", "says"),
    [(2, 2, ["stored 1, recounted 1, ledger 2", "which his row does not know"]), (3, 2, ["has no line 2"])],
)
async def test_a_line_of_the_ledger_too_many(desk: Desk, sequence: int, count: int, says: list[str]) -> None:
    """R97, R99."""
    ticket = await busy(desk)
    line = await LedgerEntry.get(agent_id=ticket.assignee_id)
    await LedgerEntry.create(
        account_id=desk.world.id,
        agent_id=ticket.assignee_id,
        sequence=sequence,
        channel=Channel.MESSAGING,
        change=1,
        count_after=count,
        reason=LedgerReason.STATUS_CHANGED,
        ticket_id=ticket.id,
        audit_id=line.audit_id,
        at=desk.now,
    )
    wrong = "\n".join(await found(desk))
    assert all(each in wrong for each in [*says, "books +1 of ticket", "twice"])


async def test_a_line_that_says_another_count_and_update(desk: Desk) -> None:
    """R99."""
    ticket = await busy(desk)
    await LedgerEntry.create(
        account_id=desk.world.id,
        agent_id=ticket.assignee_id,
        sequence=2,
        channel=Channel.EMAIL,
        change=1,
        count_after=7,
        reason=LedgerReason.STATUS_CHANGED,
        ticket_id=ticket.id,
        audit_id=new_id(),
        at=desk.now,
    )
    wrong = "\n".join(await found(desk))
    assert f"line 2 of {ticket.assignee_id} says 7, not 1" in wrong
    assert f"line 2 of {ticket.assignee_id} names an update that is not there" in wrong


async def offer(desk: Desk, ticket: Ticket, agent: int, channel: Channel = Channel.MESSAGING) -> None:
    await Offer.create(
        account_id=desk.world.id,
        ticket_id=ticket.id,
        agent_id=desk.agents[agent].id,
        channel=channel,
        created_at=desk.now,
    )


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ("owned", "has an owner"),
        ("ended", "does not wait"),
        ("another channel", "waits on another channel"),
        ("assigned in turn", "nobody is asked now"),
        ("offline", "to somebody who takes nothing there"),
        ("gone", "to somebody who may not have it"),
    ],
)
async def test_an_offer_that_makes_no_sense(desk: Desk, how: str, why: str) -> None:
    """R43, R44, R93."""
    await desk.change_settings({"auto_accept": how == "assigned in turn"})
    await desk.message(0)
    if how == "ended":
        await desk.end(0, 0)
    ticket = await first(desk)
    await offer(desk, ticket, 0, Channel.EMAIL if how == "another channel" else Channel.MESSAGING)
    match how:
        case "owned":
            await Ticket.filter(id=ticket.id).update(assignee_id=desk.agents[0].id)
        case "offline":
            await AgentAvailability.filter(agent_id=desk.agents[0].id).update(status=OFFLINE)
        case "gone":
            await User.filter(id=desk.agents[0].id).update(active=False)
    assert f"ticket 1 is offered, but {why}" in await found(desk)


async def test_two_offers_at_once(desk: Desk) -> None:
    """R94: only a broadcast asks more than one."""
    await desk.change_settings({"auto_accept": False})
    await desk.message(0)
    for agent in (0, 3):
        await offer(desk, await first(desk), agent)
    assert await found(desk) == ["ticket 1 is offered to 2 at once"]


async def wrong_pass(desk: Desk, *given: tuple[int, int]) -> str:
    """What is said of a router that gives these tickets to these agents, and nothing else."""
    before = await Rows.read(desk.world.id)
    for ticket, agent in given:
        row = await desk.ticket(ticket)
        assert row is not None
        await update_ticket(Call(desk.world.system), row.id, {"assignee_id": desk.agents[agent].id})
    return "\n".join(findings_of_pass(before, await Rows.read(desk.world.id), desk.now))


async def test_a_router_that_does_nothing(desk: Desk) -> None:
    """R92."""
    await desk.message(0)
    assert "ticket 1 waits, and" in await wrong_pass(desk)
    await desk.route()
    assert await wrong_pass(desk) == ""


async def test_a_router_that_gives_too_much(desk: Desk) -> None:
    """R95."""
    for customer in range(3):
        await desk.message(customer)
    said = await wrong_pass(desk, (0, 0), (1, 0), (2, 0))
    assert f"ticket 2 for {desk.agents[0].id} on MESSAGING is more" not in said
    assert f"ticket 3 for {desk.agents[0].id} on MESSAGING is more than he takes" in said


async def test_a_router_that_gives_too_many_chats(desk: Desk) -> None:
    """R88, R95."""
    assign = {"standard_distribution": StandardDistribution.ASSIGN, "chat_limit": 1}
    await desk.change_settings({"routing_mode": RoutingMode.STANDARD} | assign)
    for customer in range(2):
        await desk.message(customer)
    said = await wrong_pass(desk, (0, 0), (1, 0))
    assert f"ticket 2 for {desk.agents[0].id} on MESSAGING is more than he takes" in said


async def test_a_router_that_asks_nobody(desk: Desk) -> None:
    """R92: assigned, where agents are to be asked."""
    await desk.change_settings({"auto_accept": False})
    await desk.message(0)
    assert "is given in the wrong way" in await wrong_pass(desk, (0, 0))


async def test_a_router_that_gives_to_the_absent(desk: Desk) -> None:
    """R93."""
    await desk.message(0)
    await desk.set_status(0, OFFLINE, {})
    assert f"ticket 1 for {desk.agents[0].id} on MESSAGING is not for him" in await wrong_pass(desk, (0, 0))


async def test_a_router_that_gives_the_newer_first(desk: Desk) -> None:
    """R92."""
    for agent in range(1, len(desk.agents)):
        await desk.set_status(agent, OFFLINE, {})
    for customer in range(2):
        await desk.message(customer)
    await desk.assign(0, 0)
    await desk.message(2)
    await desk.assign(0, None)
    said = await wrong_pass(desk, (1, 0), (2, 0))
    assert f"ticket 2 went to {desk.agents[0].id} before the older 1" in said


async def test_a_router_that_forgets_whose_turn_it_is(desk: Desk) -> None:
    """R92: most room, and round robin."""
    await desk.mail(0, tagged=True)
    await desk.message(1)
    await desk.message(2)
    assert (await first(desk)).tags == [EMAIL_TAG]
    assert "was the turn of" in await wrong_pass(desk, (0, 0), (1, 0), (2, 0))
    await desk.change_settings({"routing_method": RoutingMethod.ROUND_ROBIN})
    await desk.message(3)
    await AgentAvailability.filter(agent_id=desk.agents[0].id).update(last_assigned_at=desk.now)
    assert "was the turn of" in await wrong_pass(desk, (3, 0))
