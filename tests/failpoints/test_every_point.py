"""A server dies at each named point of each change, on each database: one effect, a log without gaps, nothing lost."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.sync.client import ClientConnection

from domain.failpoints import POINTS
from subscriptions.resume import position_in
from tests.delivery.checkers import faults
from tests.failpoints.forking import ForkedServer
from tests.failpoints.stage import CHANGES, Change, outcome, planned
from tests.server.process import hear, say, subscribe

SYNC = "query { tickets(first: 1) { syncCursor } }"
# What can break when the other side dies.
BROKEN = (httpx.HTTPError, OSError, ConnectionClosed, InvalidHandshake, EOFError)


@dataclass
class Listener:
    """A client that listens to an inbox, and resumes from its last cursor."""

    server: ForkedServer
    token: str
    cursor: str
    heard: list[int] = field(default_factory=list)

    @contextlib.contextmanager
    def listening(self) -> Iterator[ClientConnection]:
        with self.server.socket(self.token) as socket:
            subscribe(socket, "Inbox", after=self.cursor)
            say(socket, {"type": "ping"})
            yield socket

    def take(self, socket: ClientConnection, timeout: float = 10) -> None:
        """The next item. Raises what a broken connection raises, and TimeoutError."""
        while (message := hear(socket, timeout))["type"] == "pong":
            pass
        assert message["type"] == "next", message
        self.cursor = message["payload"]["data"]["inbox"]["cursor"]
        self.heard.append(position_in(self.cursor))

    def take_until(self, socket: ClientConnection, position: int) -> None:
        while not self.heard or self.heard[-1] < position:
            self.take(socket)

    def take_all(self, socket: ClientConnection, quiet: float = 0.2) -> None:
        """Whatever comes until the connection breaks, or nothing comes for so many seconds."""
        with contextlib.suppress(TimeoutError, *BROKEN):
            while True:
                self.take(socket, quiet)

    def take_to_its_end(self, socket: ClientConnection) -> None:
        """Whatever comes from a server that is about to die: who hung up earlier might keep it from that."""
        self.take_all(socket, 10)


def asked(server: ForkedServer, token: str, document: str, **variables: Any) -> dict[str, Any]:
    """The one field of data."""
    body = {"query": document, "variables": variables}
    headers = {"Authorization": f"Bearer {token}"}
    answer = httpx.post(f"{server.address}/graphql", json=body, headers=headers, timeout=10).json()
    assert "errors" not in answer, answer
    (payload,) = answer["data"].values()
    assert payload.get("userErrors", []) == [], payload
    result: dict[str, Any] = payload
    return result


def call(server: ForkedServer, change: Change) -> bool:
    """Whether the call was answered. Where it was, it had its effect."""
    try:
        asked(server, change.token, change.document, input=change.input)
    except BROKEN:
        return False
    return True


def die_within_the_call(server: ForkedServer, change: Change, listener: Listener, point: str) -> None:
    """The change is called while somebody listens, and the server dies of it."""
    with contextlib.suppress(*BROKEN), listener.listening() as socket:
        hear(socket)  # the pong: he listens by now
        answered = call(server, change)
        assert not answered or point in ("before_publish", "after_publish")
        listener.take_to_its_end(socket)


def die_after_the_call(server: ForkedServer, change: Change, listener: Listener, point: str) -> None:
    """The change is answered; the server dies as it replays it, or as it is told to end."""
    assert call(server, change)
    if point == "during_drain":
        server.signal(signal.SIGTERM)
        return
    with contextlib.suppress(*BROKEN), listener.listening() as socket:
        listener.take_to_its_end(socket)


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("name", CHANGES)
def test_a_server_that_dies_at_a_point_loses_nothing_and_repeats_nothing(
    server: ForkedServer, url: str, name: str, point: str
) -> None:
    """R37, R157: the call is repeated with its key, the listener resumes with its cursor."""
    change = planned(url, name)
    before = outcome(url, change)
    server.start(armed=f"{point}:kill")
    listener = Listener(server, change.listener, asked(server, change.listener, SYNC)["syncCursor"])
    die = die_after_the_call if point in ("during_catchup", "during_drain") else die_within_the_call
    die(server, change, listener, point)
    assert server.wait() == -signal.SIGKILL
    assert f"failpoint {point}: kill" in server.log.read_text()

    server.start()
    assert call(server, change)
    after = outcome(url, change)
    with listener.listening() as socket:
        listener.take_until(socket, after.last_position)
        listener.take_all(socket)

    written = after.events[len(before.events) :]
    assert [event.position for event in after.events] == list(range(1, after.last_position + 1))
    assert sorted(event.type for event in written) == sorted(change.facts)
    assert {event.client_id for event in written} == {change.input["clientId"]}
    assert after.audits == before.audits + 1
    assert "Traceback" not in server.log.read_text(), server.log.read_text()
    assert faults([event.position for event in written if event.ticket_id], listener.heard) == {}
