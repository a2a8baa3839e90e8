"""Servers that start in a moment: a process that has imported everything forks one for each that is wanted.

As a program it reads one JSON object a line, `{"start": …}` or `{"wait": pid}`, and answers each with a number: the
pid, or the exit status as subprocess has it. What a fork serves with is read anew from its environment.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.server.process import CHECKOUT, Server, environment

PROGRAM = [sys.executable, "-m", "tests.failpoints.forking"]


class Forker:
    """The process that forks, as a test sees it."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def ask(self, **request: Any) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(request), file=self._process.stdin, flush=True)
        return int(self._process.stdout.readline())


@contextmanager
def forker(planted: str | None = None) -> Iterator[Forker]:
    """Forks servers until it is left; with a defect of tests/soak/planted.py, if one is named."""
    words = [sys.executable, "-m", "tests.soak.planted", planted] if planted else PROGRAM
    with subprocess.Popen(words, cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Forker(process)
        finally:
            assert process.stdin is not None
            process.stdin.close()  # which ends it


class ForkedServer(Server):
    """A `Server` whose process is a fork. `armed` are its failpoints, until it is started again."""

    def __init__(self, forks: Forker, url: str, folder: Path, **settings: str) -> None:
        super().__init__(url, folder, **settings)
        self._forks = forks
        self._pid = 0

    def start(self, armed: str = "") -> ForkedServer:
        before = self.log.stat().st_size if self.log.exists() else 0
        given = environment(self.url, self._settings | ({"failpoints": armed} if armed else {}))
        self._pid = self._forks.ask(start=given, log=str(self.log), arguments=["serve", "--port", str(self.port)])
        self.port = self._port(before)
        return self

    def _port(self, before: int) -> int:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            told = self.log.read_text()[before:] if self.log.exists() else ""
            if found := re.search(r"serving on http://127\.0\.0\.1:(\d+)", told):
                return int(found[1])
            time.sleep(0.005)
        raise AssertionError(self.log.read_text())

    def signal(self, number: int) -> None:
        os.kill(self._pid, number)

    def wait(self, timeout: float = 10) -> int:
        """The exit status. A fork that does not end in time is killed, and AssertionError raised."""
        status = self._forks.ask(wait=self._pid, seconds=timeout)
        self._pid = 0
        self._keep_port()
        return status

    def close(self) -> None:
        if self._pid:
            self.kill()
        self._let_port_go()


def main() -> None:
    """Fork until there is nobody to ask for it."""
    import_everything()
    for line in sys.stdin:
        request = json.loads(line)
        answer = fork(request) if "start" in request else reaped(request["wait"], request["seconds"])
        sys.stdout.write(f"{answer}\n")
        sys.stdout.flush()


def import_everything() -> None:
    """What serving imports, and what it imports late."""
    for name in ("deskwire.cli", "uvicorn.protocols.http.httptools_impl", "psycopg_pool", "tortoise.backends.psycopg"):
        importlib.import_module(name)
    importlib.import_module("uvicorn.protocols.websockets.websockets_sansio_impl")
    importlib.import_module("tortoise.backends.sqlite")


def fork(request: dict[str, Any]) -> int:
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            status = serve(request)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    return pid


def serve(request: dict[str, Any]) -> int:
    """Be the server that was asked for."""
    os.environ.clear()
    os.environ.update(request["start"])
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for number, file in ((0, nothing), (1, log), (2, log)):
        os.dup2(file, number)
    importlib.reload(importlib.import_module("domain.failpoints"))
    status: int = importlib.import_module("deskwire.cli").main(request["arguments"])
    return status


def reaped(pid: int, seconds: float) -> int:
    """The exit status of a fork, negative for the signal that ended it; 999 where it had to be killed."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return 999


if __name__ == "__main__":
    main()
