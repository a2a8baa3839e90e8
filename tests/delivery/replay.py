"""Who could see which ticket when, replayed from the log: what streams are held against."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from domain.actors import Access, Actor, access_from_json, load_actor
from domain.visibility import Audience, audience_from_json, reaches
from models import Event, EventType
from schema.ids import encode_id


@dataclass(frozen=True)
class Replay:
    """The log of an account, and what its people may reach now."""

    account_id: UUID
    events: list[Event]
    accesses: dict[UUID, Access]

    @classmethod
    async def of(cls, account_id: UUID, people: list[Actor]) -> Replay:
        now = [await load_actor(account_id, actor.id) for actor in people if actor.id]
        events = await Event.filter(account_id=account_id).order_by("position")
        return cls(account_id, events, {actor.id: actor.access for actor in now if actor and actor.id})

    @property
    def head(self) -> int:
        return int(self.events[-1].position)

    def access(self, user_id: UUID, at: int) -> Access:
        """His access behind the event at this position."""
        later = [event for event in self.events if changes(event, user_id) and event.position > at]
        return access_from_json(later[0].payload["before"]) if later else self.accesses[user_id]

    def audience(self, ticket_id: UUID, at: int) -> Audience:
        """Who could see a ticket behind the event at this position."""
        told = [event for event in self.events if event.ticket_id == ticket_id and event.position <= at]
        assert told[-1].ticket_after is not None
        return audience_from_json(self.account_id, told[-1].ticket_after)

    def sees(self, user_id: UUID, ticket_id: UUID, at: int) -> bool:
        return reaches(self.access(user_id, at), user_id, self.audience(ticket_id, at))

    def views(self, user_id: UUID, ticket_id: UUID, since: int) -> set[bool]:
        """What may have come out when he was looked at, and the ticket, at any two moments from there on."""
        moments = range(since, self.head + 1)
        accesses = {self.access(user_id, at) for at in moments}
        audiences = {self.audience(ticket_id, at) for at in moments}
        return {reaches(access, user_id, audience) for access in accesses for audience in audiences}

    def rows(self, user_id: UUID, tickets: list[UUID], at: int) -> set[str]:
        """The global ids of the tickets that a list shows him behind the event at this position."""
        return {encode_id("Ticket", each) for each in tickets if self.sees(user_id, each, at)}

    def activity(self, user_id: UUID, ticket_id: UUID, since: int) -> list[int]:
        """Where the events stand that the stream of a ticket tells him: its own, and the changes of his access."""
        told = [event for event in self.events if event.ticket_id == ticket_id or changes(event, user_id)]
        return [event.position for event in told if event.position > since]

    def revocation(self, token_id: UUID | None) -> int | None:
        """Where a token was revoked."""
        revoked = (event for event in self.events if event.type is EventType.TOKEN_REVOKED)
        return next((event.position for event in revoked if event.payload["token"] == str(token_id)), None)


def changes(event: Event, user_id: UUID) -> bool:
    """Whether an event is a change of his access."""
    return event.type is EventType.AGENT_ACCESS_CHANGED and event.payload["user"] == str(user_id)
