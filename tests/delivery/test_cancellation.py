"""F1: whatever is cancelled, and however often, no lock, no connection and no task is lost."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from tortoise.connection import get_connection

from models import Ticket
from models.database import READER, WRITER
from tests.client import OPERATIONS, Client
from tests.delivery.stage import Stage, ticket_id, until

STREAMS = ("SessionEnded", "TicketActivity", "Inbox", "TicketCreated")


async def storm(client: Client, dice: random.Random, variables: dict[str, Any]) -> None:
    """One socket on which operations begin and end as fast as they can; then it vanishes, or is cut off."""
    async with client.connected() as socket:
        for _ in range(12):
            stream = await socket.subscribe(OPERATIONS[dice.choice(STREAMS)], variables)
            await asyncio.sleep(dice.choice((0, 0, 0.001, 0.004)))
            if dice.random() < 0.8:
                await stream.complete()


async def hurry(client: Client, dice: random.Random, ticket: Ticket) -> None:
    """A request whose caller loses his patience."""
    text = OPERATIONS[dice.choice(("PostComment", "TicketList", "TicketView", "UpdateTicket"))]
    variables = {
        "id": ticket_id(ticket),
        "first": 10,
        "input": {"ticketId": ticket_id(ticket), "body": "…", "channel": "INTERNAL_NOTE", "tags": [str(dice.random())]},
    }
    if "UpdateTicket" in text:
        variables["input"] = {"ticketId": ticket_id(ticket), "tags": [str(dice.random())]}
    elif "PostComment" in text:
        variables["input"] = {"ticketId": ticket_id(ticket), "body": "…", "channel": "INTERNAL_NOTE"}
    request = asyncio.create_task(client.post(text, variables))
    await asyncio.sleep(dice.uniform(0, 0.03))
    request.cancel()
    await asyncio.gather(request, return_exceptions=True)


def lost_connections() -> int:
    """How many connections of the pools are neither idle nor in use by anybody who is left. SQLite has no pool."""
    lost = 0
    for name in (WRITER, READER):
        pool = getattr(get_connection(name), "_pool", None)
        if pool is not None:
            stats = pool.get_stats()
            lost += stats["pool_size"] - stats["pool_available"]
    return lost


async def test_storms_of_cancellations_lose_nothing(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    """F1: some five hundred operations and requests are cut off wherever they are, while others write."""
    world, dice = stage.world, random.Random(7)
    ticket = await world.live_ticket()
    client = await stage.client(world.admin)
    variables = {"ticketId": ticket_id(ticket)}
    await client.send("TicketList", first=1)
    tasks = len(asyncio.all_tasks())
    stop = asyncio.Event()

    async def write() -> None:
        while not stop.is_set():
            await stage.burst(ticket, 2)
            await asyncio.sleep(0)

    writers = [asyncio.create_task(write()) for _ in range(2)]
    for _ in range(4):
        storms = [storm(client, dice, variables) for _ in range(8)]
        hurries = [hurry(client, dice, ticket) for _ in range(30)]
        await asyncio.gather(*storms, *hurries)
    stop.set()
    await asyncio.gather(*writers)
    async with asyncio.timeout(20):  # behind the work of those who hung up, which is done to its end
        posted = await client.do("PostComment", ticketId=ticket_id(ticket), body="!", channel="INTERNAL_NOTE")
        assert posted["comment"]["body"] == "!"
        assert (await client.send("TicketList", first=1))["tickets"]["totalCount"] == 1
    await until(lambda: len(asyncio.all_tasks()) <= tasks)
    assert stage.hub._tails == {}
    await until(lambda: lost_connections() == 0)
    assert not [record.getMessage() for record in caplog.records if record.levelname in ("ERROR", "CRITICAL")]


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
async def test_a_connection_that_comes_back_to_a_closed_pool_is_closed(database: str) -> None:
    """A process that stops closes its pools while those that it cancels still hold connections."""
    client = get_connection(READER)
    borrowed = client.acquire_connection()
    connection = await borrowed.__aenter__()
    await client.close()
    await borrowed.__aexit__(None, None, None)
    assert connection.closed
