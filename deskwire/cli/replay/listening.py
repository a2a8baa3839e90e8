"""The live workspaces of a replay: what arrives on their streams, across any number of broken connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
import websockets
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from deskwire.cli.replay.people import Someone
from subscriptions.resume import position_in

LISTENING_CUSTOMERS = 3
RECONNECT_SECONDS = 0.2

ENDED = (
    "subscription Ended($after: String) { sessionEnded(after: $after) { cursor event { id sequence } ticket { id } } }"
)
CREATED = "subscription Created($after: String) { ticketCreated(after: $after) { cursor ticket { id number } } }"
INBOX = """subscription Inbox($after: String) { inbox(after: $after) {
  cursor change ticketId ticket { id version status session { state } } } }"""
RECEIVED = "subscription Received($after: String) { messageReceived(after: $after) { cursor message { id body } } }"


@dataclass(slots=True)
class Heard:
    """What one listener received, in the order of its arrival."""

    who: str
    keys: list[str] = field(default_factory=list)
    reconnects: int = 0


@dataclass(frozen=True, slots=True)
class Stream:
    """One subscription of a live workspace. `key` tells its items apart."""

    who: str
    someone: Someone
    query: str
    kind: str

    def key(self, item: dict[str, Any]) -> str:
        match self.kind:
            case "ended":
                return str(item["event"]["id"])
            case "created":
                return str(item["ticket"]["id"])
            case "received":
                return str(item["message"]["id"])
            case _:
                return str(position_in(item["cursor"]))


Listeners = list[tuple[Stream, Heard]]


@asynccontextmanager
async def listening(url: str, cursor: str, agents: list[Someone], customers: list[Someone]) -> AsyncIterator[Listeners]:
    """Live workspaces: two agents with three streams each, and a few customers' widgets. All begin at the cursor."""
    listeners = [(stream, Heard(stream.who)) for stream in _streams(agents, customers)]
    address = url.replace("http", "ws", 1).rstrip("/") + "/graphql"
    tasks = [asyncio.create_task(_listen(address, stream, heard, cursor)) for stream, heard in listeners]
    try:
        yield listeners
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _streams(agents: list[Someone], customers: list[Someone]) -> list[Stream]:
    streams = [
        Stream(f"{agent.name}: {kind}", agent, query, kind)
        for agent in agents[:2]
        for kind, query in (("ended", ENDED), ("created", CREATED), ("inbox", INBOX))
    ]
    return streams + [
        Stream(f"{each.name}: received", each, RECEIVED, "received") for each in customers[:LISTENING_CUSTOMERS]
    ]


async def _listen(address: str, stream: Stream, heard: Heard, cursor: str) -> None:
    while True:
        try:
            async with connect(address, subprotocols=[Subprotocol("graphql-transport-ws")], max_size=None) as socket:
                await _say(socket, {"type": "connection_init", "payload": _authorization(stream.someone)})
                payload = {"query": stream.query, "variables": {"after": cursor}}
                await _say(socket, {"type": "subscribe", "id": "1", "payload": payload})
                async for text in socket:
                    message = orjson.loads(text)
                    if message["type"] in ("error", "complete"):
                        cursor = _cursor_in(message, cursor)
                        break
                    cursor = await _take(socket, stream, heard, message, cursor)
        except (OSError, websockets.WebSocketException):
            pass
        heard.reconnects += 1
        await asyncio.sleep(RECONNECT_SECONDS)


async def _take(socket: ClientConnection, stream: Stream, heard: Heard, message: dict[str, Any], cursor: str) -> str:
    """Note what a message brings. Returns the cursor after it."""
    if message["type"] == "ping":
        await _say(socket, {"type": "pong"})
    if message["type"] != "next":
        return cursor
    (item,) = message["payload"]["data"].values()
    heard.keys.append(stream.key(item))
    return str(item["cursor"])


def _cursor_in(message: dict[str, Any], cursor: str) -> str:
    """A server that drops a slow reader says from where he can resume."""
    if message["type"] == "error":
        return str(message["payload"][0]["extensions"].get("cursor", cursor))
    return cursor


async def _say(socket: ClientConnection, message: dict[str, Any]) -> None:
    await socket.send(orjson.dumps(message).decode())


def _authorization(someone: Someone) -> dict[str, str]:
    return {"authorization": f"Bearer {someone.token}"}
