"""One answer, encoded once: the bytes that everybody who gets it shares."""

from __future__ import annotations

BOUNDARY = "graphql"
PART = b"\r\nContent-Type: application/json\r\n\r\n%s\r\n--" + BOUNDARY.encode()
"""A part and the delimiter behind it: clients look at a part when they have seen where it ends."""


class Telling:
    """The JSON of an execution result, and what each transport makes of it, made when first asked for."""

    __slots__ = ("_headers", "_part", "_sent_event", "_tail", "json")

    def __init__(self, json: bytes) -> None:
        self.json = json
        self._tail = json + b"}"
        self._headers: dict[int, bytes] = {}
        self._sent_event: bytes | None = None
        self._part: bytes | None = None

    def message(self, head: bytes) -> bytes:
        """The `next` message of graphql-transport-ws whose beginning, up to the payload, is `head`."""
        return head + self._tail

    def frame(self, head: bytes) -> bytes:
        """The same as one unmasked WebSocket text frame."""
        size = len(head)
        header = self._headers.get(size)
        if header is None:
            header = self._headers[size] = frame_header(size + len(self._tail))
        return b"".join((header, head, self._tail))

    @property
    def sent_event(self) -> bytes:
        """As a server-sent event. Line feeds alone: a common client splits at two of them."""
        if self._sent_event is None:
            self._sent_event = b"event: next\ndata: " + self.json + b"\n\n"
        return self._sent_event

    @property
    def part(self) -> bytes:
        """As a part of Apollo's multipart subscriptions."""
        if self._part is None:
            self._part = PART % (b'{"payload":' + self.json + b"}")
        return self._part


def frame_header(length: int) -> bytes:
    """The header of a final, unmasked text frame of so many bytes (RFC 6455, 5.2)."""
    if length < 126:
        return bytes((0x81, length))
    if length < 0x10000:
        return b"\x81\x7e" + length.to_bytes(2, "big")
    return b"\x81\x7f" + length.to_bytes(8, "big")
