"""`serve --workers N`: a supervisor that starts N processes, starts again what dies, and ends them in order.

Workers are fresh interpreters, not forks: nothing of a running loop, a pool or a lock is copied into them. Each has a
listening socket of its own on the one port (SO_REUSEPORT).

The first worker goes ahead and the others follow when it serves, so what is wrong for all of them is said once.
Whoever ends before all have served has met such a thing: then the supervisor gives up. Later it never does; a worker
that ends is started again after a pause, which grows while it keeps ending. One that hangs is killed.

SIGTERM, SIGINT   end all workers in order; a second one kills them
SIGHUP            replace them, one after the other
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import sys
import time
from asyncio.subprocess import Process
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from deskwire.config import Config
from deskwire.serving.listening import address, reserved
from deskwire.serving.server import DEADLINE_SECONDS

# A worker leaves by its own deadline; this is for one that cannot even do that.
KILL_SECONDS = DEADLINE_SECONDS + 2
SHORTEST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 10.0
# A worker that hangs still has its share of new connections: the kernel does not know.
SILENT_SECONDS = 30.0
# Who served for so long did not die of its start.
STEADY_SECONDS = 10.0

log = logging.getLogger("deskwire.workers")

Command = Callable[[int, int], list[str]]
"""The command of a worker, from its index and the descriptor of its line."""


@dataclass(slots=True, eq=False)
class Worker:
    """A process of ours and the line to it."""

    index: int
    process: Process
    line: socket.socket
    serves: bool = False
    retired: bool = False

    async def ready(self) -> bool:
        """Wait until it serves. False when it ended before, or was told to."""
        self.serves = await self._heard()
        return self.serves

    async def watched(self) -> None:
        """Until it ends or is told to. When it says nothing for SILENT_SECONDS, its event loop hangs: it is killed."""
        try:
            while True:
                async with asyncio.timeout(SILENT_SECONDS):
                    if not await self._heard():
                        return
        except TimeoutError:
            log.error("worker %d (process %d) hangs and is killed", self.index, self.process.pid)
            self.kill()

    async def _heard(self) -> bool:
        try:
            return bool(await asyncio.get_running_loop().sock_recv(self.line, 64))
        except OSError:
            return False

    def stop(self) -> None:
        """Tell it to end in order."""
        with contextlib.suppress(OSError):  # it is gone already
            self.line.shutdown(socket.SHUT_RDWR)

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()

    async def ended(self) -> int:
        status = await self.process.wait()
        self.line.close()
        return status


class Supervisor:
    """Keeps `count` workers. `run` it once."""

    def __init__(self, count: int, command: Command) -> None:
        self._count = count
        self._command = command
        self._workers: dict[int, Worker] = {}
        self._came = asyncio.Condition()
        self._complete = False
        self._stopping = asyncio.Event()
        self._failed = False
        self._replacing: asyncio.Task[None] | None = None

    async def run(self, told: Callable[[], None]) -> int:
        """Until told to stop. Calls `told` when all serve. Returns the exit status: 0 if all ended in order."""
        self._take_signals()
        keeping = [asyncio.create_task(self._keep(0))]
        if await self._serving(1):
            keeping += [asyncio.create_task(self._keep(index)) for index in range(1, self._count)]
            if await self._serving(self._count):
                self._complete = True
                told()
        await asyncio.gather(*keeping)
        return 1 if self._failed else 0

    def _take_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled)
        loop.add_signal_handler(signal.SIGHUP, self._replace)

    def _signalled(self) -> None:
        if self._stopping.is_set():
            self._kill()
        self._stop()

    def _stop(self) -> None:
        if not self._stopping.is_set():
            self._stopping.set()
            asyncio.get_running_loop().call_later(KILL_SECONDS, self._kill)
            for worker in self._workers.values():
                worker.stop()

    def _kill(self) -> None:
        for worker in self._workers.values():
            worker.kill()

    async def _serving(self, count: int) -> bool:
        """Wait until so many workers serve. False if it came to an end before."""
        async with self._came:
            await self._came.wait_for(lambda: self._stopping.is_set() or self._at_work() >= count)
        return not self._stopping.is_set()

    def _at_work(self) -> int:
        return sum(worker.serves and worker.process.returncode is None for worker in self._workers.values())

    async def _keep(self, index: int) -> None:
        """One place: start a worker, and another when it has ended."""
        pause = SHORTEST_PAUSE_SECONDS
        while not self._stopping.is_set():
            begun = time.monotonic()
            worker = await self._start(index)
            if await worker.ready():
                await self._tell()
                await worker.watched()
            status = await worker.ended()
            self._judge(worker, status)
            await self._tell()
            if worker.retired:
                continue
            if worker.serves and time.monotonic() - begun > STEADY_SECONDS:
                pause = SHORTEST_PAUSE_SECONDS
            await self._pause(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    async def _start(self, index: int) -> Worker:
        ours, theirs = socket.socketpair()
        with theirs:
            ours.setblocking(False)
            command = self._command(index, theirs.fileno())
            # A session of its own: Ctrl-C in a terminal is for the supervisor, which passes it on once.
            process = await asyncio.create_subprocess_exec(*command, pass_fds=[theirs.fileno()], start_new_session=True)
        worker = self._workers[index] = Worker(index, process, ours)
        if self._stopping.is_set():
            worker.stop()
        return worker

    async def _tell(self) -> None:
        async with self._came:
            self._came.notify_all()

    def _judge(self, worker: Worker, status: int) -> None:
        """What the end of a worker means."""
        if self._stopping.is_set():
            # Before it serves, it dies of being stopped.
            self._failed |= status != 0 and worker.serves
        elif not self._complete:
            log.critical("worker %d %s before all served; see above. Giving up.", worker.index, _said(status))
            self._failed = True
            self._stop()
        elif not worker.retired:
            log.warning(
                "worker %d (process %d) %s; another one starts", worker.index, worker.process.pid, _said(status)
            )

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()

    def _replace(self) -> None:
        if self._complete and (self._replacing is None or self._replacing.done()):
            self._replacing = asyncio.create_task(self._replaced())

    async def _replaced(self) -> None:
        log.info("replacing the workers, one after the other")
        for old in list(self._workers.values()):
            old.retired = True
            old.stop()
            async with self._came:
                # One that does not come up stops this: the others go on as they are.
                await self._came.wait_for(partial(self._is_replaced, old))
            if self._stopping.is_set():
                return
        log.info("all workers are replaced")

    def _is_replaced(self, old: Worker) -> bool:
        worker = self._workers[old.index]
        return self._stopping.is_set() or (worker is not old and worker.serves)


def _said(status: int) -> str:
    return f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"


async def supervise(config: Config) -> int:
    """Serve with DESKWIRE_WORKERS processes. Returns the exit status. Raises BadConfiguration."""
    with reserved(config.host, config.port) as port:

        def command(index: int, descriptor: int) -> list[str]:
            where = ["--host", config.host, "--port", str(port)]
            return [
                sys.executable,
                "-m",
                "deskwire",
                "serve",
                *where,
                "--worker",
                str(index),
                "--line",
                str(descriptor),
            ]

        def told() -> None:
            log.info("serving on %s with %d workers", address(config.host, port), config.workers)

        return await Supervisor(config.workers, command).run(told)
