"""GraphQL over HTTP: one strict endpoint. It answers in JSON whatever it is sent, and runs only what is well formed.

It follows the GraphQL-over-HTTP specification (all 61 audits of npm's graphql-http pass with GET allowed) and is
narrower where the specification leaves a choice: no batches, no other content type than JSON, no body over 64 KiB.
strawberry's own view answers 500 to half of what is refused here, and in plain text.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

import orjson
from graphql import OperationType, StringValueNode, Visitor, visit
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from deskwire.slots import Slots
from domain.failpoints import pass_through
from execution.engine import Engine, Operation
from execution.errors import BAD_USER_INPUT, RequestError, code_of, extensions_of
from subscriptions.streaming import MULTIPART, SENT_EVENTS, Format, once

MAX_BODY = 65_536
MAX_NESTING = 64
BODY_SECONDS = 10.0
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
"""What the route must let through, so that this endpoint, and not the router, refuses in JSON."""

JSON = "application/json"
RESPONSE_JSON = "application/graphql-response+json"
CONTENT_TYPE = re.compile(r'application/json(\s*;\s*charset\s*=\s*"?utf-8"?)?\s*', re.IGNORECASE)
FORBIDDEN = re.compile("[\x00\ud800-\udfff]")
HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}

ActorT = TypeVar("ActorT")
Endpoint = Callable[[Request], Awaitable[Response]]
Stream = Callable[[Request, Format, Operation, dict[str, Any]], Response]


class HTTPRefusal(Exception):
    """A request that is refused before GraphQL sees it, with its HTTP status and code.

    Exceptions of others (of `authenticate`, say) are answered alike where they have a `code`, and perhaps a `status`,
    `headers` and `extensions`.
    """

    def __init__(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.headers = dict(headers or {})


@dataclass(frozen=True, slots=True)
class Parameters:
    """What a well-formed request asks for."""

    query: str
    operation_name: str | None
    variables: dict[str, Any]


def graphql_endpoint(
    engine: Engine,
    authenticate: Callable[[Request], Awaitable[ActorT]],
    context_for: Callable[[ActorT], object],
    *,
    allow_get: bool,
    changes: Slots,
    stream: Stream | None = None,
) -> Endpoint:
    """Return the endpoint of all operations. Route all of METHODS to it.

    authenticate  raises an exception with `code` and `status` (401, UNAUTHENTICATED) where the caller is nobody
    context_for   makes the context of one operation
    allow_get     also answer queries by GET
    changes       how many mutations are worked on at once
    stream        makes the response to a subscription, in the format that the client accepts
    """
    return _Endpoint(engine, authenticate, context_for, allow_get, changes, stream).respond


@dataclass(frozen=True, slots=True)
class _Endpoint(Generic[ActorT]):
    engine: Engine
    authenticate: Callable[[Request], Awaitable[ActorT]]
    context_for: Callable[[ActorT], object]
    allow_get: bool
    changes: Slots
    stream: Stream | None

    async def respond(self, request: Request) -> Response:
        accept = request.headers.getlist("accept")
        media_type, refused = negotiated(accept)
        try:
            return await self._answer(request, media_type, streamed(accept))
        except RequestError as refusal:
            if (format := streamed(accept)) is not None and not _accepts_json(accept):
                return _only_result(format, self.engine.refused(refusal))
            return _response(refused, self.engine.refused(refusal), media_type)
        except ClientDisconnect:
            return Response(status_code=400)
        except HTTPException as error:
            return self._refused(_of_starlette(error), media_type)
        except Exception as error:
            return self._refused(error, media_type)

    async def _answer(self, request: Request, media_type: str, format: Format | None) -> Response:
        self._check_method(request)
        actor = await self.authenticate(request)
        parameters = _from_url(request) if request.method == "GET" else await _from_body(request)
        operation = self.engine.prepare(parameters.query, parameters.operation_name)
        _check_kind(operation, request.method)
        _check_literals(operation)
        if operation.kind is OperationType.SUBSCRIPTION:
            return self._streamed(request, format, operation, parameters.variables)
        context = self.context_for(actor)
        if operation.kind is OperationType.MUTATION:
            async with self.changes.one():
                result = await self.engine.execute(operation, parameters.variables, context)
            await pass_through("before_reply")
        else:
            result = await self.engine.execute(operation, parameters.variables, context)
        formatted = self.engine.formatted(result)
        if format is not None and not _accepts_json(request.headers.getlist("accept")):
            return _only_result(format, formatted)
        return _response(200, formatted, media_type)

    def _streamed(
        self, request: Request, format: Format | None, operation: Operation, variables: dict[str, Any]
    ) -> Response:
        if format is None or self.stream is None:
            message = "Subscribe over WebSocket (graphql-transport-ws), or accept text/event-stream."
            raise HTTPRefusal(400, "SUBSCRIPTION_NEEDS_WEBSOCKET", message)
        return self.stream(request, format, operation, variables)

    def _check_method(self, request: Request) -> None:
        allowed = ["GET", "POST"] if self.allow_get else ["POST"]
        if request.method not in allowed:
            raise _not_allowed(f"{request.method} is not served here.", allowed)
        if request.method == "POST":
            _check_content_type(request)

    def _refused(self, error: Exception, media_type: str) -> Response:
        code = code_of(error)
        if code is None:
            return _response(500, self.engine.masked(error), media_type)
        extensions = {**extensions_of(error), "code": code}
        body = {"errors": [{"message": str(error), "extensions": extensions}]}
        status = getattr(error, "status", 400)
        headers = {"WWW-Authenticate": "Bearer"} if status == 401 else getattr(error, "headers", None)
        return _response(status, body, media_type, headers)


class Negotiated(NamedTuple):
    """The media type of the answer, and the status of one that says the request was invalid."""

    media_type: str
    refused: int


def negotiated(accept: Sequence[str]) -> Negotiated:
    """Choose what the client likes best of the two media types, plain JSON where it does not say.

    Where it accepts neither, plain JSON too: an answer that it can log is worth more than an empty 406. A request
    that is well formed but does not parse, validate or fit its variables is a 400, except to who names plain JSON:
    the specification wants 200 there, for clients that read no body beside another status.
    """
    ranges = list(_ranges(",".join(accept)))
    new, plain = (_quality(ranges, media_type) for media_type in (RESPONSE_JSON, JSON))
    if new > plain:
        return Negotiated(RESPONSE_JSON, 400)
    return Negotiated(JSON, 200 if plain.named else 400)


def streamed(accept: Sequence[str]) -> Format | None:
    """The format that a client wants streams in, if he names one; server-sent events where he likes both alike."""
    text = ",".join(accept)
    ranges = dict(_ranges(text))
    sent_events = ranges.get("text/event-stream", 0.0)
    multipart = ranges.get("multipart/mixed", 0.0) if "subscriptionspec=1.0" in text.lower().replace('"', "") else 0.0
    if max(sent_events, multipart) == 0:
        return None
    return MULTIPART if multipart > sent_events else SENT_EVENTS


def _only_result(format: Format, result: dict[str, Any]) -> Response:
    """A stream of one result, for who accepts nothing else."""
    headers = {**HEADERS, "Content-Type": format.content_type}
    return Response(once(format, orjson.dumps(result)), headers=headers)


def _accepts_json(accept: Sequence[str]) -> bool:
    names = {name for name, quality in _ranges(",".join(accept)) if quality > 0}
    return bool(names & {JSON, RESPONSE_JSON, "application/*", "*/*"})


def _ranges(accept: str) -> Iterator[tuple[str, float]]:
    for part in accept.split(","):
        name, *parameters = (each.strip().lower() for each in part.split(";"))
        quality = next((each[2:] for each in parameters if each.startswith("q=")), "1")
        yield name, float(quality) if re.fullmatch(r"[01](\.\d{0,3})?", quality) else 0.0


class _Quality(NamedTuple):
    """How much a client likes a media type; compared from left to right."""

    quality: float = 0.0
    named: bool = False
    newer: bool = False


def _quality(ranges: list[tuple[str, float]], media_type: str) -> _Quality:
    for name in (media_type, "application/*", "*/*"):
        for candidate, quality in ranges:
            if candidate == name:
                named = name == media_type and quality > 0
                return _Quality(quality, named, named and media_type == RESPONSE_JSON)
    return _Quality()


def _check_content_type(request: Request) -> None:
    types = request.headers.getlist("content-type")
    if len(types) != 1 or not CONTENT_TYPE.fullmatch(types[0]):
        raise HTTPRefusal(415, "UNSUPPORTED_MEDIA_TYPE", "Send application/json in UTF-8.", {"Accept-Post": JSON})
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise HTTPRefusal(415, "UNSUPPORTED_MEDIA_TYPE", "Send the body as it is, without compression.")


async def _from_body(request: Request) -> Parameters:
    try:
        async with asyncio.timeout(BODY_SECONDS):
            body = await _body(request)
    except TimeoutError:
        message = "The body took too long."
        raise HTTPRefusal(408, "REQUEST_TIMEOUT", message, {"Connection": "close"}) from None
    return _parameters(_decoded(body, "body"))


async def _body(request: Request) -> bytes:
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and (len(declared) > 9 or int(declared) > MAX_BODY):
        raise _too_large()
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise _too_large()
    return bytes(body)


def _from_url(request: Request) -> Parameters:
    given: dict[str, Any] = {name: value for name, value in request.query_params.items() if value}
    for name in ("variables", "extensions"):
        if name in given:
            given[name] = _decoded(given[name], name)
    return _parameters(given)


def _decoded(text: bytes | str, where: str) -> object:
    try:
        return orjson.loads(text if isinstance(text, str) else text.decode())
    except UnicodeDecodeError:
        raise _malformed(f"The {where} is not UTF-8.") from None
    except orjson.JSONDecodeError as error:
        # orjson refuses lone surrogates as it reads; they are the same mistake as those that _check_values finds.
        code = BAD_USER_INPUT if "surrogate" in str(error) else "BAD_REQUEST"
        raise HTTPRefusal(400, code, f"The {where} is not JSON.") from None


def _parameters(given: object) -> Parameters:
    if not isinstance(given, dict):
        raise _malformed("Send one JSON object. Batches are not served.")
    _check_values(given)
    if not isinstance(query := given.get("query"), str) or not query:
        raise _malformed("'query' must be the text of a GraphQL document.")
    if not isinstance(name := given.get("operationName"), str | None):
        raise _malformed("'operationName' must be a string.")
    for key in ("variables", "extensions"):
        if not isinstance(given.get(key), dict | None):
            raise _malformed(f"'{key}' must be an object.")
    return Parameters(query, name, given.get("variables") or {})


def _check_values(body: dict[str, Any]) -> None:
    """Refuse what a database or a recursive decoder would stumble over later. Not recursive itself."""
    level: list[Any] = [body]
    for _ in range(MAX_NESTING):
        if not level:
            return
        strings = [each for each in level if isinstance(each, str)]
        strings += [key for each in level if isinstance(each, dict) for key in each]
        if any(FORBIDDEN.search(text) for text in strings):
            raise _forbidden()
        level = [inner for each in level for inner in _children(each)]
    if level:
        raise _malformed(f"The body is nested more than {MAX_NESTING} levels deep.")


def _children(value: object) -> Sequence[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else ()


def _check_kind(operation: Operation, method: str) -> None:
    if method == "GET" and operation.kind is OperationType.MUTATION:
        raise _not_allowed("A mutation needs POST.", ["POST"])


def _check_literals(operation: Operation) -> None:
    """An escape in the document can spell what `_check_values` refuses. (Half a surrogate pair does not parse.)"""
    if "\\u" in operation.query:
        visit(operation.document, _Literals())


class _Literals(Visitor):
    def enter_string_value(self, node: StringValueNode, *_: Any) -> None:
        if FORBIDDEN.search(node.value):
            raise _forbidden()


def _forbidden() -> HTTPRefusal:
    return HTTPRefusal(400, BAD_USER_INPUT, "Strings may hold neither U+0000 nor half a surrogate pair.")


def _malformed(message: str) -> HTTPRefusal:
    return HTTPRefusal(400, "BAD_REQUEST", message)


def _too_large() -> HTTPRefusal:
    return HTTPRefusal(413, "BODY_TOO_LARGE", f"The body may have {MAX_BODY} bytes.", {"Connection": "close"})


def _not_allowed(message: str, allowed: Sequence[str]) -> HTTPRefusal:
    return HTTPRefusal(405, "METHOD_NOT_ALLOWED", message, {"Allow": ", ".join(allowed)})


def _of_starlette(error: HTTPException) -> HTTPRefusal:
    """Starlette raises its own for a body over its own limit, which may be below ours."""
    code = "BODY_TOO_LARGE" if error.status_code == 413 else "BAD_REQUEST"
    return HTTPRefusal(error.status_code, code, error.detail, error.headers)


def _response(status: int, body: dict[str, Any], media_type: str, headers: object = None) -> Response:
    added = headers if isinstance(headers, Mapping) else {}
    return Response(orjson.dumps(body), status, {**HEADERS, **added, "Content-Type": f"{media_type}; charset=utf-8"})
