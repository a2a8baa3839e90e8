"""SIGTERM: what is under way is finished, and nobody can hold up the end. Always exit status 0, within 20 seconds."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from websockets.exceptions import ConnectionClosed

from deskwire.serving.server import DEADLINE_SECONDS
from tests.client import OPERATIONS
from tests.databases import plain_connection
from tests.ports import kept_ports
from tests.server.conftest import Start
from tests.server.process import CHECKOUT, KEY, Server, command, environment, hear, say, subscribe
from tests.server.stage import Stage, staged
from tests.server.system import eventually

# 20 seconds, and what a busy machine needs to end a process and to tell of it.
LIMIT = 25.0
STALLED = 4
# How long a test waits for what should be there at once.
SOON = 5.0


@pytest.fixture(scope="module")
def stage(sqlite_url: str) -> Stage:
    return staged(sqlite_url)


@pytest.fixture
def server(sqlite_url: str, stage: Stage, start: Start) -> Iterator[Server]:
    server = start(sqlite_url, poll_seconds="0.2")
    yield server
    server.close()


def ended(server: Server, limit: float = LIMIT) -> int:
    """The exit status after a SIGTERM that was sent just now."""
    return server.wait(limit)


def head(path: str, token: str, **headers: object) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: deskwire.example", f"Authorization: Bearer {token}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()


def answer(line: socket.socket) -> bytes:
    """All that comes until the server closes."""
    received = b""
    while chunk := line.recv(65_536):
        received += chunk
    return received


def message(body: str) -> bytes:
    return orjson.dumps({"query": OPERATIONS["SendMessage"], "variables": {"input": {"body": body}}})


def send(server: Server, token: str, body: str) -> httpx.Response:
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    return httpx.post(f"{server.address}/graphql", content=message(body), headers=headers, timeout=LIMIT)


def test_without_clients_it_is_gone_at_once(server: Server) -> None:
    server.signal(signal.SIGTERM)
    assert ended(server, SOON) == 0


def test_an_idle_connection_does_not_hold_it_up(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port)), httpx.Client(base_url=server.address) as kept:
        assert kept.get("/livez").status_code == 200
        server.signal(signal.SIGTERM)
        assert ended(server, SOON) == 0


def test_a_mutation_in_flight_is_finished_and_answered(url: str, start: Start) -> None:
    """It waits for a lock that another program holds when the signal comes."""
    stage = staged(url, "globex")
    server = start(url)
    other = plain_connection(url)
    statement = "BEGIN IMMEDIATE" if url.startswith("sqlite:") else "BEGIN; LOCK TABLE comments IN EXCLUSIVE MODE"
    with ThreadPoolExecutor(1) as pool:
        other.execute(statement)
        sent = pool.submit(send, server, stage.customer, "in flight")
        assert eventually(lambda: under_way(server))
        server.signal(signal.SIGTERM)
        assert eventually(lambda: not accepts(server))
        assert not sent.done()
        other.execute("COMMIT")
        other.close()
        payload = sent.result().json()["data"]["sendMessage"]
    assert payload["userErrors"] == []
    assert payload["message"]["body"] == "in flight"
    assert ended(server) == 0


def under_way(server: Server, operations: str = "") -> bool:
    """Whether the server has begun with a request of somebody else. `operations`: where it tells, if elsewhere."""
    told = httpx.get(f"{operations or server.address}/metrics", timeout=LIMIT).text
    found = re.search(r"^deskwire_http_requests_under_way (\S+)", told, re.MULTILINE)
    assert found
    return float(found[1]) > (0 if operations else 1)  # this one is under way there, too


def accepts(server: Server) -> bool:
    try:
        socket.create_connection(("127.0.0.1", server.port), timeout=1).close()
    except OSError:
        return False
    return True


def stalled(server: Server, stage: Stage) -> socket.socket:
    """A subscriber that has been acknowledged, and reads nothing more."""
    line = socket.socket()
    line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    line.settimeout(SOON)
    line.connect(("127.0.0.1", server.port))
    line.sendall(
        b"GET /graphql HTTP/1.1\r\nHost: deskwire.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        b"Sec-WebSocket-Protocol: graphql-transport-ws\r\n\r\n"
    )
    assert b" 101 " in line.recv(1024)
    line.sendall(frame({"type": "connection_init", "payload": {"authorization": f"Bearer {stage.agent}"}}))
    assert b"connection_ack" in line.recv(1024)
    return line


def frame(content: dict[str, Any]) -> bytes:
    """A masked text frame; the mask is zero."""
    data = orjson.dumps(content)
    length = bytes([0x80 | len(data)]) if len(data) < 126 else bytes([0x80 | 126]) + len(data).to_bytes(2, "big")
    return b"\x81" + length + bytes(4) + data


def test_stalled_readers_do_not_hold_it_up(server: Server, stage: Stage) -> None:
    """Their send buffers are full: whoever waits for them to drain waits for ever."""
    with ExitStack() as stack:
        lines = [stack.enter_context(stalled(server, stage)) for _ in range(STALLED)]
        for line in lines:
            subscribe_raw(line)
        for line in lines:
            flooded(line)
        with server.socket(stage.agent) as healthy:
            subscribe(healthy, "SessionEnded")
            say(healthy, {"type": "ping"})
            assert hear(healthy)["type"] == "pong"
            server.signal(signal.SIGTERM)
            with pytest.raises(ConnectionClosed) as closed:
                hear(healthy, LIMIT)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1012
        assert ended(server) == 0


def subscribe_raw(line: socket.socket) -> None:
    line.sendall(frame({"type": "subscribe", "id": "1", "payload": {"query": OPERATIONS["SessionEnded"]}}))


def flooded(line: socket.socket) -> None:
    """Ask until the server reads no more, because we do not. Its answers repeat our long and unknown word."""
    line.settimeout(0.5)
    question = frame({"type": "subscribe", "id": "2", "payload": {"query": "subscription { %s }" % ("x" * 20_000)}})
    for _ in range(2000):
        try:
            line.sendall(question)
        except TimeoutError:
            return
    raise AssertionError("the server goes on reading from one who does not read")


def test_a_reader_who_stops_in_the_middle_of_an_answer(
    sqlite_url: str, stage: Stage, start: Start, tmp_path: Path
) -> None:
    server = start(sqlite_url, attachments_url=f"files://{tmp_path / 'files'}")
    content = b"\x89PNG\r\n\x1a\n" + bytes(15_000_000)
    headers = {"Authorization": f"Bearer {stage.customer}"}
    sent = httpx.post(
        f"{server.address}/attachments", files={"file": ("a.png", content, "image/png")}, headers=headers, timeout=30
    ).json()
    with socket.socket() as line:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        line.connect(("127.0.0.1", server.port))
        line.sendall(head(f"/attachments/{sent['id']}", stage.customer).replace(b"POST", b"GET", 1))
        assert line.recv(1024).startswith(b"HTTP/1.1 200")
        server.signal(signal.SIGTERM)
        assert ended(server) == 0


def test_slow_senders_do_not_hold_it_up(server: Server, stage: Stage) -> None:
    """One has sent half of his headers; one sends his body by a byte a second."""
    body = message("very slowly")
    with socket.create_connection(("127.0.0.1", server.port)) as half:
        half.sendall(b"POST /graphql HTTP/1.1\r\nHost: deskw")
        with socket.create_connection(("127.0.0.1", server.port)) as slow, dripping(slow, stage, body):
            time.sleep(0.3)
            server.signal(signal.SIGTERM)
            assert ended(server) == 0


class dripping:
    """Sends a request whose body comes a byte a second, meanwhile."""

    def __init__(self, line: socket.socket, stage: Stage, body: bytes) -> None:
        self._line, self._body = line, body
        self._head = head("/graphql", stage.customer, content_type="application/json", content_length=len(body))
        self._enough = threading.Event()
        self._thread = threading.Thread(target=self._send)

    def _send(self) -> None:
        try:
            self._line.sendall(self._head)
            for byte in self._body:
                self._line.sendall(bytes([byte]))
                if self._enough.wait(1):
                    return
        except OSError:
            pass  # the server has had enough

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._enough.set()
        self._thread.join()


UPLOAD = (
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n'
    b"Content-Type: text/plain\r\n\r\n" + b"x" * 200_000,
    b"y" * 100 + b"\r\n--b--\r\n",
)


def uploading(server: Server, stage: Stage, operations: str = "") -> socket.socket:
    """A connection on which the first part of an upload was sent, and the server has begun with it."""
    line = socket.create_connection(("127.0.0.1", server.port), timeout=LIMIT)
    length = sum(map(len, UPLOAD))
    start = head("/attachments", stage.customer, content_type="multipart/form-data; boundary=b", content_length=length)
    line.sendall(start + UPLOAD[0])
    assert eventually(lambda: under_way(server, operations))
    return line


def test_an_upload_that_goes_on_is_finished(server: Server, stage: Stage) -> None:
    with uploading(server, stage) as line:
        server.signal(signal.SIGTERM)
        assert eventually(lambda: not accepts(server))
        line.sendall(UPLOAD[1])
        assert answer(line).startswith(b"HTTP/1.1 201")
    assert ended(server) == 0


def test_an_upload_that_stops_is_cut_off_and_leaves_nothing(
    sqlite_url: str, stage: Stage, start: Start, tmp_path: Path
) -> None:
    server = start(sqlite_url, attachments_url=f"files://{tmp_path / 'files'}")
    with uploading(server, stage):
        assert eventually(lambda: files_in(tmp_path))
        server.signal(signal.SIGTERM)
        assert ended(server) == 0
    assert files_in(tmp_path) == []


def files_in(folder: Path) -> list[Path]:
    return [each for each in folder.rglob("*") if each.is_file()]


def test_a_second_signal_ends_it_at_once(server: Server, stage: Stage) -> None:
    with uploading(server, stage):
        server.signal(signal.SIGTERM)
        assert eventually(lambda: not accepts(server))
        server.signal(signal.SIGTERM)
        assert ended(server, SOON) == -signal.SIGTERM


def test_operations_are_told_while_it_drains(sqlite_url: str, stage: Stage, start: Start) -> None:
    """Readiness says 503 and liveness 200 until the end, on the port that is not closed."""
    with kept_ports(1) as port:
        settings = {"env": "production", "secret_key": KEY, "email_inbound_key": KEY, "operations_port": str(port)}
        server = start(sqlite_url, **settings)
    operations = f"http://127.0.0.1:{port}"
    assert eventually(lambda: httpx.get(f"{operations}/readyz").json()["status"] == "ready")
    assert httpx.get(f"{server.address}/metrics").status_code == 404
    with uploading(server, stage, operations) as line:
        server.signal(signal.SIGTERM)
        assert eventually(lambda: not accepts(server))
        assert httpx.get(f"{operations}/readyz").status_code == 503
        assert httpx.get(f"{operations}/livez").status_code == 200
        metrics = httpx.get(f"{operations}/metrics").text
        assert "deskwire_stopping 1.0" in metrics
        assert "deskwire_http_requests_under_way 1.0" in metrics
        line.sendall(UPLOAD[1])
        assert answer(line).startswith(b"HTTP/1.1 201")
    assert ended(server) == 0


HANGING = """
import asyncio, sys, time
from deskwire import app
from deskwire.cli import main

async def drain(self):
    self.stopping.set()
    {hang}

app.Deskwire.drain = drain
sys.exit(main(["serve", "--port", "0"]))
"""


@pytest.mark.parametrize("hang", ["await asyncio.sleep(1000)", "time.sleep(1000)"], ids=["streams", "loop"])
def test_whatever_hangs_it_has_a_deadline(sqlite_url: str, hang: str) -> None:
    """Streams that do not drain; and a loop that does nothing any more."""
    assert DEADLINE_SECONDS < 20
    process = subprocess.Popen(
        [*command()[:1], "-c", HANGING.format(hang=hang)],
        cwd=CHECKOUT,
        env=environment(sqlite_url, {}),
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stderr is not None
        assert "serving on" in process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        assert process.wait(LIMIT) == 0
