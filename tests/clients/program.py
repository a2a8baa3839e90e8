"""A client library that runs as a program of its own, and what it says."""

from __future__ import annotations

import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import orjson

from tests.client import OPERATIONS
from tests.clients.installed import CHECKOUT, FOLDER, node

# Longer than a library waits between two attempts.
PATIENCE = 60.0


@dataclass(frozen=True, slots=True)
class Library:
    """Which library, by which transport, and what it can do beside subscribing."""

    name: str
    with_socket: bool = True
    asks: bool = True

    def command(self, url: str, token: str) -> list[str]:
        if self.name == "gql":
            return [sys.executable, "-m", "tests.clients.driver", url, token]
        how = [] if self.with_socket else ["without-socket"]
        return node(str(FOLDER / "driver.mjs"), self.name, url, token, *how)

    def __str__(self) -> str:
        return f"{self.name}-{'socket' if self.with_socket else 'http'}"


class Program:
    """It is told what to do on standard input; a thread collects what it says, by the name of the stream."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._said: queue.Queue[dict[str, Any]] = queue.Queue()
        self._kept: dict[str, list[dict[str, Any]]] = {}
        self.history: list[dict[str, Any]] = []
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._said.put(orjson.loads(line))

    def _tell(self, **command: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(orjson.dumps(command).decode() + "\n")
        self._process.stdin.flush()

    def follow(self, name: str, operation: str, **variables: Any) -> None:
        self._tell(do="follow", name=name, query=OPERATIONS.get(operation, operation), variables=variables)

    def stop(self, name: str) -> None:
        self._tell(do="stop", name=name)
        assert "stopped" in self._next(name, "stopped")

    def ask(self, do: str, operation: str, **variables: Any) -> dict[str, Any]:
        """The answer to a query or a mutation: `data`, perhaps `errors`."""
        self._tell(do=do, name="asked", query=OPERATIONS.get(operation, operation), variables=variables)
        answer: dict[str, Any] = self._next("asked", "answer")["answer"]
        return answer

    def items(self, name: str, count: int) -> list[dict[str, Any]]:
        """The next items of a stream."""
        return [self._next(name, "item")["item"] for _ in range(count)]

    @property
    def other(self) -> list[dict[str, Any]]:
        """All that was said beside items: what a failure is explained by."""
        return [each for each in self.history if "item" not in each]

    def refusal(self, name: str) -> list[str]:
        codes: list[str] = self._next(name, "refused")["refused"]
        return codes

    def waiting(self, name: str) -> list[dict[str, Any]]:
        """What a stream has said that nobody has asked for."""
        while not self._said.empty():
            self._keep(self._said.get())
        return self._kept.get(name, [])

    def _next(self, name: str, key: str) -> dict[str, Any]:
        deadline = time.monotonic() + PATIENCE
        while not self._kept.get(name):
            try:
                self._keep(self._said.get(timeout=max(0.0, deadline - time.monotonic())))
            except queue.Empty:
                raise AssertionError(f"{name} said nothing more: {self.other}") from None
        message = self._kept[name].pop(0)
        assert key in message, (name, key, message, self.other)
        return message

    def _keep(self, message: dict[str, Any]) -> None:
        self.history.append(message)
        if "interrupted" not in message:
            self._kept.setdefault(message["name"], []).append(message)


@contextmanager
def running(library: Library, url: str, token: str) -> Iterator[Program]:
    """The program, until the test is over. It must not have written a word to standard error."""
    with subprocess.Popen(
        library.command(url, token),
        cwd=CHECKOUT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield Program(process)
        finally:
            process.kill()
            process.wait()
            assert process.stderr is not None
            told = process.stderr.read()
    assert told == "", told
