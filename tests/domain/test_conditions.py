"""Conditions on tickets and updates: what holds when, and which cannot be saved (rules R115, R116, R121)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from domain.conditions import Subject, check_conditions, facts_of, hold, references, waits_for_end
from domain.errors import InvalidInput
from models import (
    ActorKind,
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
    new_id,
    utc_now,
)
from tests.automation import ENDED_BY_AGENT, IN_MESSAGING, SOLVED, either, every, rule

NOW = utc_now()
GROUP = new_id()
LIVE = MessagingSession(id=new_id(), state=SessionState.ACTIVE)
INACTIVE = MessagingSession(id=new_id(), state=SessionState.INACTIVE, inactive_reason=InactiveReason.NO_REPLY)
ENDED = MessagingSession(id=new_id(), state=SessionState.ENDED, end_reason=EndReason.AGENT, ended_at=NOW)
TICKET = Ticket(
    id=new_id(),
    status=TicketStatus.OPEN,
    priority=None,
    tags=["refund", "vip"],
    channel=Channel.MESSAGING,
    routing_channel=Channel.MESSAGING,
)
# Columns of foreign keys exist only where Tortoise has a database; here there is none.
TICKET.group_id, TICKET.assignee_id = GROUP, None


def event(type: EventType, *, at: timedelta = timedelta(), **payload: Any) -> Event:
    told = Event(type=type, payload=payload, occurred_at=NOW + at, actor_kind=ActorKind.AGENT)
    told.ticket_id = TICKET.id
    return told


def changed(field: str, before: Any, after: Any, **more: Any) -> Event:
    return event(EventType.TICKET_FIELD_CHANGED, field=field, **{"from": before, "to": after}, **more)


def ended(reason: str) -> Event:
    return event(EventType.MESSAGING_SESSION_ENDED, previous_state="ACTIVE", reason=reason)


def holds(
    one: dict[str, Any], session: MessagingSession | None = LIVE, *events: Event, ticket: Ticket = TICKET
) -> bool:
    check_conditions([every(one)])
    return hold([every(one)], facts_of(ticket, session, events))


@pytest.mark.parametrize(
    ("one", "session", "expected"),
    [
        (rule("STATUS", "IS", "OPEN"), LIVE, True),
        (rule("STATUS", "IS", "SOLVED"), LIVE, False),
        (rule("STATUS", "IS_NOT", "SOLVED"), LIVE, True),
        (rule("PRIORITY", "IS", None), LIVE, True),
        (rule("PRIORITY", "IS", "HIGH"), LIVE, False),
        (rule("GROUP", "IS", str(GROUP)), LIVE, True),
        (rule("GROUP", "IS_NOT", None), LIVE, True),
        (rule("ASSIGNEE", "IS", None), LIVE, True),
        (rule("TAGS", "INCLUDES", "vip"), LIVE, True),
        (rule("TAGS", "INCLUDES", "urgent, refund"), LIVE, True),
        (rule("TAGS", "INCLUDES", "urgent"), LIVE, False),
        (rule("TAGS", "EXCLUDES", "urgent"), LIVE, True),
        (rule("TAGS", "EXCLUDES", "urgent,vip"), LIVE, False),
        (rule("ROUTING_CHANNEL", "IS", "MESSAGING"), ENDED, True),
        (rule("SESSION_STATE", "IS", "ACTIVE"), LIVE, True),
        (rule("SESSION_STATE", "IS", "ENDED"), ENDED, True),
        (rule("SESSION_STATE", "IS", None), None, True),
        (rule("END_REASON", "IS", "AGENT"), ENDED, True),
        (rule("END_REASON", "IS", None), LIVE, True),
        (rule("INACTIVE_REASON", "IS", "NO_REPLY"), INACTIVE, True),
        (rule("CHANNEL", "IS", "MESSAGING"), LIVE, True),
        (rule("CHANNEL", "IS", "MESSAGING"), INACTIVE, True),
        (rule("CHANNEL", "IS", "MESSAGING"), ENDED, False),
        (rule("CHANNEL", "IS", None), ENDED, True),
    ],
)
def test_how_a_ticket_is(one: dict[str, Any], session: MessagingSession | None, expected: bool) -> None:
    """Without any update: what a routing queue can ask, too."""
    assert holds(one, session) is expected


def test_what_an_update_changed() -> None:
    solved = (changed("status", "NEW", "OPEN"), changed("status", "OPEN", "SOLVED"))
    assert holds(SOLVED, LIVE, *solved)
    assert holds(rule("STATUS", "CHANGED"), LIVE, *solved)
    assert holds(rule("STATUS", "CHANGED_FROM", "NEW"), LIVE, *solved)
    assert not holds(rule("STATUS", "CHANGED_TO", "OPEN"), LIVE, *solved)
    assert not holds(
        rule("STATUS", "CHANGED"), LIVE, changed("status", "OPEN", "NEW"), changed("status", "NEW", "OPEN")
    )
    assert not holds(SOLVED)
    assert holds(rule("TAGS", "CHANGED"), LIVE, changed("tags", [], ["vip"]))
    assert holds(rule("GROUP", "CHANGED_TO", str(GROUP)), LIVE, changed("group", None, str(GROUP)))
    assert holds(rule("ASSIGNEE", "CHANGED_TO", None), LIVE, changed("assignee", str(new_id()), None))
    routed = event(EventType.ROUTING_CHANNEL_CHANGED)
    routed.payload = {"from": "MESSAGING", "to": "EMAIL"}
    assert holds(rule("ROUTING_CHANNEL", "CHANGED_TO", "EMAIL"), LIVE, routed)
    inactive = event(
        EventType.MESSAGING_SESSION_STATE_CHANGED, previous_state="ACTIVE", state="INACTIVE", reason="NO_REPLY"
    )
    assert holds(rule("SESSION_STATE", "CHANGED_TO", "INACTIVE"), INACTIVE, inactive)
    assert holds(rule("INACTIVE_REASON", "CHANGED_TO", "NO_REPLY"), INACTIVE, inactive)
    assert holds(rule("EVENT", "IS", "TICKET_FIELD_CHANGED"), LIVE, *solved)
    assert not holds(rule("EVENT", "IS_NOT", "TICKET_FIELD_CHANGED"), LIVE, *solved)
    assert holds(rule("EVENT", "IS_NOT", "TICKET_CREATED"), LIVE, *solved)


def test_what_happened_on_another_ticket_of_the_update_is_not_this_one_s() -> None:
    other = changed("status", "OPEN", "SOLVED")
    other.ticket_id = new_id()
    assert not holds(SOLVED, LIVE, other)
    assert not holds(rule("EVENT", "IS", "TICKET_FIELD_CHANGED"), LIVE, other)


@pytest.mark.parametrize("reason", [reason for reason in EndReason if reason is not EndReason.AGENT])
def test_only_an_agent_s_end_is_an_agent_s(reason: EndReason) -> None:
    """R115, R121: other ends do not match AGENT."""
    assert holds(ENDED_BY_AGENT, ENDED, ended("AGENT"))
    assert not holds(ENDED_BY_AGENT, ENDED, ended(reason.value))
    assert holds(rule("END_REASON", "CHANGED_TO", reason.value), ENDED, ended(reason.value))
    assert holds(rule("SESSION_STATE", "CHANGED_TO", "ENDED"), ENDED, ended(reason.value))


def test_messaging_is_over_after_the_end_but_the_end_itself_is_in_messaging() -> None:
    """R116: what is decided is the channel of the update, not that of the ticket, nor that of today."""
    assert holds(IN_MESSAGING, LIVE, changed("status", "OPEN", "SOLVED"))
    assert holds(IN_MESSAGING, ENDED, ended("AGENT"))
    assert not holds(IN_MESSAGING, ENDED, changed("status", "OPEN", "SOLVED", at=timedelta(seconds=1)))
    # Solved in messaging; it ended before anybody came to look at the update.
    assert holds(IN_MESSAGING, ENDED, changed("status", "OPEN", "SOLVED", at=timedelta(seconds=-1)))
    mailed = event(EventType.TICKET_COMMENT_ADDED, at=timedelta(seconds=1), channel="EMAIL", visibility="PUBLIC")
    assert holds(rule("CHANNEL", "IS", "EMAIL"), ENDED, mailed)
    noted = event(
        EventType.TICKET_COMMENT_ADDED, at=timedelta(seconds=1), channel="INTERNAL_NOTE", visibility="INTERNAL"
    )
    assert holds(rule("CHANNEL", "IS", None), ENDED, noted)


def test_every_entry_must_hold_and_of_an_entry_all_or_any() -> None:
    facts = facts_of(TICKET, LIVE)
    good, bad = rule("STATUS", "IS", "OPEN"), rule("STATUS", "IS", "NEW")
    assert hold([], facts)
    assert hold([every(good), either(bad, good)], facts)
    assert not hold([every(good, bad)], facts)
    assert not hold([either(good), either(bad)], facts)


@pytest.mark.parametrize(
    "entry",
    [
        every(),
        {"match": "NONE", "rules": [SOLVED]},
        every(*[SOLVED] * 21),
        every(rule("WEATHER", "IS", "FINE")),
        every(rule("STATUS", "EQUALS", "OPEN")),
        every(rule("STATUS", "INCLUDES", "OPEN")),
        every(rule("TAGS", "IS", "vip")),
        every(rule("TAGS", "INCLUDES", " , ")),
        every(rule("TAGS", "INCLUDES", "x" * 501)),
        every(rule("CHANNEL", "CHANGED_TO", "EMAIL")),
        every(rule("END_REASON", "CHANGED_FROM", "AGENT")),
        every(rule("EVENT", "CHANGED")),
        every(rule("EVENT", "IS", "TICKET_EATEN")),
        every(rule("EVENT", "IS", "TRIGGER_FAILED")),
        every(rule("STATUS", "IS", "HALF_SOLVED")),
        every(rule("STATUS", "IS", None)),
        every(rule("STATUS", "CHANGED", "OPEN")),
        every(rule("GROUP", "IS", "first line")),
        every(rule("GROUP", "IS", str(GROUP).upper())),
    ],
)
def test_conditions_that_cannot_be_are_refused(entry: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput) as refusal:
        check_conditions([entry])
    assert refusal.value.field == ("conditions",)


def test_a_trigger_has_conditions_and_a_queue_asks_nothing_of_updates() -> None:
    for conditions in ([], [every(SOLVED)] * 11):
        with pytest.raises(InvalidInput):
            check_conditions(conditions)
    check_conditions([], of_updates=False)
    check_conditions([every(rule("TAGS", "INCLUDES", "vip"))], of_updates=False)
    for one in (SOLVED, rule("EVENT", "IS", "TICKET_CREATED")):
        with pytest.raises(InvalidInput):
            check_conditions([every(one)], of_updates=False)


def test_whom_rules_name_is_found() -> None:
    conditions = [every(rule("GROUP", "IS", str(GROUP)), rule("GROUP", "IS", None), rule("ASSIGNEE", "CHANGED"))]
    assert references(conditions, Subject.GROUP) == {GROUP}
    assert references(conditions, Subject.ASSIGNEE) == set()


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (ENDED_BY_AGENT, True),
        (rule("SESSION_STATE", "CHANGED_TO", "ENDED"), True),
        (rule("SESSION_STATE", "CHANGED"), True),
        (rule("EVENT", "IS", "MESSAGING_SESSION_ENDED"), True),
        (rule("SESSION_STATE", "CHANGED_TO", "INACTIVE"), False),
        (rule("SESSION_STATE", "IS_NOT", "ENDED"), False),
        (rule("END_REASON", "IS", None), False),
        (SOLVED, False),
    ],
)
def test_which_conditions_wait_for_an_end(one: dict[str, Any], expected: bool) -> None:
    """R123 asks this before it refuses."""
    assert waits_for_end([either(SOLVED, one)]) is expected


def test_priorities_compare_by_name() -> None:
    urgent = Ticket(**{name: getattr(TICKET, name) for name in ("id", "status", "tags", "channel", "routing_channel")})
    urgent.group_id, urgent.assignee_id = None, None
    urgent.priority = TicketPriority.URGENT
    assert holds(rule("PRIORITY", "IS", "URGENT"), ticket=urgent)
