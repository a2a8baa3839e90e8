"""What the process knows of its own health."""

from __future__ import annotations

import asyncio
import time

import httpx
from starlette.applications import Starlette

from deskwire import health
from deskwire.health import BEAT_SECONDS, GRAVE_SECONDS, LATELY, DatabaseProbe, Lag
from models.database import probe
from tests.databases import plain_connection


async def test_the_lag_of_a_loop_that_hung_is_measured() -> None:
    lag = Lag()
    begun = time.monotonic()
    task = asyncio.create_task(lag.run())
    await asyncio.sleep(0)
    time.sleep(1.2)  # noqa: ASYNC251  # this is what a loop should never do
    await asyncio.sleep(0.1)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    # It hung for 1.2 seconds at least, half of a second of which it meant to sleep.
    assert 0.65 < lag.distribution.total <= time.monotonic() - begun - BEAT_SECONDS
    assert not lag.is_grave


def test_a_grave_lag_is_forgotten_after_a_while() -> None:
    lag = Lag()
    lag.note(GRAVE_SECONDS + 1)
    for _ in range(LATELY - 1):
        lag.note(0.0)
    assert lag.is_grave
    lag.note(0.0)
    assert not lag.is_grave


async def test_a_process_that_hung_says_so(app: Starlette) -> None:
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://deskwire.example") as http:
        assert (await http.get("/livez")).status_code == 200
        app.state.deskwire.lag.note(GRAVE_SECONDS + 1)
        assert (await http.get("/livez")).status_code == 503


async def test_the_database_would_take_a_write(database: str) -> None:
    assert await probe()


async def test_a_write_lock_that_another_keeps_is_not_waited_for(database: str) -> None:
    """Only SQLite has one lock for all; there, whoever asks is answered after a second, and the probe goes on."""
    asked = DatabaseProbe()
    other = plain_connection(database)
    other.execute("BEGIN IMMEDIATE" if database.startswith("sqlite:") else "BEGIN")
    begun = time.monotonic()
    answers = [await asked.answers(), await asked.answers()]
    waited = time.monotonic() - begun
    other.execute("COMMIT")
    other.close()
    if database.startswith("sqlite:"):
        assert answers == [False, False]
        assert 2 * health.PROBE_SECONDS <= waited + 0.01 < 4 * health.PROBE_SECONDS
    else:
        assert answers == [True, True]
    assert await asked.answers()
    assert asked.up
