"""The accounts of a soak: who listens, who writes, and the mark that stands in all their texts."""

from __future__ import annotations

from dataclasses import dataclass, field
from uuid import UUID

from domain.actors import Actor
from domain.people import issue_token
from models import Role, TicketAccess, User, UserKind, new_id, utc_now
from models.database import opened
from schema.ids import encode_id
from tests.client import OPERATIONS
from tests.factories import World

ALL_ROWS = OPERATIONS["TicketList"]


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody with a token."""

    id: UUID
    token: str


@dataclass(frozen=True, slots=True)
class Listener:
    """Who listens to what. `kind` says which places of the log he is owed."""

    name: str
    person: Person
    operation: str
    kind: str
    ticket: str | None = None


@dataclass(frozen=True, slots=True)
class Desk:
    """One account. Its `fixed` tickets stay in the group of the agent who reaches only that."""

    account_id: UUID
    mark: str
    admin: Person
    agents: tuple[Person, ...]
    customers: tuple[Person, ...]
    leaver: Person
    narrow_role: str
    group: str
    fixed: tuple[UUID, ...]
    moving: str
    listeners: tuple[Listener, ...] = field(repr=False)

    @property
    def account(self) -> str:
        return str(self.account_id)


async def opened_desks(url: str, count: int) -> list[Desk]:
    """Put the accounts there."""
    async with opened(url):
        return [await _made() for _ in range(count)]


async def _made() -> Desk:
    mark = f"mark-{new_id().hex[-12:]}"
    world = await World.create(f"soak-{new_id().hex[-12:]}")
    await User.filter(id=world.admin.id).update(name=f"Ada {mark}")
    group = await world.group(f"Team {mark}")
    agents = [await world.agent(f"Agent {number} {mark}") for number in range(3)]
    grouped = await world.agent(f"Grouped {mark}", access=TicketAccess.GROUPS, groups=(group,))
    leaver = await world.agent(f"Leaver {mark}")
    partner = await world.agent(f"Partner {mark}", kind=UserKind.PARTNER)
    customers = [await world.customer(f"Customer {number} {mark}") for number in range(3)]
    fixed = [await world.live_ticket(customer=each, group=group) for each in customers[:2]]
    moving = await world.live_ticket(customer=customers[2])
    narrow: Role = await world.role(TicketAccess.GROUPS)
    people = {
        "admin": world.admin,
        "agent": agents[0],
        "partner": partner,
        "grouped": grouped,
        "leaver": leaver,
        "ends": agents[1],
        "activity": agents[2],
        "customer 1": customers[0],
        "customer 2": customers[1],
    }
    known = {name: await _person(actor) for name, actor in people.items()}
    watched = encode_id("Ticket", fixed[0].id)
    return Desk(
        account_id=world.id,
        mark=mark,
        admin=known["admin"],
        agents=(known["agent"], known["ends"]),
        customers=(known["customer 1"], known["customer 2"], await _person(customers[2])),
        leaver=known["leaver"],
        narrow_role=encode_id("Role", narrow.id),
        group=encode_id("Group", group.id),
        fixed=tuple(ticket.id for ticket in fixed),
        moving=encode_id("Ticket", moving.id),
        listeners=tuple(_listener(mark, name, person, watched) for name, person in known.items()),
    )


_STREAMS = {"ends": "SessionEnded", "activity": "TicketActivity", "customer 1": "MessageReceived"}
_STREAMS |= {"customer 2": "MessageReceived"}


def _listener(mark: str, name: str, person: Person, watched: str) -> Listener:
    operation = _STREAMS.get(name, "Inbox")
    kind = name if name in ("grouped", "leaver") else operation
    return Listener(f"{mark}: {name}", person, operation, kind, watched if operation == "TicketActivity" else None)


async def _person(actor: Actor) -> Person:
    assert actor.id is not None
    user = await User.get(id=actor.id)
    return Person(actor.id, (await issue_token(user, "soak", utc_now())).secret)
