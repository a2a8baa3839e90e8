"""What all tests share: each runs on SQLite and on PostgreSQL, in a database of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from starlette.applications import Starlette

from deskwire.app import create_app
from deskwire.config import Config
from domain.actors import Actor
from domain.people import issue_token
from models import User, utc_now
from models.database import opened
from tests.brokers import Breakable, Redis, breakable_postgres, redis_url
from tests.client import Client
from tests.databases import Postgres, Sqlite, postgres_server
from tests.factories import World

# A busy machine may take long for an example, or for making one up: neither says anything of us.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")

SignIn = Callable[[Actor], Awaitable[Client]]

BACK_ENDS = ("sqlite", "postgres")
NETWORK_BUSES = ("redis", "postgres")
BUSES = ("memory", *NETWORK_BUSES)


@pytest.fixture(scope="session")
def sqlite(tmp_path_factory: pytest.TempPathFactory) -> Sqlite:
    return Sqlite(tmp_path_factory.mktemp("sqlite"))


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with postgres_server() as url:
        yield Postgres(url)


@pytest.fixture(scope="session")
def redis() -> Iterator[str]:
    """The URL of a Redis that tests share."""
    with redis_url() as url:
        yield url


@pytest.fixture(params=BUSES)
def bus_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """Where the bell hangs. A test that asks for it runs once on each kind of broker."""
    if request.param == "memory":
        yield "memory://"
    elif request.param == "redis":
        yield request.getfixturevalue("redis")
    else:
        postgres: Postgres = request.getfixturevalue("postgres")
        with postgres.empty() as url:
            yield url


@pytest.fixture(params=NETWORK_BUSES)
def server_to_break(request: pytest.FixtureRequest) -> Iterator[Redis | Postgres]:
    # Not in the fixture below: PostgreSQL's migrates, in an event loop of its own.
    if request.param == "postgres":
        yield request.getfixturevalue("postgres")
    else:
        with Redis.started() as redis:
            yield redis


@pytest.fixture
async def broker(server_to_break: Redis | Postgres) -> AsyncIterator[Breakable]:
    """A broker of the test's own, to break. Once on each kind that there is a network to."""
    if isinstance(server_to_break, Redis):
        yield server_to_break
    else:
        async with breakable_postgres(server_to_break) as broken:
            yield broken


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


@pytest.fixture
async def app(database: str, tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Starlette]:
    """The application on the test's database, with its hub running; with its jobs for tests that are marked `jobs`.

    The others run the passes that they need themselves, when they need them.
    """
    config = Config(
        database_url=database,
        poll_seconds=0.2,
        attachments_url=f"files://{tmp_path / 'attachments'}",
        email_url=f"files://{tmp_path / 'mail'}",
        jobs=request.node.get_closest_marker("jobs") is not None,
    )
    app = create_app(config)
    async with app.state.deskwire.running():
        yield app


@pytest.fixture
def sign_in(app: Starlette) -> SignIn:
    """Makes the client of an actor."""

    async def signed_in(actor: Actor) -> Client:
        user = await User.get(id=actor.id)
        return Client(app, (await issue_token(user, "test", utc_now())).secret)

    return signed_in
