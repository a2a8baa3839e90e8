"""What all tests share: each runs on SQLite and on PostgreSQL, in a database of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from models.database import opened
from tests.databases import Postgres, Sqlite, postgres_server
from tests.factories import World

BACK_ENDS = ("sqlite", "postgres")


@pytest.fixture(scope="session")
def sqlite(tmp_path_factory: pytest.TempPathFactory) -> Sqlite:
    return Sqlite(tmp_path_factory.mktemp("sqlite"))


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with postgres_server() as url:
        yield Postgres(url)


@pytest.fixture(params=BACK_ENDS)
def database_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of an empty, migrated database. A test that asks for it runs once on each back end."""
    back_end: Sqlite | Postgres = request.getfixturevalue(request.param)
    with back_end.fresh() as url:
        yield url


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[str]:
    """The same, opened."""
    async with opened(database_url):
        yield database_url


@pytest.fixture
async def world(database: str) -> World:
    """An account with people in it."""
    return await World.create("acme")


@pytest.fixture
async def other_world(world: World) -> World:
    """A second account beside it."""
    return await World.create("globex")
