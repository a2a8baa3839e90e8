"""What a file is: its name made harmless, and its kind read off its content.

The kind that an uploader claims is not looked at. What is sent out later carries the kind that was found here, so a
page that calls itself an image is text, and is shown to nobody as a page.
"""

from __future__ import annotations

import codecs
import hashlib
import re
import unicodedata
from collections.abc import AsyncIterable, AsyncIterator
from dataclasses import dataclass

from domain.errors import FileTooLarge, InvalidInput

LONGEST_NAME = 255
NAMELESS = "file"
HEAD = 32

TEXT = "text/plain"
UNKNOWN = "application/octet-stream"
INLINE = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
"""Kinds that a browser may show in place. All others are only ever offered as a download."""

_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"%PDF-", "application/pdf"),
    (b"PK\x03\x04", "application/zip"),
    (b"PK\x05\x06", "application/zip"),
)
# Windows; Linux; macOS, in both byte orders, and for several processors at once (as Java's classes begin, too).
_PROGRAMS = tuple(
    bytes.fromhex(start)
    for start in ("4d5a", "7f454c46", "feedface", "feedfacf", "cefaedfe", "cffaedfe", "cafebabe", "cafebabf")
)
# Not the signs of a text: all control characters but tab, line feed, form feed, carriage return and escape.
_NO_TEXT = re.compile("[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f]")
# Marks that turn the direction of what follows: "gpj.exe" reads as "exe.jpg" behind one.
_TURNING = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


@dataclass(frozen=True, slots=True)
class Content:
    """A content that was looked at: its size in bytes, the SHA-256 in hexadecimal, and its kind."""

    size: int
    sha256: str
    content_type: str


def clean_file_name(name: str | None) -> str:
    """The name without its path and without what cannot be seen; at most LONGEST_NAME characters, and never empty."""
    last = re.split(r"[/\\]", unicodedata.normalize("NFC", name or ""))[-1]
    visible = "".join(each for each in last if not _is_hidden(each)).strip(" .")
    if len(visible) > LONGEST_NAME:
        stem, dot, extension = visible.rpartition(".")
        ending = dot + extension if stem and len(extension) <= 16 else ""
        visible = visible[: LONGEST_NAME - len(ending)] + ending
    return visible or NAMELESS


def _is_hidden(character: str) -> bool:
    return character in _TURNING or unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")


def kind_of(head: bytes, *, is_text: bool) -> str:
    """The kind of a content that begins like this. Raises InvalidInput for a program."""
    if is_text:
        return "application/pdf" if head.startswith(b"%PDF-") else TEXT
    if head.startswith(_PROGRAMS):
        raise InvalidInput("Programs are not taken. Send them another way.", field=("file",))
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    if head[4:8] == b"ftyp":
        return "video/mp4"
    return next((kind for start, kind in _SIGNATURES if head.startswith(start)), UNKNOWN)


class Inspection:
    """Looks at a content while it passes by, and keeps none of it. Stops one that is too large."""

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._size = 0
        self._hash = hashlib.sha256()
        self._head = b""
        self._text = codecs.getincrementaldecoder("utf-8")()
        self._is_text = True

    async def watched(self, chunks: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
        """The same chunks. Raises FileTooLarge as soon as there are too many bytes."""
        async for chunk in chunks:
            self._look_at(chunk)
            yield chunk

    def finished(self) -> Content:
        """What the content was. Raises InvalidInput for an empty one, and for a program."""
        if self._size == 0:
            raise InvalidInput("The file is empty.", field=("file",))
        self._look_at_text(b"", final=True)
        return Content(self._size, self._hash.hexdigest(), kind_of(self._head, is_text=self._is_text))

    def _look_at(self, chunk: bytes) -> None:
        self._size += len(chunk)
        if self._size > self._most:
            raise FileTooLarge(self._most)
        self._hash.update(chunk)
        self._head += chunk[: HEAD - len(self._head)]
        self._look_at_text(chunk)

    def _look_at_text(self, chunk: bytes, *, final: bool = False) -> None:
        if not self._is_text:
            return
        try:
            self._is_text = _NO_TEXT.search(self._text.decode(chunk, final)) is None
        except UnicodeDecodeError:
            self._is_text = False
