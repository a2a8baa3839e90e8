"""People, roles, groups, and who is asking."""

from __future__ import annotations

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
    name: str

    @classmethod
    def of(cls, row: models.Group) -> Group:
        return cls(id=encode_id("Group", row.id), name=row.name)


@strawberry.type(description="What its holders reach and may do.")
class Role(Node):
    name: str
    ticket_access: TicketAccess
    permissions: list[Permission]

    @classmethod
    def of(cls, row: models.Role) -> Role:
        permissions = [Permission(permission) for permission in row.permissions]
        return cls(
            id=encode_id("Role", row.id), name=row.name, ticket_access=row.ticket_access, permissions=permissions
        )


@strawberry.type(description="Somebody who answers: an agent or an admin.")
class Agent(Node):
    row: strawberry.Private[models.User]
    name: str
    email: str | None

    @classmethod
    def of(cls, row: models.User) -> Agent:
        return cls(id=encode_id("Agent", row.id), row=row, name=row.name, email=row.email)

    @strawberry.field(description="Null for admins, who may do everything.")
    async def role(self, info: Info) -> Role | None:
        if self.row.role_id is None:
            return None
        row = await info.context.loaders.roles.load(self.row.role_id)
        return Role.of(row) if row else None

    @strawberry.field(description="The groups that the agent is a member of.")
    async def groups(self, info: Info) -> list[Group]:
        return [Group.of(row) for row in await info.context.loaders.groups_of.load(self.row.id)]

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
