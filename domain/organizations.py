"""Organisations that customers belong to: making, renaming and deleting them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from tortoise.queryset import QuerySet

from domain.actors import Actor, load_access
from domain.authority import check_can_manage_people
from domain.errors import InvalidInput, NotFound
from domain.idempotency import once
from domain.locks import confirm_actor
from domain.names import check_name_is_free, clean_name
from domain.people import record_access
from domain.transactions import Call, Transaction, unit_of_work
from models import Organization, OrganizationMembership, Permission, Ticket, TicketAccess, User, new_id


@dataclass(frozen=True, slots=True)
class SavedOrganization:
    """The verdict of `save_organization`."""

    organization_id: UUID


def known_organizations(actor: Actor) -> QuerySet[Organization]:
    """Who reaches all tickets knows all organisations, and who manages people; others know those they look after."""
    rows = Organization.filter(account_id=actor.account_id)
    if actor.access.tickets is TicketAccess.ALL or actor.may(Permission.MANAGE_PEOPLE):
        return rows
    return rows.filter(id__in=list(actor.access.organizations))


async def save_organization(call: Call, *, name: str, organization_id: UUID | None = None) -> SavedOrganization:
    """Make an organisation, or rename one; the same name again is no change.

    Raises Forbidden, NotFound, InvalidInput.
    """
    name = clean_name(name)

    async def work(tx: Transaction) -> SavedOrganization:
        check_can_manage_people(await confirm_actor(tx))
        row = Organization(id=new_id(), account_id=tx.account_id, name="")
        if organization_id is not None:
            row = await _lock(tx, organization_id)
        if row.name != name:
            await check_name_is_free(Organization.filter(account_id=tx.account_id), name, but=row.id)
            before, row.name = row.name or None, name
            await row.save()
            action = "ORGANIZATION_RENAMED" if before else "ORGANIZATION_CREATED"
            await tx.log(action, f"Organization {row.id}", [{"field": "name", "from": before, "to": name}])
        return SavedOrganization(row.id)

    inputs = {"name": name, "organization_id": str(organization_id)}
    return await once(call, "saveOrganization", inputs, SavedOrganization, work)


async def _lock(tx: Transaction, organization_id: UUID) -> Organization:
    rows = Organization.filter(id=organization_id, account_id=tx.account_id)
    row = await rows.select_for_update().get_or_none()
    if row is None:
        raise NotFound("There is no such organisation.", field=("organizationId",))
    return row


async def delete_organization(call: Call, organization_id: UUID) -> None:
    """Delete an organisation without customers and tickets. Agents who look after it are told that they no longer do.

    Raises Forbidden, NotFound, InvalidInput.
    """

    async def work(tx: Transaction) -> None:
        check_can_manage_people(await confirm_actor(tx))
        await _lock_agents(tx, organization_id)  # the users first, as everywhere
        row = await _lock(tx, organization_id)
        if uses := await _uses(row):
            named = " and ".join(uses)
            raise InvalidInput(
                f"{named} belong to this organisation. Change them first, or rename it.", field=("organizationId",)
            )
        before = [(user, await load_access(user)) for user in await _lock_agents(tx, organization_id)]
        await OrganizationMembership.filter(organization_id=row.id).delete()
        await row.delete()
        agents = [str(user.id) for user, _ in before]
        changes: list[dict[str, Any]] = [
            {"field": "name", "from": row.name, "to": None},
            *([{"field": "agents", "from": agents, "to": []}] if agents else []),
        ]
        await tx.log("ORGANIZATION_DELETED", f"Organization {row.id}", changes)
        for user, access in before:
            if await load_access(user) != access:
                await record_access(tx, user, access)

    await unit_of_work(call, work)


async def _lock_agents(tx: Transaction, organization_id: UUID) -> list[User]:
    memberships = OrganizationMembership.filter(organization_id=organization_id, account_id=tx.account_id)
    agents = await memberships.values_list("user_id", flat=True)
    return await User.filter(id__in=list(agents)).order_by("id").select_for_update()


async def _uses(row: Organization) -> list[str]:
    counts = {
        "customers": await User.filter(organization_id=row.id).count(),
        "tickets": await Ticket.filter(organization_id=row.id).count(),
    }
    return [f"{count} {what}" for what, count in counts.items() if count]
