"""A process works on few changes at once, and nobody waits for a slot for ever."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from graphql import ExecutionResult, OperationType
from starlette.applications import Starlette

from deskwire.config import Config
from deskwire.slots import Slots
from execution.engine import Engine, Operation
from models import Comment
from schema.ids import encode_id
from tests.client import OPERATIONS
from tests.conftest import SignIn
from tests.delivery.stage import until
from tests.factories import World


class Worker:
    """Somebody who works with a slot until he is told to end."""

    def __init__(self, slots: Slots) -> None:
        self.begun = asyncio.Event()
        self.end = asyncio.Event()
        self.task = asyncio.create_task(self._work(slots))

    async def _work(self, slots: Slots) -> None:
        async with slots.one():
            self.begun.set()
            await self.end.wait()

    async def finish(self) -> None:
        self.end.set()
        await self.task


async def rest() -> None:
    """Whoever can begin has begun."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_the_others_wait_in_order() -> None:
    slots = Slots(2, patience=60)
    workers = [Worker(slots) for _ in range(5)]
    await rest()
    for done in range(3):
        assert [each.begun.is_set() for each in workers] == [number < 2 + done for number in range(5)]
        await workers[done].finish()
        await rest()
    assert all(each.begun.is_set() for each in workers)
    for each in workers[3:]:
        await each.finish()


async def test_who_gives_up_waiting_takes_no_slot() -> None:
    slots = Slots(1, patience=60)
    first, gone, last = Worker(slots), Worker(slots), Worker(slots)
    await rest()
    gone.task.cancel()
    await asyncio.gather(gone.task, return_exceptions=True)
    assert not last.begun.is_set()
    await first.finish()
    async with asyncio.timeout(10):
        await last.begun.wait()
    await last.finish()


async def test_nobody_waits_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that have the slots may wait for a database that is away. Afterwards there are as many slots as before."""
    slots = Slots(1, patience=0.05)
    hanging, other = Worker(slots), Worker(slots)
    async with asyncio.timeout(10):
        await other.begun.wait()
    await other.finish()
    await hanging.finish()
    monkeypatch.setattr(slots, "_patience", 60)
    first, second = Worker(slots), Worker(slots)
    await rest()
    assert (first.begun.is_set(), second.begun.is_set(), slots.waiting) == (True, False, 1)
    await first.finish()
    await second.finish()
    assert slots.waiting == 0


async def test_few_changes_are_under_way_and_all_are_made(
    app: Starlette, world: World, sign_in: SignIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Queries do not wait for them."""
    client = await sign_in(await world.agent())
    ticket = await world.live_ticket()
    execute, under_way, most, gate = Engine.execute, 0, 0, asyncio.Event()

    async def counted(engine: Engine, operation: Operation, variables: Any, context: object) -> ExecutionResult:
        nonlocal under_way, most
        if operation.kind is not OperationType.MUTATION:
            return await execute(engine, operation, variables, context)
        under_way += 1
        most = max(most, under_way)
        await gate.wait()
        answer = await execute(engine, operation, variables, context)
        under_way -= 1
        return answer

    monkeypatch.setattr(Engine, "execute", counted)
    monkeypatch.setattr(app.state.deskwire.changes, "_patience", 60)
    limit = Config().changes_at_once
    note = {"ticketId": encode_id("Ticket", ticket.id), "body": "A note", "channel": "INTERNAL_NOTE"}
    notes = [asyncio.create_task(client.ask(OPERATIONS["PostComment"], {"input": note})) for _ in range(3 * limit)]
    await until(lambda: (under_way, app.state.deskwire.changes.waiting) == (limit, 2 * limit))
    assert "errors" not in await client.ask(OPERATIONS["Viewer"])
    gate.set()
    answers = await asyncio.gather(*notes)
    assert all("errors" not in each for each in answers)
    assert most == limit
    assert await Comment.filter(body="A note").count() == 3 * limit
