"""Where the tests of this package play: an application, one account, and whoever listens to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from starlette.applications import Starlette

from domain.actors import Actor
from domain.transactions import Call, Transaction, unit_of_work
from models import Account, EventType, Ticket
from schema.ids import encode_id
from subscriptions.hub import Hub
from subscriptions.messages import PING
from tests.client import OPERATIONS, Client, Refused, Stream
from tests.conftest import SignIn
from tests.factories import World

SIGNALS = """
subscription ($ticketId: ID, $conversationId: ID) {
  conversationSignals(ticketId: $ticketId, conversationId: $conversationId) { kind side }
}
"""
TYPE = "mutation ($input: SendTypingInput!) { sendTyping(input: $input) { delivered userErrors { code } } }"
READ = "mutation ($input: MarkReadInput!) { markRead(input: $input) { marked userErrors { code } } }"


def ticket_id(ticket: Ticket) -> str:
    return encode_id("Ticket", ticket.id)


def user_id(actor: Actor) -> str:
    assert actor.id is not None
    return encode_id("User", actor.id)


async def until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait until it holds. Fails with TimeoutError."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  # what is waited for cannot tell
            await asyncio.sleep(0.002)


@dataclass
class Stage:
    app: Starlette
    world: World
    sign_in: SignIn
    clients: dict[UUID | None, Client] = field(default_factory=dict)

    @property
    def hub(self) -> Hub:
        hub: Hub = self.app.state.deskwire.hub
        return hub

    def feeds(self) -> int:
        """How many streams of the log are attached."""
        return sum(len(cohort.members) for tail in self.hub._tails.values() for cohort in tail.index)

    def listeners(self) -> int:
        """How many streams, of the log or of signals, have been taken on.

        Also those that are behind: one that is attached falls behind and comes back whenever its access changes.
        """
        people = [callers for tail in self.hub._tails.values() for callers in tail.callers._by_user.values()]
        of_the_log = sum(len(caller.members) for callers in people for caller in callers)
        return of_the_log + sum(map(len, self.hub._signals.values()))

    async def settled(self) -> None:
        """Wait until every stream has been sent all that has happened so far."""
        for tail in list(self.hub._tails.values()):
            account = await Account.get(id=tail.account_id)
            await until(lambda: tail.position >= account.last_position)  # noqa: B023  # awaited before the next turn
        await until(lambda: all(tail.is_idle for tail in self.hub._tails.values()))
        await asyncio.sleep(0.01)  # what comes in process is sent by a task of each connection

    async def silent(self, *streams: Stream) -> None:
        """Assert that all that has happened so far has brought these streams nothing more."""
        await self.settled()
        for stream in streams:
            heard = stream.socket._from_server
            while not heard.empty():
                frame = heard.get_nowait()
                # A socket that has been there for a while is pinged.
                assert frame.get("text") == PING.decode(), f"unexpected: {frame}"

    async def client(self, actor: Actor) -> Client:
        if actor.id not in self.clients:
            self.clients[actor.id] = await self.sign_in(actor)
        return self.clients[actor.id]

    async def until_attached(self, before: int) -> None:
        """Wait until there are more listeners than before."""
        await until(lambda: self.listeners() > before)

    @asynccontextmanager
    async def hearing(self, actor: Actor, operation: str, **variables: Any) -> AsyncIterator[Stream]:
        """A stream of one subscription, on a socket of its own, that has begun to listen."""
        client = await self.client(actor)
        before = self.listeners()
        async with client.listening(operation, **variables) as stream:
            await self.until_attached(before)
            yield stream

    async def cursor(self) -> str:
        return await self.hub.sync_cursor(self.world.admin)

    async def do(self, actor: Actor, mutation: str, **input: Any) -> dict[str, Any]:
        """The payload of a mutation: of the contract by its name, or of the text of any."""
        client = await self.client(actor)
        answer = await client.ask(OPERATIONS.get(mutation, mutation), {"input": input})
        assert "errors" not in answer, answer["errors"]
        (payload,) = answer["data"].values()
        result: dict[str, Any] = payload
        assert result.get("userErrors", []) == [], result["userErrors"]
        return result

    async def row(self, actor: Actor, ticket: Ticket) -> dict[str, Any]:
        """The row of a ticket as a list shows it now."""
        rows = {row["id"]: row for row in await self.rows(actor)}
        return rows[ticket_id(ticket)]

    async def rows(self, actor: Actor, **filter: Any) -> list[dict[str, Any]]:
        client = await self.client(actor)
        page = (await client.send("TicketList", first=100, filter=filter or None))["tickets"]
        assert not page["pageInfo"]["hasNextPage"]
        return [edge["node"] for edge in page["edges"]]

    async def composer(self, actor: Actor, ticket: Ticket) -> dict[str, Any]:
        client = await self.client(actor)
        composer: dict[str, Any] = (await client.send("TicketView", id=ticket_id(ticket)))["ticket"]["composer"]
        return composer

    async def burst(self, ticket: Ticket, count: int) -> list[int]:
        """So many events on a ticket at once, in one transaction. Their numbers on the ticket."""

        async def work(tx: Transaction) -> list[int]:
            row = await Ticket.filter(id=ticket.id).select_for_update().get()
            tx.follow(row)
            made = [tx.record(EventType.MACRO_APPLIED, ticket=row, macro="", title="") for _ in range(count)]
            return [event.ticket_sequence or 0 for event in made]

        return await unit_of_work(Call(self.world.system), work)


async def arrived(stream: Stream) -> AsyncGenerator[dict[str, Any], None]:
    """The items that lie there unread. Raises Refused where the stream has ended."""
    frames = stream.socket._from_server
    while not frames.empty():
        try:
            yield await stream.next(timeout=0.05)
        except TimeoutError:  # it was a ping
            return


async def refusal_of(stream: Stream) -> list[dict[str, Any]]:
    """The errors that a stream ends with, without having delivered anything."""
    try:
        item = await stream.next()
    except Refused as refused:
        return refused.errors
    raise AssertionError(f"unexpected: {item}")


def types(items: list[dict[str, Any]]) -> list[tuple[str, int | None]]:
    """The events of activity items: what happened, and its number on the ticket."""
    return [(item["event"]["type"], item["event"]["sequence"]) for item in items]


def changes(items: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """What happened to which rows of an inbox."""
    return [(item["change"], item["ticketId"]) for item in items]
