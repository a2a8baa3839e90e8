"""Clients that listen as docs/guides/live.md has it: they keep their last cursor, connect again, and resume."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import orjson
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.typing import Subprotocol

from deskwire.config import DEVELOPMENT_KEY
from domain.errors import Refusal
from subscriptions.resume import Cursors, Position
from tests.client import OPERATIONS, PROTOCOL
from tests.history.records import Recorder, Stage
from tests.soak.desk import Desk, Listener

MARK = re.compile(r"mark-[0-9a-f]{12}")
RECONNECT_SECONDS = 0.3
OPEN_SECONDS = 3.0
# Close codes after which a client connects again; any other is a violation.
AGAIN = frozenset({1000, 1001, 1005, 1006, 1011, 1012, 1013, 4408, 4503})

CURSORS = Cursors(DEVELOPMENT_KEY.encode())

Row = dict[str, Any]


class Unexpected(Exception):
    """The server said what it must not say."""


@dataclass
class Subscriber:
    """One listener, over all his connections. `oddities` are what the contract does not know."""

    desk: Desk
    listener: Listener
    cursor: str
    ports: Callable[[], list[int]]
    recorder: Recorder
    load: Callable[[Desk, Listener], Any]
    chance: random.Random
    rows: dict[str, Row] = field(default_factory=dict)
    heard: set[int] = field(default_factory=set)
    oddities: list[str] = field(default_factory=list)
    duplicates: int = 0
    connections: int = 0

    async def run(self) -> None:
        """Listen until cancelled."""
        while True:
            try:
                await self._connect()
            except (OSError, WebSocketException, TimeoutError, EOFError) as error:
                self._left(error)
            except (Unexpected, Refusal, LookupError, TypeError, ValueError) as odd:
                # Also what is no item of this stream, or a cursor that is none.
                self.oddities.append(f"{self.listener.name}: {odd!r}")
            await asyncio.sleep(self.chance.uniform(0, RECONNECT_SECONDS))

    def _left(self, error: BaseException) -> None:
        code = error.rcvd.code if isinstance(error, ConnectionClosed) and error.rcvd else 1006
        self._note(Stage.DISCONNECT, what=str(code))
        if code not in AGAIN:
            self.oddities.append(f"{self.listener.name}: closed with {code}")

    def _note(self, stage: Stage, **more: Any) -> None:
        name = self.listener.name
        self.recorder.note(self.listener.operation, name, stage, self.desk.account, connection=self.connections, **more)

    async def _connect(self) -> None:
        address = f"ws://127.0.0.1:{self.chance.choice(self.ports())}/graphql"
        async with connect(
            address,
            subprotocols=[Subprotocol(PROTOCOL)],
            compression=None,
            open_timeout=OPEN_SECONDS,
            ping_interval=None,
            close_timeout=1,
            max_size=None,
        ) as socket:
            async with asyncio.timeout(2 * OPEN_SECONDS):
                await self._introduce(socket)
            await self._listen(socket)

    async def _introduce(self, socket: ClientConnection) -> None:
        authorization = {"authorization": f"Bearer {self.listener.person.token}"}
        await say(socket, {"type": "connection_init", "payload": authorization})
        while (message := orjson.loads(await socket.recv()))["type"] != "connection_ack":
            if message["type"] not in ("ping", "pong"):
                raise Unexpected(f"{message['type']} before connection_ack")

    async def _listen(self, socket: ClientConnection) -> None:
        self.connections += 1
        self._note(Stage.CONNECT, position=self._place(self.cursor).position, cursor=self.cursor)
        variables = {"after": self.cursor} | ({"ticketId": self.listener.ticket} if self.listener.ticket else {})
        payload = {"query": OPERATIONS[self.listener.operation], "variables": variables}
        await say(socket, {"type": "subscribe", "id": "1", "payload": payload})
        async for text in socket:
            message = orjson.loads(text)
            match message["type"]:
                case "ping":
                    await say(socket, {"type": "pong"})
                case "next":
                    self._take(message["payload"], MARK.findall(str(text)))
                case "error":
                    await self._refused(message["payload"][0]["extensions"])
                    return
                case "complete":
                    return
                case other:
                    raise Unexpected(f"a message of type {other}")
        # The server closed in order; what for, the close frame says.
        code = socket.protocol.close_code
        self._note(Stage.DISCONNECT, what=str(code))
        if code not in AGAIN:
            self.oddities.append(f"{self.listener.name}: closed with {code}")

    async def _refused(self, said: dict[str, Any]) -> None:
        """The stream ended with an error. Raises Unexpected for what the contract does not explain."""
        self._note(Stage.DISCONNECT, what=said["code"])
        match said["code"]:
            case "SLOW_CONSUMER":
                self.cursor = said["cursor"]
            case "CURSOR_EXPIRED" if self.listener.kind == "leaver":
                self.rows, self.cursor = await self.load(self.desk, self.listener)
            case "SERVICE_UNAVAILABLE" | "INTERNAL_SERVER_ERROR" | "BUSY_RETRY":
                pass  # resumed with the last cursor; what it was, the server's log says
            case code:
                raise Unexpected(code)

    def _place(self, cursor: str) -> Position:
        return CURSORS.read(cursor)

    def _take(self, payload: dict[str, Any], marks: list[str]) -> None:
        if "errors" in payload:
            self._note(Stage.TOLD, marks=tuple(sorted(set(marks))))
            raise Unexpected(str(payload["errors"]))
        (item,) = payload["data"].values()
        place = self._place(item["cursor"])
        foreign = () if place.account_id == self.desk.account_id else (f"a cursor of {place.account_id}",)
        has_content = item.get("change") != "REMOVED"
        moved = self.listener.kind == "leaver" and not has_content
        if not moved:
            self.duplicates += place.position in self.heard
            self.heard.add(place.position)
        self._note(
            Stage.TOLD if moved else Stage.DELIVER,
            ticket=item.get("ticketId") or (item.get("ticket") or {}).get("id"),
            key=item.get("clientId"),
            position=place.position,
            cursor=item["cursor"],
            what=(item.get("event") or {}).get("id"),
            has_content=has_content,
            marks=(*sorted(set(marks)), *foreign),
        )
        if self.listener.operation == "Inbox":
            self._fold(item)
        self.cursor = item["cursor"]

    def _fold(self, item: Row) -> None:
        """As the guide says: put the row, unless a newer one is there; delete it, if it is there."""
        if item["change"] == "REMOVED":
            self.rows.pop(item["ticketId"], None)
            return
        kept = self.rows.get(item["ticketId"])
        if kept is None or kept["version"] <= item["ticket"]["version"]:
            self.rows[item["ticketId"]] = item["ticket"]


async def say(socket: ClientConnection, message: dict[str, Any]) -> None:
    """Send one message of the protocol."""
    await socket.send(orjson.dumps(message).decode())
