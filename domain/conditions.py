"""Conditions on a ticket and on what an update changed: when a trigger runs, which queue a ticket is in.

They are stored as a list of {"match": "ALL" | "ANY", "rules": [{"subject", "operator", "value"}]}: every entry must
hold. Everything here decides and touches nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from domain.errors import InvalidInput
from models import (
    Channel,
    EndReason,
    Event,
    EventType,
    InactiveReason,
    MessagingSession,
    SessionState,
    Ticket,
    TicketPriority,
    TicketStatus,
)

MOST_CONDITIONS = 10
MOST_RULES = 20
LONGEST_VALUE = 500

Rule = Mapping[str, Any]
Conditions = Sequence[Mapping[str, Any]]


class Match(StrEnum):
    """Whether all rules of a list must hold, or one is enough."""

    ALL = "ALL"
    ANY = "ANY"


class Subject(StrEnum):
    """What a rule looks at. CHANNEL is the channel in which the update happens, not the one that the ticket came by."""

    EVENT = "EVENT"
    STATUS = "STATUS"
    PRIORITY = "PRIORITY"
    GROUP = "GROUP"
    ASSIGNEE = "ASSIGNEE"
    TAGS = "TAGS"
    CHANNEL = "CHANNEL"
    ROUTING_CHANNEL = "ROUTING_CHANNEL"
    SESSION_STATE = "SESSION_STATE"
    END_REASON = "END_REASON"
    INACTIVE_REASON = "INACTIVE_REASON"


class Operator(StrEnum):
    """How a rule compares. The CHANGED ones look at what the update did, the others at what is so now."""

    IS = "IS"
    IS_NOT = "IS_NOT"
    CHANGED = "CHANGED"
    CHANGED_TO = "CHANGED_TO"
    CHANGED_FROM = "CHANGED_FROM"
    INCLUDES = "INCLUDES"
    EXCLUDES = "EXCLUDES"


COMPARED = frozenset({Operator.IS, Operator.IS_NOT})
CHANGES = frozenset({Operator.CHANGED, Operator.CHANGED_TO, Operator.CHANGED_FROM})
OPERATORS: dict[Subject, frozenset[Operator]] = {
    Subject.EVENT: COMPARED,
    Subject.CHANNEL: COMPARED,
    Subject.TAGS: frozenset({Operator.INCLUDES, Operator.EXCLUDES, Operator.CHANGED}),
    # It has a reason once, and from then on for ever.
    Subject.END_REASON: COMPARED | {Operator.CHANGED, Operator.CHANGED_TO},
    Subject.INACTIVE_REASON: COMPARED | {Operator.CHANGED, Operator.CHANGED_TO},
}
VALUES: dict[Subject, type[StrEnum]] = {
    Subject.EVENT: EventType,
    Subject.STATUS: TicketStatus,
    Subject.PRIORITY: TicketPriority,
    Subject.CHANNEL: Channel,
    Subject.ROUTING_CHANNEL: Channel,
    Subject.SESSION_STATE: SessionState,
    Subject.END_REASON: EndReason,
    Subject.INACTIVE_REASON: InactiveReason,
}
ALWAYS_SET = frozenset({Subject.EVENT, Subject.STATUS, Subject.TAGS, Subject.ROUTING_CHANNEL})
FIELDS = {
    "status": Subject.STATUS,
    "priority": Subject.PRIORITY,
    "group": Subject.GROUP,
    "assignee": Subject.ASSIGNEE,
    "tags": Subject.TAGS,
}


@dataclass(frozen=True, slots=True)
class Facts:
    """What rules look at. `values` is what is so now, `changes` the (before, after) of what an update changed."""

    values: Mapping[Subject, Any]
    changes: Mapping[Subject, tuple[Any, Any]]
    events: frozenset[str]


def facts_of(ticket: Ticket, session: MessagingSession | None, events: Iterable[Event] = ()) -> Facts:
    """The facts of a ticket, its session (if it has one) and the events of an update on it (if there was one)."""
    events = [event for event in events if event.ticket_id == ticket.id]
    values = {
        Subject.STATUS: ticket.status.value,
        Subject.PRIORITY: _value(ticket.priority),
        Subject.GROUP: _value(ticket.group_id),
        Subject.ASSIGNEE: _value(ticket.assignee_id),
        Subject.TAGS: list(ticket.tags),
        Subject.ROUTING_CHANNEL: ticket.routing_channel.value,
        Subject.CHANNEL: _channel(ticket, session, events),
        Subject.SESSION_STATE: _value(session.state) if session else None,
        Subject.END_REASON: _value(session.end_reason) if session else None,
        Subject.INACTIVE_REASON: _value(session.inactive_reason) if session else None,
    }
    return Facts(values, _changes(events), frozenset(event.type.value for event in events))


def facts_without_ticket(session: MessagingSession, events: Iterable[Event]) -> Facts:
    """The facts of a session that a bot has alone, and of an update on it: nothing is known of a ticket (R42)."""
    events = list(events)
    values: dict[Subject, Any] = {
        Subject.TAGS: [],
        Subject.CHANNEL: _value(session.channel),
        Subject.SESSION_STATE: _value(session.state),
        Subject.END_REASON: _value(session.end_reason),
        Subject.INACTIVE_REASON: _value(session.inactive_reason),
    }
    nothing = dict.fromkeys(set(Subject) - {Subject.EVENT} - values.keys())
    return Facts(nothing | values, _changes(events), frozenset(event.type.value for event in events))


def _value(value: Any) -> str | None:
    return None if value is None else str(value)


def _channel(ticket: Ticket, session: MessagingSession | None, events: Sequence[Event]) -> str | None:
    """The channel in which an update happens: after the end of its session, a ticket is in messaging no more (R116)."""
    if session is None:
        return ticket.channel.value
    if _lived(session, events):
        return Channel.MESSAGING.value
    channels = [event.payload.get("channel") for event in events if event.payload.get("visibility") == "PUBLIC"]
    return channels[-1] if channels else None


def _lived(session: MessagingSession, events: Sequence[Event]) -> bool:
    """Whether the session lived at the moment of the update, or ended within it."""
    if session.state is not SessionState.ENDED:
        return True
    if any(event.type is EventType.MESSAGING_SESSION_ENDED for event in events):
        return True
    # It ended after the update, while this was waiting to be looked at.
    moment: datetime | None = events[-1].occurred_at if events else None
    return moment is not None and session.ended_at is not None and session.ended_at > moment


def _changes(events: Iterable[Event]) -> dict[Subject, tuple[Any, Any]]:
    """What changed from the beginning of the update to its end; what is as before did not change."""
    changes: dict[Subject, tuple[Any, Any]] = {}
    for event in events:
        for subject, before, after in _told_by(event):
            changes[subject] = (changes[subject][0] if subject in changes else before, after)
    return {subject: change for subject, change in changes.items() if change[0] != change[1]}


def _told_by(event: Event) -> list[tuple[Subject, Any, Any]]:
    payload = event.payload
    match event.type:
        case EventType.TICKET_FIELD_CHANGED if payload["field"] in FIELDS:
            return [(FIELDS[payload["field"]], payload["from"], payload["to"])]
        case EventType.ROUTING_CHANNEL_CHANGED:
            return [(Subject.ROUTING_CHANNEL, payload["from"], payload["to"])]
        case EventType.MESSAGING_SESSION_STARTED:
            return [(Subject.SESSION_STATE, None, SessionState.ACTIVE.value)]
        case EventType.MESSAGING_SESSION_STATE_CHANGED:
            state = (Subject.SESSION_STATE, payload["previous_state"], payload["state"])
            return [state, (Subject.INACTIVE_REASON, None, payload["reason"])]
        case EventType.MESSAGING_SESSION_ENDED:
            state = (Subject.SESSION_STATE, payload["previous_state"], SessionState.ENDED.value)
            return [state, (Subject.END_REASON, None, payload["reason"]), (Subject.INACTIVE_REASON, None, None)]
    return []


def hold(conditions: Conditions, facts: Facts) -> bool:
    """Whether every entry holds. No entries always hold."""
    return all(_entry_holds(entry, facts) for entry in conditions)


def _entry_holds(entry: Mapping[str, Any], facts: Facts) -> bool:
    some: Callable[[Iterable[bool]], bool] = any if entry["match"] == Match.ANY else all
    return some(_rule_holds(rule, facts) for rule in entry["rules"])


def _rule_holds(rule: Rule, facts: Facts) -> bool:
    subject, value = Subject(rule["subject"]), rule["value"]
    now, change = facts.values.get(subject), facts.changes.get(subject)
    match Operator(rule["operator"]):
        case Operator.IS:
            return value in facts.events if subject is Subject.EVENT else now == value
        case Operator.IS_NOT:
            return value not in facts.events if subject is Subject.EVENT else now != value
        case Operator.INCLUDES:
            return not tags_of(value).isdisjoint(now or ())
        case Operator.EXCLUDES:
            return tags_of(value).isdisjoint(now or ())
        case Operator.CHANGED:
            return change is not None
        case Operator.CHANGED_TO:
            return change is not None and change[1] == value
        case Operator.CHANGED_FROM:
            return change is not None and change[0] == value


def tags_of(value: str | None) -> frozenset[str]:
    """The tags that a comma-separated text names."""
    return frozenset(tag.strip() for tag in (value or "").split(",") if tag.strip())


def rules_of(conditions: Conditions) -> list[Rule]:
    """All rules, of whatever entry."""
    return [rule for entry in conditions for rule in entry["rules"]]


def required(conditions: Conditions) -> list[Rule]:
    """The rules without which nothing holds: those of ALL lists, and of ANY lists that offer no choice."""
    return [
        rule
        for entry in conditions
        if entry["match"] == Match.ALL or len(entry["rules"]) == 1
        for rule in entry["rules"]
    ]


def check_conditions(conditions: Conditions, *, of_updates: bool = True) -> None:
    """Raises InvalidInput for conditions that say nothing, or nothing that can be.

    Without `of_updates` they are of tickets alone: rules about changes are refused, and no conditions at all are taken.
    Whether groups and people exist is for the caller to look up; see `references`.
    """
    if len(conditions) > MOST_CONDITIONS or (of_updates and not conditions):
        raise InvalidInput(f"Give 1 to {MOST_CONDITIONS} conditions.", field=("conditions",))
    for entry in conditions:
        if entry["match"] not in Match.__members__:
            raise InvalidInput("A condition matches ALL or ANY of its rules.", field=("conditions",))
        if not 1 <= len(entry["rules"]) <= MOST_RULES:
            raise InvalidInput(f"A condition has 1 to {MOST_RULES} rules.", field=("conditions",))
        for rule in entry["rules"]:
            _check_rule(rule, of_updates=of_updates)


def _check_rule(rule: Rule, *, of_updates: bool) -> None:
    if rule["subject"] not in Subject.__members__ or rule["operator"] not in Operator.__members__:
        raise InvalidInput("A rule has a known subject and operator.", field=("conditions",))
    subject, operator, value = Subject(rule["subject"]), Operator(rule["operator"]), rule["value"]
    usable = OPERATORS.get(subject, COMPARED | CHANGES)
    if operator not in usable:
        raise InvalidInput(
            f"{subject} cannot be compared by {operator}; use {', '.join(sorted(usable))}.", field=("conditions",)
        )
    if not of_updates and (subject is Subject.EVENT or operator in CHANGES):
        raise InvalidInput("There is no update here: say how the ticket is, not what changed.", field=("conditions",))
    if operator is Operator.CHANGED:
        if value is not None:
            raise InvalidInput("CHANGED takes no value; use CHANGED_TO or CHANGED_FROM.", field=("conditions",))
        return
    _check_value(subject, value)


def _check_value(subject: Subject, value: str | None) -> None:
    if value is None:
        if subject in ALWAYS_SET:
            raise InvalidInput(f"A rule about {subject} names a value.", field=("conditions",))
        return
    if len(value) > LONGEST_VALUE:
        raise InvalidInput(f"A value has at most {LONGEST_VALUE} characters.", field=("conditions",))
    if subject is Subject.TAGS:
        if not tags_of(value):
            raise InvalidInput("Name at least one tag.", field=("conditions",))
    elif subject in VALUES:
        # Failures of triggers start no triggers, or they would start each other for ever.
        if value not in VALUES[subject].__members__ or value == EventType.TRIGGER_FAILED:
            raise InvalidInput(f"{subject} is never {value!r}.", field=("conditions",))
    else:
        _check_identifier(value)


def _check_identifier(value: str) -> None:
    try:
        same = str(UUID(value)) == value
    except ValueError:
        same = False
    if not same:
        raise InvalidInput(f"{value!r} is no id.", field=("conditions",))


def references(conditions: Conditions, subject: Subject) -> set[UUID]:
    """The groups or people whom the (checked) rules about this subject name."""
    return {UUID(rule["value"]) for rule in rules_of(conditions) if rule["subject"] == subject and rule["value"]}


def waits_for_end(conditions: Conditions) -> bool:
    """Whether the end of a session can make these conditions hold."""
    return any(_is_about_an_end(rule) for rule in rules_of(conditions))


def _is_about_an_end(rule: Rule) -> bool:
    match rule["subject"], rule["operator"]:
        case Subject.END_REASON, _:
            return rule["value"] is not None or rule["operator"] == Operator.CHANGED
        case Subject.SESSION_STATE, (Operator.IS | Operator.CHANGED_TO):
            return bool(rule["value"] == SessionState.ENDED)
        case Subject.SESSION_STATE, (Operator.CHANGED | Operator.CHANGED_FROM):
            return True
        case Subject.EVENT, Operator.IS:
            return bool(rule["value"] == EventType.MESSAGING_SESSION_ENDED)
    return False
