"""Who connects and does not ask: he is hung up on, and holds up nobody."""

from __future__ import annotations

import socket
import time
from contextlib import ExitStack

import httpx
import pytest

from deskwire.serving.protocol import HEADERS_SECONDS
from tests.server.conftest import Start
from tests.server.process import Server
from tests.server.stage import Stage, staged

SILENT = 200


@pytest.fixture(scope="module")
def stage(sqlite_url: str) -> Stage:
    return staged(sqlite_url)


@pytest.fixture(scope="module")
def server(sqlite_url: str, stage: Stage, start: Start) -> Server:
    return start(sqlite_url)


def connected(server: Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=HEADERS_SECONDS + 5)


def hung_up(line: socket.socket) -> bool:
    """Wait until the server closes without a word. Raises TimeoutError."""
    try:
        return line.recv(1024) == b""
    except ConnectionResetError:
        return True


def test_who_says_nothing_or_half_a_head_is_hung_up_on(server: Server) -> None:
    """Many at once, while others are served."""
    with ExitStack() as stack:
        lines = [stack.enter_context(connected(server)) for _ in range(SILENT)]
        for line in lines[::2]:
            line.sendall(b"GET /livez HTTP/1.1\r\nHost: desk")
        begun = time.monotonic()
        assert httpx.get(f"{server.address}/livez", timeout=5).status_code == 200
        assert all(hung_up(line) for line in lines)
        assert time.monotonic() - begun > HEADERS_SECONDS / 2


def test_the_second_request_of_a_connection_has_no_more_time(server: Server) -> None:
    with connected(server) as line:
        line.sendall(b"GET /livez HTTP/1.1\r\nHost: deskwire.example\r\n\r\nGET /livez HTTP/1.1\r\nHost: desk")
        received = line.recv(4096)
        assert received.startswith(b"HTTP/1.1 200")
        begun = time.monotonic()
        while not hung_up(line):
            pass
        assert time.monotonic() - begun > HEADERS_SECONDS / 2


def test_a_socket_and_a_slow_body_are_not_meant(server: Server, stage: Stage) -> None:
    """The limit ends with the headers: what follows has limits of its own."""
    body = b'{"query": "{ viewer { user { id } } }"}'
    head = (
        "POST /graphql HTTP/1.1\r\nHost: deskwire.example\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {stage.agent}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with server.socket(stage.agent) as live, connected(server) as line:
        line.sendall(head.encode())
        time.sleep(HEADERS_SECONDS + 0.5)
        line.sendall(body)
        assert line.recv(1024).startswith(b"HTTP/1.1 200")
        live.send('{"type": "ping"}')
        assert '"pong"' in str(live.recv(5))
