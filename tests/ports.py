"""TCP ports for programs that the tests start, stop and start again."""

from __future__ import annotations

import socket


class HeldPort:
    """A port of this machine that nobody else is given, also while the program that it is for does not run.

    It is bound here and never listened on. A program that allows itself to reuse addresses, as servers do, can bind and
    listen beside that; the system, when it looks for a free port, passes it by.
    """

    def __init__(self) -> None:
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", 0))
        self.number: int = self._socket.getsockname()[1]

    def close(self) -> None:
        """Anybody may have it."""
        self._socket.close()
