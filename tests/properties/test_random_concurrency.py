"""Capacity and routing with six to eight things at the same moment (R25, R43, R44, R94–R96, R130).

Every seed plays several rounds at a desk of its own. After each round the account is judged as by the state machine;
who got something from the router is judged by the log, in whose order the units of work came one after the other.
For more seeds: MACHINE_SEEDS=100 python -m pytest tests/properties/test_random_concurrency.py
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from random import Random
from uuid import UUID

import pytest

from domain.capacity import check_counts
from domain.errors import Refusal
from models import (
    AgentStatus,
    Channel,
    LedgerEntry,
    RoutingMethod,
    RoutingMode,
    StandardDistribution,
    TicketStatus,
)
from tests.invariants import assert_consistent
from tests.properties.capacity_oracle import findings
from tests.properties.desk import Change, Desk
from tests.properties.routing_oracle import assigns, findings_of_pass
from tests.properties.rows import Rows

SEEDS = int(os.environ.get("MACHINE_SEEDS", "3"))
ROUNDS = 8
CHANNELS = (Channel.MESSAGING, Channel.EMAIL)
WORKED_ON = (TicketStatus.OPEN, TicketStatus.PENDING, TicketStatus.SOLVED)


def any_change(chance: Random) -> Change:
    """Something that happens to a desk; the router, customers and agents more often than admins."""
    ticket, agent, customer = chance.randrange(12), chance.randrange(4), chance.randrange(6)
    return chance.choice(
        [
            *[("route",)] * 4,
            *[("message", customer)] * 3,
            *[("answer_offer", chance.randrange(4), chance.random() < 0.7)] * 2,
            *[("end", ticket, chance.randrange(5))] * 2,
            *[("assign", ticket, chance.choice([None, 0, 1, 2, 3]))] * 2,
            ("mail", customer, True),
            ("answer_by_mail", ticket),
            ("falls_silent", ticket),
            ("set_status", agent, chance.choice([AgentStatus.ONLINE, *AgentStatus]), {}),
            ("set_status", agent, AgentStatus.ONLINE, {chance.choice(CHANNELS): AgentStatus.OFFLINE}),
            ("update", ticket, {"status": chance.choice(WORKED_ON)}),
            ("move", ticket, chance.choice([None, 0, 1])),
            ("tag", ticket, chance.random() < 0.5),
            ("close", ticket),
            ("route_as_email", ticket),
            ("expire",),
            ("change_settings", _settings(chance)),
            ("change_settings", {"count_inactive_toward_capacity": chance.random() < 0.5}),
            ("save_rule", chance.randrange(3), chance.choice([None, 1, 2, 3]), chance.choice([None, 1, 2]), True),
            ("choose_rule", agent, chance.choice([None, 0, 1])),
            ("set_groups", agent, chance.choice([[], [0], [1], [0, 1]])),
            ("set_role", agent, chance.randrange(4)),
            ("deactivate", agent, chance.randrange(6)),
        ]
    )


def _settings(chance: Random) -> dict[str, object]:
    mode = chance.choice([RoutingMode.OMNICHANNEL, RoutingMode.OMNICHANNEL, RoutingMode.STANDARD])
    values = {
        "routing_mode": mode,
        "auto_accept": chance.random() < 0.5,
        "routing_method": chance.choice(list(RoutingMethod)),
        "standard_distribution": chance.choice(list(StandardDistribution)),
        "route_agent_ended_sessions_as_email": chance.random() < 0.5,
        "chat_limit": chance.choice([None, 1, 2]),
    }
    return {name: values[name] for name in chance.sample(sorted(values), 2)}


async def busy_desk(chance: Random) -> Desk:
    desk = await Desk.create("desk")
    for is_default in (True, False):
        await desk.save_rule(None, chance.randint(1, 3), chance.randint(1, 2), is_default)
    await desk.change_settings({"routing_mode": RoutingMode.OMNICHANNEL} | _settings(chance))
    for agent in range(4):
        await desk.set_status(agent, AgentStatus.ONLINE, {})
    for customer in range(4):
        await desk.message(customer)
    return desk


async def at_once(desk: Desk, changes: list[Change]) -> None:
    """All of them beside each other. A refusal is an answer; anything else is a defect."""
    for result in await asyncio.gather(*(desk.do(change) for change in changes), return_exceptions=True):
        if isinstance(result, BaseException) and not isinstance(result, Refusal):
            raise result


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_random_concurrency(database: str, seed: int) -> None:
    """R94–R96, and what the module names."""
    chance = Random(seed)
    desk = await busy_desk(chance)
    for _ in range(ROUNDS):
        before = await Rows.read(desk.world.id)
        changes = [any_change(chance) for _ in range(chance.randint(6, 8))]
        await at_once(desk, changes)
        after = await Rows.read(desk.world.id)
        assert await check_counts(desk.world.id) == [], changes
        assert await findings(after) == [], changes
        assert [*not_for_them(before, after), *above_the_limit(before, after, changes)] == [], changes
        desk.passes(chance.choice([1, 10, 61, 301]))
        await _comes_to_rest(desk)
    await assert_consistent(desk.world)


async def _comes_to_rest(desk: Desk) -> None:
    """R92: whatever was in flight, the next pass leaves nothing that waits in vain."""
    await desk.expire()
    before = await Rows.read(desk.world.id)
    await desk.route()
    after = await Rows.read(desk.world.id)
    assert findings_of_pass(before, after, desk.now) == []
    assert await findings(after) == []


def not_for_them(before: Rows, after: Rows) -> Iterator[str]:
    """R25: what the router gave to somebody who was not in the ticket's group at that point of the log."""
    for place in range(len(before.facts), len(after.facts)):
        fact = after.facts[place]
        if fact.actor_kind != "SYSTEM" or fact.ticket_before is None or fact.ticket_before["group_id"] is None:
            continue
        agents = [fact.payload["to"]] if assigns(fact) else []
        if fact.type == "TICKET_OFFERED":
            agents = fact.payload["agents"]
        for agent in agents:
            if fact.ticket_before["group_id"] not in _groups_at(after, UUID(agent), place):
                yield f"{agent} got a ticket of a group that was not his"


def _groups_at(rows: Rows, agent_id: UUID, place: int) -> set[str]:
    """What the next change of his access says that he had before; without one, what he has."""
    for fact in rows.facts[place:]:
        if fact.type == "AGENT_ACCESS_CHANGED" and fact.payload["user"] == str(agent_id):
            return set(fact.payload["before"]["groups"])
    return {str(group) for group in rows.memberships.get(agent_id, ())}


def above_the_limit(before: Rows, after: Rows, changes: list[Change]) -> Iterator[str]:
    """R94, R95: what the router assigned above the limits before and after the round."""
    if sum(change[0] in ("save_rule", "choose_rule") for change in changes) > 1:
        return  # there was a limit in between
    known = {entry.id for entry in before.ledger}
    for entry in after.ledger:
        if entry.id not in known and _is_given(after, entry):
            limits = [rows.limit(entry.agent_id, entry.channel.value) for rows in (before, after)]
            most = max(limit for limit in limits if limit is not None)
            if entry.count_after > most:
                yield f"{entry.agent_id} got his {entry.count_after}. of {most} on {entry.channel}"


def _is_given(rows: Rows, entry: LedgerEntry) -> bool:
    return entry.change == 1 and any(
        fact.audit_id == entry.audit_id and fact.actor_kind == "SYSTEM" and assigns(fact) for fact in rows.facts
    )
