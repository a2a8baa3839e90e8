"""The load: subscribers in a process of their own, on the core that the server does not have.

Each server that is measured has its own, so that they can be measured in turns without connecting again, and so that
no process needs more file descriptors than its server does.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

from bench.machine import on_core
from bench.members import Members, Round, Subscriber

IDLE_SECONDS = 0.5
# A listener's backlog, and the servers' patience between accepting and connection_init, allow so many at once.
AT_ONCE = 200


class Lost(Exception):
    """The load could not do what it was told; says what happened instead."""


class Load:
    """Subscribers of one server, as seen from the process that measures."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.size = 0

    def join(self, subscribers: Sequence[Subscriber], *, at_once: int = AT_ONCE, timeout: float = 600) -> float:
        """Connect and subscribe them all. Returns the seconds that it took."""
        began, ended = self._ask("join", list(subscribers), at_once=at_once, timeout=timeout)
        self.size += len(subscribers)
        return float(ended - began)

    def begin(self) -> None:
        """The next event begins."""
        self._ask("begin")

    def wait(self, received: int, *, timeout: float = 300) -> Round:
        """What it brought. Raises Lost where not everyone received it."""
        found: Round = self._ask("wait", received, timeout)
        if found.received != received:
            raise Lost(f"{found.received} of {received} deliveries came within {timeout:.0f} s; {self.gone()}")
        return found

    def gone(self) -> list[str]:
        """Why the server closed sockets that it should have served."""
        found: list[str] = self._ask("gone")
        return found[:3]

    def counts(self) -> dict[int, int]:
        """How many members received how many events since this was asked last."""
        found: dict[int, int] = self._ask("counts")
        return found

    def accepted_compression(self) -> bool:
        return bool(self._ask("accepted_compression"))

    def leave(self) -> None:
        """Reset all connections."""
        self._ask("leave")
        self.size = 0

    def _ask(self, verb: str, *arguments: Any, **options: Any) -> Any:
        self._connection.send((verb, arguments, options))
        found, failed = self._connection.recv()
        if failed:
            raise Lost(failed)
        return found


@contextmanager
def load(port: int, core: int | None, *, compression: bool = False) -> Iterator[Load]:
    """A process of subscribers for the server on this port; it ends with the block."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=_serve, args=(theirs, port, compression), name="load", daemon=True
    )
    with on_core(core):
        process.start()
    theirs.close()
    try:
        yield Load(ours)
    finally:
        ours.close()
        process.join(10)
        if process.is_alive():
            process.kill()
            process.join()


def _serve(connection: Connection, port: int, compression: bool) -> None:
    """The process: does what it is told, and answers its server's pings meanwhile. Ends with the connection."""
    members = Members(port, compression=compression)
    members.register(connection.fileno())
    while True:
        if connection.fileno() in members.serve(IDLE_SECONDS):
            try:
                verb, arguments, options = connection.recv()
            except EOFError:
                members.leave()
                return
            connection.send(_done(members, verb, arguments, options))


def _done(members: Members, verb: str, arguments: tuple[Any, ...], options: dict[str, Any]) -> tuple[Any, str]:
    try:
        found = getattr(members, verb)
        return (found(*arguments, **options) if callable(found) else found), ""
    except Exception as error:
        return None, f"{type(error).__name__}: {error}"
