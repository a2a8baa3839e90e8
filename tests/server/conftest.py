"""Databases and servers that the tests of a module share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.conftest import BACK_ENDS
from tests.databases import Postgres, Sqlite
from tests.server.desk import Desk
from tests.server.process import Server

Start = Callable[..., Server]
Begin = Callable[..., Awaitable[Server]]


@pytest.fixture(scope="module", params=BACK_ENDS)
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a migrated database. A test that asks for it runs once on each back end."""
    back_end: Sqlite | Postgres = request.getfixturevalue(request.param)
    with back_end.fresh() as url:
        yield url


@pytest.fixture(scope="module")
def sqlite_url(sqlite: Sqlite) -> Iterator[str]:
    """The same, on SQLite alone."""
    with sqlite.fresh() as url:
        yield url


@pytest.fixture(params=BACK_ENDS)
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database that was never migrated."""
    if request.param == "sqlite":
        yield f"sqlite://{tmp_path / 'empty.db'}"
        return
    postgres: Postgres = request.getfixturevalue("postgres")
    with postgres.empty() as url:
        yield url


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Starts servers, which are gone after the module. None of them may have logged a defect."""
    with ExitStack() as stack:

        def started(url: str, **settings: str) -> Server:
            server = Server(url, tmp_path_factory.mktemp("serve"), **settings)
            stack.callback(_examine, server)
            stack.callback(server.close)
            return server.start()

        yield started


@pytest.fixture
async def desk(database_url: str) -> AsyncIterator[Desk]:
    """An account on the test's own database."""
    async with Desk.opened(database_url) as desk:
        yield desk


@pytest.fixture
def begin(database_url: str, start: Start) -> Iterator[Begin]:
    """Starts servers on the test's own database, which are gone before it."""
    servers: list[Server] = []

    async def begun(**settings: str) -> Server:
        servers.append(await asyncio.to_thread(start, database_url, **settings))
        return servers[-1]

    yield begun
    for server in servers:
        server.close()


def _examine(server: Server) -> None:
    log = server.log.read_text()
    assert "Traceback" not in log, log
    assert " ERROR " not in log, log
