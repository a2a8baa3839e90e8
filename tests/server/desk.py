"""An account in the database of a server, written to by this process beside it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from deskwire.config import DEVELOPMENT_KEY
from domain.actors import Actor
from domain.people import IssuedToken, issue_token
from domain.transactions import Call, Transaction, unit_of_work
from models import Account, EventType, Ticket, User, utc_now
from models.database import opened
from schema.ids import encode_id
from subscriptions.resume import Cursors, Position
from tests.factories import World

LIFE = timedelta(days=1)
CURSORS = Cursors(DEVELOPMENT_KEY.encode(), retention=LIFE)


@dataclass
class Desk:
    """A ticket whose events are cheap to make, and tokens of those who follow it."""

    url: str
    world: World
    ticket: Ticket

    @classmethod
    @asynccontextmanager
    async def opened(cls, url: str, slug: str = "acme") -> AsyncIterator[Desk]:
        """The database stays open in this process."""
        async with opened(url):
            yield await cls.on(url, slug)

    @classmethod
    async def on(cls, url: str, slug: str = "acme") -> Desk:
        """The same where it is open already."""
        world = await World.create(slug)
        return cls(url, world, await world.live_ticket())

    @property
    def ticket_id(self) -> str:
        return encode_id("Ticket", self.ticket.id)

    async def token(self, actor: Actor, life: timedelta = LIFE) -> IssuedToken:
        return await issue_token(await User.get(id=actor.id), "test", utc_now(), life=life)

    async def cursor(self) -> str:
        """That of the log's head."""
        account = await Account.get(id=self.world.id)
        return CURSORS.write(Position(account.id, account.epoch, account.last_position))

    async def put(self, **fields: UUID) -> None:
        """Set fields of the ticket behind the back of the domain."""
        await Ticket.filter(id=self.ticket.id).update(**fields)

    async def burst(self, count: int, ticket: Ticket | None = None) -> list[int]:
        """So many events on the ticket, or another one, in one transaction. Their numbers on it."""
        identifier = (ticket or self.ticket).id

        async def work(tx: Transaction) -> list[int]:
            row = await Ticket.filter(id=identifier).select_for_update().get()
            tx.follow(row)
            made = [tx.record(EventType.MACRO_APPLIED, ticket=row, macro="", title="") for _ in range(count)]
            return [event.ticket_sequence or 0 for event in made]

        return await unit_of_work(Call(self.world.system), work)
