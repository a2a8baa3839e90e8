"""Deskwire's commands and its server, each as a process of its own."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import orjson
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from tests.client import OPERATIONS, PROTOCOL
from tests.ports import kept

CHECKOUT = Path(__file__).parents[2]
KEY = "a key of the tests, long enough to be one"
# How many processes run at once where a test asks for several.
AT_ONCE = 4
# For how long a request is waited for: as long as a busy machine may need.
PATIENCE = 30.0


@dataclass(frozen=True, slots=True)
class Done:
    """What became of a command."""

    status: int
    out: str
    err: str

    def json(self) -> dict[str, Any]:
        assert self.status in (0, 1), self.err
        found: dict[str, Any] = orjson.loads(self.out)
        return found


def refused(done: Done, *words: str) -> bool:
    """Exit status 2, nothing on standard output, all these words on standard error, and no traceback."""
    assert "Traceback" not in done.err, done.err
    assert all(word in done.err for word in words), (words, done.err)
    return (done.status, done.out) == (2, "")


def environment(url: str, settings: dict[str, str]) -> dict[str, str]:
    """The environment of the tests, without whatever configures a Deskwire there."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DESKWIRE_")}
    given = {f"DESKWIRE_{name.upper()}": value for name, value in settings.items()}
    return kept | {"DESKWIRE_DATABASE_URL": url} | given


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "deskwire", *arguments]


def deskwire(url: str, *arguments: str, timeout: float = 60, **settings: str) -> Done:
    """Run a command to its end. Settings are configuration variables without DESKWIRE_."""
    done = subprocess.run(
        command(*arguments),
        cwd=CHECKOUT,
        env=environment(url, settings),
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def together(calls: Sequence[Callable[[], Done]]) -> list[Done]:
    """Several commands beside each other: most of their time is Python's start."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return [each.result() for each in [pool.submit(call) for call in calls]]


class Server:
    """`serve`, on a port that it keeps when it is started again."""

    def __init__(self, url: str, folder: Path, **settings: str) -> None:
        self.url = url
        self.log = folder / "serve.log"
        self.port = 0
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        self._keeper: socket.socket | None = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> Server:
        """Returns when it answers."""
        with self.log.open("ab") as log:
            before = log.tell()
            self._process = subprocess.Popen(
                command("serve", "--port", str(self.port)),
                cwd=CHECKOUT,
                env=environment(self.url, self._settings),
                stdout=log,
                stderr=log,
            )
        self.port = self._port(before)
        self._answers()
        return self

    def _port(self, before: int) -> int:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            told = self.log.read_bytes()[before:].decode()
            if found := re.search(r"serving on http://127\.0\.0\.1:(\d+)", told):
                return int(found[1])
            assert self._process is not None
            assert self._process.poll() is None, told
            time.sleep(0.02)
        raise AssertionError("the server did not start")

    def _answers(self) -> None:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            try:
                if httpx.get(f"{self.address}/livez").status_code == 200:
                    return
            except httpx.HTTPError:
                time.sleep(0.02)
        raise AssertionError("the server does not answer")

    def signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def wait(self, timeout: float = 10) -> int:
        """The exit status. Raises subprocess.TimeoutExpired."""
        assert self._process is not None
        status = self._process.wait(timeout)
        self._keep_port()
        return status

    def _keep_port(self) -> None:
        """Until `close`: what starts meanwhile must not be given it."""
        if self._keeper is None and self.port:
            with suppress(OSError):  # workers that outlive their supervisor for a moment still listen on it
                self._keeper = kept(self.port)

    def _let_port_go(self) -> None:
        if self._keeper is not None:
            self._keeper.close()
            self._keeper = None

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self.wait()

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def close(self) -> None:
        """Whatever happened: leave nothing running."""
        if self.is_running:
            self.kill()
        self._let_port_go()

    def post(self, token: str, operation: str, **variables: Any) -> dict[str, Any]:
        """The data of an operation of the contract."""
        body = {"query": OPERATIONS[operation], "variables": variables}
        headers = {"Authorization": f"Bearer {token}"}
        answer = httpx.post(f"{self.address}/graphql", json=body, headers=headers, timeout=PATIENCE).json()
        assert "errors" not in answer, answer
        data: dict[str, Any] = answer["data"]
        return data

    @contextmanager
    def socket(self, token: str) -> Iterator[ClientConnection]:
        """A WebSocket after its connection_ack."""
        address = f"ws://127.0.0.1:{self.port}/graphql"
        with connect(address, subprotocols=[Subprotocol(PROTOCOL)], compression=None) as socket:
            say(socket, {"type": "connection_init", "payload": {"authorization": f"Bearer {token}"}})
            assert hear(socket)["type"] == "connection_ack"
            yield socket


def is_ready(address: str) -> bool:
    """Whether it takes work now. A busy machine may not answer a probe of the database in time, once."""
    return httpx.get(f"{address}/readyz", timeout=PATIENCE).status_code == 200


def say(socket: ClientConnection, message: dict[str, Any]) -> None:
    socket.send(orjson.dumps(message).decode())


def hear(socket: ClientConnection, timeout: float = 10) -> dict[str, Any]:
    """The next message that is no ping."""
    message: dict[str, Any] = {"type": "ping"}
    while message["type"] == "ping":
        message = orjson.loads(socket.recv(timeout))
    return message


def subscribe(socket: ClientConnection, operation: str, **variables: Any) -> None:
    payload = {"query": OPERATIONS[operation], "variables": variables}
    say(socket, {"type": "subscribe", "id": "1", "payload": payload})
