"""One file out of a multipart/form-data body, as it comes in.

Starlette's own form parser would write the whole body to a temporary file before anybody looks at it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from deskwire.http import HTTPRefusal

FIELD = "file"
FORM = b"multipart/form-data"
SECONDS = 600.0
"""For the whole body."""
QUIET_SECONDS = 30.0
"""Between two pieces of it."""


class FilePart:
    """The one part of a form that is the file. `name` is there once `opened` returned; then read `chunks`, once."""

    def __init__(self, request: Request) -> None:
        self._parser = _Parser(_boundary(request))
        self._body = patient(request.stream())
        self.name: str | None = None

    async def opened(self) -> FilePart:
        """Read up to the content of the file. Raises HTTPRefusal for a body that has none."""
        while not self._parser.in_file:
            if not await self._read_on():
                raise _malformed(f"Send one file, in a field named '{FIELD}'.")
        self.name = self._parser.file_name
        return self

    async def chunks(self) -> AsyncIterator[bytes]:
        """The content. Raises HTTPRefusal when the body does not end behind the file, as it should."""
        while True:
            while self._parser.content:
                yield self._parser.content.popleft()
            if self._parser.finished:
                return
            if not await self._read_on():
                raise _malformed("The body ends in the middle of the form.")

    async def _read_on(self) -> bool:
        """Whether there was more to read."""
        chunk = await anext(self._body, None)
        if chunk is None:
            return False
        self._parser.take(chunk)
        return True


class _Parser:
    """Which bytes of a form are those of the file."""

    def __init__(self, boundary: bytes) -> None:
        self.content: deque[bytes] = deque()
        self.file_name: str | None = None
        self.in_file = False
        self.finished = False
        self._name = self._value = b""
        self._disposition = ""
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._on_part,
                "on_header_begin": self._on_header,
                "on_header_field": self._on_header_name,
                "on_header_value": self._on_header_value,
                "on_header_end": self._on_header_end,
                "on_headers_finished": self._on_headers,
                "on_part_data": self._on_data,
                "on_end": self._on_end,
            },
        )

    def take(self, chunk: bytes) -> None:
        try:
            self._parser.write(chunk)
        except FormParserError:
            raise _malformed("The body is no form.") from None

    def _on_part(self) -> None:
        if self.in_file:
            raise _malformed("Send one file and nothing else.")
        self._disposition = ""

    def _on_header(self) -> None:
        self._name = self._value = b""

    def _on_header_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        if self._name.lower() == b"content-disposition":
            self._disposition = self._value.decode("latin-1")

    def _on_headers(self) -> None:
        _, options = parse_options_header(self._disposition)
        if options.get(b"name") != FIELD.encode() or b"filename" not in options:
            raise _malformed(f"Send one file, in a field named '{FIELD}'.")
        # Browsers write names in UTF-8, whatever the form says.
        self.file_name = options[b"filename"].decode("utf-8", "replace")
        self.in_file = True

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        self.content.append(data[start:end])

    def _on_end(self) -> None:
        self.finished = True


def _boundary(request: Request) -> bytes:
    types = request.headers.getlist("content-type")
    kind, options = parse_options_header(types[0] if len(types) == 1 else "")
    boundary = options.get(b"boundary", b"")
    if kind != FORM or not 0 < len(boundary) <= 70:  # RFC 2046
        raise HTTPRefusal(
            415, "UNSUPPORTED_MEDIA_TYPE", "Send multipart/form-data with a boundary.", {"Accept-Post": FORM.decode()}
        )
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise HTTPRefusal(415, "UNSUPPORTED_MEDIA_TYPE", "Send the body as it is, without compression.")
    return boundary


async def patient(
    body: AsyncIterator[bytes], *, quiet: float = QUIET_SECONDS, seconds: float = SECONDS
) -> AsyncGenerator[bytes, None]:
    """The body, while it keeps coming. The clock is looked at between pieces: no storage is interrupted by it.

    Raises HTTPRefusal (408) after so many seconds without a piece, or in all.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while True:
        try:
            async with asyncio.timeout(min(quiet, end - loop.time())):
                chunk = await anext(body, None)
        except TimeoutError:
            message = "The body took too long."
            raise HTTPRefusal(408, "REQUEST_TIMEOUT", message, {"Connection": "close"}) from None
        if chunk is None:
            return
        yield chunk


def _malformed(message: str) -> HTTPRefusal:
    return HTTPRefusal(400, "BAD_REQUEST", message, {"Connection": "close"})
