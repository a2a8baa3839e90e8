"""The line between a supervisor and one worker: a pair of sockets, which says two things.

The worker writes a word when it serves. The supervisor never writes: when its end closes, the worker must stop in
order. That also happens when the supervisor is killed, so no worker outlives it. It is no signal, so a worker that
has had its SIGTERM from elsewhere (systemd tells every process of a service) does not take it for a second one.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable

READY = b"ready"


class Line:
    """The worker's end."""

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._socket.setblocking(False)

    def on_end(self, stop: Callable[[], None]) -> None:
        """Call `stop`, once, when the supervisor wants it or is gone. A later call replaces an earlier one."""
        loop = asyncio.get_running_loop()

        def ended() -> None:
            loop.remove_reader(self._socket)
            stop()

        loop.add_reader(self._socket, ended)

    def say_ready(self) -> None:
        """To a supervisor that may be gone; that, we learn otherwise."""
        with contextlib.suppress(OSError):
            self._socket.send(READY)
