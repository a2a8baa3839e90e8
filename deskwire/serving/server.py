"""uvicorn with an end of our own: what is under way is finished, nobody can hold it up, and it has a deadline.

Seconds after the first SIGTERM or SIGINT:

    0      not ready; no new connections; idle ones are closed; the streams begin to drain
    12     the streams have ended, or are ended now
    15     requests have been answered, or never will be; whoever has not read or sent to its end is cut off
    19     the process is gone, whatever still hangs

A second signal ends it at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator, Sized
from types import FrameType

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from deskwire.app import Deskwire

DRAIN_SECONDS = 12.0
FINISH_SECONDS = 15.0
# For the bytes of an answer to leave, when nothing is left to be computed.
FLUSH_SECONDS = 2.0
DEADLINE_SECONDS = 19.0
TICK_SECONDS = 0.05

log = logging.getLogger("deskwire")


class Server(uvicorn.Server):
    """One server of one process; it takes the signals."""

    def __init__(self, config: uvicorn.Config, deskwire: Deskwire) -> None:
        super().__init__(config)
        self._deskwire = deskwire

    def take_signals(self) -> None:
        """From now on they end this server in order. Before, a start that hangs must still die of one."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self.handle_exit)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        # uvicorn's would come after we said that we serve, and raise the signal again at the end: the process would
        # die of it instead of leaving with 0. Ours stay: a second signal also ends what closes the database.
        yield

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.should_exit:
            signal.signal(sig, signal.SIG_DFL)
            signal.raise_signal(sig)
        self.stop()

    def stop(self) -> None:
        """Begin the end, or let it go on. Never counts as a second signal."""
        if not self.should_exit:
            self.should_exit = True
            # A thread, because it must also end a loop that hangs.
            last = threading.Timer(DEADLINE_SECONDS, self._leave)
            last.daemon = True
            last.start()

    def _leave(self) -> None:
        # Not the log: whoever hangs may hold its lock.
        os.write(2, b"deskwire: not everything ended in time; this process leaves now\n")
        os._exit(1 if self._deskwire.broken else 0)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        until = _now() + FINISH_SECONDS
        self._stop_listening(sockets or [])
        self._hang_up(HttpToolsProtocol)
        await self._drain()
        self._hang_up(object)
        await self._finish(until)
        await self._cut_off()

    def _stop_listening(self, sockets: list[socket.socket]) -> None:
        for server in self.servers:
            server.close()
        for each in sockets:
            each.close()

    def _hang_up(self, kind: type) -> None:
        """Close connections of a kind when their request is answered; now, if they have none."""
        for connection in list(self.server_state.connections):
            if isinstance(connection, kind):
                connection.shutdown()

    async def _drain(self) -> None:
        try:
            async with asyncio.timeout(DRAIN_SECONDS):
                await self._deskwire.drain()
        except TimeoutError:
            log.warning("not all streams ended within %g seconds", DRAIN_SECONDS)
        except Exception:
            log.exception("the streams could not be ended in order")

    async def _finish(self, until: float) -> None:
        await _emptied(self.server_state.tasks, until)
        await _emptied(self.server_state.connections, min(until, _now() + FLUSH_SECONDS))

    async def _cut_off(self) -> None:
        """End whatever is left. Closing would wait for buffers that nobody empties."""
        if self.server_state.connections:
            log.info("%d connections did not end in time and are cut off", len(self.server_state.connections))
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        if left := set(self.server_state.tasks):
            _, left = await asyncio.wait(left, timeout=1.0)
            for task in left:
                task.cancel()
            if left:
                await asyncio.wait(left, timeout=1.0)


async def _emptied(kept: Sized, until: float) -> None:
    while len(kept) and _now() < until:  # noqa: ASYNC110  # uvicorn's own sets, of which nobody tells
        await asyncio.sleep(TICK_SECONDS)


def _now() -> float:
    return asyncio.get_running_loop().time()
