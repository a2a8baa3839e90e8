"""A client of the API, as the applications are: it sends the contract's operations, over HTTP and WebSocket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import orjson

from deskwire.development import operations_of

CONTRACT = Path(__file__).parent / "contract"
PROTOCOL = "graphql-transport-ws"
# For what comes at once, on a machine that has much else to do.
PATIENCE = 20.0


def contract() -> dict[str, str]:
    """The operations of tests/contract by name, each with the fragments that it uses, as a client sends it."""
    found: dict[str, str] = {}
    for file in sorted(CONTRACT.glob("*.graphql")):
        found |= operations_of(file)
    return found


OPERATIONS = contract()


class Client:
    """Somebody with a token."""

    def __init__(self, app: Any, token: str) -> None:
        self.app = app
        self.token = token

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    async def post(self, query: str, variables: dict[str, Any] | None = None) -> httpx.Response:
        transport = httpx.ASGITransport(app=self.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://deskwire.example") as http:
            body = orjson.dumps({"query": query, "variables": variables or {}})
            headers = self.headers | {"Content-Type": "application/json"}
            return await http.post("/graphql", content=body, headers=headers)

    async def ask(self, query: str, variables: dict[str, Any] | None = None) -> dict[str, Any]:
        """The whole answer, `data` and `errors`, of any document."""
        answer: dict[str, Any] = (await self.post(query, variables)).json()
        return answer

    async def send(self, operation: str, **variables: Any) -> dict[str, Any]:
        """The data of an operation of the contract, by its name. Fails on any top-level error."""
        answer = await self.ask(OPERATIONS[operation], variables)
        assert "errors" not in answer, answer["errors"]
        data: dict[str, Any] = answer["data"]
        return data

    async def do(self, operation: str, **input: Any) -> dict[str, Any]:
        """The payload of a mutation of the contract."""
        (payload,) = (await self.send(operation, input=input)).values()
        result: dict[str, Any] = payload
        return result

    @asynccontextmanager
    async def connected(self, *, initialise: bool = True) -> AsyncIterator[Socket]:
        socket = Socket(self.app)
        async with socket.open():
            if initialise:
                await socket.say({"type": "connection_init", "payload": {"authorization": f"Bearer {self.token}"}})
                assert (await socket.hear())["type"] == "connection_ack"
            yield socket

    @asynccontextmanager
    async def listening(self, operation: str, **variables: Any) -> AsyncIterator[Stream]:
        """A stream of one subscription of the contract (or of the text of any)."""
        async with self.connected() as socket:
            yield await socket.subscribe(OPERATIONS.get(operation, operation), variables)


class Closed(Exception):
    """The server closed the socket."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{code} {reason}")
        self.code = code


class Socket:
    """A WebSocket, spoken to the ASGI application without a network."""

    def __init__(self, app: Any, subprotocols: tuple[str, ...] = (PROTOCOL,)) -> None:
        self.app = app
        self.subprotocols = list(subprotocols)
        self._to_server: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._from_server: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._count = 0

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        scope = {
            "type": "websocket",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "scheme": "ws",
            "path": "/graphql",
            "raw_path": b"/graphql",
            "root_path": "",
            "query_string": b"",
            "headers": [(b"host", b"deskwire.example")],
            "subprotocols": self.subprotocols,
            "server": ("deskwire.example", 80),
            "client": ("127.0.0.1", 50000),
            "state": {},
            "extensions": {},
        }
        server = asyncio.create_task(self.app(scope, self._to_server.get, self._from_server.put))
        try:
            await self._to_server.put({"type": "websocket.connect"})
            await self._accepted()
            yield
            await self._to_server.put({"type": "websocket.disconnect", "code": 1000})
            async with asyncio.timeout(PATIENCE):
                await server
        finally:
            server.cancel()
            await asyncio.gather(server, return_exceptions=True)

    async def _accepted(self) -> None:
        answer = await self._from_server.get()
        if answer["type"] != "websocket.accept":
            raise Closed(answer.get("code", 1006), answer.get("reason", ""))
        assert answer["subprotocol"] == PROTOCOL

    async def say(self, message: Any) -> None:
        await self.say_text(orjson.dumps(message).decode())

    async def say_text(self, text: str) -> None:
        await self._to_server.put({"type": "websocket.receive", "text": text})

    async def hear(self, timeout: float = PATIENCE) -> dict[str, Any]:
        """The next message. Raises Closed, TimeoutError."""
        async with asyncio.timeout(timeout):
            frame = await self._from_server.get()
        if frame["type"] == "websocket.close":
            raise Closed(frame.get("code", 1000), frame.get("reason", ""))
        message: dict[str, Any] = orjson.loads(frame["text"])
        return message

    async def subscribe(self, query: str, variables: dict[str, Any] | None = None) -> Stream:
        self._count += 1
        identifier = f"op{self._count}"
        payload = {"query": query, "variables": variables or {}}
        await self.say({"type": "subscribe", "id": identifier, "payload": payload})
        return Stream(self, identifier)


class Refused(Exception):
    """The stream ended with errors."""

    def __init__(self, errors: list[dict[str, Any]]) -> None:
        super().__init__(str(errors))
        self.errors = errors
        self.code = errors[0]["extensions"]["code"]


class Stream:
    """What one subscription of a socket delivers. One stream per socket is listened to at a time."""

    def __init__(self, socket: Socket, identifier: str) -> None:
        self.socket = socket
        self.identifier = identifier

    async def next(self, timeout: float = PATIENCE) -> dict[str, Any]:
        """The next item: what is inside of data's one field. Raises Refused, StopAsyncIteration, TimeoutError."""
        message = await self.socket.hear(timeout)
        while message["type"] == "ping":
            message = await self.socket.hear(timeout)
        assert message["id"] == self.identifier
        if message["type"] == "error":
            raise Refused(message["payload"])
        if message["type"] == "complete":
            raise StopAsyncIteration
        assert "errors" not in message["payload"], message["payload"]["errors"]
        (item,) = message["payload"]["data"].values()
        result: dict[str, Any] = item
        return result

    async def take(self, count: int) -> list[dict[str, Any]]:
        return [await self.next() for _ in range(count)]

    async def nothing(self, seconds: float = 0.3) -> None:
        """Assert that nothing comes."""
        try:
            item = await self.next(seconds)
        except TimeoutError:
            return
        raise AssertionError(f"unexpected: {item}")

    async def complete(self) -> None:
        await self.socket.say({"type": "complete", "id": self.identifier})
