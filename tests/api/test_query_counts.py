"""How many statements an answer takes: as many for twenty rows as for two (design §4: one batch for each relation).

What signing in costs is not counted: it is the same for every operation of a caller.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest

from domain.actors import Actor, load_actor
from domain.macros import MacroAction, MacroActionKind, save_macro
from domain.transactions import Call
from models import (
    ActorKind,
    Attachment,
    AuditLogEntry,
    Channel,
    Comment,
    Ticket,
    TicketAccess,
    TicketStatus,
    new_id,
    utc_now,
)
from resolvers import loaders
from resolvers.loaders import loaders_for
from schema.context import Tailpiece
from tests.api.stage import gid
from tests.client import OPERATIONS, Client
from tests.conftest import SignIn
from tests.factories import World

COMPOSER = "composer { defaultChannel actions channels { channel enabled reason } }"

RELATIONS = f"""query ($first: Int!) {{ tickets(first: $first) {{ edges {{ node {{
    id requester {{ name }} assignee {{ name }} group {{ name }}
    session {{ id state endedBy {{ name }} }}
    {COMPOSER} }} }} }} }}"""

COMMENTS = """query ($first: Int!) { tickets(first: $first) { edges { node {
    id comments(last: 10) { edges { node { body author { name } } } } } } } }"""

FILES = """query ($first: Int!) { tickets(first: $first) { edges { node {
    id comments(last: 10) { edges { node { body attachments { fileName url } } } } } } } }"""

CUSTOMERS_FILES = """query ($first: Int!) { myConversations(first: $first) { edges { node {
    messages(last: 2) { edges { node { body attachments { fileName url } } } } } } } }"""

EVENTS = """query ($first: Int!) { tickets(first: $first) { edges { node {
    id events(last: 10) { edges { node {
        id type actor { name }
        ... on MessagingSessionEnded { session { id } }
        ... on TicketCommentAdded { comment { id body } }
        ... on TicketFieldChanged { field from to }
    } } } } } } }"""

LINKS = """query ($first: Int!) { tickets(first: $first) { edges { node {
    id continuationOf { id } continuedBy { id } followUpOf { id } followUps { id } } } } }"""

MAILS = """query ($first: Int!) { tickets(first: $first) { edges { node {
    id comments(last: 10) { edges { node { emailDelivery { state } } } } } } } }"""

MACROS = "query ($first: Int!) { macros(first: $first) { edges { node { id title actions { kind value } } } } }"
REQUESTS = "query ($first: Int!) { myRequests(first: $first) { edges { node { id subject } } } }"
NODES = """query ($ids: [ID!]!) { nodes(ids: $ids) {
    id ... on Ticket { requester { name } session { id } } ... on User { name } } }"""

TWO_ENDS = """query ($first: Int!) { myConversations(first: $first) { edges { node {
    oldest: messages(first: 2) { edges { node { body author { name } } } }
    newest: messages(last: 2) { edges { node { body author { name } } } } } } } }"""


# Set in the task that asks, and in all that it starts: what background jobs do meanwhile is not counted.
asking: ContextVar[bool] = ContextVar("asking", default=False)


class Statements(logging.Handler):
    """Hears each statement that Tortoise sends to a database."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.heard: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if asking.get():
            self.heard.append(record.getMessage())


@contextmanager
def counted() -> Iterator[list[str]]:
    statements, log = Statements(), logging.getLogger("tortoise.db_client")
    level = log.level
    log.addHandler(statements)
    log.setLevel(logging.DEBUG)
    mark = asking.set(True)
    try:
        yield statements.heard
    finally:
        asking.reset(mark)
        log.removeHandler(statements)
        log.setLevel(level)


async def statements_of(client: Client, text: str, variables: dict[str, Any]) -> tuple[int, int]:
    """How many statements an answer takes beside signing in, and how long its longest list of rows is."""
    with counted() as signing_in:
        await client.ask("{ __typename }")
    with counted() as heard:
        answer = await client.ask(text, variables)
    assert "errors" not in answer, answer["errors"]
    lists = [value.get("edges", []) if isinstance(value, dict) else value for value in answer["data"].values()]
    return len(heard) - len(signing_in), max(map(len, lists))


@dataclass
class Crowd:
    """An account that has so and so many of everything."""

    world: World
    customer: Actor
    size: int = 0

    async def grow(self, restricted: Actor) -> None:
        """One more of everything: people and tickets of their own, so that no two rows share a relation."""
        world, number = self.world, self.size
        self.size += 1
        others = await world.live_ticket(assignee=restricted)
        group = await world.group(f"Group {number}")
        agent = await world.agent(f"Agent {number}", groups=(group, await world.group(f"Other {number}")))
        live = await world.live_ticket(assignee=agent, group=group, status=TicketStatus.OPEN)
        ended = await world.ended_ticket(by=agent, assignee=agent, group=group, status=TicketStatus.OPEN)
        again = await world.message(await _requester(ended), f"Again {number}")
        mine = await world.message(self.customer, f"Mine {number}")
        await world.comment(mine, agent, "Reply", Channel.MESSAGING)
        await world.end(mine, agent)
        for customers in (ended, mine):
            await world.comment(customers, agent, "By mail", Channel.EMAIL)
        await Ticket.filter(id=again.id).update(follow_up_of_id=live.id)
        # Everywhere acts somebody who is neither requester nor assignee, or few rows would cost less than many.
        for ticket in (others, live, ended, again, mine):
            await world.comment(ticket, world.admin)
            await self._file(ticket, 1)
            await self._file(ticket, 1)
        action = MacroAction(MacroActionKind.SET_GROUP, str(group.id))
        await save_macro(Call(world.admin), title=f"Macro {number}", actions=[action], shared=True)
        await AuditLogEntry.create(
            account_id=world.id,
            at=utc_now(),
            actor_kind=agent.kind.value,
            actor_id=agent.id,
            action="TESTED",
            target="…",
            changes=[],
        )

    async def _file(self, ticket: Ticket, sequence: int) -> None:
        comment = await Comment.get(conversation_id=ticket.conversation_id, sequence=sequence)
        await Attachment.create(
            account_id=self.world.id,
            comment_id=comment.id,
            file_name="file.png",
            content_type="image/png",
            size=1,
            sha256="00" * 32,
            storage_key=f"crowd/{new_id().hex}",
            created_at=utc_now(),
            attached_at=utc_now(),
        )


async def _requester(ticket: Ticket) -> Actor:
    actor = await load_actor(ticket.account_id, ticket.requester_id)
    assert actor is not None
    return actor


# Who asks what, and how many statements that takes beside signing in.
# No two paths of one of them reach different people at the same time: which is first would decide over a statement.
COUNTS: dict[str, tuple[str, str, int]] = {
    "TicketList": ("admin", OPERATIONS["TicketList"], 6),
    "TicketList, as a restricted agent": ("agent", OPERATIONS["TicketList"], 5),
    "TicketPage": ("admin", OPERATIONS["TicketPage"], 6),
    "tickets and all that belongs to them": ("admin", RELATIONS, 10),
    "tickets and their comments": ("admin", COMMENTS, 5),
    "tickets and the files of their comments": ("admin", FILES, 5),
    "tickets and their events": ("admin", EVENTS, 6),
    "tickets and what continues them": ("admin", LINKS, 5),
    "tickets and their mails": ("admin", MAILS, 5),
    "AccountAudit": ("admin", OPERATIONS["AccountAudit"], 2),
    "macros": ("admin", MACROS, 1),
    "MyConversations": ("customer", OPERATIONS["MyConversations"], 4),
    "conversations from both ends": ("customer", TWO_ENDS, 4),
    "conversations and the files of their messages": ("customer", CUSTOMERS_FILES, 4),
    "myRequests": ("customer", REQUESTS, 1),
}


async def test_an_answer_takes_as_many_statements_for_twenty_rows_as_for_two(world: World, sign_in: SignIn) -> None:
    """Every list of the API, with everything that the applications ask of its rows."""
    crowd = Crowd(world, await world.customer("Cleo with many"))
    restricted = await world.agent("Rita", access=TicketAccess.ASSIGNED)
    clients = {
        "admin": await sign_in(world.admin),
        "agent": await sign_in(restricted),
        "customer": await sign_in(crowd.customer),
    }
    found: dict[int, dict[str, int]] = {}
    for rows in (2, 20):
        while crowd.size < rows:
            await crowd.grow(restricted)
        found[rows] = {}
        for name, (who, text, _) in COUNTS.items():
            found[rows][name], length = await statements_of(clients[who], text, {"first": rows})
            assert length == rows, name
    assert found[2] == found[20] == {name: count for name, (_, _, count) in COUNTS.items()}


async def test_nodes_and_people_take_as_many_statements_for_twenty_as_for_two(world: World, sign_in: SignIn) -> None:
    """What is not asked with a number of rows: ids, and the whole directory."""
    client = await sign_in(world.admin)
    found: dict[int, list[int]] = {}
    for rows in (2, 20):
        for number in range(rows):
            group = await world.group(f"Group {rows} {number}")
            await world.live_ticket(assignee=await world.agent(groups=(group,)))
        tickets = await Ticket.filter(account_id=world.id).order_by("-number").limit(rows)
        ids = [gid("Ticket", each.id) for each in tickets] + [gid("User", each.requester_id) for each in tickets]
        nodes, length = await statements_of(client, NODES, {"ids": ids})
        assert length == 2 * rows
        people, length = await statements_of(client, OPERATIONS["People"], {})
        assert length >= rows
        found[rows] = [nodes, people]
    assert found[2] == found[20] == [4, 11]


async def test_a_ticket_takes_as_many_statements_with_a_long_history(world: World, sign_in: SignIn) -> None:
    """TicketView: comments by twenty people cost what comments by two cost."""
    ticket, client = await world.live_ticket(), await sign_in(world.admin)
    found: list[int] = []
    for rows in (2, 20):
        for number in range(rows):
            await world.comment(ticket, await world.agent(f"Agent {rows} {number}"))
        found.append((await statements_of(client, OPERATIONS["TicketView"], {"id": gid("Ticket", ticket.id)}))[0])
    assert found == [14, 14]


async def test_messages_are_read_by_pieces(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """R53, R77: any piece of any conversation, as the customer sees it; only the rows of the pieces are read."""
    tickets = [await world.live_ticket() for _ in range(2)]
    for ticket in tickets:
        for number in range(9):
            channel = (Channel.MESSAGING, Channel.INTERNAL_NOTE, Channel.EMAIL)[number % 3]
            await world.comment(ticket, world.admin, f"{number}", channel)
    for portion in (200, 2):
        monkeypatch.setattr(loaders, "MOST_PIECES", portion)
        await _check_pieces([ticket.conversation_id for ticket in tickets])


async def _check_pieces(conversations: list[UUID]) -> None:
    pieces = [
        Tailpiece(conversation, count, before, after, newest)
        for conversation in [*conversations, new_id()]
        for count in (1, 3, 50)
        for before in (None, 6)
        for after in (None, 2)
        for newest in (True, False)
    ]
    account_id = (await Ticket.get(conversation_id=conversations[0])).account_id
    actor = Actor(account_id, ActorKind.END_USER)
    answers = await loaders_for(actor).messages.load_many(pieces)
    for piece, rows in zip(pieces, answers, strict=True):
        visible = Comment.filter(conversation_id=piece.conversation_id, channel=Channel.MESSAGING)
        wanted = [
            row.id
            for row in await visible.order_by("sequence")
            if (piece.before is None or row.sequence < piece.before)
            and (piece.after is None or row.sequence > piece.after)
        ]
        assert [row.id for row in rows] == (wanted[-piece.count :] if piece.newest else wanted[: piece.count])


async def test_a_long_conversation_is_not_read_to_its_beginning(world: World) -> None:
    """Of a thread of many messages, one piece brings its own rows and no others."""
    ticket = await world.live_ticket()
    for number in range(8):
        await world.comment(ticket, world.admin, f"{number}", Channel.MESSAGING)
    actor = Actor(world.id, ActorKind.END_USER)
    with counted() as heard:
        rows = await loaders_for(actor).messages.load(Tailpiece(ticket.conversation_id, 3))
    assert [row.body for row in rows] == ["5", "6", "7"]
    first, second = heard
    assert "LIMIT" in first
    assert [str(row.id) in second for row in await Comment.filter(conversation_id=ticket.conversation_id)].count(
        True
    ) == 3


async def test_the_largest_pages_are_answered(world: World, sign_in: SignIn) -> None:
    """A hundred rows, each with a piece of its own, are within what both databases take in one statement."""
    customer = await world.customer()
    for _ in range(100):
        await world.end(await world.message(customer), world.admin)
    admin, client = await sign_in(world.admin), await sign_in(customer)
    answer = await admin.ask(EVENTS, {"first": 100})
    assert [len(edge["node"]["events"]["edges"]) for edge in answer["data"]["tickets"]["edges"]] == [4] * 100
    page = (await client.send("MyConversations", first=100))["myConversations"]
    assert [len(edge["node"]["messages"]["edges"]) for edge in page["edges"]] == [1] * 100
