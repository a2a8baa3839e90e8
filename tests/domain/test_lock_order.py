"""The order of locks, where an update can move a slot: settings first (domain/locks.py). Only PostgreSQL has these."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import psycopg
import pytest

from domain.availability import set_status
from domain.comments import comment_on_request
from domain.emails import receive_email
from domain.lifecycle import close_ticket
from domain.sessions import mark_inactive
from domain.transactions import Call
from models import AgentStatus, InactiveReason, Ticket
from models.database import opened
from tests.databases import Postgres, plain_connection
from tests.factories import World
from tests.routing import assigned, omnichannel


@pytest.fixture
async def url(postgres: Postgres) -> AsyncIterator[str]:
    with postgres.fresh() as url:
        async with opened(url):
            yield url


def connected(url: str) -> psycopg.Connection[object]:
    connection = plain_connection(url)
    assert isinstance(connection, psycopg.Connection)
    return connection


async def somebody_waits(watch: psycopg.Connection[object]) -> None:
    """Until a statement waits for a lock. One that has waited for too long is tried again, and waits again."""
    waiting = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    async with asyncio.timeout(10):
        while watch.execute(waiting).fetchone() is None:  # noqa: ASYNC110  # nothing in this process knows
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("how", ["silence", "closing", "mail", "help centre"])
async def test_settings_are_held_before_the_ticket(url: str, how: str) -> None:
    """R96, R131: a change of settings recounts tickets while it holds the settings. It must never meet somebody
    who holds a ticket and waits for the settings."""
    world = await World.create("acme")
    await omnichannel(world)
    customer = await world.customer()
    ticket = await assigned(world, await world.agent(), customer=customer)
    session = await world.session(ticket)
    verbs: dict[str, Callable[[], Awaitable[object]]] = {
        "silence": lambda: mark_inactive(Call(world.system), session.id, InactiveReason.NO_REPLY),
        "closing": lambda: close_ticket(Call(world.system), ticket.id),
        "mail": lambda: receive_email(Call(customer), body="Well?", ticket_id=ticket.id),
        "help centre": lambda: comment_on_request(Call(customer), ticket.id, body="Well?"),
    }
    with connected(url) as admin, connected(url) as watch:
        with admin.transaction():
            admin.execute("SELECT 1 FROM account_settings FOR UPDATE")
            update = asyncio.ensure_future(verbs[how]())
            await somebody_waits(watch)
            assert len(watch.execute("SELECT id FROM tickets FOR UPDATE NOWAIT").fetchall()) == 1
        await update
    assert (await Ticket.get(id=ticket.id)).version > ticket.version


async def test_two_windows_of_an_agent_say_that_he_is_there(postgres: Postgres) -> None:
    """R131: neither holds what the other waits for."""
    with postgres.fresh() as url:
        async with opened(url):
            world = await World.create("acme")
            agent = await world.agent()
            assert agent.id is not None
            for status in (AgentStatus.ONLINE, AgentStatus.AWAY):
                await asyncio.gather(*(set_status(Call(agent), agent.id, status) for _ in range(8)))
        # The connections are closed: what they counted can be read.
        with connected(url) as watch:
            deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
            assert watch.execute(deadlocks).fetchone() == (0,)
