"""An event that cannot be read or told holds up nobody: R160, and what comes after it arrives."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import orjson
import pytest
from tortoise.connection import get_connection

from domain.people import set_groups
from domain.transactions import Call, Transaction, unit_of_work
from models import Account, Event, EventType, Ticket, new_id
from models.database import WRITER
from tests.delivery.ears import Ear, Ears, held_back
from tests.delivery.stage import Stage, ticket_id

UNREADABLE = "cannot be read, and is left out"


async def poison(account_id: UUID) -> int:
    """Write what a newer version would have written: a row of a type that this one does not know. Its position."""
    connection = get_connection(WRITER)
    mark = "?" if connection.capabilities.dialect == "sqlite" else "%s"
    position = int((await Account.get(id=account_id)).last_position) + 1
    values = {"id": str(new_id()), "position": position, "type": "OF_THE_FUTURE"}
    values |= dict.fromkeys(("ticket_id", "ticket_sequence", "ticket_before", "ticket_after", "comment_id"))
    columns = sorted(Event._meta.fields_db_projection.values())
    copied = ", ".join(mark if column in values else f'"{column}"' for column in columns)
    names = ", ".join(f'"{column}"' for column in columns)
    await connection.execute_query(
        f"INSERT INTO events ({names}) SELECT {copied} FROM events WHERE account_id = {mark} AND position = {mark}",
        [*(values[column] for column in columns if column in values), str(account_id), position - 1],
    )
    await Account.filter(id=account_id).update(last_position=position)
    return position


async def write(stage: Stage, ticket: Ticket, plan: str) -> list[int]:
    """Write an event for each dot, and one that cannot be read for each x; all are read at once. Their positions."""
    async with held_back(stage):
        return await write_at_once(stage, ticket, plan)


async def write_at_once(stage: Stage, ticket: Ticket, plan: str) -> list[int]:
    first = (await Account.get(id=stage.world.id)).last_position + 1
    for kind in plan:
        await (stage.burst(ticket, 1) if kind == "." else poison(stage.world.id))
    return [*range(first, first + len(plan))]


@pytest.fixture
async def ticket(stage: Stage) -> Ticket:
    return await stage.world.live_ticket()


async def watching(ears: Ears, stage: Stage, ticket: Ticket, after: str | None = None) -> Ear:
    return await ears.hear(stage.world.admin, "TicketActivity", ticketId=ticket_id(ticket), after=after)


async def test_a_row_that_cannot_be_read_is_passed_by(
    ears: Ears, stage: Stage, ticket: Ticket, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever listens hears what is before and behind it; it is counted and logged once, whoever listens."""
    heard = [await watching(ears, stage, ticket) for _ in range(3)]
    positions = await write(stage, ticket, "..x..")
    await ears.heard()
    assert [ear.positions for ear in heard] == [[*positions[:2], *positions[3:]]] * 3
    assert stage.hub.counts.poisoned == 1
    assert caplog.text.count(UNREADABLE) == 1


async def test_who_comes_back_meets_everything_around_it(ears: Ears, stage: Stage, ticket: Ticket) -> None:
    """R157: from every cursor, from memory; the row right behind a cursor may be the one that cannot be read."""
    before = await watching(ears, stage, ticket)
    positions = await write(stage, ticket, "..x...")
    await ears.heard()
    told = before.items
    for count, item in enumerate(told):
        ear = await watching(ears, stage, ticket, item["cursor"])
        await ears.heard()
        assert ear.errors is None
        assert ear.positions == before.positions[count + 1 :], positions
    await stage.burst(ticket, 1)
    await ears.heard()
    assert before.positions[-1] == positions[-1] + 1


async def test_who_comes_back_from_far_meets_everything_around_it(ears: Ears, stage: Stage, ticket: Ticket) -> None:
    """R157: the same from the table, when nothing of it is in memory."""
    start = await stage.cursor()
    positions = await write_at_once(stage, ticket, "x..x..")
    ear = await watching(ears, stage, ticket, start)
    await ears.heard()
    assert ear.positions == [*positions[1:3], *positions[4:]]


async def test_the_last_row_may_be_one_that_cannot_be_read(
    ears: Ears, stage: Stage, ticket: Ticket, caplog: pytest.LogCaptureFixture
) -> None:
    """It is read once, not at each poll until something follows."""
    ear = await watching(ears, stage, ticket)
    positions = await write(stage, ticket, "..x")
    await ears.heard()
    await asyncio.sleep(0.7)  # three polls
    assert ear.positions == positions[:2]
    assert caplog.text.count(UNREADABLE) == 1
    resumed = await watching(ears, stage, ticket, ear.items[-1]["cursor"])
    (behind,) = await stage.burst(ticket, 1)
    await ears.heard()
    assert resumed.positions == [positions[-1] + 1]
    assert resumed.items[0]["event"]["sequence"] == behind


async def test_more_of_them_than_are_read_at_once(
    ears: Ears, stage: Stage, ticket: Ticket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A whole batch of them stops nothing."""
    monkeypatch.setattr("subscriptions.backlog.BATCH", 4)
    monkeypatch.setattr("subscriptions.tail.BATCH", 4)
    monkeypatch.setattr("subscriptions.backlog.read.__defaults__", (4,))
    ear = await watching(ears, stage, ticket)
    positions = await write(stage, ticket, ".xxxxxxxxx..")
    await ears.heard()
    assert ear.positions == [positions[0], *positions[10:]]
    late = await watching(ears, stage, ticket, ear.items[0]["cursor"])
    await ears.heard()
    assert late.positions == positions[10:]


async def test_an_event_whose_telling_fails_is_told_as_a_failure_and_passed_by(
    ears: Ears, stage: Stage, ticket: Ticket, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One event that a defect of ours meets: one id for all who listen, logged once; what follows arrives."""
    from subscriptions.topics import Activity

    items = Activity.items

    async def failing(self: Activity, scene: object, event: Event) -> object:
        if event.payload.get("title") == "poison":
            raise RuntimeError("a defect")
        return await items(self, scene, event)  # type: ignore[arg-type]

    monkeypatch.setattr(Activity, "items", failing)
    heard = [await watching(ears, stage, ticket) for _ in range(3)]
    await record(stage, ticket, "good", "poison", "good")
    await ears.heard()
    assert caplog.text.count("a defect") >= 1
    assert caplog.text.count("internal error") == 1
    for ear in heard:
        assert ear.errors is None
        first, failed, last = map(loaded, ear.frames)
        assert "errors" not in first
        assert "errors" not in last
        assert failed["data"] is None
        assert failed["errors"][0]["extensions"]["code"] == "INTERNAL_SERVER_ERROR"
    assert len({ear.frames[1] for ear in heard}) == 1
    resumed = await watching(ears, stage, ticket, loaded(heard[0].frames[0])["data"]["ticketActivity"]["cursor"])
    await ears.heard()
    assert resumed.errors is None
    assert len(resumed.frames) == 2


def loaded(frame: bytes) -> dict[str, Any]:
    answer: dict[str, Any] = orjson.loads(frame)
    return answer


async def record(stage: Stage, ticket: Ticket, *titles: str) -> None:
    async def work(tx: Transaction) -> None:
        row = await Ticket.filter(id=ticket.id).select_for_update().get()
        tx.follow(row)
        for title in titles:
            tx.record(EventType.MACRO_APPLIED, ticket=row, macro="", title=title)

    await unit_of_work(Call(stage.world.system), work)


async def test_who_cannot_be_looked_up_when_his_access_changes_is_turned_away(
    ears: Ears, stage: Stage, ticket: Ticket, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """R154: rather nothing than what he may not see any more. It is logged, and everybody else hears on."""
    world = stage.world
    group = await world.group()
    agent = await world.agent()
    caller = await ears.caller(agent)
    his = await ears.listen(caller, "TicketActivity", ticketId=ticket_id(ticket))
    other = await watching(ears, stage, ticket)

    async def failing(*_: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr("subscriptions.tail.load_actor", failing)
    assert agent.id is not None
    await set_groups(Call(world.admin), agent.id, frozenset({group.id}))
    await stage.burst(ticket, 2)
    await ears.heard()
    assert ears.gone == [caller]
    assert his.tellings == []
    assert len(other.positions) == 2
    assert caplog.text.count("internal error") == 1
