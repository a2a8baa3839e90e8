"""What the account's log says of changed people and roles."""

from __future__ import annotations

from typing import Any

from domain.actors import Access, access_to_json, load_access
from models import GroupMembership, OrganizationMembership, Permission, Role, User


async def person_to_json(user: User) -> dict[str, Any]:
    """Somebody who works here, as the log compares him: also what his role gives him, and where he is a member."""
    access = access_to_json(await load_access(user))
    groups = await GroupMembership.filter(user_id=user.id).values_list("group_id", flat=True)
    organizations = await OrganizationMembership.filter(user_id=user.id).values_list("organization_id", flat=True)
    return {
        "name": user.name,
        "email": user.email,
        "kind": user.kind.value,
        "role": str(user.role_id) if user.role_id else None,
        "ticketAccess": access["tickets"],
        "permissions": access["permissions"],
        "groups": sorted(map(str, groups)),
        "organizations": sorted(map(str, organizations)),
        "active": user.active,
    }


def changes_between(
    before: dict[str, Any], after: dict[str, Any], *, personal: tuple[str, ...] = ("name", "email")
) -> list[dict[str, Any]]:
    """The fields that differ, for the log.

    Of what is personal it keeps that it changed, and not what: the log is for ever, and a person's data is not.
    """
    changed = [(name, before.get(name), value) for name, value in after.items() if before.get(name) != value]
    return [
        {"field": name, "from": None, "to": None} if name in personal else {"field": name, "from": was, "to": value}
        for name, was, value in changed
    ]


def access_of(role: Role) -> Access:
    """The access that a role gives to somebody without groups and organisations."""
    return Access(tickets=role.ticket_access, permissions=frozenset(map(Permission, role.permissions)))


def role_to_json(role: Role) -> dict[str, Any]:
    """A role as the log shows it."""
    permissions = sorted(role.permissions)
    return {"name": role.name, "ticketAccess": role.ticket_access.value, "permissions": permissions}
