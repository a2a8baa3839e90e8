"""Triggers to test with."""

from __future__ import annotations

from typing import Any

from domain.transactions import Call
from domain.trigger_runs import run_triggers
from domain.triggers import TriggerAction, TriggerActionKind, save_trigger
from models import Event, EventType, Survey, Ticket, Trigger, TriggerRun
from tests.factories import World

Kind = TriggerActionKind
Entry = dict[str, Any]

SURVEY = TriggerAction(Kind.SEND_SURVEY)
SOLVE = TriggerAction(Kind.SET_STATUS, "SOLVED")
END = TriggerAction(Kind.END_SESSION)


def rule(subject: str, operator: str, value: str | None = None) -> dict[str, str | None]:
    return {"subject": subject, "operator": operator, "value": value}


def every(*rules: dict[str, str | None]) -> Entry:
    return {"match": "ALL", "rules": list(rules)}


def either(*rules: dict[str, str | None]) -> Entry:
    return {"match": "ANY", "rules": list(rules)}


ENDED_BY_AGENT = rule("END_REASON", "CHANGED_TO", "AGENT")
SOLVED = rule("STATUS", "CHANGED_TO", "SOLVED")
IN_MESSAGING = rule("CHANNEL", "IS", "MESSAGING")


async def trigger(world: World, conditions: Entry | list[Entry], *actions: TriggerAction, **more: Any) -> Trigger:
    """A trigger of this account, saved by its admin."""
    given = conditions if isinstance(conditions, list) else [conditions]
    more = {"title": "A trigger", **more}
    saved = await save_trigger(Call(world.admin), conditions=given, actions=list(actions), **more)
    return await Trigger.get(id=saved.trigger_id)


async def settle(limit: int = 20) -> int:
    """Run triggers until nothing is left to do; how many runs there were."""
    count = 0
    for _ in range(limit):
        done = await run_triggers()
        if done == 0:
            return count
        count += done
    raise AssertionError("the triggers do not come to rest")


async def runs(of: Trigger) -> list[TriggerRun]:
    return await TriggerRun.filter(trigger_id=of.id).order_by("at", "id")


async def surveys(ticket: Ticket) -> list[Survey]:
    return await Survey.filter(ticket_id=ticket.id).order_by("created_at", "id")


async def only(ticket: Ticket, type: EventType) -> Event:
    """The one event of this type."""
    return await Event.get(ticket_id=ticket.id, type=type)
