"""Users, and what decides which tickets they reach: roles, groups, organisations."""

from __future__ import annotations

from enum import StrEnum
from typing import Any
from uuid import UUID

from tortoise import fields
from tortoise.migrations.constraints import CheckConstraint, UniqueConstraint

from models.base import Row, account_key, link


class UserKind(StrEnum):
    END_USER = "END_USER"
    AGENT = "AGENT"
    ADMIN = "ADMIN"
    PARTNER = "PARTNER"


class TicketAccess(StrEnum):
    """Which tickets a role reaches."""

    ALL = "ALL"
    GROUPS = "GROUPS"
    ORGANIZATIONS = "ORGANIZATIONS"
    ASSIGNED = "ASSIGNED"


class Permission(StrEnum):
    """What a role may do to the tickets that it reaches, and to the account."""

    EDIT_TICKETS = "EDIT_TICKETS"
    PUBLIC_COMMENTS = "PUBLIC_COMMENTS"
    INTERNAL_NOTES = "INTERNAL_NOTES"
    MESSAGING = "MESSAGING"
    END_OTHERS_SESSIONS = "END_OTHERS_SESSIONS"
    REDACT_COMMENTS = "REDACT_COMMENTS"
    MANAGE_CHANNELS = "MANAGE_CHANNELS"
    MANAGE_MACROS = "MANAGE_MACROS"
    MANAGE_PEOPLE = "MANAGE_PEOPLE"
    VIEW_AUDIT_LOG = "VIEW_AUDIT_LOG"
    MANAGE_TRIGGERS = "MANAGE_TRIGGERS"
    MANAGE_ROUTING = "MANAGE_ROUTING"
    EDIT_END_USERS = "EDIT_END_USERS"
    MERGE_TICKETS = "MERGE_TICKETS"
    DELETE_TICKETS = "DELETE_TICKETS"
    ACT_AS_BOT = "ACT_AS_BOT"


class Suspension(StrEnum):
    """What a suspended end user can no longer do."""

    MESSAGING = "MESSAGING"
    ALL = "ALL"


class Role(Row):
    """A named set of permissions with a ticket access."""

    account: Any = account_key()
    account_id: UUID
    name = fields.CharField(max_length=100)
    ticket_access = fields.CharEnumField(TicketAccess, max_length=16)
    permissions: list[str] = fields.JSONField()

    class Meta:
        table = "roles"
        constraints = (UniqueConstraint(fields=("account_id", "name"), name="role_names_are_unique"),)


class Group(Row):
    account: Any = account_key()
    account_id: UUID
    name = fields.CharField(max_length=100)

    class Meta:
        table = "groups"
        constraints = (UniqueConstraint(fields=("account_id", "name"), name="group_names_are_unique"),)


class Organization(Row):
    account: Any = account_key()
    account_id: UUID
    name = fields.CharField(max_length=100)

    class Meta:
        table = "organizations"
        constraints = (UniqueConstraint(fields=("account_id", "name"), name="organization_names_are_unique"),)


class User(Row):
    """Everyone: end users, agents, admins and integration partners."""

    account: Any = account_key()
    account_id: UUID
    kind = fields.CharEnumField(UserKind, max_length=16)
    name = fields.CharField(max_length=200)
    email = fields.CharField(max_length=320, null=True)
    email_verified = fields.BooleanField(default=False)
    role: Any = link("Role", null=True)
    role_id: UUID | None
    # The organisation that an end user belongs to. Agents have memberships instead.
    organization: Any = link("Organization", null=True)
    organization_id: UUID | None
    active = fields.BooleanField(default=True)
    suspension: Any = fields.CharEnumField(Suspension, max_length=16, null=True)
    suspended_at = fields.DatetimeField(null=True)
    created_at = fields.DatetimeField()

    class Meta:
        table = "users"
        constraints = (
            UniqueConstraint(fields=("account_id", "email"), name="email_addresses_are_unique"),
            CheckConstraint(check="kind IN ('END_USER', 'ADMIN') OR role_id IS NOT NULL", name="agents_have_a_role"),
        )


class GroupMembership(Row):
    """An agent's membership in a group."""

    account: Any = account_key()
    account_id: UUID
    user: Any = link("User")
    user_id: UUID
    group: Any = link("Group")
    group_id: UUID

    class Meta:
        table = "group_memberships"
        constraints = (UniqueConstraint(fields=("user_id", "group_id"), name="one_membership_per_group"),)


class OrganizationMembership(Row):
    """An organisation that an agent looks after."""

    account: Any = account_key()
    account_id: UUID
    user: Any = link("User")
    user_id: UUID
    organization: Any = link("Organization")
    organization_id: UUID

    class Meta:
        table = "organization_memberships"
        constraints = (UniqueConstraint(fields=("user_id", "organization_id"), name="one_membership_per_organization"),)
