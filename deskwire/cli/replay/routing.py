"""Replays with routing on: agents who are given their tickets, and what the ledger says of it afterwards."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any
from uuid import UUID

from deskwire.cli.replay.api import AVAILABLE, OWNER, Api
from deskwire.cli.replay.people import Someone
from deskwire.cli.store import CannotDo
from domain.actors import system
from domain.bot_settings import BotForm, save_bot
from domain.capacity import check_counts
from domain.capacity_rules import save_capacity_rule
from domain.settings import update_messaging_settings, update_routing_settings
from domain.transactions import Call
from models import (
    Account,
    BotKind,
    CapacityRule,
    Event,
    EventType,
    FirstResponder,
    LedgerEntry,
    MessagingSession,
    RoutingMethod,
    RoutingMode,
    SessionState,
    Ticket,
)
from schema.ids import encode_id

# How long a ticket may wait for an agent. With enough of them it is a matter of milliseconds.
HANDOFF = "One moment, a colleague will answer you."
PATIENCE_SECONDS = 120.0
LOOK_SECONDS = 0.25


async def configure(account: Account, capacity: int, *, bot: bool) -> None:
    """Omnichannel routing in turn, with so many conversations for each agent; and who answers first."""
    call = Call(system(account.id))
    default = await CapacityRule.get_or_none(account_id=account.id, is_default=True)
    await save_capacity_rule(
        call,
        name=default.name if default else "Default",
        messaging_limit=capacity,
        email_limit=default.email_limit if default else None,
        is_default=True,
        rule_id=default.id if default else None,
    )
    routing = {
        "routing_mode": RoutingMode.OMNICHANNEL,
        "routing_method": RoutingMethod.ROUND_ROBIN,
        "count_inactive_toward_capacity": False,
        "route_agent_ended_sessions_as_email": False,
        "auto_accept": True,
    }
    await update_routing_settings(call, routing)
    if bot:
        # It knows nothing, says so, and hands over: every conversation passes through it once.
        await save_bot(call, BotForm(name="Replay bot", kind=BotKind.RULES, handoff_message=HANDOFF))
    first = FirstResponder.BOT if bot else FirstResponder.AGENT
    await update_messaging_settings(call, {"first_responder": first})


async def take_work(api: Api, agents: list[Someone], status: str) -> None:
    """Let all agents come online, or go."""
    for agent in agents:
        await api.call(agent.token, AVAILABLE, {"input": {"status": status}})


async def owned(api: Api, agents: list[Someone], customer: Someone) -> tuple[Someone, str]:
    """The customer's newest ticket, as soon as it has an owner: who that is, and its id. Raises CannotDo."""
    by_id = {str(encode_id("User", agent.id)): agent for agent in agents}
    filter = {"requesterId": encode_id("User", customer.id), "sessionStates": ["ACTIVE", "INACTIVE"]}
    deadline = asyncio.get_running_loop().time() + PATIENCE_SECONDS
    while asyncio.get_running_loop().time() < deadline:
        found = await api.call(agents[0].token, OWNER, {"filter": filter})
        for edge in found["edges"]:
            if edge["node"]["assignee"] is not None:
                return by_id[edge["node"]["assignee"]["id"]], str(edge["node"]["id"])
        await asyncio.sleep(LOOK_SECONDS)
    raise CannotDo(f"A ticket waited {PATIENCE_SECONDS:.0f} s for an agent. Is the server's routing at work?")


async def routing_report(
    account: Account, agents: list[Someone], customers: list[Someone], *, capacity: int
) -> dict[str, Any]:
    """What the tables say: each session ended once, the ledger at zero, and how even the work was."""
    sessions = await MessagingSession.filter(end_user_id__in=[each.id for each in customers])
    ends = Counter(
        await Event.filter(
            account_id=account.id,
            type=EventType.MESSAGING_SESSION_ENDED,
            session_id__in=[each.id for each in sessions],
        ).values_list("session_id", flat=True)
    )
    entries = await LedgerEntry.filter(agent_id__in=[each.id for each in agents]).order_by("at", "sequence")
    # The account may have had tickets waiting of its own; these agents got them, too.
    played = set(await Ticket.filter(requester_id__in=[each.id for each in customers]).values_list("id", flat=True))
    given = Counter({agent.id: 0 for agent in agents})
    given.update(entry.agent_id for entry in entries if entry.change == 1)
    return {
        "agents": len(agents),
        "capacity": capacity,
        "sessions": len(sessions),
        "not_ended": sum(1 for each in sessions if each.state is not SessionState.ENDED),
        "ended_twice": sum(1 for count in ends.values() if count != 1) + len(sessions) - len(ends),
        "ledger_sum": sum(entry.change for entry in entries if entry.ticket_id in played),
        "wrong_counts": len(await check_counts(account.id)),
        "most_at_once": max((entry.count_after for entry in entries), default=0),
        "busiest": max(given.values()),
        "idlest": min(given.values()),
        "turns_without_room": turns_without_room(entries, capacity, [agent.id for agent in agents]),
    }


def turns_without_room(entries: list[LedgerEntry], capacity: int, agents: list[UUID]) -> int:
    """How often a ticket was given out while some agent was full: so often, round robin must pass somebody over."""
    counts = dict.fromkeys(agents, 0)
    passed = 0
    for entry in entries:
        if entry.change == 1 and any(count >= capacity for agent, count in counts.items() if agent != entry.agent_id):
            passed += 1
        counts[entry.agent_id] = entry.count_after
    return passed


def routing_faults(routing: dict[str, Any]) -> int:
    """How much is wrong. Nothing may be."""
    uneven = routing["busiest"] - routing["idlest"] > 1 + routing["turns_without_room"]
    over = max(0, routing["most_at_once"] - routing["capacity"])
    wrong = ("not_ended", "ended_twice", "wrong_counts")
    return int(abs(routing["ledger_sum"]) + over + uneven + sum(routing[kind] for kind in wrong))


def routing_lines(routing: dict[str, Any]) -> list[str]:
    """The report, for people."""
    return [
        f"routing: {routing['agents']} agents with capacity {routing['capacity']}, {routing['sessions']} sessions, "
        f"{routing['not_ended']} not ended, {routing['ended_twice']} not ended exactly once",
        f"ledger: sum {routing['ledger_sum']}, wrong counts {routing['wrong_counts']}, "
        f"at most {routing['most_at_once']} at once",
        f"busiest agent {routing['busiest']}, idlest {routing['idlest']} "
        f"(somebody had no room in {routing['turns_without_room']} turns)",
    ]
