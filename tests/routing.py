"""What tests of routing need beside the world: rules, agents who take work, and counts."""

from __future__ import annotations

from domain.actors import Actor
from domain.assignment import route_account
from domain.availability import set_status, work_of
from domain.capacity import check_counts
from domain.capacity_rules import save_capacity_rule
from domain.settings import update_routing_settings
from domain.transactions import Call
from models import AgentStatus, Channel, LedgerEntry, RoutingMode, Ticket
from tests.factories import World

ONLINE = AgentStatus.ONLINE


async def omnichannel(world: World, *, messaging: int | None = 3, email: int | None = 5, **settings: object) -> None:
    """Omnichannel routing with one default capacity rule."""
    await save_capacity_rule(
        Call(world.admin), name="Default", messaging_limit=messaging, email_limit=email, is_default=True
    )
    await update_routing_settings(Call(world.admin), {"routing_mode": RoutingMode.OMNICHANNEL, **settings})


async def online(*agents: Actor) -> None:
    """Let these agents take work."""
    for agent in agents:
        assert agent.id is not None
        await set_status(Call(agent), agent.id, ONLINE)


async def work(agent: Actor) -> tuple[int, int]:
    """How many messaging and e-mail work items the agent has, as his availability shows it."""
    assert agent.id is not None
    shown = (await work_of(agent, [agent.id]))[agent.id]
    counts = {channel.channel: channel.work for channel in shown.channels}
    return counts.get(Channel.MESSAGING, 0), counts.get(Channel.EMAIL, 0)


async def ledger(agent: Actor) -> list[tuple[Channel, int, str]]:
    """The lines of the agent's ledger: channel, change, reason."""
    entries = await LedgerEntry.filter(agent_id=agent.id).order_by("sequence")
    return [(entry.channel, entry.change, entry.reason.value) for entry in entries]


async def assigned(world: World, agent: Actor, **more: object) -> Ticket:
    """A new live ticket that was given to the agent by hand."""
    from domain.tickets import update_ticket

    ticket = await world.live_ticket(**more)  # type: ignore[arg-type]
    await update_ticket(Call(world.admin), ticket.id, {"assignee_id": agent.id})
    return await Ticket.get(id=ticket.id)


async def route(world: World) -> int:
    """One pass of the router; the counts hold before and after."""
    assert await check_counts(world.id) == []
    done = await route_account(world.id)
    assert await check_counts(world.id) == []
    return done


async def owner(ticket: Ticket) -> object:
    """Whose ticket it is now."""
    return (await Ticket.get(id=ticket.id)).assignee_id
