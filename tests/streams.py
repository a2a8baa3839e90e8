"""Subscriptions over HTTP as clients read them: server-sent events, and Apollo's multipart format."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import orjson

from subscriptions.streaming import ABORT
from tests.client import OPERATIONS, PATIENCE

SENT_EVENTS = "text/event-stream"
MULTIPART = "multipart/mixed;subscriptionSpec=1.0, application/json"
DELIMITER = b"\r\n--graphql"


class Completed(Exception):
    """The stream is over, in order."""


class Reading:
    """What has come of a body so far, taken apart as the clients do it."""

    def __init__(self, accept: str) -> None:
        self._is_multipart = accept == MULTIPART
        self._left = b""
        self.beats = 0

    def feed(self, data: bytes) -> Iterator[dict[str, Any]]:
        """The results that are complete with this piece. Raises Completed."""
        self._left += data
        delimiter = DELIMITER if self._is_multipart else b"\n\n"
        while delimiter in self._left:
            block, _, self._left = self._left.partition(delimiter)
            found = self._part(block) if self._is_multipart else self._event(block)
            if found is not None:
                yield found
            if self._is_multipart and self._left == b"--\r\n":
                raise Completed

    def _event(self, block: bytes) -> dict[str, Any] | None:
        assert b"\r" not in block
        if block == b":":
            self.beats += 1
            return None
        kind, data = block.split(b"\n")
        if kind == b"event: complete":
            assert data == b"data:"
            assert self._left == b""
            raise Completed
        assert kind == b"event: next"
        result: dict[str, Any] = orjson.loads(data.removeprefix(b"data: "))
        return result

    def _part(self, block: bytes) -> dict[str, Any] | None:
        if not block:
            return None  # what is before the first delimiter
        head, _, body = block.partition(b"\r\n\r\n")
        assert head == b"\r\nContent-Type: application/json"
        part = orjson.loads(body)
        if part == {}:
            self.beats += 1
            return None
        assert list(part) == ["payload"]
        result: dict[str, Any] = part["payload"]
        return result


class Streamed:
    """One request to the ASGI application, without a network. `room`: how many pieces wait unread."""

    def __init__(self, app: Any, token: str, accept: str, *, room: int = 0) -> None:
        self.app = app
        self.token = token
        self.accept = accept
        self.status = 0
        self.headers: dict[str, str] = {}
        self.aborted = False
        self.server: asyncio.Task[None] | None = None
        self._pieces: asyncio.Queue[dict[str, Any]] = asyncio.Queue(room)
        self._left = asyncio.Event()
        self._reading = Reading(accept)
        self._results: list[dict[str, Any]] = []
        self._completed = False

    @asynccontextmanager
    async def asking(self, query: str, variables: dict[str, Any] | None = None) -> AsyncIterator[Streamed]:
        """Ask, and wait for the head of the answer. Leaving hangs up."""
        body = orjson.dumps({"query": OPERATIONS.get(query, query), "variables": variables or {}})
        asked = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> dict[str, Any]:
            if asked:
                return asked.pop()
            await self._left.wait()
            return {"type": "http.disconnect"}

        server = self.server = asyncio.create_task(self.app(self._scope(), receive, self._pieces.put))
        try:
            await self._begun()
            yield self
            self._left.set()
            async with asyncio.timeout(PATIENCE):
                await server
        finally:
            server.cancel()
            await asyncio.gather(server, return_exceptions=True)

    def _scope(self) -> dict[str, Any]:
        headers = {"host": "deskwire.example", "content-type": "application/json", "accept": self.accept}
        headers["authorization"] = f"Bearer {self.token}"
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": "/graphql",
            "raw_path": b"/graphql",
            "root_path": "",
            "query_string": b"",
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
            "server": ("deskwire.example", 80),
            "client": ("127.0.0.1", 50000),
            "state": {},
            "extensions": {ABORT: self._abort},
        }

    def _abort(self) -> None:
        self.aborted = True

    async def _begun(self) -> None:
        async with asyncio.timeout(PATIENCE):
            start = await self._pieces.get()
        self.status = start["status"]
        self.headers = {name.decode(): value.decode() for name, value in start["headers"]}

    async def piece(self, timeout: float = PATIENCE) -> bytes:
        """The next bytes of the body, as the application sent them. Raises Completed at its end, TimeoutError."""
        async with asyncio.timeout(timeout):
            frame = await self._pieces.get()
        data: bytes = frame.get("body", b"")
        if not data and not frame.get("more_body"):
            raise Completed
        return data

    async def body(self, *, until: bytes = b"") -> bytes:
        """All that comes to the end, or until it ends with these bytes."""
        found = b""
        while not until or not found.endswith(until):
            try:
                found += await self.piece()
            except Completed:
                break
        return found

    async def next(self, timeout: float = PATIENCE) -> dict[str, Any]:
        """The next result. Raises Completed, TimeoutError."""
        while not self._results:
            if self._completed:
                raise Completed
            await self._read(timeout)
        return self._results.pop(0)

    async def _read(self, timeout: float) -> None:
        piece = await self.piece(timeout)
        try:
            for result in self._reading.feed(piece):
                self._results.append(result)
        except Completed:
            self._completed = True

    async def beat(self) -> None:
        """Wait for a sign of life."""
        before = self._reading.beats
        while self._reading.beats == before:
            await self._read(PATIENCE)

    async def item(self) -> dict[str, Any]:
        """What is inside of data's one field. Raises Completed, TimeoutError."""
        result = await self.next()
        assert "errors" not in result, result["errors"]
        (item,) = result["data"].values()
        found: dict[str, Any] = item
        return found

    async def end(self) -> dict[str, Any]:
        """The one error that the stream ends with, next and before its completion."""
        result = await self.next()
        assert list(result) == ["errors"], result
        (error,) = result["errors"]
        try:
            more = await self.next()
        except Completed:
            found: dict[str, Any] = error
            return found
        raise AssertionError(f"unexpected: {more}")

    @property
    def is_silent(self) -> bool:
        """Whether nothing has come that was not read."""
        return self._pieces.empty() and not self._results
