"""Which tickets a list holds: one condition in two forms, for a query and for a single ticket."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from tortoise.expressions import Q, Subquery
from tortoise.queryset import QuerySet

from domain.actors import Access, Actor
from domain.keyset import beyond
from domain.visibility import audience_from_json, reached, reaches, visible_tickets
from models import Channel, Event, EventType, MessagingSession, SessionState, Ticket, TicketStatus

# The most tickets that one change of somebody's access moves into or out of a live list; beyond that the list is
# loaded afresh.
MOST_MOVED = 1_000

SESSION_CHANGES = (EventType.MESSAGING_SESSION_STATE_CHANGED, EventType.MESSAGING_SESSION_ENDED)


@dataclass(frozen=True, slots=True)
class TicketFilter:
    """Conditions that hold together; None is no condition."""

    statuses: frozenset[TicketStatus] | None = None
    assignee_id: UUID | None = None
    unassigned: bool | None = None
    group_id: UUID | None = None
    requester_id: UUID | None = None
    channel: Channel | None = None
    session_states: frozenset[SessionState] | None = None


def tickets_in(actor: Actor, view: TicketFilter) -> QuerySet[Ticket]:
    """The query of the tickets of a view that the actor may see."""
    return visible_tickets(actor).filter(_condition(actor.account_id, view))


def _condition(account_id: UUID, view: TicketFilter) -> Q:
    conditions = [Q()]
    if view.statuses is not None:
        conditions.append(Q(status__in=list(view.statuses)))
    if view.unassigned is not None:
        conditions.append(Q(assignee_id__isnull=view.unassigned))
    for name in ("assignee_id", "group_id", "requester_id", "channel"):
        if getattr(view, name) is not None:
            conditions.append(Q(**{name: getattr(view, name)}))
    if view.session_states is not None:
        sessions = MessagingSession.filter(account_id=account_id, state__in=list(view.session_states))
        conditions.append(Q(conversation_id__in=Subquery(sessions.values("conversation_id"))))
    return Q(*conditions)


def holds(view: TicketFilter, attributes: dict[str, Any], state: SessionState | None) -> bool:
    """Whether a view holds a ticket with these attributes (as events keep them) and this state of its session."""
    checks = [
        view.statuses is None or attributes["status"] in view.statuses,
        view.unassigned is None or (attributes["assignee_id"] is None) == view.unassigned,
        view.channel is None or attributes["channel"] == view.channel,
        view.session_states is None or state in view.session_states,
    ]
    for name in ("assignee_id", "group_id", "requester_id"):
        wanted = getattr(view, name)
        checks.append(wanted is None or attributes[name] == str(wanted))
    return all(checks)


def shows(
    actor: Actor, accesses: list[Access], view: TicketFilter, attributes: dict[str, Any], state: SessionState | None
) -> bool:
    """Whether a list of this view showed such a ticket to somebody who had (one of) these accesses."""
    audience = audience_from_json(actor.account_id, attributes)
    return holds(view, attributes, state) and any(reaches(access, actor.id, audience) for access in accesses)


async def session_states(view: TicketFilter, event: Event) -> tuple[SessionState | None, SessionState | None]:
    """The state of the ticket's session now, and just before the event. For views that ask for it."""
    if view.session_states is None:
        return None, None
    session = await MessagingSession.get_or_none(conversation_id=event.conversation_id)
    if session is None:
        return None, None
    # The session is read first. If it has changed since the event, the first change says what it was until then.
    later = Event.filter(ticket_id=event.ticket_id, ticket_sequence__gte=event.ticket_sequence)
    change = await later.filter(type__in=SESSION_CHANGES).order_by("ticket_sequence").first()
    return session.state, SessionState(change.payload["previous_state"]) if change else session.state


async def moved_by_access(actor: Actor, before: Access, view: TicketFilter) -> tuple[list[Ticket], list[UUID]]:
    """The tickets of a view that the actor gained, and the ids of those that he lost, since he had `before`.

    Each at most MOST_MOVED + 1 long.
    """
    everything = Ticket.filter(account_id=actor.account_id).filter(_condition(actor.account_id, view))
    now, then = everything.filter(reached(actor.access, actor.id)), everything.filter(reached(before, actor.id))
    now_ids, then_ids = Subquery(now.values("id")), Subquery(then.values("id"))
    gained = await now.filter(~Q(id__in=then_ids)).order_by("number").limit(MOST_MOVED + 1)
    lost = await then.filter(~Q(id__in=now_ids)).order_by("number").limit(MOST_MOVED + 1).values_list("id", flat=True)
    return list(gained), list(lost)  # type: ignore[arg-type]  # values_list(flat=True) is typed as rows


@dataclass(frozen=True, slots=True)
class Order:
    """By which column, and whether from its high end. The id decides between equals."""

    column: str = "updated_at"
    descending: bool = True


async def page_of(
    actor: Actor, view: TicketFilter, order: Order, first: int, after: tuple[Any, UUID] | None
) -> list[Ticket]:
    """Up to first + 1 tickets of a view, after the one with this (column, id)."""
    tickets = tickets_in(actor, view).filter(beyond(order.column, after, descending=order.descending))
    sign = "-" if order.descending else ""
    return await tickets.order_by(f"{sign}{order.column}", f"{sign}id").limit(first + 1)
