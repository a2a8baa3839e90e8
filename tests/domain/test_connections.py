"""PostgreSQL's connections that are kept at hand: statements skip the pool, and nobody waits, fails or loses by it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import psycopg
import pytest
from tortoise.connection import get_connection

import models.postgres
from models.database import READER, WRITER, opened, pools
from models.postgres import PostgresDatabase
from tests.databases import Postgres, plain_connection

SIZE = 3


@pytest.fixture
async def url(postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    monkeypatch.setattr(models.postgres, "AT_HAND_SECONDS", 30.0)  # none goes back by itself
    with postgres.fresh() as url:
        async with opened(url, pool_size=SIZE):
            yield url


def client(name: str = READER) -> PostgresDatabase:
    found = get_connection(name)
    assert isinstance(found, PostgresDatabase)
    return found


def stats() -> dict[str, int]:
    """What the pool itself says."""
    pool = client()._pool
    assert pool is not None
    return pool.get_stats()


async def until(condition: Callable[[], bool]) -> None:
    """Wait until it holds. Fails with TimeoutError."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110  # what is waited for cannot tell
            await asyncio.sleep(0.01)


async def backend(name: str = READER) -> int:
    """The process of PostgreSQL that answers."""
    _, rows = await client(name).execute_query("SELECT pg_backend_pid() AS pid")
    return int(rows[0]["pid"])


async def test_the_next_statement_takes_the_connection_at_hand(url: str) -> None:
    """Without asking the pool, which counts how often it is asked."""
    first = await backend()
    asked = stats()["requests_num"]
    assert [await backend() for _ in range(20)] == [first] * 20
    assert client()._pool.get_stats()["requests_num"] == asked  # type: ignore[union-attr]
    assert len(client().at_hand) == 1
    assert pools()[READER].free == pools()[READER].size  # it is in nobody's use


async def test_who_comes_while_the_pool_opens_does_not_keep_it_from_opening(url: str) -> None:
    """Whoever opens it waits until it is full; the others are served meanwhile."""
    async with asyncio.timeout(3):
        await asyncio.gather(*(backend() for _ in range(SIZE)))


async def test_none_is_kept_of_those_that_write(url: str) -> None:
    """Transactions take theirs from the pool itself."""
    await backend(WRITER)
    assert len(client(WRITER).at_hand) == 0


async def test_nobody_waits_for_one_that_is_kept(url: str) -> None:
    """Many more than the pool has connections, again and again: each is served at once by what the others give back."""
    async with asyncio.timeout(20):
        for _ in range(20):
            served = await asyncio.gather(*(backend() for _ in range(SIZE * 10)))
            assert len(set(served)) <= SIZE
    assert 0 < len(client().at_hand) <= SIZE


async def test_who_began_to_wait_before_one_is_given_back_gets_it(url: str) -> None:
    """Also in the moment before his request has reached the pool."""
    held = [client().acquire_connection() for _ in range(SIZE)]
    for each in held:
        await each.__aenter__()
    waiting = asyncio.create_task(backend())
    await asyncio.sleep(0)  # he asks, and the pool has not heard it yet
    await held[0].__aexit__(None, None, None)
    async with asyncio.timeout(5):
        await waiting
    for each in held[1:]:
        await each.__aexit__(None, None, None)


async def test_one_that_is_broken_is_not_kept(url: str) -> None:
    """It fails once, as any does whose server has gone, and the pool replaces it."""
    pid = await backend()
    with plain_connection(url) as other:
        other.execute("SELECT pg_terminate_backend(%s)", [pid])
    with pytest.raises(psycopg.OperationalError):
        await backend()
    assert len(client().at_hand) == 0
    assert await backend() != pid


async def test_one_whose_statement_was_cancelled_answers_the_next(url: str) -> None:
    for _ in range(10):
        statement = asyncio.create_task(client().execute_query("SELECT pg_sleep(5)"))
        await asyncio.sleep(0.02)
        statement.cancel()
        await asyncio.gather(statement, return_exceptions=True)
        async with asyncio.timeout(4):  # and not when the statement would have ended
            await backend()


async def test_they_go_back_after_a_moment(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pool looks after their age and number."""
    monkeypatch.setattr(models.postgres, "AT_HAND_SECONDS", 1.0)  # far longer than these statements take
    await asyncio.gather(*(backend() for _ in range(SIZE)))
    assert len(client().at_hand) > 0
    await until(lambda: len(client().at_hand) == 0 and stats()["pool_available"] == stats()["pool_size"])


async def test_closing_closes_them(url: str) -> None:
    pids = set(await asyncio.gather(*(backend() for _ in range(SIZE))))
    await client().close()
    with plain_connection(url) as other:
        await until(
            lambda: not other.execute("SELECT 1 FROM pg_stat_activity WHERE pid = ANY(%s)", [list(pids)]).fetchone()
        )
