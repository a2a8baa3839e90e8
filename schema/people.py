"""People, roles, groups, and who is asking."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import strawberry
from strawberry import ID

import models
from models import ActorKind, Permission, Suspension, TicketAccess, UserKind
from schema.availability import Availability, availability_of
from schema.context import Info
from schema.ids import encode_id


@strawberry.interface(description="Something with a global id.")
class Node:
    id: ID


@strawberry.type(description="Who did something: a person, a trigger, a bot, or Deskwire itself.")
class Actor:
    kind: ActorKind
    id: ID | None
    name: str


SYSTEM_NAMES = {ActorKind.SYSTEM: "Deskwire", ActorKind.TRIGGER: "Trigger", ActorKind.BOT: "Bot"}


async def actor_of(info: Info, kind: ActorKind, identifier: object) -> Actor:
    """The actor that a row names by kind and id."""
    if identifier is not None and kind is ActorKind.BOT:
        bot = await info.context.loaders.bots.load(identifier)  # type: ignore[arg-type]
        return Actor(kind=kind, id=None, name=bot.name if bot else SYSTEM_NAMES[kind])
    if kind is ActorKind.TRIGGER and identifier is not None:
        trigger = await info.context.loaders.triggers.load(identifier)  # type: ignore[arg-type]
        name = trigger.title if trigger else SYSTEM_NAMES[kind]
        return Actor(kind=kind, id=encode_id("Trigger", identifier), name=name)  # type: ignore[arg-type]
    if identifier is None or kind in SYSTEM_NAMES:
        return Actor(kind=kind, id=None, name=SYSTEM_NAMES.get(kind, kind.value.title()))
    user = await info.context.loaders.users.load(identifier)  # type: ignore[arg-type]
    return Actor(kind=kind, id=encode_id("User", identifier), name=user.name if user else "Somebody")  # type: ignore[arg-type]


@strawberry.type(description="A person of the account.")
class User(Node):
    row: strawberry.Private[models.User]
    name: str
    email: str | None
    role: UserKind

    @classmethod
    def of(cls, row: models.User) -> User:
        return cls(id=encode_id("User", row.id), row=row, name=row.name, email=row.email, role=row.kind)

    @strawberry.field(description="What a suspended customer cannot do. He himself is not told (R140).")
    def suspension(self, info: Info) -> Suspension | None:
        return self.row.suspension if info.context.actor.is_staff else None


@strawberry.type(description="A team of agents.")
class Group(Node):
    row_id: strawberry.Private[UUID]
    name: str

    @classmethod
    def of(cls, row: models.Group) -> Group:
        return cls(id=encode_id("Group", row.id), row_id=row.id, name=row.name)

    @strawberry.field(description="Who is in it, by name; without those who are deactivated.")
    async def members(self, info: Info) -> list[User]:
        return [User.of(row) for row in await info.context.loaders.members_of.load(self.row_id)]


@strawberry.type(description="What its holders reach and may do.")
class Role(Node):
    row_id: strawberry.Private[UUID]
    name: str
    ticket_access: TicketAccess
    permissions: list[Permission]

    @classmethod
    def of(cls, row: models.Role) -> Role:
        return cls(
            id=encode_id("Role", row.id),
            row_id=row.id,
            name=row.name,
            ticket_access=row.ticket_access,
            permissions=[Permission(permission) for permission in row.permissions],
        )

    @strawberry.field(description="How many have it, those who are deactivated included.")
    async def holder_count(self, info: Info) -> int:
        return await info.context.loaders.holders_of.load(self.row_id)


@strawberry.type(description="An organisation that customers belong to.")
class Organization(Node):
    name: str

    @classmethod
    def of(cls, row: models.Organization) -> Organization:
        return cls(id=encode_id("Organization", row.id), name=row.name)


@strawberry.type(description="A customer, as those who answer see him. His id is that of the User.")
class EndUser(Node):
    organization_id: strawberry.Private[UUID | None]
    name: str
    email: str | None
    email_verified: bool
    created_at: datetime

    @classmethod
    def of(cls, row: models.User) -> EndUser:
        return cls(
            id=encode_id("User", row.id),
            organization_id=row.organization_id,
            name=row.name,
            email=row.email,
            email_verified=row.email_verified,
            created_at=row.created_at,
        )

    @strawberry.field(description="Where he belongs; new tickets of his get it.")
    async def organization(self, info: Info) -> Organization | None:
        if self.organization_id is None:
            return None
        row = await info.context.loaders.organizations.load(self.organization_id)
        return Organization.of(row) if row else None


@strawberry.type(description="Somebody who answers: an agent or an admin.")
class Agent(Node):
    row: strawberry.Private[models.User]
    name: str
    email: str | None
    kind: UserKind
    active: bool

    @classmethod
    def of(cls, row: models.User) -> Agent:
        return cls(
            id=encode_id("Agent", row.id),
            row=row,
            name=row.name,
            email=row.email,
            kind=row.kind,
            active=row.active,
        )

    @strawberry.field(description="The same person as tickets and tokens name him.")
    def user(self) -> User:
        return User.of(self.row)

    @strawberry.field(description="Null for admins, who may do everything.")
    async def role(self, info: Info) -> Role | None:
        if self.row.role_id is None:
            return None
        row = await info.context.loaders.roles.load(self.row.role_id)
        return Role.of(row) if row else None

    @strawberry.field(description="The groups that the agent is a member of.")
    async def groups(self, info: Info) -> list[Group]:
        return [Group.of(row) for row in await info.context.loaders.groups_of.load(self.row.id)]

    @strawberry.field(description="The organisations that the agent looks after, by name.")
    async def organizations(self, info: Info) -> list[Organization]:
        return [Organization.of(row) for row in await info.context.loaders.organizations_of.load(self.row.id)]

    @strawberry.field(description="Whether the agent takes work, and how much there is.")
    async def availability(self, info: Info) -> Availability | None:
        return await availability_of(info, self.row.id)


@strawberry.type(description="A support organisation.")
class Account(Node):
    name: str

    @classmethod
    def of(cls, row: models.Account) -> Account:
        return cls(id=encode_id("Account", row.id), name=row.name)


@strawberry.type(description="Who is asking.")
class Viewer:
    token_id: ID | None = strawberry.field(description="The token that was used: revoke it to log out.")
    user: User
    account: Account
    permissions: list[Permission]
    row: strawberry.Private[models.User]

    @strawberry.field(description="Null for those who answer nobody.")
    async def availability(self, info: Info) -> Availability | None:
        staff = self.row.kind in (UserKind.AGENT, UserKind.ADMIN)
        return await availability_of(info, self.row.id) if staff else None
