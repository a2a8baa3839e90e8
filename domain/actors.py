"""Who acts, and what his role lets him reach."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from models import (
    ActorKind,
    GroupMembership,
    OrganizationMembership,
    Permission,
    Role,
    TicketAccess,
    User,
    UserKind,
)
from models.prepared import rows_anywhere_by


@dataclass(frozen=True, slots=True)
class Access:
    """Which tickets somebody reaches, and what he may do with them. Everything that permission depends on."""

    tickets: TicketAccess = TicketAccess.ASSIGNED
    groups: frozenset[UUID] = frozenset()
    organizations: frozenset[UUID] = frozenset()
    permissions: frozenset[Permission] = frozenset()


EVERYTHING = Access(tickets=TicketAccess.ALL, permissions=frozenset(Permission))
NOTHING = Access()


@dataclass(frozen=True, slots=True)
class Actor:
    """Somebody or something that acts in one account. `id` is a user's, trigger's or bot's; the system has none."""

    account_id: UUID
    kind: ActorKind
    id: UUID | None = None
    access: Access = field(default=NOTHING)
    token_id: UUID | None = None
    token_expires_at: datetime | None = None

    @property
    def is_staff(self) -> bool:
        """Works in the account: agents, admins and integration partners."""
        return self.kind in (ActorKind.AGENT, ActorKind.ADMIN, ActorKind.PARTNER)

    @property
    def is_customer(self) -> bool:
        return self.kind is ActorKind.END_USER

    @property
    def reach_id(self) -> UUID | None:
        """His id where it decides what he reaches, None where everybody of his access reaches the same.

        Asked in its place, it keeps an answer fit for all of them; see subscriptions/viewers.py.
        """
        return self.id if self.is_customer or self.access.tickets is TicketAccess.ASSIGNED else None

    def may(self, permission: Permission) -> bool:
        return permission in self.access.permissions


def system(account_id: UUID) -> Actor:
    """Deskwire itself: inactivity, closing, housekeeping."""
    return Actor(account_id=account_id, kind=ActorKind.SYSTEM, access=EVERYTHING)


async def load_actor(account_id: UUID, user_id: UUID) -> Actor | None:
    """The user as he stands now, or None if he is gone or deactivated."""
    user = await User.get_or_none(id=user_id, account_id=account_id, active=True)
    return None if user is None else (await load_actors([user]))[0]


async def load_actors(users: Sequence[User]) -> list[Actor]:
    """The actors that these users are now, with at most three statements."""
    accesses = await load_accesses([user for user in users if user.kind is not UserKind.ADMIN and user.role_id])
    return [
        Actor(
            account_id=user.account_id,
            kind=ActorKind(user.kind),
            id=user.id,
            access=EVERYTHING if user.kind is UserKind.ADMIN else accesses.get(user.id, NOTHING),
        )
        for user in users
    ]


async def load_access(user: User) -> Access:
    """The access that a user's kind, role and memberships give him."""
    if user.kind is UserKind.ADMIN:
        return EVERYTHING
    return NOTHING if user.role_id is None else (await load_accesses([user]))[user.id]


async def load_accesses(users: Collection[User]) -> dict[UUID, Access]:
    """`load_access` for many users of one account, with three queries."""
    if not users:
        return {}
    held = {user.role_id for user in users if user.role_id}
    roles = {role.id: role for role in await rows_anywhere_by(Role, [*held])}
    identifiers = [user.id for user in users]
    groups = await groups_of(identifiers)
    organizations: dict[UUID, set[UUID]] = {}
    for each in await rows_anywhere_by(OrganizationMembership, identifiers, "user_id"):
        organizations.setdefault(each.user_id, set()).add(each.organization_id)
    return {
        user.id: _access(
            user,
            roles.get(user.role_id) if user.role_id else None,
            groups.get(user.id, frozenset()),
            frozenset(organizations.get(user.id, ())),
        )
        for user in users
    }


async def groups_of(users: Collection[UUID]) -> dict[UUID, frozenset[UUID]]:
    """The groups that each of these agents is a member of; who is in none is left out."""
    groups: dict[UUID, set[UUID]] = {}
    for each in await rows_anywhere_by(GroupMembership, list(users), "user_id"):
        groups.setdefault(each.user_id, set()).add(each.group_id)
    return {user_id: frozenset(found) for user_id, found in groups.items()}


def _access(user: User, role: Role | None, groups: frozenset[UUID], organizations: frozenset[UUID]) -> Access:
    if user.kind is UserKind.ADMIN:
        return EVERYTHING
    if user.kind is UserKind.END_USER or role is None:
        return NOTHING
    return Access(role.ticket_access, groups, organizations, frozenset(Permission(each) for each in role.permissions))


def access_to_json(access: Access) -> dict[str, Any]:
    """What an AGENT_ACCESS_CHANGED event keeps of the access that was."""
    return {
        "tickets": access.tickets.value,
        "groups": sorted(str(group) for group in access.groups),
        "organizations": sorted(str(organization) for organization in access.organizations),
        "permissions": sorted(permission.value for permission in access.permissions),
    }


def access_from_json(data: dict[str, Any]) -> Access:
    """The inverse of `access_to_json`."""
    return Access(
        tickets=TicketAccess(data["tickets"]),
        groups=frozenset(UUID(group) for group in data["groups"]),
        organizations=frozenset(UUID(organization) for organization in data["organizations"]),
        permissions=frozenset(Permission(permission) for permission in data["permissions"]),
    )
