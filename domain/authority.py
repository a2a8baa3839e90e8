"""Who may administer whom: nobody gives, takes or changes more than he has himself."""

from __future__ import annotations

from domain.actors import Access, Actor
from domain.errors import Forbidden
from models import ActorKind, Permission, TicketAccess, UserKind


def check_can_manage_people(actor: Actor) -> None:
    """Raises Forbidden. Integration partners manage nobody, whatever their role says: their tokens lie in programs."""
    if actor.kind is ActorKind.PARTNER or not actor.may(Permission.MANAGE_PEOPLE):
        raise Forbidden


def contains(own: Access, other: Access) -> bool:
    """Whether an access reaches and may do all that another one does."""
    return other.permissions <= own.permissions and (own.tickets is TicketAccess.ALL or _reaches_all(own, other))


def _reaches_all(own: Access, other: Access) -> bool:
    """Memberships count also where the role does not ask for them: another role would, and routing does."""
    similar = other.tickets in (own.tickets, TicketAccess.ASSIGNED)
    return similar and other.groups <= own.groups and other.organizations <= own.organizations


def check_within(actor: Actor, kind: UserKind, access: Access) -> None:
    """Raises Forbidden unless the actor may administer somebody of this kind who has (or shall have) this access."""
    if actor.kind in (ActorKind.ADMIN, ActorKind.SYSTEM):
        return
    if kind is UserKind.ADMIN:
        raise Forbidden("Only admins make, change or take away admins.")
    if not contains(actor.access, access):
        raise Forbidden("This goes beyond your own rights, groups or organisations. Ask an admin of your account.")
