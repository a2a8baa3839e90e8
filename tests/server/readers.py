"""Clients on real sockets that read as fast, as slowly or as little as a test wants."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import orjson

from tests.client import OPERATIONS
from tests.streams import Completed, Reading

SOON = 20.0
SMALL, LARGE = 4_096, 1_048_576
HANDSHAKE = (
    b"GET /graphql HTTP/1.1\r\nHost: deskwire.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"Sec-WebSocket-Protocol: graphql-transport-ws\r\n%s\r\n"
)
DEFLATE = b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"


class Gone(Exception):
    """The connection is over: with a close code, or without one (1006)."""

    def __init__(self, code: int) -> None:
        super().__init__(str(code))
        self.code = code


class Line:
    """A connection. Whoever asks for nothing reads nothing: little of what comes is taken off the network."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    @asynccontextmanager
    async def to(cls, port: int, *, small: bool = False) -> AsyncIterator[Any]:
        """`small`: with hardly a buffer, for who is to stall."""
        line = socket.socket()
        if small:
            line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
        line.setblocking(False)
        await asyncio.get_running_loop().sock_connect(line, ("127.0.0.1", port))
        reader, writer = await asyncio.open_connection(sock=line, limit=SMALL if small else LARGE)
        try:
            yield cls(reader, writer)
        finally:
            writer.transport.abort()
            await asyncio.gather(writer.wait_closed(), return_exceptions=True)

    async def _head(self) -> bytes:
        async with asyncio.timeout(SOON):
            return await self._reader.readuntil(b"\r\n\r\n")


class WebSocket(Line):
    """A socket of graphql-transport-ws, which follows a ticket or whatever else it is told to."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        super().__init__(reader, writer)
        self.cursor = ""
        """Of the last item."""

    @classmethod
    @asynccontextmanager
    async def following(
        cls, port: int, token: str, query: str, *, small: bool = False, **variables: Any
    ) -> AsyncIterator[WebSocket]:
        """It asks for one subscription. Where the test needs all from now on, it says `after` which cursor."""
        async with cls.to(port, small=small) as made:
            socket: WebSocket = made
            head = await socket.shake_hands()
            assert head.startswith(b"HTTP/1.1 101 "), head
            await socket.initialise(token)
            payload = {"query": OPERATIONS.get(query, query), "variables": variables}
            socket.say({"type": "subscribe", "id": "1", "payload": payload})
            yield socket

    async def shake_hands(self, extensions: bytes = b"") -> bytes:
        self._writer.write(HANDSHAKE % extensions)
        return await self._head()

    async def initialise(self, token: str) -> None:
        """Raises Gone where it is refused."""
        self.say({"type": "connection_init", "payload": {"authorization": f"Bearer {token}"}})
        assert (await self.message())["type"] == "connection_ack"

    def say(self, content: dict[str, Any]) -> None:
        """A masked text frame; the mask is zero."""
        data = orjson.dumps(content)
        size = bytes([0x80 | len(data)]) if len(data) < 126 else bytes([0x80 | 126]) + len(data).to_bytes(2, "big")
        self._writer.write(b"\x81" + size + bytes(4) + data)

    async def message(self) -> dict[str, Any]:
        """The next message, pings included. Raises Gone, TimeoutError."""
        try:
            async with asyncio.timeout(SOON):
                kind, data = await self._frame()
        except (asyncio.IncompleteReadError, ConnectionError):
            raise Gone(1006) from None
        if kind == 0x88:
            raise Gone(int.from_bytes(data[:2], "big"))
        assert kind == 0x81, kind  # a whole text, neither compressed nor in pieces
        found: dict[str, Any] = orjson.loads(data)
        return found

    async def _frame(self) -> tuple[int, bytes]:
        kind, size = await self._reader.readexactly(2)
        if size == 126:
            size = int.from_bytes(await self._reader.readexactly(2), "big")
        elif size == 127:
            size = int.from_bytes(await self._reader.readexactly(8), "big")
        return kind, await self._reader.readexactly(size)

    async def item(self) -> dict[str, Any]:
        """What is inside of the next item's one field. Raises Gone, TimeoutError; and fails where the stream ends."""
        while (message := await self.message())["type"] in ("ping", "pong"):
            if message["type"] == "ping":
                self.say({"type": "pong"})
        assert message["type"] == "next", message
        (item,) = message["payload"]["data"].values()
        self.cursor = item["cursor"]
        found: dict[str, Any] = item
        return found

    async def number(self) -> int:
        """The next event's number on its ticket."""
        return int((await self.item())["event"]["sequence"])

    async def end(self) -> tuple[list[dict[str, Any]], int]:
        """All items that still come, and how it closes."""
        items: list[dict[str, Any]] = []
        try:
            while True:
                items.append(await self.item())
        except Gone as gone:
            return items, gone.code

    async def settle(self) -> None:
        """Wait until the server has done all that it was asked for before."""
        self.say({"type": "ping"})
        while (await self.message())["type"] != "pong":
            pass


class Response(Line):
    """A response that streams."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        super().__init__(reader, writer)
        self.head = b""
        self.cursor = ""
        """Of the last item."""
        self._reading: Reading
        self._results: list[dict[str, Any]] = []
        self._completed = False

    @classmethod
    @asynccontextmanager
    async def following(
        cls, port: int, token: str, accept: str, query: str, *, small: bool = False, **variables: Any
    ) -> AsyncIterator[Response]:
        async with cls.to(port, small=small) as made:
            response: Response = made
            response._reading = Reading(accept)
            body = orjson.dumps({"query": OPERATIONS.get(query, query), "variables": variables})
            lines = [
                "POST /graphql HTTP/1.1",
                "Host: deskwire.example",
                "Content-Type: application/json",
                f"Accept: {accept}",
                f"Authorization: Bearer {token}",
                f"Content-Length: {len(body)}",
            ]
            response._writer.write("\r\n".join([*lines, "", ""]).encode() + body)
            response.head = await response._head()
            yield response

    async def chunk(self) -> bytes:
        """The next chunk as the server made it; the last one is empty. Raises Gone, TimeoutError."""
        try:
            async with asyncio.timeout(SOON):
                size = int(await self._reader.readuntil(b"\r\n"), 16)
                data = await self._reader.readexactly(size + 2)
        except (asyncio.IncompleteReadError, ConnectionError):
            raise Gone(1006) from None
        assert data.endswith(b"\r\n")
        return data[:-2]

    async def result(self) -> dict[str, Any]:
        """The next result. Raises Completed, Gone, TimeoutError."""
        while not self._results:
            if self._completed:
                assert await self.chunk() == b""
                raise Completed
            try:
                for result in self._reading.feed(await self.chunk()):
                    self._results.append(result)
            except Completed:
                self._completed = True
        return self._results.pop(0)

    async def number(self) -> int:
        """The next event's number on its ticket."""
        return int(self._item_of(await self.result())["event"]["sequence"])

    def _item_of(self, result: dict[str, Any]) -> dict[str, Any]:
        (item,) = result["data"].values()
        self.cursor = item["cursor"]
        found: dict[str, Any] = item
        return found

    async def end(self) -> tuple[list[dict[str, Any]], str]:
        """All items that still come, and the code of the error that the stream completes with."""
        items: list[dict[str, Any]] = []
        while "errors" not in (result := await self.result()):
            items.append(self._item_of(result))
        try:
            more = await self.result()
        except Completed:
            code: str = result["errors"][0]["extensions"]["code"]
            return items, code
        raise AssertionError(f"unexpected: {more}")


async def many(stack: AsyncExitStack, count: int, port: int, token: str, query: str, **more: Any) -> list[WebSocket]:
    """So many sockets that follow the same, until the stack unwinds."""
    return [await stack.enter_async_context(WebSocket.following(port, token, query, **more)) for _ in range(count)]
