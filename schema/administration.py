"""Inputs and payloads of the admin console: people, roles, groups, organisations."""

from __future__ import annotations

import strawberry
from strawberry import ID, UNSET

from models import Permission, TicketAccess, UserKind
from schema.payloads import Payload, client_id, idempotency_key
from schema.people import Agent, EndUser, Group, Organization, Role


@strawberry.input(description="Make somebody who works here, or change him. What is left out stays.")
class SaveAgentInput:
    agent_id: ID | None = strawberry.field(default=None, description="Null makes somebody new.")
    name: str | None = UNSET
    email: str | None = UNSET
    kind: UserKind | None = strawberry.field(default=UNSET, description="AGENT, ADMIN or PARTNER; at first AGENT.")
    role_id: ID | None = strawberry.field(default=UNSET, description="Agents and partners have one, admins have none.")
    group_ids: list[ID] | None = strawberry.field(default=UNSET, description="Exactly the groups to be in.")
    organization_ids: list[ID] | None = strawberry.field(
        default=UNSET, description="Exactly the organisations to look after."
    )
    idempotency_key: str | None = idempotency_key()
    client_id: str | None = client_id()
    client_mutation_id: str | None = None


@strawberry.type(description="The agent as he is now.")
class SaveAgentPayload(Payload):
    agent: Agent | None = None


@strawberry.input(description="Take somebody's account away: his calls are refused, his sockets close.")
class DeactivateAgentInput:
    agent_id: ID
    client_id: str | None = client_id()
    client_mutation_id: str | None = None


@strawberry.type(description="The agent as he is now.")
class DeactivateAgentPayload(Payload):
    agent: Agent | None = None


@strawberry.input(description="Give somebody his account back. Tokens of before stay worthless.")
class ReactivateAgentInput:
    agent_id: ID
    client_id: str | None = client_id()
    client_mutation_id: str | None = None


@strawberry.type(description="The agent as he is now.")
class ReactivateAgentPayload(Payload):
    agent: Agent | None = None


@strawberry.input(description="Make a customer, or change one. What is left out stays.")
class SaveEndUserInput:
    user_id: ID | None = strawberry.field(default=None, description="Null makes somebody new.")
    name: str | None = UNSET
    email: str | None = UNSET
    email_verified: bool | None = strawberry.field(
        default=UNSET, description="Whether mails may be sent there. A new address is not verified unless this says so."
    )
    organization_id: ID | None = UNSET
    idempotency_key: str | None = idempotency_key()
    client_mutation_id: str | None = None


@strawberry.type(description="The customer as he is now.")
class SaveEndUserPayload(Payload):
    end_user: EndUser | None = None


@strawberry.input(description="Make a role (all of its values are needed), or change one. What is left out stays.")
class SaveRoleInput:
    role_id: ID | None = strawberry.field(default=None, description="Null makes a new one.")
    name: str | None = None
    ticket_access: TicketAccess | None = None
    permissions: list[Permission] | None = None
    idempotency_key: str | None = idempotency_key()
    client_id: str | None = client_id()
    client_mutation_id: str | None = None


@strawberry.type(description="The role as it is now.")
class SaveRolePayload(Payload):
    role: Role | None = None


@strawberry.input(description="Delete a role that nobody has.")
class DeleteRoleInput:
    role_id: ID
    client_mutation_id: str | None = None


@strawberry.type(description="The role is gone.")
class DeleteRolePayload(Payload):
    deleted: bool = False


@strawberry.input(description="Make a group, or rename one.")
class SaveGroupInput:
    group_id: ID | None = strawberry.field(default=None, description="Null makes a new one.")
    name: str
    idempotency_key: str | None = idempotency_key()
    client_mutation_id: str | None = None


@strawberry.type(description="The group as it is now.")
class SaveGroupPayload(Payload):
    group: Group | None = None


@strawberry.input(description="Delete a group that no ticket, queue, trigger or shared macro names.")
class DeleteGroupInput:
    group_id: ID
    client_id: str | None = client_id()
    client_mutation_id: str | None = None


@strawberry.type(description="The group is gone, and its members are in it no more.")
class DeleteGroupPayload(Payload):
    deleted: bool = False


@strawberry.input(description="Make an organisation, or rename one.")
class SaveOrganizationInput:
    organization_id: ID | None = strawberry.field(default=None, description="Null makes a new one.")
    name: str
    idempotency_key: str | None = idempotency_key()
    client_mutation_id: str | None = None


@strawberry.type(description="The organisation as it is now.")
class SaveOrganizationPayload(Payload):
    organization: Organization | None = None


@strawberry.input(description="Delete an organisation without customers and tickets.")
class DeleteOrganizationInput:
    organization_id: ID
    client_id: str | None = client_id()
    client_mutation_id: str | None = None


@strawberry.type(description="The organisation is gone, and nobody looks after it any more.")
class DeleteOrganizationPayload(Payload):
    deleted: bool = False
