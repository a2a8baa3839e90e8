"""What a client keeps: a snapshot, and what it makes of the items that follow. Pure, but for the reading."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from domain.actors import Actor
from models import Ticket
from tests.client import OPERATIONS, Refused, Stream
from tests.delivery.stage import Stage, arrived, ticket_id

Row = dict[str, Any]

# The contract's documents, and what a changed comment reads now: a fragment may always ask for more.
ADDED = "... on TicketCommentAdded {"
CHANGED = "... on TicketCommentChanged { change comment { id body channel visibility } }"
VIEW = OPERATIONS["TicketView"].replace(ADDED, f"{CHANGED} {ADDED}")
ACTIVITY = OPERATIONS["TicketActivity"].replace(ADDED, f"{CHANGED} {ADDED}")
COMMENT = ("id", "body", "channel", "visibility")


def folded_list(rows: dict[str, Row], item: Row) -> dict[str, Row]:
    """The rows of a list after an item of its stream."""
    others = {key: row for key, row in rows.items() if key != item["ticketId"]}
    if item["change"] == "REMOVED":
        assert item["ticket"] is None
        return others
    assert item["ticket"]["id"] == item["ticketId"]
    return others | {item["ticketId"]: item["ticket"]}


@dataclass(frozen=True)
class View:
    """One ticket: its row, its composer, its comments by id, its events by sequence (with comments by reference)."""

    row: Row
    composer: Row
    comments: dict[str, Row]
    events: dict[int, Row]

    @classmethod
    def of(cls, answer: Row) -> View:
        """What a fresh TicketView shows."""
        row = dict(answer)
        composer, comments, events = row.pop("composer"), row.pop("comments"), row.pop("events")
        assert not events["pageInfo"]["hasNextPage"]
        del row["continuationOf"], row["continuedBy"]  # links to other tickets, which have streams of their own
        texts = [{name: edge["node"][name] for name in COMMENT} for edge in comments["edges"]]
        kept = {edge["node"]["sequence"]: referring(edge["node"]) for edge in events["edges"]}
        return cls(row, composer, {text["id"]: text for text in texts}, kept)

    def folded(self, item: Row) -> View:
        """The view after an item of its stream."""
        row, event = dict(item["ticket"]), item["event"]
        composer = row.pop("composer")
        comments, events = dict(self.comments), dict(self.events)
        if "comment" in event:
            comments[event["comment"]["id"]] = event["comment"]
        if event["sequence"] is not None:
            assert event["sequence"] not in events
            events[event["sequence"]] = referring(event)
        return View(row, composer, comments, events)


def referring(event: Row) -> Row:
    """An event with its comment by reference: an edited one reads otherwise in older events, too."""
    return event | {"comment": event["comment"]["id"]} if "comment" in event else event


@dataclass
class Follower:
    """A client that loads a list once, and from then on only folds what its stream brings, through any reconnection."""

    stage: Stage
    actor: Actor
    filter: Row | None
    rows: dict[str, Row] = field(default_factory=dict)
    cursor: str = ""
    stream: Stream | None = None
    connection: AbstractAsyncContextManager[Stream] | None = None

    @classmethod
    @asynccontextmanager
    async def started(cls, stage: Stage, actor: Actor, filter: Row | None) -> AsyncIterator[Follower]:
        follower = cls(stage, actor, filter)
        await follower.load()
        await follower.connect()
        try:
            yield follower
        finally:
            await follower.drop()

    async def load(self) -> None:
        page = await self._page()
        self.cursor = page["syncCursor"]
        self.rows = by_id(page)

    async def fresh(self) -> dict[str, Row]:
        return by_id(await self._page())

    async def _page(self) -> Row:
        client = await self.stage.client(self.actor)
        page: Row = (await client.send("TicketList", first=100, filter=self.filter))["tickets"]
        assert not page["pageInfo"]["hasNextPage"]
        return page

    async def connect(self) -> None:
        if self.stream is None:
            client = await self.stage.client(self.actor)
            self.connection = client.listening("Inbox", filter=self.filter, after=self.cursor)
            before = self.stage.listeners()
            self.stream = await self.connection.__aenter__()
            await self.stage.until_attached(before)

    async def drop(self) -> None:
        """Lose the connection, with all that is on its way."""
        if self.connection is not None:
            connection, self.connection, self.stream = self.connection, None, None
            await connection.__aexit__(None, None, None)

    async def fold(self, most: int = 10_000) -> None:
        """Take in what has arrived, at most so many items."""
        if self.stream is None or most == 0:
            return
        async with aclosing(arrived(self.stream)) as items:
            async for item in items:
                self.rows, self.cursor = folded_list(self.rows, item), item["cursor"]
                most -= 1
                if most == 0:
                    return


def by_id(page: Row) -> dict[str, Row]:
    return {edge["node"]["id"]: edge["node"] for edge in page["edges"]}


@dataclass
class Watcher:
    """A client that has one ticket open."""

    stage: Stage
    actor: Actor
    ticket: Ticket
    stream: Stream
    view: View
    revoked: bool = False

    @classmethod
    @asynccontextmanager
    async def started(cls, stage: Stage, actor: Actor, ticket: Ticket) -> AsyncIterator[Watcher]:
        cursor = await stage.cursor()
        view = await fresh_view(stage, actor, ticket)
        assert view is not None
        async with stage.hearing(actor, ACTIVITY, ticketId=ticket_id(ticket), after=cursor) as stream:
            yield cls(stage, actor, ticket, stream, view)

    async def fold(self) -> None:
        try:
            async for item in arrived(self.stream):
                assert not self.revoked
                self.view = self.view.folded(item)
        except Refused as refused:
            self.revoked = refused.code == "ACCESS_REVOKED"

    async def fresh(self) -> View | None:
        return await fresh_view(self.stage, self.actor, self.ticket)


async def fresh_view(stage: Stage, actor: Actor, ticket: Ticket) -> View | None:
    client = await stage.client(actor)
    answer = await client.ask(VIEW, {"id": ticket_id(ticket)})
    assert "errors" not in answer, answer["errors"]
    return View.of(answer["data"]["ticket"]) if answer["data"]["ticket"] else None
