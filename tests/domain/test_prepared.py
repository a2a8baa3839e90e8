"""Queries whose SQL is kept find what Tortoise finds, on each database, through the same connections."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch
from uuid import UUID

import pytest
from tortoise.queryset import QuerySet
from tortoise.transactions import in_transaction

from models import Event, Ticket, User
from models.base import new_id
from models.database import WRITER, inside_transaction
from models.prepared import MOST_KEYS, Prepared, rows_by
from subscriptions.backlog import read
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
