"""Subscriptions over HTTP: one response for each, as server-sent events or as Apollo's multipart format.

Server-sent events are those of GraphQL over SSE in "distinct connections" mode. Every stream that does not end with
the connection ends with a reason: a last result with `errors`, then its completion.

    UNAUTHENTICATED      the token expired or was revoked    get a fresh one
    SERVER_RESTARTING    the server goes away                subscribe again with the last cursor
    SLOW_CONSUMER, …     as over WebSocket
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson

from domain.errors import Unauthenticated
from domain.transactions import shielded
from execution.engine import Operation
from execution.errors import RequestError
from models import utc_now
from subscriptions.callers import Caller
from subscriptions.cohorts import Member
from subscriptions.live import Live, Receive, answering
from subscriptions.questions import Following, Question
from subscriptions.telling import BOUNDARY, PART, Telling
from subscriptions.wires import SEND_SECONDS, AsgiWire, Send

log = logging.getLogger("deskwire.transport")

ABORT = "deskwire.abort"
"""The key of a server's extension that drops a connection at once."""


@dataclass(frozen=True, slots=True)
class Format:
    """How results are written into the body of a response."""

    content_type: str
    begin: bytes
    beat: bytes
    end: bytes
    of: Callable[[Telling], bytes]


SENT_EVENTS = Format(
    content_type="text/event-stream; charset=utf-8",
    begin=b":\n\n",
    beat=b":\n\n",
    end=b"event: complete\ndata:\n\n",
    of=lambda telling: telling.sent_event,
)
MULTIPART = Format(
    content_type=f'multipart/mixed;boundary="{BOUNDARY}";subscriptionSpec=1.0',
    begin=b"\r\n--" + BOUNDARY.encode(),
    beat=PART % b"{}",
    end=b"--\r\n",
    of=lambda telling: telling.part,
)

HEADERS = {
    b"cache-control": b"no-store",
    b"x-content-type-options": b"nosniff",
    b"x-accel-buffering": b"no",  # nginx would hold events back
}


class Restarting(Exception):
    """The process stops."""

    code = "SERVER_RESTARTING"


class _Only(Member):
    """The one subscription of a response."""

    __slots__ = ("_response",)

    def __init__(self, caller: Caller, question: Question, response: StreamedResponse) -> None:
        super().__init__(caller, question)
        self._response = response

    def tell(self, telling: Telling) -> bool:
        return self._response.tell(telling)

    def end(self, errors: list[dict[str, Any]]) -> None:
        self._response.finish(errors)


class StreamedResponse:
    """The ASGI response to one subscription."""

    def __init__(
        self, live: Live, format: Format, token: str, operation: Operation, variables: Mapping[str, Any]
    ) -> None:
        self._live = live
        self._format = format
        self._token = token
        self._operation = operation
        self._variables = variables
        self._over = asyncio.Event()
        self._completed = False
        self._dropped = asyncio.Event()
        self._wire: AsgiWire | None = None
        self._member: _Only | None = None

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        wire = self._wire = AsgiWire(send, _body)
        wire.on_drained, wire.on_stuck = self._drained, self.abort
        headers = [(b"content-type", self._format.content_type.encode()), *HEADERS.items()]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        wire.say(self._format.begin)
        self._live.connections.enter(self)
        try:
            await _first(self._until_left(receive), self._over.wait(), beside=self._follow())
            if self._completed and not self._dropped.is_set():
                await self._complete(wire, send)
        finally:
            self._live.connections.leave(self)
        if self._dropped.is_set():
            await self._drop(scope)
        wire.close()

    async def _until_left(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    async def _complete(self, wire: AsgiWire, send: Send) -> None:
        """Who does not read does not hear that it is over, either: he is dropped."""
        try:
            async with asyncio.timeout(SEND_SECONDS):
                await _first(_send_rest(wire, send), self._dropped.wait())
        except TimeoutError:
            self.abort()

    async def _drop(self, scope: Mapping[str, Any]) -> None:
        abort = scope.get("extensions", {}).get(ABORT)
        if abort is not None:
            abort()
            await asyncio.sleep(0.01)  # the server must know, or it complains of an answer without an end

    # Following

    async def _follow(self) -> None:
        try:
            caller = await self._live.admit(self._token, self._gone)
            try:
                with _expiring(caller):
                    await self._join(caller)
                    await self._over.wait()
            finally:
                await self._live.dismiss(caller)
        except RequestError as refusal:
            self.finish(self._live.engine.refused(refusal)["errors"])
        except Exception as error:
            self._fail(error)

    async def _join(self, caller: Caller) -> None:
        context = partial(self._live.context_for, caller.actor)
        asked = await self._live.questions.ask(self._operation, self._variables, context)
        if isinstance(asked, Following):
            self._member = _Only(caller, asked.question, self)
            with answering():
                await caller.tail.join(self._member, asked.after)
        else:
            await self._listen(caller, asked)
            self.finish()

    async def _listen(self, caller: Caller, events: AsyncGenerator[Any, None]) -> None:
        engine = self._live.engine
        try:
            async for event in events:
                fresh = self._live.context_for(caller.actor)
                result = await shielded(engine.respond(self._operation, self._variables, event, fresh))
                if self._wire is not None and not self._wire.is_full:
                    self.tell(Telling(orjson.dumps(engine.formatted(result))))
        finally:
            await events.aclose()

    def _gone(self, *, expired: bool) -> None:
        self._fail(Unauthenticated("The token has expired." if expired else "The token was revoked."))

    def _drained(self) -> None:
        if self._member is not None:
            self._member.caller.tail.drained(self._member)

    # Writing

    def tell(self, telling: Telling) -> bool:
        """Write a result. Returns whether the connection takes more."""
        if self._completed or self._wire is None:
            return True
        self._wire.say(self._format.of(telling))
        return not self._wire.is_full

    def finish(self, errors: list[dict[str, Any]] | None = None) -> None:
        """The stream is over, with these errors or in order."""
        if self._completed or self._wire is None:
            return
        if errors is not None:
            self.tell(Telling(orjson.dumps({"errors": errors})))
        self._wire.say(self._format.end)
        self._completed = True
        self._over.set()

    def _fail(self, error: Exception) -> None:
        self.finish(self._live.engine.masked(error)["errors"])

    def ping(self) -> None:
        if self._wire is not None and not self._completed and not self._wire.is_full:
            self._wire.say(self._format.beat)

    def restart(self) -> None:
        self._fail(Restarting("The server restarts. Subscribe again with your last cursor."))

    def abort(self) -> None:
        self._dropped.set()
        self._over.set()


def once(format: Format, body: bytes) -> bytes:
    """A single result, for a client that accepts nothing but a stream."""
    return format.begin + format.of(Telling(body)) + format.end


async def _first(*works: Coroutine[Any, Any, Any], beside: Coroutine[Any, Any, None] | None = None) -> None:
    """Until the first of them is done. The others, and what is done beside them, are cancelled then."""
    tasks = [asyncio.create_task(work) for work in works]
    others = [asyncio.create_task(beside)] if beside else []
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (*tasks, *others):
            task.cancel()
        await asyncio.gather(*tasks, *others, return_exceptions=True)


async def _send_rest(wire: AsgiWire, send: Send) -> None:
    await wire.flush()
    await send({"type": "http.response.body", "body": b"", "more_body": False})


@contextmanager
def _expiring(caller: Caller) -> Iterator[None]:
    """Within it, the caller is turned away when his token expires."""
    if caller.expires_at is None:
        yield
        return
    seconds = max(0.0, (caller.expires_at - utc_now()).total_seconds())
    turn_away = partial(caller.tail.turn_away, caller, expired=True)
    timer = asyncio.get_running_loop().call_later(seconds, turn_away)
    try:
        yield
    finally:
        timer.cancel()


def _body(data: bytes) -> MutableMapping[str, Any]:
    return {"type": "http.response.body", "body": data, "more_body": True}
