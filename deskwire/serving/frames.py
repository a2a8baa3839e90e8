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
        if message["type"] == "websocket.accept":
            # Kilobytes of every socket, and nobody asks for them again.
            del self.request, self.response
            self.scope.clear()  # type: ignore[attr-defined]
        elif message["type"] == "websocket.http.response.body":
            # uvicorn takes a handshake that was refused so for one that was forgotten, and logs an error.
            self.handshake_complete = True

    def send_receive_event_to_app(self) -> None:
        """uvicorn logs a text that is not UTF-8 as a failure of its own, with a traceback for each."""
        if self.curr_msg_data_type == "text" and not self.close_sent:
            try:
                b"".join(self.frames).decode()
            except UnicodeDecodeError:
                self.frames = []
                self.conn.send_close(1007)
                self.handle_parser_exception()
                return
        super().send_receive_event_to_app()

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
