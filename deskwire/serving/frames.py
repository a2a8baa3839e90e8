"""uvicorn's WebSocket protocol, which lets the application write ready frames to the transport.

One message to thousands of sockets costs little more than the calls of the operating system then. Frames are written
whole, between those that uvicorn itself writes, and only while the connection is open; what is not a message (the
handshake, pings, closing) stays uvicorn's business.
"""

from __future__ import annotations

from asyncio.transports import BaseTransport
from collections.abc import Callable

from uvicorn._types import ASGISendEvent
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Request

from subscriptions.wires import EXTENSION, FULL_BYTES


class ReadyFramesProtocol(WebSocketsSansIOProtocol):
    """`subscriptions.wires.FrameTransport`, put into the scope's extensions."""

    is_full = False
    on_full: Callable[[], None] | None = None
    on_drained: Callable[[], None] | None = None

    def connection_made(self, transport: BaseTransport) -> None:
        super().connection_made(transport)
        self.transport.set_write_buffer_limits(high=FULL_BYTES)

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        # The application is started by a task, which has not run yet.
        if hasattr(self, "scope"):
            self.scope["extensions"][EXTENSION] = self  # type: ignore[assignment]

    async def send(self, message: ASGISendEvent) -> None:
        await super().send(message)
        # A handshake that was refused with an answer is complete; uvicorn would log an error of each.
        if message["type"] == "websocket.http.response.body":
            self.handshake_complete = True

    def write(self, frame: bytes) -> None:
        if not self.close_sent and not self.disconnected and not self.transport.is_closing():
            self.transport.write(frame)

    def abort(self) -> None:
        self.transport.abort()

    def pause_writing(self) -> None:
        super().pause_writing()
        self.is_full = True
        if self.on_full is not None:
            self.on_full()

    def resume_writing(self) -> None:
        super().resume_writing()
        self.is_full = False
        if self.on_drained is not None:
            self.on_drained()
