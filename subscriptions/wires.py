"""How a connection is written to: at once, and never waiting.

A wire takes every message, and says when it is full. Who sends then stops, and goes on when it drains; what a wire
that is full is still given is small (an error, a close). One that stays full for SEND_SECONDS is given up.

    ReadyWire   ready WebSocket frames, straight to the server's transport, where the server offers it
    AsgiWire    plain ASGI `send`, under any server
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Protocol

from subscriptions.telling import Telling, frame_header

SEND_SECONDS = 10.0
FULL_BYTES = 65_536
"""What may wait for a client that does not read."""

EXTENSION = "deskwire.frames"
"""The key of the server's extension in the ASGI scope, see `FrameTransport`."""

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class FrameTransport(Protocol):
    """What a server puts into the scope's extensions so that ready frames can be written."""

    is_full: bool
    on_full: Callable[[], None] | None
    on_drained: Callable[[], None] | None

    def write(self, frame: bytes) -> None:
        """Write a whole frame, unless the connection is closing."""

    def abort(self) -> None:
        """Drop the connection, without waiting for anything."""


class Wire(ABC):
    """See the module. `on_drained` and `on_stuck` are for its owner to set."""

    __slots__ = ("_patience", "is_full", "on_drained", "on_stuck")

    def __init__(self) -> None:
        self.is_full = False
        self.on_drained: Callable[[], None] | None = None
        self.on_stuck: Callable[[], None] | None = None
        self._patience: asyncio.TimerHandle | None = None

    @abstractmethod
    def tell(self, head: bytes, telling: Telling) -> bool:
        """Send an answer. Returns whether the wire takes more."""

    @abstractmethod
    def say(self, text: bytes) -> None:
        """Send a whole message."""

    @abstractmethod
    async def flush(self) -> None:
        """Wait until what was said is with the server."""

    @abstractmethod
    def abort(self) -> None:
        """Drop the connection, where the server offers that."""

    def close(self) -> None:
        """Nothing more is sent."""
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
        self.on_drained = self.on_stuck = None

    def _filled(self) -> None:
        self.is_full = True
        if self._patience is None:
            self._patience = asyncio.get_running_loop().call_later(SEND_SECONDS, self._stuck)

    def _drained(self) -> None:
        self.is_full = False
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
        if self.on_drained is not None:
            self.on_drained()

    def _stuck(self) -> None:
        self._patience = None
        if self.on_stuck is not None:
            self.on_stuck()


class ReadyWire(Wire):
    """One call of the operating system for each message, and nothing in between."""

    __slots__ = ("_transport", "_write")

    def __init__(self, transport: FrameTransport) -> None:
        super().__init__()
        self._transport = transport
        self._write = transport.write
        transport.on_full, transport.on_drained = self._filled, self._drained

    def tell(self, head: bytes, telling: Telling) -> bool:
        self._write(telling.frame(head))
        return not self.is_full

    def say(self, text: bytes) -> None:
        self._write(frame_header(len(text)) + text)

    async def flush(self) -> None:
        return

    def close(self) -> None:
        super().close()
        self._transport.on_full = self._transport.on_drained = None

    def abort(self) -> None:
        self._transport.abort()


class AsgiWire(Wire):
    """Messages wait here, at most FULL_BYTES of them, while one is being sent."""

    __slots__ = ("_bytes", "_closed", "_pumping", "_send", "_waiting", "_wrap")

    def __init__(self, send: Send, wrap: Callable[[bytes], MutableMapping[str, Any]]) -> None:
        super().__init__()
        self._send = send
        self._wrap = wrap
        self._waiting: deque[bytes] = deque()
        self._bytes = 0
        self._closed = False
        self._pumping: asyncio.Task[None] | None = None

    def tell(self, head: bytes, telling: Telling) -> bool:
        self.say(telling.message(head))
        return not self.is_full

    def say(self, text: bytes) -> None:
        if self._closed:
            return
        self._waiting.append(text)
        self._bytes += len(text)
        if self._bytes >= FULL_BYTES and not self.is_full:
            self._filled()
        if self._pumping is None:
            self._pumping = asyncio.get_running_loop().create_task(self._pump())

    async def _pump(self) -> None:
        try:
            while self._waiting:
                text = self._waiting.popleft()
                if not self.is_full:
                    # A single message that is not taken is a client that does not read, however small it is.
                    self._patience = asyncio.get_running_loop().call_later(SEND_SECONDS, self._stuck)
                await self._send(self._wrap(text))
                self._bytes -= len(text)
                self._relax()
        except Exception:
            self._closed = True  # the client is gone: its connection learns so from what it receives
        finally:
            self._pumping = None

    def _relax(self) -> None:
        if not self.is_full and self._patience is not None:
            self._patience.cancel()
            self._patience = None
        if self.is_full and self._bytes < FULL_BYTES // 2:
            self._drained()

    def abort(self) -> None:
        self.close()

    async def flush(self) -> None:
        while self._pumping is not None:
            await asyncio.wait({self._pumping})

    def close(self) -> None:
        super().close()
        self._closed = True
        if self._pumping is not None:
            self._pumping.cancel()
