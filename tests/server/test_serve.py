"""`serve`: what it answers, how it ends, and who may run beside it."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import httpx
import orjson
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection

from tests.client import OPERATIONS
from tests.databases import Sqlite
from tests.server.conftest import Start
from tests.server.process import (
    CHECKOUT,
    KEY,
    Server,
    deskwire,
    environment,
    hear,
    is_ready,
    refused,
    say,
    subscribe,
)
from tests.server.stage import Stage, staged
from tests.server.system import eventually

LIMIT = 65_536


@pytest.fixture(scope="module")
def stage(sqlite_url: str) -> Stage:
    return staged(sqlite_url)


@pytest.fixture(scope="module")
def server(sqlite_url: str, stage: Stage, start: Start) -> Server:
    """On SQLite, in development."""
    return start(sqlite_url, poll_seconds="0.2")


def closed(socket: ClientConnection) -> int | None:
    """The code with which the server closes."""
    try:
        while True:
            hear(socket)
    except ConnectionClosed as end:
        return end.rcvd.code if end.rcvd else None


def test_it_is_alive_and_ready(server: Server) -> None:
    assert httpx.get(f"{server.address}/livez").json() == {"status": "alive"}
    assert eventually(lambda: httpx.get(f"{server.address}/readyz").json()["status"] == "ready")
    ready = httpx.get(f"{server.address}/readyz")
    shown = ready.json()
    assert (ready.status_code, shown["status"], shown["failing"]) == (200, "ready", [])
    assert (shown["bell"]["hears"], shown["bell"]["connected"], shown["bell"]["lost_publishes"]) == (True, True, 0)


def test_development_has_pages(server: Server) -> None:
    for path in ("/", "/graphiql"):
        page = httpx.get(server.address + path)
        assert page.status_code == 200
        assert page.headers["content-type"] == "text/html; charset=utf-8"


def test_production_has_none(sqlite: Sqlite, start: Start) -> None:
    with sqlite.fresh() as url:
        production = start(url, env="production", secret_key=KEY, email_inbound_key=KEY)
        paths = ("/", "/graphiql", "/graphiql/config.json", "/static/front.css")
        assert [httpx.get(production.address + path).status_code for path in paths] == [404] * len(paths)
        assert eventually(lambda: is_ready(production.address))
        production.close()


@pytest.mark.parametrize(("size", "status"), [(LIMIT, 200), (LIMIT + 1, 413)])
def test_a_body_has_at_most_64_kib(server: Server, stage: Stage, size: int, status: int) -> None:
    body = orjson.dumps({"query": OPERATIONS["Viewer"]}).ljust(size)
    headers = {"Authorization": f"Bearer {stage.agent}", "Content-Type": "application/json"}
    answer = httpx.post(f"{server.address}/graphql", content=body, headers=headers)
    assert answer.status_code == status
    assert ("data" in answer.json()) == (status == 200)


def test_a_frame_has_at_most_64_kib(server: Server, stage: Stage) -> None:
    with server.socket(stage.agent) as socket:
        ping = '{"type": "ping"}'
        socket.send(ping.ljust(LIMIT))
        assert hear(socket) == {"type": "pong"}
        socket.send(ping.ljust(LIMIT + 1))
        assert closed(socket) == 1009


def test_what_another_process_writes_arrives_by_polling(server: Server, stage: Stage) -> None:
    with server.socket(stage.agent) as socket:
        subscribe(socket, "TicketCreated")
        say(socket, {"type": "ping"})
        assert hear(socket)["type"] == "pong"  # whoever is answered now has subscribed before
        writer = [sys.executable, "-m", "tests.server.writer", server.url, stage.customer_id, "From beside you"]
        subprocess.run(writer, cwd=CHECKOUT, check=True, timeout=30)
        written = time.monotonic()
        message = hear(socket)
        assert message["type"] == "next"
        assert message["payload"]["data"]["ticketCreated"]["ticket"]["subject"] == "From beside you"
        assert time.monotonic() - written < 2


def test_one_process_serves_a_sqlite_file(server: Server, sqlite_url: str, stage: Stage) -> None:
    second = deskwire(sqlite_url, "serve", "--port", "0")
    assert refused(second, "Another process serves", "One process serves a SQLite file", "stop the other one")
    assert server.post(stage.agent, "Viewer")["viewer"]["account"]["name"] == "Acme"


def test_a_port_that_is_taken_is_said(server: Server, sqlite: Sqlite) -> None:
    with sqlite.fresh() as url:
        assert refused(deskwire(url, "serve", "--port", str(server.port)), f"127.0.0.1:{server.port}", "--port")
    assert httpx.get(f"{server.address}/livez").status_code == 200


def test_it_rises_after_a_kill_and_leaves_in_order(url: str, start: Start) -> None:
    stage, server = staged(url), start(url)
    server.kill()
    server.start()
    with server.socket(stage.agent) as socket:
        subscribe(socket, "SessionEnded")
        say(socket, {"type": "ping"})
        assert hear(socket)["type"] == "pong"
        server.signal(signal.SIGTERM)
        assert closed(socket) == 1012
    assert server.wait(timeout=10) == 0


def test_a_broken_broker_is_no_reason_not_to_serve(sqlite: Sqlite, start: Start) -> None:
    with sqlite.fresh() as url:
        stage = staged(url)
        server = Server(url, sqlite.folder, broadcast_url="redis://127.0.0.1:1", poll_seconds="0.2")
        try:
            server.start()
            assert eventually(lambda: is_ready(server.address))
            answer = httpx.get(f"{server.address}/readyz")
            assert (answer.json()["status"], answer.json()["bell"]["hears"]) == ("degraded", False)
            assert server.post(stage.agent, "Viewer")["viewer"]["user"]["role"] == "AGENT"
        finally:
            server.close()


def test_a_start_that_hangs_dies_of_a_signal() -> None:
    """A database that does not answer is waited for; who stops the process meanwhile must not wait as well."""
    waiting = subprocess.Popen(
        [sys.executable, "-m", "deskwire", "serve", "--port", "0"],
        cwd=CHECKOUT,
        env=environment("postgres://nobody@127.0.0.1:1/nowhere", {}),
        stderr=subprocess.PIPE,
        text=True,
    )
    with waiting:
        assert waiting.stderr is not None
        waiting.stderr.readline()
        waiting.send_signal(signal.SIGTERM)
        assert waiting.wait(10) == -signal.SIGTERM
