"""Rules R160 and R163: whatever the bus does, what was committed arrives once and in order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from deskwire.app import create_app
from deskwire.config import BadConfiguration, Config, load
from domain.actors import Actor
from domain.people import issue_token
from domain.transactions import announce_to
from models import User, utc_now
from tests.brokers import Breakable
from tests.client import Client
from tests.conftest import NETWORK_BUSES
from tests.delivery.stage import Stage, ticket_id, types, until
from tests.factories import World


async def sign_in(app: Any, actor: Actor) -> Client:
    user = await User.get(id=actor.id)
    return Client(app, (await issue_token(user, "test", utc_now())).secret)


@asynccontextmanager
async def staged(world: World, config: Config) -> AsyncIterator[Stage]:
    """An application of its own, beside which others may run on the same database: who was last rings."""
    app = create_app(config)
    async with app.state.deskwire.running():
        yield Stage(app, world, lambda actor: sign_in(app, actor))


async def readiness(stage: Stage) -> tuple[int, str, bool]:
    transport = httpx.ASGITransport(app=stage.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://deskwire.example") as http:
        answer = await http.get("/readyz")
    return answer.status_code, answer.json()["status"], answer.json()["bell"]["hears"]


READY, DEGRADED = (200, "ready", True), (200, "degraded", False)


@pytest.mark.parametrize(
    ("faults", "state"),
    [
        ("", READY),
        ("repeat=3", READY),
        ("misdirect=1.0", READY),
        ("reorder=0.5,repeat=2,delay=0.01", READY),
        ("drop=1.0", DEGRADED),
        ("refuse=1.0", DEGRADED),
        ("hang=1.0", DEGRADED),
    ],
)
async def test_a_bad_bus_costs_time_and_nothing_else(database: str, world: World, faults: str, state: object) -> None:
    """R160: lost, repeated, misdirected, late, refused: each event arrives once, in order; readiness says how it is."""
    ticket, other = await world.live_ticket(), await world.live_ticket()
    config = Config(database_url=database, poll_seconds=0.05, jobs=False, bus_faults=faults)
    async with staged(world, config) as stage:
        async with stage.hearing(world.admin, "TicketActivity", ticketId=ticket_id(ticket)) as stream:
            written = []
            for count in (1, 3, 2):
                written += await stage.burst(ticket, count)
                await stage.burst(other, count)
                heard = await stream.take(count)
                assert types(heard) == [("MACRO_APPLIED", number) for number in written[-count:]]
            await stage.silent(stream)
        await until(lambda: stage.app.state.deskwire.bell.hears or state == DEGRADED, 5)
        assert await readiness(stage) == state


@pytest.mark.parametrize("bus_url", NETWORK_BUSES, indirect=True)
@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
async def test_what_another_process_commits_arrives_by_the_bell(database: str, world: World, bus_url: str) -> None:
    """R163: long before the next poll."""
    ticket = await world.live_ticket()
    config = Config(database_url=database, poll_seconds=60, jobs=False, broadcast_url=bus_url)
    async with staged(world, config) as here, staged(world, config) as there:
        await until(lambda: all(each.app.state.deskwire.bell.hears for each in (here, there)), 5)
        async with here.hearing(world.admin, "TicketActivity", ticketId=ticket_id(ticket)) as stream:
            numbers = await there.burst(ticket, 3)
            assert types(await stream.take(3)) == [("MACRO_APPLIED", number) for number in numbers]
            await here.silent(stream)


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
async def test_what_happens_during_an_outage_arrives_with_its_end(
    database: str, world: World, broker: Breakable
) -> None:
    """R160, F3: nobody rings for it any more, and the next poll is far. Who hears again looks at the log."""
    ticket = await world.live_ticket()
    config = Config(database_url=database, poll_seconds=60, jobs=False, broadcast_url=broker.url)
    async with staged(world, config) as stage:
        bell = stage.app.state.deskwire.bell
        await until(lambda: bell.hears, 5)
        async with stage.hearing(world.admin, "TicketActivity", ticketId=ticket_id(ticket)) as stream:
            broker.down()
            await until(lambda: not bell.hears, 5)
            assert await readiness(stage) == DEGRADED
            await asyncio.sleep(0.5)
            announce_to(None)
            numbers = await stage.burst(ticket, 3)
            broker.up()
            assert types(await stream.take(3)) == [("MACRO_APPLIED", number) for number in numbers]
            await until(lambda: bell.hears, 10)
            assert await readiness(stage) == READY
            await stage.silent(stream)


def test_production_refuses_a_bus_that_is_broken_on_purpose() -> None:
    key = "k" * 32
    production = {"DESKWIRE_ENV": "production", "DESKWIRE_SECRET_KEY": key, "DESKWIRE_EMAIL_INBOUND_KEY": key}
    assert load(production).bus_faults == ""
    with pytest.raises(BadConfiguration, match="DESKWIRE_BUS_FAULTS"):
        load(production | {"DESKWIRE_BUS_FAULTS": "drop=1.0"})
    with pytest.raises(BadConfiguration, match=r"DESKWIRE_BUS_FAULTS: .*drop=0\.5"):
        create_app(load({"DESKWIRE_BUS_FAULTS": "drip=1.0"}))


def test_a_sqlite_file_rings_no_bell() -> None:
    with pytest.raises(BadConfiguration, match="needs PostgreSQL"):
        load({"DESKWIRE_BROADCAST_URL": "database://"})
