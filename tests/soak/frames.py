"""Defects of what goes over the wire, whatever makes it: WebSockets' frames, changed as they leave the process."""

from __future__ import annotations

import re
from asyncio import selector_events
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

# One of so many deliveries is mistreated.
EVERY = 8
TEXT = 0x81
MARK = re.compile(rb"mark-[0-9a-f]{12}")


@dataclass(slots=True)
class Wire:
    """What one connection has not sent yet: an unfinished frame, and a delivery that is held back."""

    rest: bytes = b""
    held: bytes = b""
    deliveries: int = 0


Mistreat = Callable[[Wire, bytes], Iterable[bytes]]
"""The frames that are sent in the place of one delivery that is chosen."""


def frame_of(data: bytes) -> bytes | None:
    """The first frame, if it is there as a whole. A server masks none of its frames."""
    if len(data) < 2:
        return None
    head, length = 2, data[1] & 0x7F
    if length >= 126:
        head = 4 if length == 126 else 10
        length = int.from_bytes(data[2:head], "big")
    return data[: head + length] if len(data) >= head + length else None


def framed(payload: bytes) -> bytes:
    """A text frame."""
    size = len(payload)
    short = bytes([size]) if size < 126 else b"\x7e" + size.to_bytes(2, "big")
    return bytes([TEXT]) + (short if size < 65_536 else b"\x7f" + size.to_bytes(8, "big")) + payload


def is_delivery(frame: bytes) -> bool:
    return frame[0] == TEXT and b'"type":"next"' in frame[:200]


def mistreat_deliveries(mistreat: Mistreat) -> None:
    """From now on, in this process."""
    transport: Any = selector_events._SelectorSocketTransport  # type: ignore[attr-defined]
    write = transport.write
    wires: WeakKeyDictionary[Any, Wire] = WeakKeyDictionary()

    def written(self: Any, data: bytes) -> None:
        wire = wires.setdefault(self, Wire())
        waiting = wire.rest + bytes(data)
        if waiting and not (waiting[0] & 0x80):  # HTTP, or whatever a client of ours says to Redis
            write(self, waiting)
            return
        while frame := frame_of(waiting):
            waiting = waiting[len(frame) :]
            for each in _sent(wire, frame, mistreat):
                write(self, each)
        wire.rest = waiting

    transport.write = written
    transport.writelines = lambda self, pieces: written(self, b"".join(pieces))


def _sent(wire: Wire, frame: bytes, mistreat: Mistreat) -> list[bytes]:
    if not is_delivery(frame):
        return [frame]
    wire.deliveries += 1
    if wire.held:
        held, wire.held = wire.held, b""
        return [frame, held]
    return list(mistreat(wire, frame)) if wire.deliveries % EVERY == 0 else [frame]


def dropped(wire: Wire, frame: bytes) -> list[bytes]:
    return []


def repeated(wire: Wire, frame: bytes) -> list[bytes]:
    return [frame, frame]


def held_back(wire: Wire, frame: bytes) -> list[bytes]:
    """It comes behind the next one."""
    wire.held = frame
    return []


@dataclass
class Mixture:
    """Adds to a delivery the last one that another account got."""

    last: dict[bytes, bytes] = field(default_factory=dict)

    def __call__(self, wire: Wire, frame: bytes) -> list[bytes]:
        mark = MARK.search(frame)
        if mark is None:
            return [frame]
        self.last[mark[0]] = frame
        others = [last for other, last in self.last.items() if other != mark[0]]
        return [frame, *others[:1]]
