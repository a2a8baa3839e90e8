"""Who is told the same: what decides what somebody sees, and a stand-in for all for whom that is equal.

This is a security boundary. An answer is made once for many people only if nothing was asked of the actor that tells
them apart; the stand-in notes what was asked, so a new field cannot forget to say that it is personal.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from uuid import UUID

from domain.actors import Access, Actor
from models import ActorKind, Event, Ticket, TicketAccess

Reach = tuple[str, UUID | None]
"""A part of an account that somebody reaches: all of it, a group, an organisation, what is an agent's or customer's."""

EVERYWHERE: Reach = ("all", None)
PARTS = ("group", "organization", "assignee")


class Asked(IntEnum):
    """What an answer has asked of its actor, hence with whom it may be shared."""

    NOTHING = 0
    """Everybody in the account who was let through to it."""
    ROLE = 1
    """All whose kind and access are equal."""
    PERSON = 2
    """Nobody else."""


@dataclass(frozen=True, slots=True)
class Viewers:
    """All actors of one account with one kind and access. `person` where that names one, or a question is personal."""

    account_id: UUID
    kind: ActorKind
    access: Access
    person: UUID | None

    @classmethod
    def of(cls, actor: Actor, *, personal: bool = False) -> Viewers:
        """Those whom this actor is one of."""
        return cls(actor.account_id, actor.kind, actor.access, actor.id if personal else actor.reach_id)

    @property
    def actor(self) -> Actor:
        """One of them, without a name unless there is only one: for asking what they may see."""
        return Actor(self.account_id, self.kind, self.person, self.access)

    def reaches(self) -> Iterator[Reach]:
        """The parts of the account in which something can happen that they may see."""
        if self.kind is ActorKind.END_USER:
            yield ("customer", self.person)
        elif self.access.tickets is TicketAccess.ALL:
            yield EVERYWHERE
        elif self.access.tickets is TicketAccess.GROUPS:
            yield from (("group", group) for group in self.access.groups)
        elif self.access.tickets is TicketAccess.ORGANIZATIONS:
            yield from (("organization", each) for each in self.access.organizations)
        else:
            yield ("assignee", self.person)


class Anyone(Actor):
    """One of the viewers, whoever it is. Notes what he is asked.

    Who asks for his id where the viewers are many gets None: the answer is thrown away, and made for each of them.
    """

    __slots__ = ("_viewers", "asked")

    def __init__(self, viewers: Viewers) -> None:
        # Not Actor's own, which would store what is computed here.
        for name, value in (("account_id", viewers.account_id), ("_viewers", viewers), ("asked", Asked.NOTHING)):
            object.__setattr__(self, name, value)

    def _note(self, asked: Asked) -> None:
        object.__setattr__(self, "asked", max(self.asked, asked))

    @property
    def kind(self) -> ActorKind:
        self._note(Asked.ROLE)
        return self._viewers.kind

    @property
    def access(self) -> Access:
        self._note(Asked.ROLE)
        return self._viewers.access

    @property
    def id(self) -> UUID | None:
        self._note(self._person)
        return self._viewers.person

    @property
    def token_id(self) -> UUID | None:
        self._note(self._person)
        return None  # one person's connections are told the same, whatever their tokens

    @property
    def token_expires_at(self) -> datetime | None:
        self._note(self._person)
        return None

    @property
    def _person(self) -> Asked:
        return Asked.ROLE if self._viewers.person is not None else Asked.PERSON

    _viewers: Viewers
    asked: Asked


def reaches_of(event: Event, now: Ticket | None) -> set[Reach]:
    """The parts of the account that an event happened in: by its ticket before, after, and as it is."""
    reaches: set[Reach] = {EVERYWHERE}
    for attributes in (event.ticket_before, event.ticket_after):
        if attributes is not None:
            reaches |= {(part, UUID(value)) for part in PARTS if (value := attributes.get(f"{part}_id"))}
    if now is not None:
        reaches |= {(part, value) for part in PARTS if (value := getattr(now, f"{part}_id"))}
    if customer := event.payload.get("customer"):
        reaches.add(("customer", UUID(customer)))
    return reaches
