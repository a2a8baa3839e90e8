"""Who may see a ticket. One rule, in two forms: for one ticket, and for a query. A test keeps the two equal.

Queries, mutations and every delivery of every subscription ask here, and nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from tortoise.expressions import Q, Subquery
from tortoise.queryset import QuerySet

from domain.actors import Access, Actor
from models import ActorKind, Ticket, TicketAccess, User, UserKind


@dataclass(frozen=True, slots=True)
class Audience:
    """The attributes of a ticket that decide who may see it."""

    account_id: UUID
    requester_id: UUID
    group_id: UUID | None
    organization_id: UUID | None
    assignee_id: UUID | None
    deleted: bool = False

    def assigned_to(self, agent_id: UUID) -> Audience:
        """The audience that the ticket has when it is somebody's."""
        return replace(self, assignee_id=agent_id)


def audience_of(ticket: Ticket) -> Audience:
    """The audience of a ticket as it is."""
    return Audience(
        ticket.account_id,
        ticket.requester_id,
        ticket.group_id,
        ticket.organization_id,
        ticket.assignee_id,
        deleted=ticket.deleted_at is not None,
    )


def audience_from_json(account_id: UUID, attributes: dict[str, Any]) -> Audience:
    """The audience that an event keeps of its ticket (`ticket_before`, `ticket_after`)."""

    def identifier(name: str) -> UUID | None:
        return UUID(attributes[name]) if attributes.get(name) else None

    return Audience(
        account_id,
        UUID(attributes["requester_id"]),
        identifier("group_id"),
        identifier("organization_id"),
        identifier("assignee_id"),
        # Events from before tickets could be deleted do not say.
        deleted=attributes.get("deleted", False),
    )


def may_see(actor: Actor, audience: Audience) -> bool:
    """Whether this actor may see a ticket with these attributes."""
    if actor.account_id != audience.account_id:
        return False
    if actor.kind is ActorKind.END_USER:
        return audience.requester_id == actor.id and not audience.deleted
    return reaches(actor.access, actor.reach_id, audience)


def reaches(access: Access, user_id: UUID | None, audience: Audience) -> bool:
    """Whether an access reaches a ticket of its own account. Being copied in or mentioned gives nothing (R31).

    A deleted ticket is beyond everybody's reach (R148).
    """
    return not audience.deleted and _covers(access, user_id, audience)


def _covers(access: Access, user_id: UUID | None, audience: Audience) -> bool:
    match access.tickets:
        case TicketAccess.ALL:
            return True
        case TicketAccess.GROUPS:
            return audience.group_id in access.groups
        case TicketAccess.ORGANIZATIONS:
            return audience.organization_id in access.organizations
        case TicketAccess.ASSIGNED:
            return user_id is not None and audience.assignee_id == user_id


def visible_tickets(actor: Actor) -> QuerySet[Ticket]:
    """The query of all tickets that this actor may see."""
    tickets = Ticket.filter(account_id=actor.account_id)
    if actor.kind is ActorKind.END_USER:
        return tickets.filter(requester_id=actor.id, deleted_at__isnull=True)
    return tickets.filter(reached(actor.access, actor.reach_id))


def deleted_tickets(actor: Actor) -> QuerySet[Ticket]:
    """The query of the deleted tickets that this actor would see if they were not. For those who may restore them."""
    tickets = Ticket.filter(account_id=actor.account_id, deleted_at__isnull=False)
    if actor.kind is ActorKind.END_USER:
        return tickets.filter(Q(id__in=[]))
    return tickets.filter(_covered(actor.access, actor.reach_id))


def customers_within_reach(actor: Actor) -> QuerySet[User]:
    """The query of the end users whom this actor may know of: all of them, or those of tickets that he may see."""
    customers = User.filter(account_id=actor.account_id, kind=UserKind.END_USER)
    if actor.kind is not ActorKind.END_USER and actor.access.tickets is TicketAccess.ALL:
        return customers
    return customers.filter(id__in=Subquery(visible_tickets(actor).values("requester_id")))


def reached(access: Access, user_id: UUID | None) -> Q:
    """`reaches` as a condition of a query over tickets."""
    return Q(deleted_at__isnull=True) & _covered(access, user_id)


def _covered(access: Access, user_id: UUID | None) -> Q:
    match access.tickets:
        case TicketAccess.ALL:
            return Q()
        case TicketAccess.GROUPS:
            return Q(group_id__in=list(access.groups))
        case TicketAccess.ORGANIZATIONS:
            return Q(organization_id__in=list(access.organizations))
        case TicketAccess.ASSIGNED:
            return Q(assignee_id=user_id) & Q(assignee_id__isnull=False)
