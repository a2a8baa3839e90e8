"""GraphQL over WebSocket: the graphql-transport-ws protocol, strictly, for subscriptions only.

Close codes: who gets one, and what he must do.

    1012  the server restarts                     connect again, resume with the last cursor
    1011  a defect of ours, logged; or it was not read for SEND_SECONDS: resume with the last cursor
    4400  a message that the protocol lacks       mend the client
    4401  no connection_init, or token expired    connect again with a valid token
    4403  token unknown or revoked                log in again
    4408  no connection_init in time              connect again
    4409  two operations with one id              mend the client
    4429  connection_init twice                   mend the client

A refused or broken operation gets an `error` and ends; the socket and its other operations go on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

import orjson
from graphql import OperationType
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from domain.actors import Actor
from domain.transactions import shielded
from execution.engine import Engine, Operation
from execution.errors import RequestError
from models import utc_now
from schema.context import Context

log = logging.getLogger("deskwire.transport")

PROTOCOL = "graphql-transport-ws"
MOST_OPERATIONS = 20
INIT_SECONDS = 5.0
SEND_SECONDS = 10.0
PING_SECONDS = 25.0
LONGEST_ID = 128


class Close(Exception):
    """The socket must close, with this code. The reason is short ASCII: a close frame holds 123 bytes."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class Unread(Close):
    """Nobody reads, or nobody is there."""

    def __init__(self) -> None:
        super().__init__(1011, "not reading")


class Over(Exception):
    """The caller is known no longer: what he subscribed to ends without a word, the socket says why."""


@dataclass(frozen=True, slots=True)
class Doors:
    """What the transport is given: how to know a caller, to make contexts, and to learn that he is known no longer."""

    authenticate: Callable[[str], Awaitable[Actor | None]]
    context_for: Callable[[Actor], Context]
    guarded: Callable[[Actor], AbstractAsyncContextManager[asyncio.Event]]


@dataclass(frozen=True, slots=True)
class Caller:
    """Who opened the socket, and whether he may still hear."""

    actor: Actor
    revoked: asyncio.Event

    def is_gone(self) -> bool:
        expires = self.actor.token_expires_at
        return self.revoked.is_set() or (expires is not None and expires <= utc_now())


class Socket:
    """One connection."""

    def __init__(self, websocket: WebSocket, engine: Engine, doors: Doors, stopping: asyncio.Event) -> None:
        self._websocket = websocket
        self._engine = engine
        self._doors = doors
        self._stopping = stopping
        self._operations: dict[str, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._sending = asyncio.Lock()
        self._unread = asyncio.Event()

    async def serve(self) -> None:
        """Accept, talk, close."""
        if PROTOCOL not in self._websocket.scope.get("subprotocols", ()):
            await self._websocket.close(4406, "use graphql-transport-ws")
            return
        await self._websocket.accept(subprotocol=PROTOCOL)
        try:
            await self._talk()
        except WebSocketDisconnect:
            pass
        except Close as close:
            await self._end_operations()  # nothing follows a close frame
            await self._close(close.code, close.reason)
        except Exception:
            log.exception("a socket failed")
            await self._end_operations()
            await self._close(1011, "internal error")
        finally:
            await self._end_operations()

    async def _talk(self) -> None:
        token = await self._initialised()
        stranger = await self._known(token)
        async with self._doors.guarded(stranger) as revoked:
            # Asked again: a revocation between the question and the guard would be heard by nobody.
            actor = await self._known(token)
            await self._send({"type": "connection_ack"})
            # Whatever ends first ends the socket: the conversation, the token, the reading, or the server.
            ends = [
                asyncio.create_task(self._converse(Caller(actor, revoked))),
                asyncio.create_task(_closing(revoked.wait(), 4403, "token revoked")),
                asyncio.create_task(_closing(self._stopping.wait(), 1012, "server restarts")),
                asyncio.create_task(_closing(_until(actor.token_expires_at), 4401, "token expired")),
                asyncio.create_task(_closing(self._unread.wait(), 1011, "not reading")),
                asyncio.create_task(self._ping()),
            ]
            try:
                done, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
            finally:
                for task in ends:
                    task.cancel()
                await asyncio.gather(*ends, return_exceptions=True)

    async def _initialised(self) -> str:
        """The token of the connection_init."""
        try:
            async with asyncio.timeout(INIT_SECONDS):
                while (message := await self._receive())["type"] in ("ping", "pong"):
                    await self._answer_ping(message)
        except TimeoutError:
            raise Close(4408, "connection_init was late") from None
        if message["type"] != "connection_init":
            raise Close(4401, "connection_init comes first")
        return _bearer(message.get("payload"))

    async def _known(self, token: str) -> Actor:
        actor = await self._doors.authenticate(token)
        if actor is None:
            raise Close(4403, "token unknown, expired or revoked")
        return actor

    async def _converse(self, caller: Caller) -> None:
        while True:
            message = await self._receive()
            match message["type"]:
                case "ping" | "pong":
                    await self._answer_ping(message)
                case "subscribe":
                    await self._subscribe(caller, message)
                case "complete":
                    self._complete(_operation_id(message))
                case "connection_init":
                    raise Close(4429, "connection_init came twice")
                case _:
                    raise Close(4400, "unknown type of message")

    async def _answer_ping(self, message: dict[str, Any]) -> None:
        if message["type"] == "ping":
            await self._send({"type": "pong"})

    async def _ping(self) -> None:
        while True:
            await asyncio.sleep(PING_SECONDS)
            await self._send({"type": "ping"})

    async def _subscribe(self, caller: Caller, message: dict[str, Any]) -> None:
        identifier = _operation_id(message)
        query, name, variables = _parameters(message.get("payload"))
        if identifier in self._operations:
            raise Close(4409, "this id is in use")
        if len(self._operations) >= MOST_OPERATIONS:
            await self._error(identifier, _said("TOO_MANY_OPERATIONS", f"At most {MOST_OPERATIONS} at once."))
            return
        try:
            operation = self._engine.prepare(query, name)
        except RequestError as refusal:
            await self._error(identifier, self._engine.refused(refusal)["errors"])
            return
        if operation.kind is not OperationType.SUBSCRIPTION:
            await self._error(identifier, _said("ONLY_SUBSCRIPTIONS", "Send queries and mutations over HTTP."))
            return
        task = asyncio.create_task(self._run(identifier, caller, operation, variables))
        self._tasks.add(task)
        self._operations[identifier] = task
        task.add_done_callback(lambda done: self._forget(identifier, done))

    def _forget(self, identifier: str, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if self._operations.get(identifier) is task:
            del self._operations[identifier]

    def _complete(self, identifier: str) -> None:
        task = self._operations.pop(identifier, None)
        if task is not None:
            task.cancel()

    async def _run(self, identifier: str, caller: Caller, operation: Operation, variables: dict[str, Any]) -> None:
        try:
            await self._stream(identifier, caller, operation, variables)
            await self._send({"type": "complete", "id": identifier})
        except RequestError as refusal:
            await self._error(identifier, self._engine.refused(refusal)["errors"])
        except (Unread, Over):
            pass
        except Exception as error:
            await self._error(identifier, self._engine.masked(error)["errors"])

    async def _stream(self, identifier: str, caller: Caller, operation: Operation, variables: dict[str, Any]) -> None:
        context = self._doors.context_for(caller.actor)
        events = await self._engine.source(operation, variables, context)
        try:
            async for event in events:
                # A context of its own for each event: loaders that outlive one answer with what was true before.
                # Its actor is the one that the source keeps up to date, not the one who opened the socket.
                fresh = self._doors.context_for(context.actor)
                # To its end even when cancelled: graphql-core leaves coroutines behind, the pool may lose a connection.
                result = await shielded(self._engine.respond(operation, variables, event, fresh))
                if caller.is_gone():
                    raise Over
                await self._send({"type": "next", "id": identifier, "payload": self._engine.formatted(result)})
        finally:
            await _closed(events)

    async def _receive(self) -> dict[str, Any]:
        frame = await self._websocket.receive()
        if frame["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(frame.get("code", 1005))
        text = frame.get("text")
        if text is None:
            raise Close(4400, "send text frames")
        try:
            message = orjson.loads(text)
        except orjson.JSONDecodeError:
            raise Close(4400, "not JSON") from None
        if not isinstance(message, dict) or not isinstance(message.get("type"), str):
            raise Close(4400, "not a message of the protocol")
        return message

    async def _send(self, message: dict[str, Any]) -> None:
        """One frame. A client that does not read for SEND_SECONDS is gone: Unread, and the whole socket ends."""
        text = orjson.dumps(message).decode()
        try:
            async with asyncio.timeout(SEND_SECONDS), self._sending:
                await self._websocket.send_text(text)
        except (WebSocketDisconnect, OSError, TimeoutError):
            self._unread.set()
            raise Unread from None

    async def _error(self, identifier: str, errors: list[dict[str, Any]]) -> None:
        with suppress(Unread):
            await self._send({"type": "error", "id": identifier, "payload": errors})

    async def _close(self, code: int, reason: str) -> None:
        if self._websocket.application_state is not WebSocketState.DISCONNECTED:
            with suppress(RuntimeError, WebSocketDisconnect, OSError, TimeoutError):
                async with asyncio.timeout(SEND_SECONDS):
                    await self._websocket.close(code, reason)

    async def _end_operations(self) -> None:
        pending = set(self._tasks)
        while pending:
            # More than once: a library that is given what it waits for in the same moment swallows a cancellation.
            for task in pending:
                task.cancel()
            _, pending = await asyncio.wait(pending, timeout=1.0)


async def _closing(end: Awaitable[Any], code: int, reason: str) -> None:
    await end
    raise Close(code, reason)


async def _until(moment: datetime | None) -> None:
    """Wait for the end of a token's life; for ever when it has none."""
    if moment is None:
        await asyncio.Event().wait()
        return
    await asyncio.sleep(max(0.0, (moment - utc_now()).total_seconds()))


async def _closed(events: AsyncIterator[Any]) -> None:
    await cast(AsyncGenerator[Any, None], events).aclose()


def _bearer(payload: object) -> str:
    """The token of a connection_init: {"authorization": "Bearer …"}."""
    value = payload.get("authorization") if isinstance(payload, dict) else None
    if not isinstance(value, str) or not value.lower().startswith("bearer "):
        raise Close(4403, "send {authorization: Bearer ...} in connection_init")
    return value[7:].strip()


def _operation_id(message: dict[str, Any]) -> str:
    identifier = message.get("id")
    if not isinstance(identifier, str) or not 0 < len(identifier) <= LONGEST_ID:
        raise Close(4400, "an id is a string of 1 to 128 characters")
    return identifier


def _parameters(payload: object) -> tuple[str, str | None, dict[str, Any]]:
    if not isinstance(payload, dict):
        raise Close(4400, "a payload is an object")
    query, name, variables = payload.get("query"), payload.get("operationName"), payload.get("variables")
    if not isinstance(query, str) or not isinstance(name, str | None) or not isinstance(variables, dict | None):
        raise Close(4400, "query, operationName or variables have a wrong type")
    return query, name, variables or {}


def _said(code: str, message: str) -> list[dict[str, Any]]:
    return [{"message": message, "extensions": {"code": code}}]
