"""Roles: making and deleting them. Changing one changes people, hence `domain.people.update_role`."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from domain.authority import check_can_manage_people, check_within
from domain.changes import access_of, changes_between, role_to_json
from domain.errors import InvalidInput, NotFound
from domain.idempotency import once
from domain.locks import confirm_actor
from domain.names import check_name_is_free, clean_name
from domain.transactions import Call, Transaction, unit_of_work
from models import Permission, Role, TicketAccess, User, UserKind, new_id


@dataclass(frozen=True, slots=True)
class CreatedRole:
    """The verdict of `create_role`."""

    role_id: UUID


async def create_role(
    call: Call, *, name: str, ticket_access: TicketAccess, permissions: frozenset[Permission]
) -> CreatedRole:
    """A new role, with no more in it than who makes it has. Raises Forbidden, InvalidInput."""
    name = clean_name(name)

    async def work(tx: Transaction) -> CreatedRole:
        actor = await confirm_actor(tx)
        check_can_manage_people(actor)
        await check_name_is_free(Role.filter(account_id=tx.account_id), name)
        role = Role(
            id=new_id(),
            account_id=tx.account_id,
            name=name,
            ticket_access=ticket_access,
            permissions=sorted(permissions),
        )
        check_within(actor, UserKind.AGENT, access_of(role))
        await role.save()
        await tx.log("ROLE_CREATED", f"Role {role.id}", changes_between({}, role_to_json(role), personal=()))
        return CreatedRole(role.id)

    inputs = {"name": name, "ticket_access": ticket_access.value, "permissions": sorted(permissions)}
    return await once(call, "saveRole", inputs, CreatedRole, work)


async def delete_role(call: Call, role_id: UUID) -> None:
    """Delete a role that nobody has, also nobody who is deactivated. Raises Forbidden, NotFound, InvalidInput."""

    async def work(tx: Transaction) -> None:
        actor = await confirm_actor(tx)
        check_can_manage_people(actor)
        role = await Role.filter(id=role_id, account_id=tx.account_id).select_for_update().get_or_none()
        if role is None:
            raise NotFound
        check_within(actor, UserKind.AGENT, access_of(role))
        holders = await User.filter(account_id=tx.account_id, role_id=role.id).count()
        if holders:
            raise InvalidInput(
                f"{holders} still have this role, the deactivated ones included. Give them another one first.",
                field=("roleId",),
            )
        await role.delete()
        await tx.log("ROLE_DELETED", f"Role {role.id}", [{"field": "name", "from": role.name, "to": None}])

    await unit_of_work(call, work)
