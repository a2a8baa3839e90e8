"""A TCP proxy that breaks connections on purpose, between a client and whatever it talks to.

What it does to the bytes is a `Toxics`, which a test changes while connections live; each direction looks anew at
every piece it passes on. Chance comes from one seed, so that a failure can be had again.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum

PIECE = 65_536
LOOK_SECONDS = 0.02


class Way(Enum):
    """A direction: from the client to the server, or back."""

    UP = "up"
    DOWN = "down"


@dataclass(slots=True)
class Toxics:
    """What is wrong with the network. Times in seconds, sizes in bytes, rates in bytes a second; None is harmless.

    latency, jitter   each piece comes so much later, and up to so much more
    bandwidth         at most so many bytes a second, in each direction of each connection
    slice_bytes       pieces are cut into so small ones, `slice_delay` apart
    blackhole         what is sent is taken and never arrives; connections stay open
    stall             nothing more is read: the sender's window closes
    cut_after         a direction of a connection is cut (RST) after exactly so many bytes
    flip              with this probability a byte of a piece has one bit changed
    ways              the directions that all this concerns
    """

    latency: float = 0.0
    jitter: float = 0.0
    bandwidth: float | None = None
    slice_bytes: int | None = None
    slice_delay: float = 0.0
    blackhole: bool = False
    stall: bool = False
    cut_after: int | None = None
    flip: float = 0.0
    ways: frozenset[Way] = frozenset(Way)


class Cut(Exception):
    """This connection is to be reset now."""


@dataclass(eq=False, slots=True)
class Connection:
    """A client's connection, and ours to the server."""

    client: tuple[asyncio.StreamReader, asyncio.StreamWriter]
    server: tuple[asyncio.StreamReader, asyncio.StreamWriter]
    passed: dict[Way, int] = field(default_factory=lambda: dict.fromkeys(Way, 0))

    def reset(self) -> None:
        """Close both sides at once, with RST instead of FIN."""
        for _, writer in (self.client, self.server):
            raw: socket.socket | None = writer.get_extra_info("socket")
            if raw is not None and not writer.is_closing():
                with suppress(OSError):
                    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    def half_close(self, way: Way) -> None:
        """Say in one direction that nothing more will come; the other goes on."""
        _, writer = self.server if way is Way.UP else self.client
        with suppress(OSError, RuntimeError):
            writer.write_eof()


class Proxy:
    """Listens on a port of its own, and passes on what it should not break."""

    def __init__(self, host: str, port: int, *, seed: int = 0) -> None:
        self.target = (host, port)
        self.toxics = Toxics()
        self.port = 0
        self.connections: set[Connection] = set()
        self._random = random.Random(seed)
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Proxy]:
        await self.accept()
        try:
            yield self
        finally:
            await self.refuse()
            await self._end()

    async def accept(self) -> None:
        """Listen; after `refuse`, on the same port again."""
        if self._server is None:
            self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port, limit=PIECE)
            self.port = self._server.sockets[0].getsockname()[1]

    async def refuse(self) -> None:
        """Take no new connections: who asks is refused. The present ones live on."""
        if self._server is not None:
            self._server.close()
            self._server = None
            await asyncio.sleep(0)

    def redirect(self, host: str, port: int) -> None:
        """New connections go elsewhere, as after a fail-over."""
        self.target = (host, port)

    def reset(self) -> int:
        """Reset all connections. How many there were."""
        present = list(self.connections)
        for connection in present:
            connection.reset()
        return len(present)

    def reset_one(self) -> int:
        """Reset one connection, chosen by chance; 0 where there is none."""
        chosen = sorted(self.connections, key=id)
        if chosen:
            self._random.choice(chosen).reset()
        return len(chosen[:1])

    def half_close(self, way: Way) -> None:
        for connection in list(self.connections):
            connection.half_close(way)

    async def _end(self) -> None:
        self.reset()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            server = await asyncio.open_connection(*self.target, limit=PIECE)
        except OSError:
            Connection((reader, writer), (reader, writer)).reset()
            return
        await self._pass_on(Connection((reader, writer), server))

    async def _pass_on(self, connection: Connection) -> None:
        self.connections.add(connection)
        pumps = [asyncio.create_task(self._pump(connection, way)) for way in Way]
        try:
            await asyncio.gather(*pumps)
        except (Cut, OSError, asyncio.CancelledError):
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
        finally:
            self.connections.discard(connection)
            connection.reset()

    async def _pump(self, connection: Connection, way: Way) -> None:
        """One direction, to its end. Raises Cut, OSError."""
        up = way is Way.UP
        reader, writer = (
            (connection.client[0], connection.server[1]) if up else (connection.server[0], connection.client[1])
        )
        while True:
            await self._while_stalled(way)
            piece = await reader.read(PIECE)
            if not piece:
                break
            await self._while_stalled(way)
            if not self._concerns(way):
                writer.write(piece)
                await writer.drain()
            elif not self.toxics.blackhole:
                await self._poison(connection, way, writer, piece)
        connection.half_close(way)

    def _concerns(self, way: Way) -> bool:
        return way in self.toxics.ways

    async def _while_stalled(self, way: Way) -> None:
        while self.toxics.stall and self._concerns(way):  # noqa: ASYNC110  # a test changes an attribute
            await asyncio.sleep(LOOK_SECONDS)

    async def _poison(self, connection: Connection, way: Way, writer: asyncio.StreamWriter, piece: bytes) -> None:
        await self._delayed(self.toxics.latency + self._random.uniform(0, self.toxics.jitter))
        piece, is_cut = self._cut(connection, way, self._flipped(piece))
        for slice in self._sliced(piece):
            writer.write(slice)
            await writer.drain()
            await self._delayed(len(slice) / self.toxics.bandwidth if self.toxics.bandwidth else 0.0)
            await self._delayed(self.toxics.slice_delay if self.toxics.slice_bytes else 0.0)
        connection.passed[way] += len(piece)
        if is_cut:
            # What was written before is to arrive: a reset would throw it away.
            await asyncio.sleep(LOOK_SECONDS)
            raise Cut

    async def _delayed(self, seconds: float) -> None:
        if seconds > 0:
            await asyncio.sleep(seconds)

    def _cut(self, connection: Connection, way: Way, piece: bytes) -> tuple[bytes, bool]:
        """What of a piece may pass, and whether the connection ends behind it."""
        if self.toxics.cut_after is None:
            return piece, False
        room = max(0, self.toxics.cut_after - connection.passed[way])
        return piece[:room], len(piece) >= room

    def _flipped(self, piece: bytes) -> bytes:
        if self._random.random() >= self.toxics.flip:
            return piece
        changed = bytearray(piece)
        changed[self._random.randrange(len(piece))] ^= 1 << self._random.randrange(8)
        return bytes(changed)

    def _sliced(self, piece: bytes) -> list[bytes]:
        size = self.toxics.slice_bytes or self._piece_of_a_second() or len(piece)
        return [piece[start : start + size] for start in range(0, len(piece), max(1, size))]

    def _piece_of_a_second(self) -> int:
        """So that a narrow line drips instead of coming in gulps."""
        return max(1, int(self.toxics.bandwidth / 20)) if self.toxics.bandwidth else 0
