"""A raw mail, taken apart: its headers and its leaves.

The standard library's parser recurses once for each nested part and then again while it reads each line, and it keeps
a message object for every part: ten thousand nested multiparts end it, a hundred thousand parts take it half a
minute. This one works on positions in the raw bytes, with a budget; what goes beyond it is left out.
"""

from __future__ import annotations

import binascii
import codecs
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message

LONGEST_HEADERS = 262_144
LONGEST_VALUE = 20_000
MOST_FIELDS = 1_000
DEEPEST = 12
MOST_PARTS = 200
MOST_STEPS = 100_000
LONGEST_TEXT = 262_144
"""Bytes of a text part that are read. A comment has 10,000 characters."""

_BLANK_LINE = re.compile(rb"\n\r?\n")
_FOLD = re.compile(rb"\r?\n[ \t]+")
_FIELD = re.compile(rb"([!-9;-~]{1,100}):(.*)", re.DOTALL)
_ENCODED_WORD = re.compile(r"=\?([^?\s]{1,60})\?([bBqQ])\?([^?]{0,1000})\?=")
_BETWEEN_WORDS = re.compile(r"(\?=)\s{1,20}(?==\?)")
# Line breaks and tabs are text; half a surrogate pair and other control characters cannot be stored.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_NOT_BASE64 = bytes(set(range(256)) - set(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"))
# Codecs of Python that are no character sets, or that take quadratic time.
_NO_CHARSETS = frozenset({"idna", "punycode", "undefined", "unicode_escape", "raw_unicode_escape", "mbcs", "oem"})


@dataclass(frozen=True, slots=True)
class Headers:
    """Fields in their order, names in lower case, values unfolded and without control characters."""

    fields: tuple[tuple[str, str], ...]

    def every(self, name: str) -> list[str]:
        return [value for field, value in self.fields if field == name]

    def first(self, name: str) -> str:
        return next((value for field, value in self.fields if field == name), "")


@dataclass(frozen=True, slots=True)
class Part:
    """A leaf of a mail. `parameters` are those of its type."""

    headers: Headers
    content_type: str
    charset: str
    file_name: str | None
    is_attachment: bool
    raw: bytes

    @property
    def content(self) -> bytes:
        """The whole content, decoded."""
        return _transferred(self.raw, self.headers.first("content-transfer-encoding"))

    @property
    def text(self) -> str:
        """The content as text, at most LONGEST_TEXT bytes of it. Never raises, whatever its charset claims."""
        encoding = self.headers.first("content-transfer-encoding")
        decoded = _transferred(self.raw[: 3 * LONGEST_TEXT], encoding)[:LONGEST_TEXT]
        return cleaned(decoded_text(decoded, self.charset))


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail taken apart. `whole` is false when parts were left out."""

    headers: Headers
    content_type: str
    report_type: str
    leaves: tuple[Part, ...]
    whole: bool
    digest: str


def taken_apart(raw: bytes) -> Mail:
    """Take a mail apart. Never raises; its time grows with the size of the mail, and not with what is in it."""
    headers = headers_of(raw)
    content_type, parameters = _typed(headers)
    walk = _Walk(raw)
    leaves = tuple(walk.leaves(0, len(raw), 0))
    digest = hashlib.sha256(raw).hexdigest()
    return Mail(headers, content_type, parameters.get("report-type", "").lower(), leaves, walk.whole, digest)


def headers_of(raw: bytes) -> Headers:
    """The headers at the beginning of a mail that is inside of another one."""
    return _headers(raw, 0, len(raw))[1]


class _Walk:
    """The leaves of a mail, within one budget for all of it."""

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self.parts = MOST_PARTS
        self.steps = MOST_STEPS
        self.whole = True

    def leaves(self, start: int, end: int, depth: int) -> Iterator[Part]:
        if self.parts <= 0:
            self.whole = False
            return
        self.parts -= 1
        body, headers = _headers(self.raw, start, end)
        content_type, parameters = _typed(headers)
        boundary = parameters.get("boundary", "")
        if not (content_type.startswith("multipart/") and boundary):
            yield _leaf(headers, content_type, parameters, self.raw[body:end])
        elif depth >= DEEPEST:
            self.whole = False
        else:
            for first, last in self.pieces(body, end, boundary.encode("latin-1", "replace")):
                yield from self.leaves(first, last, depth + 1)

    def pieces(self, start: int, end: int, boundary: bytes) -> Iterator[tuple[int, int]]:
        """Where the parts between the lines of a boundary begin and end."""
        line, at, opened = b"--" + boundary, start, None
        while (found := self.raw.find(line, at, end)) >= 0:
            self.steps -= 1
            if self.steps < 0:
                self.whole = False
                return
            at = found + len(line)
            rest = self.raw[at : at + 80].split(b"\n", 1)[0].strip()
            if rest not in (b"", b"--") or (found > start and self.raw[found - 1] != 10):
                continue
            if opened is not None:
                yield opened, max(opened, found - (2 if self.raw[found - 2 : found] == b"\r\n" else 1))
            if rest == b"--":
                return
            newline = self.raw.find(b"\n", at, end)
            opened = newline + 1 if newline >= 0 else end
        if opened is not None:
            yield opened, end


def _headers(raw: bytes, start: int, end: int) -> tuple[int, Headers]:
    """Where the body begins, and the headers before it, of which LONGEST_HEADERS bytes are read."""
    if raw[start : start + 1] in (b"\n", b"\r"):  # no headers at all
        return start + 1, Headers(())
    blank = _BLANK_LINE.search(raw, start, end)
    if blank is None:  # nothing but headers
        return end, _fields(raw[start : min(end, start + LONGEST_HEADERS)])
    return blank.end(), _fields(raw[start : min(blank.start(), start + LONGEST_HEADERS)])


def _fields(block: bytes) -> Headers:
    lines = _FOLD.sub(b" ", block).split(b"\n")[:MOST_FIELDS]
    matches = (_FIELD.match(line) for line in lines)
    return Headers(tuple((match[1].decode().lower(), _value(match[2])) for match in matches if match))


def _value(raw: bytes) -> str:
    raw = raw[:LONGEST_VALUE]
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    return " ".join(cleaned(text).split())


def unencoded(value: str) -> str:
    """A header's value with its encoded words (RFC 2047) as text, on one line."""
    joined = _BETWEEN_WORDS.sub(r"\1", value)
    return " ".join(cleaned(_ENCODED_WORD.sub(_word, joined)).split())


def _word(match: re.Match[str]) -> str:
    charset, encoding, text = match.groups()
    raw = text.encode("utf-8", "replace")
    decoded = _from_base64(raw) if encoding in "bB" else binascii.a2b_qp(raw, header=True)
    return decoded_text(decoded, charset.partition("*")[0])


def _typed(headers: Headers) -> tuple[str, dict[str, str]]:
    """The media type, and its parameters and those of the disposition."""
    message = Message()
    for name in ("content-type", "content-disposition"):
        message[name] = headers.first(name)[:2_000]
    try:
        found = [*(message.get_params(header="content-disposition") or ()), *(message.get_params() or ())]
        # A parameter of RFC 2231 comes as (charset, language, value).
        parameters = {str(name).lower(): _parameter(value) for name, value in reversed(found)}
        return message.get_content_type(), parameters
    except Exception:  # the library's reading of odd parameters has raised many things
        return "text/plain", {}


def _parameter(value: str | tuple[str | None, str | None, str]) -> str:
    if isinstance(value, tuple):
        return decoded_text(value[2].encode("latin-1", "replace"), value[0] or "utf-8")
    return value.strip('"')


def _leaf(headers: Headers, content_type: str, parameters: dict[str, str], raw: bytes) -> Part:
    name = parameters.get("filename") or parameters.get("name")
    disposition = headers.first("content-disposition").partition(";")[0].strip().lower()
    return Part(
        headers=headers,
        content_type=content_type,
        charset=parameters.get("charset", "utf-8"),
        file_name=unencoded(name)[:200] if name else None,
        is_attachment=disposition == "attachment" or name is not None or not content_type.startswith("text/"),
        raw=raw,
    )


def _transferred(raw: bytes, encoding: str) -> bytes:
    match encoding.strip().lower():
        case "base64":
            return _from_base64(raw)
        case "quoted-printable":
            return binascii.a2b_qp(raw)
    return raw


def _from_base64(raw: bytes) -> bytes:
    kept = raw.translate(None, _NOT_BASE64)
    if len(kept) % 4 == 1:  # half a byte that nothing can be made of
        kept = kept[:-1]
    return binascii.a2b_base64(kept + b"=" * (-len(kept) % 4))


def decoded_text(raw: bytes, charset: str) -> str:
    """Bytes as text: in the charset that is claimed, if they are; else in UTF-8; else in what was usual before it."""
    for name in (charset.strip("\"' "), "utf-8"):
        try:
            if codecs.lookup(name).name.replace("-", "_") not in _NO_CHARSETS:
                return raw.decode(name)
        except (LookupError, ValueError):
            continue
    patched = raw.decode("utf-8", "replace")
    broken = patched.count("\ufffd")
    foreign = sum(character > "\x7f" for character in patched) - broken
    return patched if foreign > broken else raw.decode("cp1252", "replace")


def cleaned(text: str) -> str:
    """Text without characters that cannot be stored or shown; its line breaks are `\\n`."""
    return _CONTROL.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
