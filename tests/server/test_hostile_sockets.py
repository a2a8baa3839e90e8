"""A thousand sessions that no client of ours would have, and what two that are well behaved notice of it: nothing.

F9: each ends in one of the ways that its kind allows, without a traceback, and leaves no memory behind. What is sent
depends on a seed alone; HOSTILE_SEED tries others.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import struct
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import httpx
import orjson
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from tests.client import OPERATIONS, PROTOCOL
from tests.server import hostile
from tests.server.conftest import Start
from tests.server.frames import CLOSE, PING, PONG, TEXT, Frame, frame, read_frame
from tests.server.hostile import ALIVE, DROPPED, KINDS, SILENT, Session
from tests.server.process import Server
from tests.server.stage import staged

SEED = int(os.environ.get("HOSTILE_SEED", "1"))
SESSIONS = 1_000
AT_ONCE = 25
PATIENCE = 20.0
# How long a session waits for a word where none is allowed, too: the server may be waiting for the rest of something.
SHORT = 0.3
MOST_GROWTH = 20 * 2**20
# What may be in the log, whatever is sent: that the server runs, and what uvicorn says of what is no HTTP.
LOGGED = re.compile(
    r"\S+ \S+ (INFO .*|WARNING uvicorn\.error: (Invalid HTTP request received|Unsupported upgrade request)\.)"
)


@dataclass
class Attacker:
    """Has sessions with a server, and remembers how they ended."""

    server: Server
    token: str
    ended: dict[str, Counter[int]] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    async def attack(self, sessions: Iterable[Session]) -> None:
        """All of them, AT_ONCE at a time."""
        places = asyncio.Semaphore(AT_ONCE)

        async def one(session: Session) -> None:
            async with places:
                await self._have(session)

        async with asyncio.TaskGroup() as group:
            for session in sessions:
                group.create_task(one(session))

    def report(self) -> str:
        """How many sessions of each kind there were, and how they ended."""
        lines = [
            f"{name:34} {ends.total():4}  {dict(sorted(ends.items()))}" for name, ends in sorted(self.ended.items())
        ]
        return "\n".join([*lines, f"{sum(ends.total() for ends in self.ended.values())} sessions"])

    async def _have(self, session: Session) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.server.port)
        try:
            end = await self._conversation(session, reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            end = DROPPED
        finally:
            _leave(writer, Random(session.name).random() < 0.5)
        self.ended.setdefault(session.name.split()[0], Counter())[end] += 1
        if end not in session.ends:
            self.wrong.append(f"{session.name} ended with {end}: {b''.join(session.written)[:120]!r}")

    async def _conversation(self, session: Session, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
        if session.begins.handshake:
            writer.write(hostile.handshake())
            assert await _status(reader, PATIENCE) == 101
        if session.begins.initialised:
            payload = {"authorization": f"Bearer {self.token}"}
            writer.write(frame(orjson.dumps({"type": "connection_init", "payload": payload})))
            await _acknowledged(reader)
        for written in session.written:
            writer.write(written)
            with suppress(ConnectionError):  # what it has said before it hung up is still to be read
                await writer.drain()
        patience = SHORT if SILENT in session.ends else PATIENCE
        if not session.begins.handshake and (status := await _status(reader, patience)) != 101:
            return status
        if ALIVE in session.ends:
            writer.write(_probe(session))
        return await _end(session, reader, patience)


async def _acknowledged(reader: asyncio.StreamReader) -> None:
    """The server may ping before."""
    while (said := orjson.loads((await read_frame(reader)).payload)["type"]) != "connection_ack":
        assert said == "ping", said


def _probe(session: Session) -> bytes:
    """What only a living socket answers: after the init an operation, before it a ping of the WebSocket itself."""
    if not session.begins.initialised:
        return frame("probe", PING)
    return frame('{"type": "subscribe", "id": "probe", "payload": {"query": "{"}}')


def _leave(writer: asyncio.StreamWriter, suddenly: bool) -> None:
    """With a FIN or with a RST."""
    if suddenly and not writer.transport.is_closing():
        taken: socket.socket = writer.get_extra_info("socket")
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def _status(reader: asyncio.StreamReader, patience: float) -> int:
    """Of the answer to a handshake, which is read to the end of its head."""
    try:
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), patience)
    except TimeoutError:
        return SILENT
    return int(head.split()[1])


async def _end(session: Session, reader: asyncio.StreamReader, patience: float) -> int:
    try:
        async with asyncio.timeout(patience):
            while True:
                said = await read_frame(reader)
                if said.opcode == CLOSE:
                    assert said.payload[2:].decode("ascii").isprintable(), session.name
                    return said.code
                if _answers_probe(said):
                    return ALIVE
    except TimeoutError:
        return SILENT


def _answers_probe(said: Frame) -> bool:
    if said.opcode != TEXT:
        return said == (PONG, b"probe")
    message = orjson.loads(said.payload)
    assert message["type"] in ("next", "error", "complete", "ping", "pong", "connection_ack")
    return bool(message["type"] == "error" and message["id"] == "probe")


@dataclass
class Witness:
    """A well-behaved client."""

    socket: ClientConnection
    heard: list[str] = field(default_factory=list)

    async def listen(self) -> None:
        async for text in self.socket:
            message = orjson.loads(text)
            if message["type"] == "ping":
                await self.socket.send('{"type": "pong"}')
            else:
                assert message["type"] == "next", message
                self.heard.append(message["payload"]["data"]["ticketActivity"]["event"]["comment"]["body"])


@asynccontextmanager
async def witness(server: Server, token: str, ticket: str) -> AsyncIterator[Witness]:
    address = f"ws://127.0.0.1:{server.port}/graphql"
    async with connect(address, subprotocols=[Subprotocol(PROTOCOL)], compression=None) as socket:
        init = {"type": "connection_init", "payload": {"authorization": f"Bearer {token}"}}
        await socket.send(orjson.dumps(init).decode())
        await _heard(socket, "connection_ack")
        payload = {"query": OPERATIONS["TicketActivity"], "variables": {"ticketId": ticket}}
        await socket.send(orjson.dumps({"type": "subscribe", "id": "1", "payload": payload}).decode())
        await socket.send('{"type": "ping"}')
        await _heard(socket, "pong")  # whoever is answered now has subscribed before
        found = Witness(socket)
        listening = asyncio.create_task(found.listen())
        try:
            yield found
            assert not listening.done()
        finally:
            listening.cancel()
            await asyncio.wait([listening])


async def _heard(socket: ClientConnection, kind: str) -> None:
    while (said := orjson.loads(await socket.recv())["type"]) != kind:
        assert said == "ping", said


@dataclass
class Author:
    """Writes on a ticket, all the while."""

    server: Server
    token: str
    ticket: str
    written: list[str] = field(default_factory=list)

    async def write_on(self, enough: asyncio.Event) -> None:
        """Until then, and what was begun is finished: half a request would be written for us, and not for others."""
        async with httpx.AsyncClient(headers={"Authorization": f"Bearer {self.token}"}, timeout=PATIENCE) as http:
            while not enough.is_set():
                await self._write(http, f"note {len(self.written)}")
                await asyncio.sleep(0.2)

    async def _write(self, http: httpx.AsyncClient, body: str) -> None:
        sent = {"ticketId": self.ticket, "body": body, "channel": "INTERNAL_NOTE"}
        asked: dict[str, Any] = {"query": OPERATIONS["PostComment"], "variables": {"input": sent}}
        self.written.append(body)
        answer = (await http.post(f"{self.server.address}/graphql", json=asked)).json()
        assert answer["data"]["postComment"]["userErrors"] == []


def resident(pid: int) -> int:
    """The memory that a process has, in bytes."""
    (kilobytes,) = re.findall(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(kilobytes) * 1024


def test_a_thousand_hostile_sessions_harm_nobody(
    sqlite_url: str, start: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    stage = staged(sqlite_url)
    server = start(sqlite_url, poll_seconds="0.2")
    sent = {"clientMessageId": "1", "body": "Hello"}
    server.post(stage.customer, "SendMessage", input=sent)
    (edge,) = server.post(stage.agent, "TicketList", first=1)["tickets"]["edges"]
    attacker, author = Attacker(server, stage.agent), Author(server, stage.agent, edge["node"]["id"])
    grown = asyncio.run(besieged(attacker, author))
    with capsys.disabled():
        sys.stdout.write(f"\n{attacker.report()}, {grown / 2**20:+.1f} MiB\n")
    assert attacker.wrong == [], "\n".join(attacker.wrong)
    assert grown < MOST_GROWTH
    assert [line for line in server.log.read_text().splitlines() if not LOGGED.fullmatch(line)] == []


async def besieged(attacker: Attacker, author: Author) -> int:
    """By how many bytes the server grows during the attack, after one session of each kind has warmed it."""
    pid = attacker.server.pid
    async with (
        witness(author.server, author.token, author.ticket) as first,
        witness(author.server, author.token, author.ticket) as second,
    ):
        enough = asyncio.Event()
        writing = asyncio.create_task(author.write_on(enough))
        await attacker.attack(kind.session(SEED, 0) for kind in KINDS.values())
        before = resident(pid)
        rounds = -(-SESSIONS // len(KINDS))
        await attacker.attack(kind.session(SEED, 1 + number) for number in range(rounds) for kind in KINDS.values())
        grown = resident(pid) - before
        enough.set()
        await writing
        await _all_heard(author, first, second)
        return grown


async def _all_heard(author: Author, *witnesses: Witness) -> None:
    """Every event, once and in order, and nothing after it."""
    async with asyncio.timeout(PATIENCE):
        while any(len(each.heard) < len(author.written) for each in witnesses):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    await asyncio.sleep(SHORT)
    assert [each.heard for each in witnesses] == [author.written] * len(witnesses)
