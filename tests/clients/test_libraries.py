"""The libraries that people use, as programs of their own, against a server that dies (docs/guides/live.md)."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from gql import Client, GraphQLRequest
from gql.transport.exceptions import TransportQueryError
from gql.transport.websockets import WebsocketsTransport

from tests.client import OPERATIONS
from tests.clients.program import Library, Program, running
from tests.server.conftest import Start
from tests.server.process import CHECKOUT, Server
from tests.server.stage import Stage, staged

GRAPHQL_WS = Library("graphql-ws", asks=False)
GRAPHQL_SSE = Library("graphql-sse", with_socket=False, asks=False)
LIBRARIES = [
    GRAPHQL_WS,
    GRAPHQL_SSE,
    Library("apollo"),
    Library("apollo", with_socket=False),
    Library("urql"),
    Library("urql", with_socket=False),
    Library("gql"),
]
ASKING = [each for each in LIBRARIES if each.asks]


@dataclass
class Desk:
    """A server with a ticket, and what is written there."""

    server: Server
    stage: Stage
    ticket: str = ""
    written: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"{self.server.address}/graphql"

    def write(self, count: int) -> None:
        for _ in range(count):
            body = f"note {len(self.written)}"
            sent = {"ticketId": self.ticket, "body": body, "channel": "INTERNAL_NOTE"}
            payload = self.server.post(self.stage.agent, "PostComment", input=sent)["postComment"]
            assert payload["userErrors"] == []
            self.written.append(body)

    def write_beside(self) -> None:
        """By a process that is no server, as a customer."""
        self.written.append("from beside")
        writer = [sys.executable, "-m", "tests.server.writer", self.server.url, self.stage.customer_id, "from beside"]
        subprocess.run(writer, cwd=CHECKOUT, check=True, timeout=60)

    def tickets(self) -> dict[str, Any]:
        found: dict[str, Any] = self.server.post(self.stage.agent, "TicketList", first=1)["tickets"]
        return found


@pytest.fixture(scope="module")
def server(sqlite_url: str, start: Start) -> Iterator[tuple[Server, Stage]]:
    server = start(sqlite_url, poll_seconds="0.2")
    yield server, staged(sqlite_url)
    server.close()


@pytest.fixture
def desk(server: tuple[Server, Stage]) -> Desk:
    """The one ticket of the customer, with nothing on it that this test knows of."""
    desk = Desk(*server)
    if not desk.server.is_running:  # the test before this one failed half-way
        desk.server.start()
    if not desk.tickets()["edges"]:
        desk.write_beside()
    (edge,) = desk.tickets()["edges"]
    return Desk(*server, ticket=edge["node"]["id"])


def bodies(items: list[dict[str, Any]]) -> list[str]:
    return [item["event"]["comment"]["body"] for item in items]


def follow(program: Program, desk: Desk, name: str = "a") -> None:
    program.follow(name, "TicketActivity", ticketId=desk.ticket, after=desk.tickets()["syncCursor"])


@pytest.mark.parametrize("library", LIBRARIES, ids=str)
def test_every_event_arrives_once_though_the_server_is_killed(desk: Desk, library: Library) -> None:
    """Written before the kill, right before it, while nobody serves, and afterwards; then again around a restart."""
    with running(library, desk.url, desk.stage.agent) as program:
        follow(program, desk)
        desk.write(3)
        heard = bodies(program.items("a", 3))
        desk.write(4)
        desk.server.kill()
        desk.write_beside()
        desk.server.start()
        desk.write(3)
        heard += bodies(program.items("a", 8))
        desk.write(2)
        desk.server.signal(signal.SIGTERM)
        assert desk.server.wait(20) == 0
        desk.write_beside()
        desk.server.start()
        desk.write(2)
        heard += bodies(program.items("a", 5))
        assert heard == desk.written
        assert program.waiting("a") == []


@pytest.mark.parametrize("library", LIBRARIES, ids=str)
def test_a_refused_subscription_ends_alone(desk: Desk, library: Library) -> None:
    """A ticket that is not there, and a document that does not parse: each is told, and the other stream goes on."""
    with running(library, desk.url, desk.stage.agent) as program:
        follow(program, desk)
        program.follow("missing", "TicketActivity", ticketId="nonsense")
        assert program.refusal("missing") == ["INVALID_ID"]
        program.follow("unknown", "subscription { ticketActivity(ticketId: 1) { nothing } }")
        assert set(program.refusal("unknown")) == {"GRAPHQL_VALIDATION_FAILED"}
        desk.write(2)
        assert bodies(program.items("a", 2)) == desk.written
        assert [each for each in program.other if each["name"] == "a"] == []


@pytest.mark.parametrize("library", LIBRARIES, ids=str)
def test_a_stream_that_is_stopped_ends(desk: Desk, library: Library) -> None:
    """More of them than one socket takes at once, so each has made room; nothing comes on them any more."""
    with running(library, desk.url, desk.stage.agent) as program:
        follow(program, desk)
        for number in range(25):
            name = f"stopped {number}"
            follow(program, desk, name)
            desk.write(1)
            assert bodies(program.items(name, 1)) == desk.written[-1:]
            program.stop(name)
        desk.write(1)
        assert bodies(program.items("a", 26)) == desk.written
        assert [program.waiting(f"stopped {number}") for number in range(25)] == [[]] * 25


@pytest.mark.parametrize("library", LIBRARIES, ids=str)
def test_a_token_that_is_not_known_is_told_and_not_tried_again(desk: Desk, library: Library) -> None:
    with running(library, desk.url, "dw_nobody") as program:
        program.follow("a", "SessionEnded")
        assert program.refusal("a") in ([], ["UNAUTHENTICATED"])


@pytest.mark.parametrize("library", ASKING, ids=str)
def test_it_queries_and_mutates_over_http(desk: Desk, library: Library) -> None:
    with running(library, desk.url, desk.stage.agent) as program:
        answer = program.ask("query", "Viewer")
        assert answer["data"]["viewer"]["user"]["role"] == "AGENT"
        sent = {"ticketId": desk.ticket, "body": "by the library", "channel": "INTERNAL_NOTE"}
        comment = program.ask("mutate", "PostComment", input=sent)["data"]["postComment"]["comment"]
        assert comment["body"] == "by the library"
        refused = program.ask("mutate", "PostComment", input=sent | {"ticketId": "nonsense"})
        (error,) = refused["data"]["postComment"]["userErrors"]
        assert error["code"] == "INVALID_ID"


def test_gql_keeps_the_other_streams_of_a_socket(desk: Desk) -> None:
    """The guide gives each stream a socket of its own; a program that shares one loses nothing by a refusal."""
    asyncio.run(_refused_beside_another(desk))


async def _refused_beside_another(desk: Desk) -> None:
    activity = OPERATIONS["TicketActivity"]
    after = desk.tickets()["syncCursor"]
    init = {"authorization": f"Bearer {desk.stage.agent}"}
    transport = WebsocketsTransport(desk.url.replace("http", "ws", 1), init_payload=init)
    async with Client(transport=transport) as session:
        good = GraphQLRequest(activity, variable_values={"ticketId": desk.ticket, "after": after})
        items = session.subscribe(good)
        desk.write(1)
        heard = [(await anext(items))["ticketActivity"]]
        with pytest.raises(TransportQueryError, match="not an id"):
            await anext(session.subscribe(GraphQLRequest(activity, variable_values={"ticketId": "nonsense"})))
        desk.write(1)
        heard.append((await anext(items))["ticketActivity"])
        assert bodies(heard) == desk.written
        await items.aclose()
