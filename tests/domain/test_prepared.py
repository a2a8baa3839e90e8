"""Queries whose SQL is kept find what Tortoise finds, on each database, through the same connections."""

from __future__ import annotations

import asyncio
from contextlib import closing
from typing import Any
from unittest.mock import patch
from uuid import UUID

import pytest
from tortoise.connection import get_connection
from tortoise.exceptions import OperationalError
from tortoise.queryset import QuerySet
from tortoise.transactions import in_transaction

from models import Event, Ticket, User
from models.base import new_id
from models.database import READER, WRITER, inside_transaction
from models.prepared import MOST_KEYS, Prepared, rows_anywhere_by, rows_by
from subscriptions.backlog import read
from tests.databases import plain_connection
from tests.factories import World


def contents(rows: list[Any]) -> list[dict[str, Any]]:
    return sorted((dict(row) for row in rows), key=lambda row: str(row["id"]))


@pytest.mark.parametrize("more", [0, 1, 2, 3, MOST_KEYS - 3, MOST_KEYS])
async def test_rows_by_finds_what_the_query_finds(world: World, other_world: World, more: int) -> None:
    """For every number of keys, also of rows that are not there; twice, as the second time the SQL is kept."""
    one, two = await world.live_ticket(), await world.live_ticket()
    foreign = await other_world.live_ticket()
    for _ in range(2):
        keys = [one.id, two.id, foreign.id, *(new_id() for _ in range(more))]
        found = await rows_by(Ticket, world.id, keys)
        assert contents(found) == contents(await Ticket.filter(account_id=world.id, id__in=keys))
        assert {row.id for row in found} == {one.id, two.id}


async def test_rows_by_another_column(world: World) -> None:
    tickets = [await world.live_ticket() for _ in range(3)]
    await world.live_ticket()
    conversations = [ticket.conversation_id for ticket in tickets]
    found = await rows_by(Ticket, world.id, conversations, "conversation_id")
    assert {row.id for row in found} == {ticket.id for ticket in tickets}
    assert await rows_by(Ticket, world.id, []) == []


async def test_the_log_is_read_on_in_order(world: World) -> None:
    await world.live_ticket()
    rows = await Event.filter(account_id=world.id).order_by("position")
    assert len(rows) > 2
    for after in (0, rows[0].position, rows[-1].position):
        for limit in (1, 2, 200):
            expected = [row for row in rows if row.position > after][:limit]
            found = await read(world.id, after, limit)
            assert [(row.position, row.payload) for row in found] == [(row.position, row.payload) for row in expected]


async def test_a_transaction_sees_what_it_has_written(world: World) -> None:
    """And nobody beside it does."""
    ticket = await world.live_ticket()

    async def subject() -> str:
        (row,) = await rows_by(Ticket, world.id, [ticket.id])
        return row.subject

    async with in_transaction(WRITER):
        token = inside_transaction.set(True)
        try:
            await Ticket.filter(account_id=world.id, id=ticket.id).update(subject="Changed")
            assert await subject() == "Changed"
        finally:
            inside_transaction.reset(token)
        assert await subject() == ticket.subject != "Changed"
    assert await subject() == "Changed"


async def test_the_sql_is_built_once(world: World) -> None:
    shapes: list[UUID] = []

    def build(account: UUID) -> QuerySet[User]:
        shapes.append(account)
        return User.filter(account_id=account)

    people = Prepared(User, [UUID], build)
    assert contents(await people.rows(world.id)) == contents(await User.filter(account_id=world.id))
    with patch.object(QuerySet, "_make_query", side_effect=AssertionError):
        assert await people.rows(new_id()) == []
    assert len(shapes) == 1
    assert world.id not in shapes


async def test_a_value_that_would_be_lost_is_refused(world: World) -> None:
    """It became part of the SQL, or of nothing: every later query would run with the first one's."""
    with pytest.raises(ValueError, match="does not stand in the query"):
        await Prepared(User, [UUID], lambda _: User.all()).rows(world.id)


async def test_many_keys_may_be_of_several_accounts(world: World, other_world: World) -> None:
    one, two = await world.customer(), await other_world.customer()
    assert one.id is not None
    assert two.id is not None
    for more in (0, 1, MOST_KEYS):
        found = await rows_anywhere_by(User, [one.id, two.id, *(new_id() for _ in range(more))])
        assert contents(found) == contents(await User.filter(id__in=[one.id, two.id]))
    assert await rows_anywhere_by(User, []) == []


async def test_the_first_of_none_is_none(world: World) -> None:
    people = Prepared(User, [UUID], lambda id: User.filter(id=id))
    assert world.admin.id is not None
    found = await people.first(world.admin.id)
    assert found is not None
    assert found.id == world.admin.id
    assert await people.first(new_id()) is None


only_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@only_sqlite
async def test_reads_by_key_need_no_thread(world: World) -> None:
    """0028: they are in the loop's own thread, and others have their turn in between."""
    turns: list[int] = []

    async def others() -> None:
        while True:
            turns.append(len(turns))
            await asyncio.sleep(0)

    beside = asyncio.create_task(others())
    with patch("aiosqlite.Connection._execute", side_effect=AssertionError("a thread")):
        for _ in range(10):
            assert await rows_by(Ticket, world.id, [new_id()]) == []
    beside.cancel()
    assert len(turns) >= 10


@only_sqlite
async def test_a_read_waits_for_whoever_holds_the_whole_file(world: World, database_url: str) -> None:
    """As any other read does, while the loop goes on."""
    ticket = await world.live_ticket()
    reader: Any = get_connection(READER)
    await rows_by(Ticket, world.id, [ticket.id])
    with closing(plain_connection(database_url)) as holder:
        # In WAL mode nothing else keeps readers out. It begins when nobody else has the file open.
        await reader.close()
        await get_connection(WRITER).close()
        holder.execute("PRAGMA locking_mode = EXCLUSIVE")
        holder.execute("BEGIN EXCLUSIVE")
        holder.execute("UPDATE accounts SET name = name")
        reading = asyncio.create_task(rows_by(Ticket, world.id, [ticket.id]))
        await asyncio.sleep(0.3)
        assert not reading.done()
    assert [row.id for row in await reading] == [ticket.id]


@only_sqlite
async def test_reads_by_key_cannot_write(world: World) -> None:
    reader: Any = get_connection(READER)
    with pytest.raises(OperationalError, match="readonly"):
        await reader.at_once.execute_query("DELETE FROM users")
    assert await User.filter(id=world.admin.id).exists()
