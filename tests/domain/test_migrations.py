"""Models and migrations say the same, and both databases do what they say."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tortoise import Tortoise
from tortoise.connection import get_connection

from models.database import WRITER, migrate, opened, pending_migrations, unwritten_migrations
from tests.databases import Postgres

WRITTEN = sorted(path.stem for path in Path("models/migrations").glob("0*.py"))


@pytest.fixture(params=["sqlite", "postgres"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database without tables."""
    if request.param == "sqlite":
        yield f"sqlite://{tmp_path / 'empty.db'}"
        return
    postgres: Postgres = request.getfixturevalue("postgres")
    with postgres.empty() as url:
        yield url


async def test_no_migration_is_missing(database: str) -> None:
    """Whoever changes a model writes the migration with it."""
    assert await unwritten_migrations() == []


async def test_all_migrations_apply_to_an_empty_database(empty_url: str) -> None:
    """And only once."""
    told: list[str] = []
    async with opened(empty_url):
        assert await pending_migrations() == WRITTEN
        assert await migrate(told.append) == len(WRITTEN) > 0
        assert told == [f"applying {name}" for name in WRITTEN]
        assert (await pending_migrations(), await migrate()) == ([], 0)


async def test_every_declared_constraint_is_in_the_database(database: str) -> None:
    """Tortoise has lost them before."""
    assert Tortoise.apps is not None
    declared = {constraint.name for model in Tortoise.apps["models"].values() for constraint in model._meta.constraints}
    assert declared - await _constraint_names() == set()
    assert len(declared) > 20


async def _constraint_names() -> set[str]:
    connection = get_connection(WRITER)
    if connection.capabilities.dialect == "sqlite":
        rows = await connection.execute_query_dict("SELECT name, sql FROM sqlite_master")
        tables = " ".join(row["sql"] or "" for row in rows)
        return {row["name"] for row in rows} | set(tables.split('"')[1::2])
    rows = await connection.execute_query_dict(
        "SELECT conname AS name FROM pg_constraint UNION SELECT indexname FROM pg_indexes"
    )
    return {row["name"] for row in rows}
