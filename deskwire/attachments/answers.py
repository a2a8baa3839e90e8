"""What the doors of attachments say when they refuse: JSON in the form of every other refusal over HTTP."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from deskwire.http import HEADERS, HTTPRefusal
from domain.errors import BusyRetry, FileTooLarge, Forbidden, NotFound, Refusal, TooManyUploads, Unauthenticated
from domain.storage import ContentMissing, StorageUnavailable
from execution.errors import code_of, extensions_of
from models.database import is_unavailable

log = logging.getLogger("deskwire.attachments")

Door = Callable[[Request], Awaitable[Response]]
Masked = Callable[[Exception], dict[str, Any]]

STATUS: tuple[tuple[type[Refusal], int], ...] = (
    (Unauthenticated, 401),
    (Forbidden, 403),
    (NotFound, 404),
    (FileTooLarge, 413),
    (TooManyUploads, 429),
    (BusyRetry, 503),
)
CODES: dict[type[Exception], str] = {FileTooLarge: "FILE_TOO_LARGE", TooManyUploads: "TOO_MANY_UPLOADS"}


def answering(door: Door, masked: Masked) -> Door:
    """The door, with its refusals answered. `masked` reports a defect, and makes what a client may see of it."""

    async def answered(request: Request) -> Response:
        try:
            return await door(request)
        except ClientDisconnect:
            return Response(status_code=400)
        except Exception as error:
            return refused(error, masked)

    return answered


def refused(error: Exception, masked: Masked) -> Response:
    """The answer to an exception."""
    error = _known(error)
    code = CODES.get(type(error)) or code_of(error)
    if code is None:
        return json(500, masked(error))
    body = {"errors": [{"message": str(error), "extensions": {**extensions_of(error), "code": code}}]}
    headers = dict(getattr(error, "headers", {}))
    status = _status(error)
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if status == 413:  # what else was sent is not read
        headers["Connection"] = "close"
    return json(status, body, headers)


def json(status: int, body: dict[str, Any], headers: dict[str, str] | None = None) -> Response:
    """An answer that nobody keeps."""
    sent = {**HEADERS, **(headers or {}), "Content-Type": "application/json; charset=utf-8"}
    return Response(orjson.dumps(body), status, sent)


def _known(error: Exception) -> Exception:
    """The same, or what it comes to for a client."""
    if isinstance(error, ContentMissing):
        # A row without its content: purged at this moment, or lost.
        log.warning("the content %s is missing", error)
        return NotFound()
    if isinstance(error, StorageUnavailable):
        log.warning("the storage does not answer: %s", error)
        return HTTPRefusal(503, "SERVICE_UNAVAILABLE", "The storage does not answer. Try again in a moment.")
    if is_unavailable(error):
        log.warning("the database does not answer: %s", error)
        return HTTPRefusal(503, "SERVICE_UNAVAILABLE", "The database does not answer. Try again in a moment.")
    return error


def _status(error: Exception) -> int:
    given = getattr(error, "status", None)
    return given if isinstance(given, int) else next((s for kind, s in STATUS if isinstance(error, kind)), 400)
