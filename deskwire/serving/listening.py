"""The sockets that accept connections: of one process alone, or of several on one port."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from deskwire.config import BadConfiguration

BACKLOG = 1024
# A client that acknowledges nothing for so long is gone. Pings do not find it out while our send buffer is full.
GONE_AFTER_SECONDS = 30


def listening(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """A listening socket. Raises BadConfiguration.

    shared  others listen on the same port, each with a socket and a queue of his own, and the kernel spreads new
            connections over them
    """
    try:
        listener = socket.create_server((host, port), family=_family(host), backlog=BACKLOG, reuse_port=shared)
    except (OSError, OverflowError) as error:
        raise _refused(host, port, error, "Choose another address with --host and --port.") from None
    # The accepted sockets inherit these. asyncio sets the first only on sockets that name their protocol, which
    # accepted ones do not: an answer in two writes, headers and body, then waits 40 ms for an acknowledgement.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, GONE_AFTER_SECONDS * 1000)
    return listener


def listening_for_operations(host: str, port: int) -> socket.socket:
    """The socket of the operations listener. Raises BadConfiguration."""
    try:
        return socket.create_server((host, port), family=_family(host))
    except (OSError, OverflowError) as error:
        raise _refused(host, port, error, "Choose another DESKWIRE_OPERATIONS_PORT.") from None


@contextmanager
def reserved(host: str, port: int) -> Iterator[int]:
    """Keep a port for workers that will share it; 0 takes a free one. Yields its number. Raises BadConfiguration."""
    if port:
        # Whoever allows sharing shares with everybody of the same user: a second server there would take half of the
        # connections without a word. So first we ask as one who does not share.
        listening(host, port).close()
    keeper = socket.socket(_family(host))
    with keeper:
        keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            keeper.bind((host, port))
        except (OSError, OverflowError) as error:
            raise _refused(host, port, error, "Choose another address with --host and --port.") from None
        # Bound and not listening, it is given no connections.
        yield keeper.getsockname()[1]


def address(host: str, port: int) -> str:
    """As a browser takes it."""
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _refused(host: str, port: int, error: Exception, advice: str) -> BadConfiguration:
    return BadConfiguration(f"Cannot listen on {host}:{port}: {error}. {advice}")
