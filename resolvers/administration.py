"""The admin console: people, roles, groups, organisations."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from strawberry import ID, UNSET

from domain.agents import reactivate, save_agent
from domain.directory import agent_of, organizations_page
from domain.end_users import end_users_page, save_end_user
from domain.errors import InvalidInput
from domain.groups import delete_group, save_group
from domain.organizations import delete_organization, save_organization
from domain.people import deactivate, update_role
from domain.roles import create_role, delete_role
from resolvers.answers import answering, staff
from schema.administration import (
    DeactivateAgentInput,
    DeactivateAgentPayload,
    DeleteGroupInput,
    DeleteGroupPayload,
    DeleteOrganizationInput,
    DeleteOrganizationPayload,
    DeleteRoleInput,
    DeleteRolePayload,
    ReactivateAgentInput,
    ReactivateAgentPayload,
    SaveAgentInput,
    SaveAgentPayload,
    SaveEndUserInput,
    SaveEndUserPayload,
    SaveGroupInput,
    SaveGroupPayload,
    SaveOrganizationInput,
    SaveOrganizationPayload,
    SaveRoleInput,
    SaveRolePayload,
)
from schema.context import Info
from schema.ids import decode_id, decode_optional
from schema.paging import Connection, check_first, decode_name, keyset_page
from schema.payloads import given
from schema.people import Agent, EndUser, Group, Organization, Role


async def agent(info: Info, id: ID) -> Agent | None:
    row = await agent_of(staff(info), decode_id("Agent", id, field="id"))
    return Agent.of(row) if row else None


async def organizations(info: Info, first: int, after: str | None = None) -> Connection[Organization]:
    rows = await organizations_page(staff(info), check_first(first), decode_name(after))
    return keyset_page(rows, first, after=after is not None, key=lambda row: (row.name, row.id), node=Organization.of)


async def end_users(info: Info, first: int, after: str | None = None, search: str | None = None) -> Connection[EndUser]:
    rows = await end_users_page(staff(info), check_first(first), decode_name(after), search=search)
    return keyset_page(rows, first, after=after is not None, key=lambda row: (row.name, row.id), node=EndUser.of)


def _optional(kind: str, value: ID | None, field: str) -> Any:
    """What is left out stays left out."""
    return UNSET if value is UNSET else decode_optional(kind, value, field=field)


def _several(kind: str, values: list[ID] | None, field: str) -> Any:
    if values is UNSET or values is None:
        return values
    return frozenset(decode_id(kind, value, field=field) for value in values)


async def _agent(info: Info, user_id: UUID) -> Agent | None:
    row = await info.context.loaders.users.load(user_id)
    return Agent.of(row) if row else None


@answering(SaveAgentPayload)
async def resolve_save_agent(info: Info, input: SaveAgentInput) -> SaveAgentPayload:
    values = given(
        name=input.name,
        email=input.email,
        kind=input.kind,
        role_id=_optional("Role", input.role_id, "roleId"),
        group_ids=_several("Group", input.group_ids, "groupIds"),
        organization_ids=_several("Organization", input.organization_ids, "organizationIds"),
    )
    saved = await save_agent(
        info.context.call(client_id=input.client_id, idempotency_key=input.idempotency_key),
        values,
        user_id=decode_optional("Agent", input.agent_id, field="agentId"),
    )
    return SaveAgentPayload(agent=await _agent(info, saved.user_id))


@answering(DeactivateAgentPayload)
async def resolve_deactivate_agent(info: Info, input: DeactivateAgentInput) -> DeactivateAgentPayload:
    user_id = decode_id("Agent", input.agent_id, field="agentId")
    await deactivate(info.context.call(client_id=input.client_id), user_id)
    return DeactivateAgentPayload(agent=await _agent(info, user_id))


@answering(ReactivateAgentPayload)
async def resolve_reactivate_agent(info: Info, input: ReactivateAgentInput) -> ReactivateAgentPayload:
    user_id = decode_id("Agent", input.agent_id, field="agentId")
    await reactivate(info.context.call(client_id=input.client_id), user_id)
    return ReactivateAgentPayload(agent=await _agent(info, user_id))


@answering(SaveEndUserPayload)
async def resolve_save_end_user(info: Info, input: SaveEndUserInput) -> SaveEndUserPayload:
    values = given(
        name=input.name,
        email=input.email,
        email_verified=input.email_verified,
        organization_id=_optional("Organization", input.organization_id, "organizationId"),
    )
    saved = await save_end_user(
        info.context.call(idempotency_key=input.idempotency_key),
        values,
        user_id=decode_optional("User", input.user_id, field="userId"),
    )
    row = await info.context.loaders.users.load(saved.user_id)
    return SaveEndUserPayload(end_user=EndUser.of(row) if row else None)


@answering(SaveRolePayload)
async def resolve_save_role(info: Info, input: SaveRoleInput) -> SaveRolePayload:
    call = info.context.call(client_id=input.client_id, idempotency_key=input.idempotency_key)
    permissions = None if input.permissions is None else frozenset(input.permissions)
    role_id = decode_optional("Role", input.role_id, field="roleId")
    if role_id is not None:
        await update_role(call, role_id, name=input.name, ticket_access=input.ticket_access, permissions=permissions)
    elif input.name is None or input.ticket_access is None or permissions is None:
        missing = "name" if input.name is None else "permissions" if permissions is None else "ticketAccess"
        raise InvalidInput("A new role needs a name, a ticket access and its permissions.", field=(missing,))
    else:
        created = await create_role(call, name=input.name, ticket_access=input.ticket_access, permissions=permissions)
        role_id = created.role_id
    row = await info.context.loaders.roles.load(role_id)
    return SaveRolePayload(role=Role.of(row) if row else None)


@answering(DeleteRolePayload)
async def resolve_delete_role(info: Info, input: DeleteRoleInput) -> DeleteRolePayload:
    await delete_role(info.context.call(), decode_id("Role", input.role_id, field="roleId"))
    return DeleteRolePayload(deleted=True)


@answering(SaveGroupPayload)
async def resolve_save_group(info: Info, input: SaveGroupInput) -> SaveGroupPayload:
    saved = await save_group(
        info.context.call(idempotency_key=input.idempotency_key),
        name=input.name,
        group_id=decode_optional("Group", input.group_id, field="groupId"),
    )
    row = await info.context.loaders.groups.load(saved.group_id)
    return SaveGroupPayload(group=Group.of(row) if row else None)


@answering(DeleteGroupPayload)
async def resolve_delete_group(info: Info, input: DeleteGroupInput) -> DeleteGroupPayload:
    call = info.context.call(client_id=input.client_id)
    await delete_group(call, decode_id("Group", input.group_id, field="groupId"))
    return DeleteGroupPayload(deleted=True)


@answering(SaveOrganizationPayload)
async def resolve_save_organization(info: Info, input: SaveOrganizationInput) -> SaveOrganizationPayload:
    saved = await save_organization(
        info.context.call(idempotency_key=input.idempotency_key),
        name=input.name,
        organization_id=decode_optional("Organization", input.organization_id, field="organizationId"),
    )
    row = await info.context.loaders.organizations.load(saved.organization_id)
    return SaveOrganizationPayload(organization=Organization.of(row) if row else None)


@answering(DeleteOrganizationPayload)
async def resolve_delete_organization(info: Info, input: DeleteOrganizationInput) -> DeleteOrganizationPayload:
    call = info.context.call(client_id=input.client_id)
    await delete_organization(call, decode_id("Organization", input.organization_id, field="organizationId"))
    return DeleteOrganizationPayload(deleted=True)
