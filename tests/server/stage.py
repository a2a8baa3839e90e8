"""A small account in a database that no process of ours has open."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from domain.actors import Actor
from domain.people import issue_token
from models import User, utc_now
from models.database import opened
from tests.factories import World

SLUG = "acme"


@dataclass(frozen=True, slots=True)
class Stage:
    """The tokens of its people."""

    agent: str
    customer: str
    customer_id: str


def staged(url: str, slug: str = SLUG) -> Stage:
    """Put the account there. Called outside of any event loop."""
    return asyncio.run(_staged(url, slug))


async def _staged(url: str, slug: str) -> Stage:
    async with opened(url):
        world = await World.create(slug)
        agent, customer = await world.agent(), await world.customer()
        return Stage(await _token(agent), await _token(customer), str(customer.id))


async def _token(actor: Actor) -> str:
    return (await issue_token(await User.get(id=actor.id), "test", utc_now())).secret
