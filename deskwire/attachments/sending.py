"""Sending a content: whole, in part, or not at all when the browser has it already.

Nothing that a customer has uploaded is ever run in our name: the type is the one that was found in the content,
browsers must not guess another, only plain pictures are shown in place, and what is shown is in a sandbox.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from deskwire.http import HTTPRefusal
from domain.contents import INLINE, TEXT
from domain.storage import Storage
from models import Attachment

RANGE = re.compile(r"bytes=(?P<first>\d{0,15})-(?P<last>\d{0,15})")
Refused = Callable[[Exception], Response]


@dataclass(frozen=True, slots=True)
class Piece:
    """`length` bytes from `start` on."""

    start: int
    length: int


def response_for(request: Request, row: Attachment, storage: Storage, refused: Refused) -> Response:
    """The answer to a GET or HEAD of an attachment that may be opened. Raises HTTPRefusal."""
    headers = headers_of(row)
    if headers["ETag"] in _tags(request.headers.get("if-none-match", "")):
        return Response(status_code=304, headers=headers)
    piece = _asked_piece(request, row, headers["ETag"])
    if piece is not None:
        headers["Content-Range"] = f"bytes {piece.start}-{piece.start + piece.length - 1}/{row.size}"
    headers["Content-Length"] = str(piece.length if piece else row.size)
    status = 206 if piece else 200
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers)
    return Sending(storage, row.storage_key, piece, status, headers, refused)


def headers_of(row: Attachment) -> dict[str, str]:
    """All that is said of a content, whichever part of it is sent."""
    kind = f"{TEXT}; charset=utf-8" if row.content_type == TEXT else row.content_type
    shown = "inline" if row.content_type in INLINE else "attachment"
    plain = re.sub(r'[^ -~]|["\\%]', "_", row.file_name)
    return {
        "Content-Type": kind,
        "Content-Disposition": f"{shown}; filename=\"{plain}\"; filename*=UTF-8''{quote(row.file_name, safe='')}",
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        # Asked again each time: whether he may still see it is decided each time.
        "Cache-Control": "private, no-cache",
        "ETag": f'"{row.sha256}"',
        "Accept-Ranges": "bytes",
    }


def _tags(header: str) -> set[str]:
    return {each.strip().removeprefix("W/") for each in header.split(",")}


def _asked_piece(request: Request, row: Attachment, tag: str) -> Piece | None:
    """None for the whole: nothing else was asked, or what was asked is no single range of bytes (RFC 9110)."""
    asked = RANGE.fullmatch(request.headers.get("range", "").strip())
    if asked is None or not any(asked.groups()) or request.headers.get("if-range", tag) != tag:
        return None
    first, last = asked["first"], asked["last"]
    if not first:
        length = min(int(last), row.size)
        start = row.size - length
    else:
        start = int(first)
        length = min(int(last or row.size), row.size - 1) - start + 1
        if last and int(last) < start:
            return None
    if length <= 0:
        headers = {"Content-Range": f"bytes */{row.size}"}
        raise HTTPRefusal(416, "RANGE_NOT_SATISFIABLE", f"The file has {row.size} bytes.", headers)
    return Piece(start, length)


class Sending(Response):
    """A content on its way. The storage is opened before anything is said, so that a missing one can be said."""

    def __init__(
        self, storage: Storage, key: str, piece: Piece | None, status: int, headers: dict[str, str], refused: Refused
    ) -> None:
        super().__init__(status_code=status, headers=headers)
        self._storage, self._key, self._piece, self._refused = storage, key, piece, refused

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        said = False
        start, length = (self._piece.start, self._piece.length) if self._piece else (0, None)
        try:
            async with self._storage.reading(self._key, start, length) as chunks:
                said = True
                await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
                async for chunk in chunks:
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
                await send({"type": "http.response.body", "body": b""})
        except Exception as error:
            if said:  # the connection breaks off, and the client sees that something is missing
                raise
            await self._refused(error)(scope, receive, send)
