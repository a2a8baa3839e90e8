"""GraphQL over WebSocket: the graphql-transport-ws protocol, strictly, for subscriptions only.

A refused or broken operation gets an `error` and ends; the socket and its other operations go on. Close codes are
listed in subscriptions/messages.py.

One task serves a socket, and waits for the client. What the client is told, the hub writes itself.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Mapping, MutableMapping
from contextlib import suppress
from functools import partial
from typing import Any

import orjson
from graphql import OperationType

from domain.errors import TooManyConnections, Unauthenticated
from domain.transactions import shielded
from execution.engine import Operation
from execution.errors import RequestError
from models import utc_now
from subscriptions.callers import Caller
from subscriptions.cohorts import Member
from subscriptions.connections import CLOSE_SECONDS
from subscriptions.live import Live, Receive, Unavailable, answering
from subscriptions.messages import (
    ACKNOWLEDGED,
    PING,
    PONG,
    PROTOCOL,
    Close,
    bearer_of,
    message_of,
    next_head,
    operation_id,
    parameters_of,
    said,
)
from subscriptions.questions import Following, Question
from subscriptions.telling import Telling
from subscriptions.wires import EXTENSION, AsgiWire, ReadyWire, Send, Wire

log = logging.getLogger("deskwire.transport")

MOST_OPERATIONS = 20
INIT_SECONDS = 5.0


class Left(Exception):
    """The client is gone."""


class Stream(Member):
    """One subscription of a socket that follows the log."""

    __slots__ = ("_head", "_identifier", "_socket")

    def __init__(self, caller: Caller, question: Question, socket: Socket, identifier: str) -> None:
        super().__init__(caller, question)
        self._socket = socket
        self._identifier = identifier
        self._head = next_head(identifier)

    def tell(self, telling: Telling) -> bool:
        return self._socket.wire.tell(self._head, telling)

    def end(self, errors: list[dict[str, Any]]) -> None:
        self._socket.ended(self._identifier, errors)


class Sockets:
    """The ASGI application behind the address of the API, for WebSockets."""

    def __init__(self, live: Live) -> None:
        self._live = live

    def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> Awaitable[None]:
        """No coroutine of its own: it would live as long as the socket."""
        if PROTOCOL not in scope.get("subprotocols", ()):
            return send({"type": "websocket.close", "code": 4406, "reason": "use graphql-transport-ws"})
        if not self._live.connections.is_open:
            return _refuse(scope, send)
        return Socket(self._live, scope, receive, send).serve()


async def _refuse(scope: Mapping[str, Any], send: Send) -> None:
    """Before the handshake: whoever balances the load can try another process."""
    if "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": 1013, "reason": "too many connections"})
        return
    headers = [(b"retry-after", b"5"), (b"content-type", b"text/plain")]
    await send({"type": "websocket.http.response.start", "status": 503, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": b"This process takes no more connections."})


class Socket:
    """One connection."""

    __slots__ = (
        "__weakref__",
        "_caller",
        "_ending",
        "_live",
        "_operations",
        "_receive",
        "_room",
        "_send",
        "_task",
        "_timer",
        "wire",
    )

    def __init__(self, live: Live, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        self._live = live
        self._receive = receive
        self._send = send
        self._operations: dict[str, Stream | asyncio.Task[None]] = {}
        self._caller: Caller | None = None
        self._ending: Close | None = None
        self._task: asyncio.Task[Any] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._room: asyncio.Event | None = None
        self.wire = _wire(scope, send)

    # The life of the socket

    async def serve(self) -> None:
        """Accept, talk, close."""
        self._task = asyncio.current_task()
        self.wire.on_stuck, self.wire.on_drained = self._stuck, self._drained
        self._live.connections.enter(self)
        try:
            await self._send({"type": "websocket.accept", "subprotocol": PROTOCOL})
            await self._talk()
        except Left:
            pass
        except Close as close:
            await self._close(close)
        except asyncio.CancelledError:
            if self._ending is None or self._task is None:
                raise
            self._task.uncancel()
            await self._close(self._ending)
        except Exception:
            log.exception("a socket failed")
            await self._close(Close(1011, "internal error"))
        finally:
            self._live.connections.leave(self)
            await self._release()
            if self._caller is not None:
                # Last: that somebody has left is written into the database, which may be slow or away.
                await self._live.dismiss(self._caller)

    async def _talk(self) -> None:
        token = await self._initialised()
        try:
            caller = self._caller = await self._live.admit(token, self._gone)
        except Unauthenticated:
            raise Close(4403, "token unknown, expired or revoked") from None
        except TooManyConnections:
            raise Close(1013, "too many connections") from None
        except Unavailable:
            raise Close(1013, "try again later") from None
        self._expect_expiry(caller)
        self.wire.say(ACKNOWLEDGED)
        while True:
            message = await self._next()
            if message["type"] == "ping":
                await self._pong(caller, message.get("payload"))
            else:
                self._answer(caller, message)

    async def _initialised(self) -> str:
        """The token of the connection_init."""
        self._finish_in(INIT_SECONDS, 4408, "connection_init was late")
        while (message := await self._next())["type"] in ("ping", "pong"):
            if message["type"] == "ping":
                self.wire.say(PONG)
        self._stop_timer()
        if message["type"] != "connection_init":
            raise Close(4401, "connection_init comes first")
        token = bearer_of(message.get("payload"))
        if token is None:
            raise Close(4403, "send {authorization: Bearer ...} in connection_init")
        return token

    def finish(self, code: int, reason: str) -> None:
        """Close it, whatever it does. Nothing more is told on it."""
        if self._ending is None and self._task is not None:
            self._ending = Close(code, reason)
            self._detach()
            self._task.cancel()

    def _gone(self, *, expired: bool) -> None:
        self.finish(*((4401, "token expired") if expired else (4403, "token revoked")))

    def _stuck(self) -> None:
        self.finish(1013, "not reading")

    def ping(self) -> None:
        if self._caller is not None and not self.wire.is_full:
            self.wire.say(PING)

    def restart(self) -> None:
        self.finish(1012, "server restarts")

    def abort(self) -> None:
        self.finish(1012, "server restarts")
        self.wire.abort()

    def _finish_in(self, seconds: float, code: int, reason: str) -> None:
        self._stop_timer()
        self._timer = asyncio.get_running_loop().call_later(seconds, self.finish, code, reason)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expect_expiry(self, caller: Caller) -> None:
        if caller.expires_at is not None:
            seconds = max(0.0, (caller.expires_at - utc_now()).total_seconds())
            self._finish_in(seconds, 4401, "token expired")

    async def _close(self, close: Close) -> None:
        self._ending = close
        self._detach()
        unread = self.wire.is_full
        if not unread:
            with suppress(Exception):
                async with asyncio.timeout(CLOSE_SECONDS):
                    await self.wire.flush()
                    await self._send({"type": "websocket.close", "code": close.code, "reason": close.reason})
                return
        self.wire.abort()

    def _detach(self) -> None:
        """Nothing more is told."""
        if self._caller is not None:
            self._caller.tail.dismiss(self._caller)

    async def _release(self) -> None:
        self._detach()
        self._ending = self._ending or Close(1000, "")
        self._stop_timer()
        self.wire.close()
        pending = {each for each in self._operations.values() if isinstance(each, asyncio.Task)}
        self._operations.clear()
        while pending:
            # More than once: a library that is given what it waits for in the same moment swallows a cancellation.
            for task in pending:
                task.cancel()
            _, pending = await asyncio.wait(pending, timeout=1.0)

    # What the client says

    async def _next(self) -> dict[str, Any]:
        if self.wire.is_full:
            self._room = asyncio.Event()
            await self._room.wait()  # who does not read is not heard, either
        frame = await self._receive()
        while frame["type"] == "websocket.connect":
            frame = await self._receive()
        if frame["type"] == "websocket.disconnect":
            raise Left
        return message_of(frame.get("text"))

    def _drained(self) -> None:
        if self._room is not None:
            self._room.set()
            self._room = None
        for operation in list(self._operations.values()):
            if isinstance(operation, Stream):
                operation.caller.tail.drained(operation)

    def _answer(self, caller: Caller, message: dict[str, Any]) -> None:
        match message["type"]:
            case "pong":
                pass
            case "subscribe":
                self._subscribe(caller, message)
            case "complete":
                self._complete(operation_id(message))
            case "connection_init":
                raise Close(4429, "connection_init came twice")
            case _:
                raise Close(4400, "unknown type of message")

    async def _pong(self, caller: Caller, payload: object) -> None:
        """With a token in its payload, a ping lets the socket outlive the token that it began with."""
        token = bearer_of(payload)
        if token is None:
            self.wire.say(PONG)
            return
        good = await self._live.hub.renewed(caller, token)
        if good:
            self._stop_timer()
            self._expect_expiry(caller)
        said = {"authorized": good, "expiresAt": caller.expires_at}
        self.wire.say(orjson.dumps({"type": "pong", "payload": said}))

    def _subscribe(self, caller: Caller, message: dict[str, Any]) -> None:
        identifier = operation_id(message)
        query, name, variables = parameters_of(message.get("payload"))
        if identifier in self._operations:
            raise Close(4409, "this id is in use")
        if len(self._operations) >= MOST_OPERATIONS:
            self._error(identifier, said("TOO_MANY_OPERATIONS", f"At most {MOST_OPERATIONS} at once."))
            return
        engine = self._live.engine
        try:
            operation = engine.prepare(query, name)
        except RequestError as refusal:
            self._error(identifier, engine.refused(refusal)["errors"])
            return
        if operation.kind is not OperationType.SUBSCRIPTION:
            self._error(identifier, said("ONLY_SUBSCRIPTIONS", "Send queries and mutations over HTTP."))
            return
        opening = self._open(identifier, caller, operation, variables)
        self._operations[identifier] = asyncio.get_running_loop().create_task(opening)

    def _complete(self, identifier: str) -> None:
        operation = self._operations.pop(identifier, None)
        if isinstance(operation, Stream):
            operation.caller.tail.leave(operation)
        elif operation is not None:
            operation.cancel()
            _leaving.add(operation)  # asyncio itself holds tasks but weakly
            operation.add_done_callback(_leaving.discard)

    # What it is told

    async def _open(self, identifier: str, caller: Caller, operation: Operation, variables: dict[str, Any]) -> None:
        try:
            asked = await self._live.questions.ask(operation, variables, partial(self._live.context_for, caller.actor))
            if isinstance(asked, Following):
                stream = Stream(caller, asked.question, self, identifier)
                with answering():
                    await caller.tail.join(stream, asked.after)
                if self._operations.get(identifier) is asyncio.current_task():
                    self._operations[identifier] = stream
                else:  # it was completed, or the socket is closing, and the cancellation got lost
                    caller.tail.leave(stream)
            else:
                await self._listen(identifier, caller, operation, variables, asked)
                self._done(identifier)
                self.wire.say(orjson.dumps({"type": "complete", "id": identifier}))
        except RequestError as refusal:
            self.ended(identifier, self._live.engine.refused(refusal)["errors"])
        except Exception as error:
            self.ended(identifier, self._live.engine.masked(error)["errors"])

    async def _listen(
        self,
        identifier: str,
        caller: Caller,
        operation: Operation,
        variables: dict[str, Any],
        events: AsyncGenerator[Any, None],
    ) -> None:
        """A subscription that follows no log: its source is this subscriber's alone."""
        head = next_head(identifier)
        engine = self._live.engine
        try:
            async for event in events:
                # A context of its own for each event: loaders that outlive one answer with what was true before.
                fresh = self._live.context_for(caller.actor)
                # To its end even when cancelled: graphql-core leaves coroutines behind.
                result = await shielded(engine.respond(operation, variables, event, fresh))
                if self._ending is None and not self.wire.is_full:  # best effort: what cannot be sent is forgotten
                    self.wire.tell(head, Telling(orjson.dumps(engine.formatted(result))))
        finally:
            await events.aclose()

    def ended(self, identifier: str, errors: list[dict[str, Any]]) -> None:
        """An operation ends with errors."""
        self._error(identifier, errors)
        self._done(identifier)

    def _done(self, identifier: str) -> None:
        self._operations.pop(identifier, None)

    def _error(self, identifier: str, errors: list[dict[str, Any]]) -> None:
        if self._ending is None:
            self.wire.say(orjson.dumps({"type": "error", "id": identifier, "payload": errors}))


_leaving: set[asyncio.Task[None]] = set()


def _wire(scope: Mapping[str, Any], send: Send) -> Wire:
    transport = scope.get("extensions", {}).get(EXTENSION)
    if transport is not None:
        return ReadyWire(transport)
    return AsgiWire(send, lambda text: {"type": "websocket.send", "text": text.decode()})
