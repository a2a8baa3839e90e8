"""The servers that are measured, each a process on the server's core, and how an event is made on each."""

from __future__ import annotations

import http.client
import re
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from bench.desk import Desk
from bench.frames import server_frame
from bench.machine import on_core
from bench.peers.node import node_peer
from tests.client import OPERATIONS
from tests.server.process import CHECKOUT, Server, environment

START_SECONDS = 30
SERVING = re.compile(rb"serving on http://127\.0\.0\.1:(\d+)")
# A server that delivers slowly answers late, and is to be measured, too.
ANSWER_SECONDS = 300
# Background work is a process of its own here: what it costs belongs to no delivery. Nothing else is set.
SETTINGS = {"jobs": "false"}
# What the frames of the limit say in the place of a subscriber's own id: as long as everybody's.
LIMIT_ID = "00000000-0000-4000-8000-000000000000"

Item = dict[str, Any]


@dataclass(slots=True)
class Target:
    """A server. `end` makes one event, and returns what every subscriber must receive of it, but for the cursor.

    A server that `speaks` is one for GraphQL; others send ready frames. `forget` ends the time before measuring.
    """

    name: str
    port: int
    pids: list[int]
    end: Callable[[], Item]
    speaks: bool = True
    forget: Callable[[], None] = lambda: None


def post(port: int, query: str, variables: dict[str, Any], token: str = "") -> dict[str, Any]:
    """The data of a GraphQL operation over HTTP, on a connection of its own. Raises AssertionError on errors."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_SECONDS)
    try:
        body = orjson.dumps({"query": query, "variables": variables})
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
        connection.request("POST", "/graphql", body, headers)
        answer = orjson.loads(connection.getresponse().read())
    finally:
        connection.close()
    assert "errors" not in answer, answer
    data: dict[str, Any] = answer["data"]
    return data


@contextmanager
def deskwires(url: str, desk: Desk, core: int | None, *, processes: int = 1, **settings: str) -> Iterator[list[Target]]:
    """Deskwire as `serve` starts it, so many processes on one database."""
    with ExitStack() as stack:
        targets = []
        for number in range(processes):
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench")))
            server = Server(url, folder, **SETTINGS, attachments_url=f"files://{folder}", **settings)
            stack.callback(server.close)
            with on_core(core):
                server.start()
            name = "deskwire" if processes == 1 else f"deskwire {number + 1}"
            targets.append(Target(name, server.port, [server.pid], ending(server.port, desk)))
        yield targets


@contextmanager
def sampled(url: str, desk: Desk, core: int | None, file: Path) -> Iterator[Target]:
    """Deskwire, with its stacks sampled into a file (bench/sampling.py) that is written when the block ends."""
    command = [sys.executable, "-m", "bench.sampling", str(file.resolve()), "serve", "--port", "0"]
    with tempfile.TemporaryDirectory(prefix="bench") as folder:
        settings = environment(url, SETTINGS | {"attachments_url": f"files://{folder}"})
        with started(command, core, settings) as (process, port):
            forget = partial(process.send_signal, signal.SIGUSR2)
            yield Target("deskwire, sampled", port, [process.pid], ending(port, desk), forget=forget)
            process.send_signal(signal.SIGUSR1)
            process.wait(START_SECONDS)


def ending(port: int, desk: Desk) -> Callable[[], Item]:
    """Ends the next session of this desk on the Deskwire at this port."""

    def end() -> Item:
        data = post(port, OPERATIONS["EndSession"], {"input": {"ticketId": desk.tickets.popleft()}}, desk.ender)
        payload = data["endSession"]
        assert (payload["outcome"], payload["userErrors"]) == ("ENDED", []), payload
        return {"clientId": None, "event": payload["event"], "ticket": payload["ticket"]}

    return end


@contextmanager
def naive(item: Callable[[], Item], core: int | None) -> Iterator[Target]:
    """strawberry and broadcaster, a generator for each subscriber."""
    with python_peer("bench.peers.naive", core) as (process, port):
        yield Target("strawberry + broadcaster", port, [process.pid], _publishing(port, item))


@contextmanager
def graphql_ws(item: Callable[[], Item], core: int | None) -> Iterator[Target]:
    """graphql-ws on ws, in Node. Raises OSError, CalledProcessError where it cannot be installed or started."""
    with started(node_peer(), core) as (process, port):
        yield Target("graphql-ws", port, [process.pid], _publishing(port, item))


def _publishing(port: int, item: Callable[[], Item]) -> Callable[[], Item]:
    def end() -> Item:
        sent = item()
        post(port, "mutation ($item: JSON!) { endSession(item: $item) }", {"item": sent})
        return {key: value for key, value in sent.items() if key != "cursor"}

    return end


@contextmanager
def limit(item: Item, core: int | None) -> Iterator[Target]:
    """A loop of `send` of ready frames, as large as everybody's. In C where there is a compiler."""
    message = {"id": LIMIT_ID, "type": "next", "payload": {"data": {"sessionEnded": item}}}
    expected = {key: value for key, value in item.items() if key != "cursor"}
    with tempfile.TemporaryDirectory(prefix="bench") as folder:
        file = Path(folder) / "frame"
        file.write_bytes(server_frame(orjson.dumps(message)))
        name, command = _limit_command(Path(folder))
        with started([*command, str(file)], core) as (process, port):
            yield Target(name, port, [process.pid], lambda: _sent(process, expected), speaks=False)


def _limit_command(folder: Path) -> tuple[str, list[str]]:
    peers = CHECKOUT / "bench" / "peers"
    binary = folder / "limit"
    try:
        subprocess.run(["cc", "-O2", "-o", str(binary), str(peers / "limit.c")], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return "limit: send in Python", [sys.executable, str(peers / "limit.py")]
    return "limit: send in C", [str(binary)]


def _sent(process: subprocess.Popen[bytes], expected: Item) -> Item:
    assert process.stdin is not None
    process.stdin.write(b"\n")
    process.stdin.flush()
    _answer(process)
    return expected


@contextmanager
def python_peer(module: str, core: int | None) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A peer in Python: its process and its port."""
    with started([sys.executable, "-m", module], core) as found:
        yield found


@contextmanager
def started(
    command: list[str], core: int | None, environment: dict[str, str] | None = None
) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A process that says `serving on http://…:port`, and the port. It is killed with the block. Raises OSError."""
    with tempfile.TemporaryDirectory(prefix="bench") as folder:
        log = Path(folder) / "log"
        with on_core(core), log.open("wb") as errors:
            process = subprocess.Popen(
                command,
                cwd=CHECKOUT,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                bufsize=0,
            )
        try:
            yield process, _port(process, log)
        finally:
            process.kill()
            process.communicate()


def _port(process: subprocess.Popen[bytes], log: Path) -> int:
    """Raises OSError with what it said instead."""
    assert process.stdout is not None
    said, deadline = b"", time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        if select.select([process.stdout], [], [], 0.05)[0]:
            said += process.stdout.readline()
        if found := SERVING.search(said + log.read_bytes()):
            return int(found[1])
    raise OSError(f"{process.args!r} did not start: {log.read_text(errors='replace')[-500:]}")


def _answer(process: subprocess.Popen[bytes]) -> bytes:
    """The next line that it prints. Raises OSError."""
    assert process.stdout is not None
    line: bytes = process.stdout.readline() if select.select([process.stdout], [], [], START_SECONDS)[0] else b""
    if not line:
        raise OSError(f"{process.args!r} did not answer")
    return line
