"""uvicorn's HTTP protocol with a time limit for the headers of a request, and a way to drop a connection.

uvicorn itself waits for headers for ever, and closes a connection only when its client has read all that was sent.
"""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from subscriptions.streaming import ABORT

HEADERS_SECONDS = 8.0


class Impatient(HttpToolsProtocol):
    """Hangs up on who connects and does not ask: for the first request, and for each that begins later."""

    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self._expect_headers()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {ABORT: self.transport.abort}  # type: ignore[dict-item]
        # The first request has been waited for since the connection was made.
        if self._late is None:
            self._expect_headers()

    def on_headers_complete(self) -> None:
        self._expect_nothing()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._expect_nothing()
        super().connection_lost(exc)

    def _expect_headers(self) -> None:
        self._late = self.loop.call_later(HEADERS_SECONDS, self.transport.abort)

    def _expect_nothing(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None
