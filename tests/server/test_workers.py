"""`serve --workers`: several processes on one port, under one supervisor."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection

from tests.brokers import Redis
from tests.databases import Postgres, Sqlite
from tests.ports import kept_ports
from tests.server.conftest import Start
from tests.server.process import (
    CHECKOUT,
    Server,
    command,
    deskwire,
    environment,
    hear,
    is_ready,
    refused,
    say,
    subscribe,
)
from tests.server.stage import Stage, staged
from tests.server.system import children, eventually, is_running, peer_of

WORKERS = 2
# For the end of all. A worker that has just been started learns of it when Python has loaded it.
LIMIT = 25.0


@pytest.fixture(scope="module")
def redis_url() -> Iterator[str]:
    with Redis.started() as redis:
        yield redis.url


@pytest.fixture(scope="module")
def url(postgres: Postgres) -> Iterator[str]:
    with postgres.fresh() as url:
        yield url


@pytest.fixture(scope="module")
def stage(url: str) -> Stage:
    return staged(url)


@pytest.fixture(scope="module")
def standing(url: str, redis_url: str, stage: Stage, start: Start) -> Server:
    """For the tests that leave it as it was."""
    return start(url, workers=str(WORKERS), broadcast_url=redis_url, poll_seconds="0.2")


@pytest.fixture
def server(url: str, redis_url: str, stage: Stage, start: Start) -> Iterator[Server]:
    """For one test, to do with it what it likes."""
    server = start(url, workers=str(WORKERS), broadcast_url=redis_url, poll_seconds="0.2")
    yield server
    server.close()


def write(server: Server, stage: Stage, body: str) -> None:
    """As the customer; tried again where a worker was killed under the request."""
    identifier = f"{body} of {server.pid}"
    for _ in range(50):
        try:
            payload = server.post(stage.customer, "SendMessage", input={"body": body, "clientMessageId": identifier})
        except httpx.TransportError:
            time.sleep(0.05)
            continue
        assert payload["sendMessage"]["userErrors"] == []
        return
    raise AssertionError("nobody takes the message")


def ticket_of(server: Server, stage: Stage) -> str:
    found = server.post(stage.agent, "TicketList", first=1)["tickets"]["edges"]
    identifier: str = found[0]["node"]["id"]
    return identifier


@contextmanager
def listening(server: Server, stage: Stage, **variables: Any) -> Iterator[ClientConnection]:
    """A stream of a ticket; connected again where a worker died under the handshake."""
    with ExitStack() as stack:
        for _ in range(50):
            try:
                socket = stack.enter_context(server.socket(stage.agent))
                break
            except (OSError, EOFError, ConnectionClosed):
                time.sleep(0.05)
        subscribe(socket, "TicketActivity", **variables)
        say(socket, {"type": "ping"})
        assert hear(socket)["type"] == "pong"
        yield socket


def heard(socket: ClientConnection, count: int) -> tuple[list[str], str]:
    """The bodies of the next messages, and the cursor after the last."""
    bodies: list[str] = []
    cursor = ""
    while len(bodies) < count:
        message = hear(socket)
        assert message["type"] == "next", message
        item = message["payload"]["data"]["ticketActivity"]
        cursor = item["cursor"]
        if comment := item["event"].get("comment"):
            bodies.append(comment["body"])
    return bodies, cursor


def test_a_worker_that_is_killed_is_replaced_and_its_client_resumes_elsewhere(server: Server, stage: Stage) -> None:
    write(server, stage, "begin")
    ticket = ticket_of(server, stage)
    workers = children(server.pid)
    assert len(workers) == WORKERS
    with listening(server, stage, ticketId=ticket) as socket:
        for number in range(3):
            write(server, stage, f"before {number}")
        bodies, cursor = heard(socket, 3)
        killed = peer_of(socket.socket, workers)
        os.kill(killed, signal.SIGKILL)
        with pytest.raises(ConnectionClosed):
            hear(socket)
    for number in range(3):
        write(server, stage, f"meanwhile {number}")
    with listening(server, stage, ticketId=ticket, after=cursor) as socket:
        assert peer_of(socket.socket, children(server.pid)) != killed
        write(server, stage, "after")
        bodies += heard(socket, 4)[0]
    assert bodies == [*(f"before {n}" for n in range(3)), *(f"meanwhile {n}" for n in range(3)), "after"]
    assert eventually(lambda: len(children(server.pid)) == WORKERS and killed not in children(server.pid))
    server.signal(signal.SIGTERM)
    assert server.wait(LIMIT) == 0


def test_what_one_worker_commits_another_delivers(standing: Server, stage: Stage) -> None:
    write(standing, stage, "begin")
    ticket = ticket_of(standing, stage)
    with ExitStack() as stack:
        sockets: dict[int, ClientConnection] = {}
        for _ in range(100):  # the kernel spreads connections by chance
            socket = stack.enter_context(listening(standing, stage, ticketId=ticket))
            sockets.setdefault(peer_of(socket.socket, children(standing.pid)), socket)
            if len(sockets) == WORKERS:
                break
        assert set(sockets) == children(standing.pid)
        write(standing, stage, "to both")
        assert [heard(socket, 1)[0] for socket in sockets.values()] == [["to both"]] * WORKERS


def test_its_address_is_said_once(standing: Server) -> None:
    told = standing.log.read_text()
    assert told.count("serving on http://") == 1
    assert f"with {WORKERS} workers" in told


def test_sigterm_ends_all_in_order(server: Server, stage: Stage) -> None:
    workers = children(server.pid)
    with server.socket(stage.agent) as socket:
        server.signal(signal.SIGTERM)
        with pytest.raises(ConnectionClosed) as closed:
            hear(socket)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1012
    assert server.wait(LIMIT) == 0
    assert not any(map(is_running, workers))


def test_workers_do_not_outlive_a_supervisor_that_is_killed(server: Server, stage: Stage) -> None:
    workers = children(server.pid)
    with server.socket(stage.agent) as socket:
        server.kill()
        with pytest.raises(ConnectionClosed) as closed:
            hear(socket)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1012
    assert eventually(lambda: not any(map(is_running, workers)))


def test_sighup_replaces_them_one_after_the_other(standing: Server) -> None:
    before = children(standing.pid)
    standing.signal(signal.SIGHUP)
    assert eventually(lambda: "all workers are replaced" in standing.log.read_text(), 30)
    after = children(standing.pid)
    assert (len(after), after & before) == (WORKERS, set())
    assert eventually(partial(is_ready, standing.address))


def test_a_worker_ends_by_itself_when_everybody_gets_sigterm(server: Server) -> None:
    """As systemd does it: the worker's own signal and its supervisor's wish are not two signals."""
    for pid in [*children(server.pid), server.pid]:
        os.kill(pid, signal.SIGTERM)
    assert server.wait(LIMIT) == 0


def test_a_second_server_on_the_port_is_refused(standing: Server, url: str, redis_url: str) -> None:
    for workers in ("1", "2"):
        second = deskwire(url, "serve", "--port", str(standing.port), workers=workers, broadcast_url=redis_url)
        assert refused(second, f"127.0.0.1:{standing.port}", "--port")


def test_each_worker_has_an_operations_port(url: str, redis_url: str, stage: Stage, start: Start) -> None:
    with kept_ports(WORKERS) as first:
        server = start(url, workers=str(WORKERS), broadcast_url=redis_url, operations_port=str(first))
        for port in range(first, first + WORKERS):
            address = f"http://127.0.0.1:{port}"
            assert httpx.get(f"{address}/livez").json() == {"status": "alive"}
            assert eventually(partial(is_ready, address))
            assert eventually(partial(tells, address, "deskwire_database_up 1.0"))
            assert tells(address, 'deskwire_database_pool_size{pool="default"}')
        server.close()


def tells(address: str, metric: str) -> bool:
    return metric in httpx.get(f"{address}/metrics", timeout=LIMIT).text


def test_what_is_wrong_for_all_is_said_once(postgres: Postgres, redis_url: str) -> None:
    with postgres.empty() as url:
        done = deskwire(url, "serve", "--port", "0", "--workers", "3", broadcast_url=redis_url)
    assert done.status == 1
    assert done.err.count("python -m deskwire migrate") == 1
    assert done.err.count("Giving up") == 1
    assert "Traceback" not in done.err


def test_what_is_wrong_for_one_ends_all(url: str, redis_url: str) -> None:
    with kept_ports(WORKERS) as first, socket.create_server(("127.0.0.1", first + 1)):
        done = deskwire(
            url, "serve", "--port", "0", workers=str(WORKERS), broadcast_url=redis_url, operations_port=str(first)
        )
    assert done.status == 1
    assert done.err.count("DESKWIRE_OPERATIONS_PORT") == 1
    assert "worker 1 ended with status 2 before all served" in done.err


@pytest.mark.parametrize("how", ["argument", "environment"])
def test_sqlite_has_one_worker(sqlite: Sqlite, how: str) -> None:
    with sqlite.fresh() as url:
        if how == "argument":
            done = deskwire(url, "serve", "--port", "0", "--workers", "2")
        else:
            done = deskwire(url, "serve", "--port", "0", workers="2")
    assert refused(done, "2 workers", "DESKWIRE_DATABASE_URL=postgres://", "DESKWIRE_BROADCAST_URL=redis://")


def test_a_bell_in_memory_is_for_one_process(url: str) -> None:
    done = deskwire(url, "serve", "--port", "0", "--workers", "2")
    assert refused(done, "memory://", "redis://", "database://")
    assert "DESKWIRE_DATABASE_URL" not in done.err


def test_a_second_signal_kills(server: Server) -> None:
    workers = children(server.pid)
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)
    server.signal(signal.SIGTERM)
    # Not the same again: two that wait for a process are one.
    server.signal(signal.SIGINT)
    assert server.wait(10) == 1
    assert not any(map(is_running, workers))


def test_a_start_that_hangs_is_stopped(redis_url: str) -> None:
    """A database that does not answer is waited for; who stops the supervisor meanwhile must not wait as well."""
    settings = {"workers": "2", "broadcast_url": redis_url}
    waiting = subprocess.Popen(
        command("serve", "--port", "0"),
        cwd=CHECKOUT,
        env=environment("postgres://nobody@127.0.0.1:1/nowhere", settings),
        stderr=subprocess.PIPE,
        text=True,
    )
    with waiting:
        assert waiting.stderr is not None
        waiting.stderr.readline()
        waiting.send_signal(signal.SIGTERM)
        assert waiting.wait(10) == 0
