"""The line between a supervisor and one worker: a pair of sockets, which says two things.

The worker writes a byte when it serves, and one each second from then on: who falls silent hangs. The supervisor never
writes: when its end closes, the worker must stop in
order. That also happens when the supervisor is killed, so no worker outlives it. It is no signal, so a worker that
has had its SIGTERM from elsewhere (systemd tells every process of a service) does not take it for a second one.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable

BEAT = b"."
BEAT_SECONDS = 1.0


class Line:
    """The worker's end."""

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._socket.setblocking(False)
        self._beats: asyncio.Task[None] | None = None

    def on_end(self, stop: Callable[[], None]) -> None:
        """Call `stop`, once, when the supervisor wants it or is gone. A later call replaces an earlier one."""
        loop = asyncio.get_running_loop()

        def ended() -> None:
            loop.remove_reader(self._socket)
            stop()

        loop.add_reader(self._socket, ended)

    def say_ready(self) -> None:
        """And go on saying it."""
        self._beats = asyncio.create_task(self._beat(), name="line to the supervisor")

    async def _beat(self) -> None:
        while True:
            with contextlib.suppress(OSError):  # nobody listens; that, we learn otherwise
                self._socket.send(BEAT)
            await asyncio.sleep(BEAT_SECONDS)
