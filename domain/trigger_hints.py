"""What an admin should know of a trigger before he wonders why it does not run, or runs too often (R116)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from domain.actors import Actor
from domain.conditions import CHANGES, Conditions, Operator, Rule, Subject, required, rules_of, tags_of, waits_for_end
from domain.settings import may_agents_end_sessions
from domain.surveys import SEND_SURVEY
from models import AccountSettings, Channel, EndReason, TicketStatus

SURVEY_NEEDS_END = (
    "After an agent ends the session, solving happens outside messaging, so this survey is not sent then. "
    "Match ANY of 'END_REASON CHANGED_TO AGENT' and 'STATUS CHANGED_TO SOLVED'; one survey is sent per ticket even if "
    "both happen."
)
END_AND_SOLVED_AT_ONCE = (
    "This waits for the end of the session and for Solved in one and the same update. To run after either, match ANY."
)
AGENTS_DO_NOT_END = (
    "Agents of this account may not end sessions, so the end reason AGENT does not occur. It is switched on under "
    "Channels > Messaging > Ending sessions."
)
CONTRADICTION = "These conditions contradict each other, so the trigger never runs."
EVERY_UPDATE = (
    "No condition asks what happened, so this runs after every update of a ticket that is so, and after its own. "
    "Add a condition on a change."
)


async def agents_can_end(actor: Actor) -> bool:
    """Whether agents of the actor's account may end sessions."""
    return await may_agents_end_sessions(await AccountSettings.get(account_id=actor.account_id))


def hints_of(conditions: Conditions, actions: Sequence[dict[str, Any]], *, agents_can_end: bool) -> list[str]:
    """The hints for a trigger, in the account whose setting of ending sessions this is."""
    return list(_hints(conditions, actions, agents_can_end))


def _hints(conditions: Conditions, actions: Sequence[dict[str, Any]], agents_can_end: bool) -> Iterator[str]:
    surveys = any(action["kind"] == SEND_SURVEY for action in actions)
    if surveys and _waits_for_solved_in_messaging(conditions) and not waits_for_end(conditions):
        yield SURVEY_NEEDS_END
    if _end_and_solved(required(conditions)):
        yield END_AND_SOLVED_AT_ONCE
    if not agents_can_end and any(_waits_for_agents_end(rule) for rule in rules_of(conditions)):
        yield AGENTS_DO_NOT_END
    if contradictory(required(conditions)):
        yield CONTRADICTION
    if not any(_asks_what_happened(rule) for rule in rules_of(conditions)):
        yield EVERY_UPDATE


def _is(rule: Rule, subject: Subject, value: str) -> bool:
    wanted = (Operator.IS, Operator.CHANGED_TO)
    return bool(rule["subject"] == subject and rule["operator"] in wanted and rule["value"] == value)


def _waits_for_solved_in_messaging(conditions: Conditions) -> bool:
    solved = any(_is(rule, Subject.STATUS, TicketStatus.SOLVED) for rule in rules_of(conditions))
    return solved and any(_is(rule, Subject.CHANNEL, Channel.MESSAGING) for rule in rules_of(conditions))


def _waits_for_agents_end(rule: Rule) -> bool:
    return _is(rule, Subject.END_REASON, EndReason.AGENT)


def _end_and_solved(rules: list[Rule]) -> bool:
    changes = [rule for rule in rules if rule["operator"] == Operator.CHANGED_TO]
    solved = any(_is(rule, Subject.STATUS, TicketStatus.SOLVED) for rule in changes)
    return solved and any(rule["subject"] == Subject.END_REASON for rule in changes)


def _asks_what_happened(rule: Rule) -> bool:
    return rule["operator"] in CHANGES or (rule["subject"] == Subject.EVENT and rule["operator"] == Operator.IS)


def contradictory(rules: Sequence[Rule]) -> bool:
    """Whether rules that must all hold cannot hold together."""
    return any(_exclude(one, other) for one in rules for other in rules if one["subject"] == other["subject"])


def _exclude(one: Rule, other: Rule) -> bool:
    same: bool = one["value"] == other["value"]
    match one["operator"], other["operator"]:
        case (Operator.IS, Operator.IS) | (Operator.CHANGED_FROM, Operator.CHANGED_FROM):
            return not same and bool(one["subject"] != Subject.EVENT)
        case (Operator.CHANGED_TO, Operator.CHANGED_TO) | (Operator.CHANGED_TO, Operator.IS):
            return not same
        case (Operator.IS, Operator.IS_NOT) | (Operator.CHANGED_TO, Operator.IS_NOT):
            return same
        case (Operator.CHANGED_FROM, Operator.CHANGED_TO):
            return same
        case (Operator.INCLUDES, Operator.EXCLUDES):
            return tags_of(one["value"]) <= tags_of(other["value"])
    return False
