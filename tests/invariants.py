"""What holds in an account at any time, whatever happened to it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable
from typing import TypeVar
from uuid import UUID

from domain.sessions import CONSEQUENCES
from models import Account, ActorKind, Audit, Channel, Comment, Conversation, Event, EventType, MessagingSession, Ticket
from models import SessionState as State
from tests.factories import World

K = TypeVar("K", bound=Hashable)


async def assert_consistent(world: World) -> None:
    """Every rule that can be read off the tables."""
    events = await Event.filter(account_id=world.id).order_by("position")
    sessions = await MessagingSession.filter(account_id=world.id)
    comments = await Comment.filter(account_id=world.id)
    tickets = await Ticket.filter(account_id=world.id)
    assert [event.position for event in events] == _counted((await Account.get(id=world.id)).last_position)
    _each_ticket_counts_its_events(tickets, events)
    await _each_update_is_one_audit(world, events)
    _one_session_at_most_is_live(sessions)
    _each_end_is_told_once(sessions, events)
    await _each_thread_is_whole(world, comments, events)
    _nothing_is_said_after_the_end(comments, events)


def _counted(last: int) -> list[int]:
    return list(range(1, last + 1))


def _grouped(pairs: Iterable[tuple[K, int]]) -> dict[K, list[int]]:
    groups: defaultdict[K, list[int]] = defaultdict(list)
    for key, value in pairs:
        groups[key].append(value)
    return groups


def _each_ticket_counts_its_events(tickets: list[Ticket], events: list[Event]) -> None:
    """R50: no number twice, none left out, and in the order of the log. The version counts the updates."""
    sequences = _grouped((event.ticket_id, event.ticket_sequence) for event in events if event.ticket_sequence)
    updates = Counter(ticket_id for _, ticket_id in {(event.audit_id, event.ticket_id) for event in events})
    for ticket in tickets:
        assert sequences[ticket.id] == _counted(ticket.last_sequence)
        assert updates[ticket.id] == ticket.version


async def _each_update_is_one_audit(world: World, events: list[Event]) -> None:
    """R48, R52: the events of an update stand together and have one actor, but for an end that follows from them."""
    positions = _grouped((event.audit_id, event.position) for event in events)
    for together in positions.values():
        assert together == list(range(together[0], together[0] + len(together)))
    audits = {audit.id: (audit.actor_kind, audit.actor_id) for audit in await Audit.filter(account_id=world.id)}
    assert audits.keys() == positions.keys()
    for event in events:
        follows = event.type is EventType.MESSAGING_SESSION_ENDED and event.payload["reason"] in CONSEQUENCES
        by = (ActorKind.SYSTEM, None) if follows else audits[event.audit_id]
        assert (event.actor_kind, event.actor_id) == by


def _one_session_at_most_is_live(sessions: list[MessagingSession]) -> None:
    """R74."""
    live = Counter((s.end_user_id, s.channel) for s in sessions if s.state is not State.ENDED)
    assert all(count == 1 for count in live.values())


def _each_end_is_told_once(sessions: list[MessagingSession], events: list[Event]) -> None:
    """R35, R36: an ended session has one end event, which names who ended it and when; a live one has none."""
    told = [
        (event.session_id, event.occurred_at, event.actor_kind.value, event.actor_id, event.payload["reason"])
        for event in events
        if event.type is EventType.MESSAGING_SESSION_ENDED
    ]
    ended = [
        (session.id, session.ended_at, session.ended_by_kind, session.ended_by_id, session.end_reason.value)
        for session in sessions
        if session.state is State.ENDED
    ]
    assert Counter(told) == Counter(ended)


async def _each_thread_is_whole(world: World, comments: list[Comment], events: list[Event]) -> None:
    """No gap in a thread; one event for each comment, in the order of the thread."""
    told = {e.comment_id: e.position for e in events if e.type is EventType.TICKET_COMMENT_ADDED}
    assert sum(event.type is EventType.TICKET_COMMENT_ADDED for event in events) == len(told) == len(comments)
    ordered = sorted(comments, key=lambda comment: comment.sequence)
    sequences = _grouped((comment.conversation_id, comment.sequence) for comment in ordered)
    positions = _grouped((comment.conversation_id, told[comment.id]) for comment in ordered)
    for conversation in await Conversation.filter(account_id=world.id):
        assert sequences[conversation.id] == _counted(conversation.last_comment_sequence)
        assert positions[conversation.id] == sorted(positions[conversation.id])


def _nothing_is_said_after_the_end(comments: list[Comment], events: list[Event]) -> None:
    """R58, R68, R124, R127: the end of a session stands behind every message of it."""
    ends: dict[UUID | None, int] = {
        event.conversation_id: event.position for event in events if event.type is EventType.MESSAGING_SESSION_ENDED
    }
    messages = {comment.id for comment in comments if comment.channel is Channel.MESSAGING}
    for event in events:
        if event.type is EventType.TICKET_COMMENT_ADDED and event.comment_id in messages:
            assert event.position < ends.get(event.conversation_id, event.position + 1)
