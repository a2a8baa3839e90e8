"""TCP ports for programs that the tests start, stop and start again."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager


def kept(port: int = 0) -> socket.socket:
    """Keeps a port of this machine, or a free one: the system gives it to nobody who asks for any.

    Whoever names it, and allows the reuse of addresses as servers do, listens on it all the same.
    """
    keeper = socket.socket()
    try:
        keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        keeper.bind(("127.0.0.1", port))
    except BaseException:
        keeper.close()
        raise
    return keeper


@contextmanager
def kept_ports(count: int) -> Iterator[int]:
    """The first of so many neighbouring ports, kept for who will listen there."""
    for _ in range(100):
        with ExitStack() as stack:
            try:
                first: int = stack.enter_context(kept()).getsockname()[1]
                for port in range(first + 1, first + count):
                    stack.enter_context(kept(port))
            except (OSError, OverflowError):
                continue
            yield first
            return
    raise AssertionError("no neighbouring ports are free")
