"""Rules R160 and R161: what is not heard of is read from the log; who reads slowly is told so."""

from __future__ import annotations

import asyncio
import logging
from uuid import uuid4

import pytest

from domain.transactions import announce_to
from models import Event
from tests.client import Refused, Socket, Stream
from tests.delivery.checkers import faults
from tests.delivery.stage import SIGNALS, Stage, ticket_id, types, until
from tests.factories import World


async def test_what_another_process_writes_arrives_by_polling(stage: Stage) -> None:
    """R160, R163: nobody rings here for the command line, or for a process whose broker is broken."""
    ticket = await stage.world.live_ticket()
    async with stage.hearing(stage.world.admin, "TicketActivity", ticketId=ticket_id(ticket)) as stream:
        announce_to(None)
        numbers = await stage.burst(ticket, 3)
        assert types(await stream.take(3)) == [("MACRO_APPLIED", number) for number in numbers]


async def test_a_failing_database_delays_and_loses_nothing(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """R160: the log is read again from where it was."""
    ticket = await stage.world.live_ticket()
    async with stage.hearing(stage.world.admin, "TicketActivity", ticketId=ticket_id(ticket)) as stream:
        with monkeypatch.context() as patched:
            patched.setattr("subscriptions.tail.read", lambda *_: 1 / 0)
            numbers = await stage.burst(ticket, 3)
            await until(lambda: "reading the log failed" in caplog.text)
        assert types(await stream.take(3)) == [("MACRO_APPLIED", number) for number in numbers]
        await stage.silent(stream)


async def test_who_does_not_read_is_told_and_can_resume(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """R161: his stream alone ends with SLOW_CONSUMER; its cursor finds the rest. Nobody else notices."""
    monkeypatch.setattr("subscriptions.cohorts.QUEUE", 32)
    monkeypatch.setattr("subscriptions.wires.FULL_BYTES", 2_000)
    world = stage.world
    ticket = await world.live_ticket()
    client = await stage.client(world.admin)
    watched = {"ticketId": ticket_id(ticket)}
    socket = Socket(stage.app)
    socket._from_server = asyncio.Queue(1)
    async with stage.hearing(world.admin, "TicketActivity", **watched) as healthy, socket.open():
        await socket.say({"type": "connection_init", "payload": {"authorization": f"Bearer {client.token}"}})
        await socket.hear()
        slow = await socket.subscribe(document("TicketActivity"), watched)
        await until(lambda: stage.feeds() == 2)
        written = []
        for _ in range(5):
            written += await stage.burst(ticket, 16)
            assert types(await healthy.take(16)) == [("MACRO_APPLIED", number) for number in written[-16:]]
        heard: list[int | None] = []
        with pytest.raises(Refused) as caught:
            await hear_on(slow, heard)
        (error,) = caught.value.errors
        assert error["extensions"]["code"] == "SLOW_CONSUMER"
        assert len(heard) < 5
        again = await socket.subscribe(document("TicketActivity"), watched | {"after": error["extensions"]["cursor"]})
        heard += [number for _, number in types(await again.take(len(written) - len(heard)))]
        assert faults(written, heard) == {}
        await stage.silent(healthy)


async def hear_on(stream: Stream, heard: list[int | None]) -> None:
    while True:
        heard.append(types([await stream.next()])[0][1])


def document(operation: str) -> str:
    from tests.client import OPERATIONS

    return OPERATIONS[operation]


async def test_a_log_is_read_once_and_left_with_its_last_listener(stage: Stage, other_world: World) -> None:
    """R161: one task for each account that somebody listens to, none when nobody does."""
    base = len(asyncio.all_tasks())
    ticket = await stage.world.live_ticket()
    async with (
        stage.hearing(stage.world.admin, "TicketActivity", ticketId=ticket_id(ticket)),
        stage.hearing(stage.world.admin, "Inbox"),
        stage.hearing(other_world.admin, "Inbox"),
        stage.hearing(stage.world.admin, SIGNALS, ticketId=ticket_id(ticket)),
    ):
        assert set(stage.hub._tails) == {stage.world.id, other_world.id}
        reading = [task for task in asyncio.all_tasks() if "Tail.run" in repr(task)]
        assert len(reading) == 2
    await until(lambda: len(asyncio.all_tasks()) <= base)
    assert stage.hub._tails == {}
    assert stage.hub._signals == {}


async def test_a_signal_that_nobody_can_hear_costs_nothing(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    """Ephemeral: without listeners, or with one that does not read, signals are dropped and nothing grows."""
    from schema.context import Signal

    ticket = await stage.world.live_ticket()
    signal = Signal(stage.world.id, ticket.conversation_id, "TYPING", uuid4(), "END_USER")
    listening = stage.hub.signals(stage.world.id, ticket.conversation_id)
    hearing = asyncio.ensure_future(anext(listening))
    await until(lambda: bool(stage.hub._signals))
    for _ in range(100):
        await stage.hub.signal(signal)
    assert await hearing == signal
    await until(lambda: not stage.app.state.deskwire.bell._signals)
    (queue,) = stage.hub._signals[ticket.conversation_id]
    assert queue.qsize() <= 16
    await listening.aclose()  # type: ignore[attr-defined]  # it is a generator
    assert stage.hub._signals == {}
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert await Event.filter(account_id=stage.world.id).count() == 3
