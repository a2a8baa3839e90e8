"""WebSocket frames as bytes: made right or wrong, and read. A library would refuse to make the wrong ones."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
MASK = b"\x11\x22\x33\x44"


def frame(
    payload: bytes | str = b"",
    opcode: int = TEXT,
    *,
    final: bool = True,
    reserved: int = 0,
    masked: bool = True,
    length: bytes | None = None,
) -> bytes:
    """One frame of a client. `length` replaces the seven bits (without the mask's) and what follows them."""
    data = payload.encode() if isinstance(payload, str) else payload
    told = bytearray(_length(len(data)) if length is None else length)
    if masked:
        told[0] |= 0x80
        data = MASK + bytes(byte ^ MASK[index % 4] for index, byte in enumerate(data))
    return bytes([final << 7 | reserved << 4 | opcode]) + bytes(told) + data


def _length(size: int) -> bytes:
    if size < 126:
        return bytes([size])
    return b"\x7e" + size.to_bytes(2, "big") if size < 65_536 else b"\x7f" + size.to_bytes(8, "big")


def fragments(data: bytes, size: int, opcode: int = TEXT) -> list[bytes]:
    """A message in pieces of `size` bytes."""
    pieces = [data[start : start + size] for start in range(0, len(data), size)] or [b""]
    last = len(pieces) - 1
    return [frame(piece, CONTINUATION if index else opcode, final=index == last) for index, piece in enumerate(pieces)]


def closing(code: int, reason: bytes = b"") -> bytes:
    return frame(code.to_bytes(2, "big") + reason, CLOSE)


class Frame(NamedTuple):
    """What a server has sent."""

    opcode: int
    payload: bytes

    @property
    def code(self) -> int:
        """Of a close frame: 1005 where it has none."""
        return int.from_bytes(self.payload[:2], "big") if self.payload else 1005


async def read_frame(reader: asyncio.StreamReader) -> Frame:
    """Raises asyncio.IncompleteReadError at the end of the stream, AssertionError for what no server may send."""
    first, second = await reader.readexactly(2)
    assert first & 0xF0 == 0x80, "a server of ours neither fragments nor uses reserved bits"
    assert second < 0x80, "a server does not mask"
    size = second
    if size > 125:
        size = int.from_bytes(await reader.readexactly(2 if size == 126 else 8), "big")
    return Frame(first & 0x0F, await reader.readexactly(size))
