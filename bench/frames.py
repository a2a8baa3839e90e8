"""WebSocket frames (RFC 6455), as much of them as a client needs that counts what it receives."""

from __future__ import annotations

import os
from base64 import b64encode

TEXT = 0x1
CLOSE = 0x8
PING = 0x9
PONG = 0xA
# Set in the first byte of a compressed message.
COMPRESSED = 0x40


def upgrade(port: int, *, compression: bool) -> bytes:
    """The request that opens a graphql-transport-ws socket."""
    lines = [
        "GET /graphql HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {b64encode(os.urandom(16)).decode()}",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Protocol: graphql-transport-ws",
        *(["Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"] if compression else []),
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def client_frame(payload: bytes, opcode: int = TEXT) -> bytes:
    """A frame from a client: masked, with a mask of zeros, which leaves the payload as it is."""
    return bytes((0x80 | opcode,)) + _length(len(payload), 0x80) + b"\0\0\0\0" + payload


def server_frame(payload: bytes) -> bytes:
    """A text frame from a server, as the raw limit sends it."""
    return bytes((0x80 | TEXT,)) + _length(len(payload), 0) + payload


def _length(length: int, masked: int) -> bytes:
    if length < 126:
        return bytes((masked | length,))
    if length < 65_536:
        return bytes((masked | 126,)) + length.to_bytes(2, "big")
    return bytes((masked | 127,)) + length.to_bytes(8, "big")


def split(data: bytes) -> tuple[list[tuple[int, bytes]], bytes]:
    """The complete frames of a server at the start of `data`, each its first byte and its payload; and the rest."""
    frames, start, size = [], 0, len(data)
    while size - start >= 2:
        length, body = data[start + 1], start + 2
        if length == 126:
            length, body = int.from_bytes(data[body : body + 2], "big"), body + 2
        elif length == 127:
            length, body = int.from_bytes(data[body : body + 8], "big"), body + 8
        end = body + length
        if end > size:
            break
        frames.append((data[start], data[body:end]))
        start = end
    return frames, data[start:]
