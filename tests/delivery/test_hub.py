"""Rules R160 and R161: what the broadcaster does wrong costs time and nothing else; who reads slowly is told so."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import httpx
import orjson
import pytest
from broadcaster import Broadcast

from deskwire.app import create_app
from deskwire.config import Config
from domain.actors import Actor
from domain.people import issue_token
from domain.transactions import announce_to
from models import Event, User, utc_now
from tests.client import Client, Refused, Socket, Stream
from tests.delivery.checkers import faults
from tests.delivery.stage import SIGNALS, Stage, ticket_id, types, until
from tests.factories import World


class Faithful(Broadcast):
    """The real one, in memory; what is published passes through `carry`."""

    async def publish(self, channel: str, message: Any) -> None:
        for carried in self.carry(message):
            await super().publish(channel, carried)

    def carry(self, message: str) -> list[str]:
        return [message]


class Dropping(Faithful):
    def carry(self, message: str) -> list[str]:
        return []


class Repeating(Faithful):
    def carry(self, message: str) -> list[str]:
        return [message] * 3


class Misdirecting(Faithful):
    """Rings for another account, with nonsense in between."""

    def carry(self, message: str) -> list[str]:
        return [
            orjson.dumps({"account": str(uuid4()), "position": 10**9}).decode(),
            "nonsense",
            "[1]",
            "null",
            '{"account": 1, "position": 1}',
            '{"account": "x", "position": {}}',
            '{"signal": "TYPING", "account": "x"}',
            '{"signal": "TYPING"}',
        ]


class Raising(Faithful):
    def carry(self, message: str) -> list[str]:
        raise ConnectionError("the broker is gone")


class Stalling(Faithful):
    async def publish(self, channel: str, message: Any) -> None:
        await asyncio.Event().wait()


class Unsubscribable(Faithful):
    @asynccontextmanager
    async def subscribe(self, channel: str) -> AsyncIterator[Any]:
        if channel:
            raise ConnectionError("the broker refuses")
        yield


class Mortal(Faithful):
    """Its listener dies without a word, as broadcaster's does when the connection breaks. Connected anew, it lives."""

    connections = 0

    async def connect(self) -> None:
        await super().connect()
        self.connections += 1

    def die(self) -> None:
        self._listener_task.cancel()


@asynccontextmanager
async def staged(
    url: str, world: World, broadcast: Callable[[str], Broadcast], monkeypatch: pytest.MonkeyPatch, poll: float = 0.05
) -> AsyncIterator[Stage]:
    """The application on another broadcaster."""
    monkeypatch.setattr("deskwire.app.Broadcast", broadcast)
    app = create_app(Config(database_url=url, poll_seconds=poll))

    async def sign_in(actor: Actor) -> Client:
        user = await User.get(id=actor.id)
        return Client(app, (await issue_token(user, "test", utc_now())).secret)

    async with app.state.deskwire.running():
        yield Stage(app, world, sign_in)


async def readiness(stage: Stage) -> tuple[int, Any]:
    transport = httpx.ASGITransport(app=stage.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://deskwire.example") as http:
        answer = await http.get("/readyz")
    return answer.status_code, answer.json()


DEGRADED = (200, {"status": "degraded", "hears": False, "failing": []})
READY = (200, {"status": "ready", "hears": True, "failing": []})


@pytest.mark.parametrize(
    ("broadcast", "state"),
    [
        (Faithful, READY),
        (Repeating, READY),
        (Misdirecting, READY),
        (Dropping, DEGRADED),
        (Raising, DEGRADED),
        (Stalling, DEGRADED),
        (Unsubscribable, DEGRADED),
    ],
)
async def test_a_bad_broadcaster_costs_time_and_nothing_else(
    database: str, world: World, monkeypatch: pytest.MonkeyPatch, broadcast: type[Faithful], state: object
) -> None:
    """R160: lost, repeated, misdirected, refused: every event arrives once, in order; readiness says how it is."""
    ticket, other = await world.live_ticket(), await world.live_ticket()
    async with staged(database, world, broadcast, monkeypatch) as stage:
        async with stage.hearing(world.admin, "TicketActivity", ticketId=ticket_id(ticket)) as stream:
            written = []
            for count in (1, 3, 2):
                written += await stage.burst(ticket, count)
                await stage.burst(other, count)
                heard = await stream.take(count)
                assert types(heard) == [("MACRO_APPLIED", number) for number in written[-count:]]
            await stage.silent(stream)
        assert await readiness(stage) == state


async def test_a_broadcaster_that_dies_is_noticed_and_revived(
    database: str, world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """R160, F3: deaf without an error. Polling delivers; the silence is noticed, and the hub connects anew."""
    monkeypatch.setattr("subscriptions.hub.BEAT_SECONDS", 0.1)
    ticket = await world.live_ticket()
    async with staged(database, world, Mortal, monkeypatch, poll=0.3) as stage:
        mortal: Mortal = stage.app.state.deskwire.broadcast
        await until(lambda: stage.hub.hears)
        async with stage.hearing(world.admin, "TicketActivity", ticketId=ticket_id(ticket)) as stream:
            mortal.die()
            await stage.burst(ticket, 2)
            assert len(await stream.take(2)) == 2
            await until(lambda: not stage.hub.hears)
            assert await readiness(stage) == DEGRADED
            await until(lambda: stage.hub.hears)
            assert mortal.connections == 2
            assert await readiness(stage) == READY
            await stage.burst(ticket, 2)
            assert len(await stream.take(2)) == 2
            await stage.silent(stream)
        assert "silent" in caplog.text
        mortal.die()  # at the end, too, it harms nobody


async def test_a_broadcaster_that_breaks_its_own_clean_up_does_not_hold_up_the_end(
    database: str, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R160: an error that takes the place of a cancellation does not keep the process alive."""

    class Clinging(Faithful):
        @asynccontextmanager
        async def subscribe(self, channel: str) -> AsyncIterator[Any]:
            try:
                await asyncio.Event().wait()
                yield
            finally:
                raise KeyError(channel)  # as broadcaster's own does

    async with asyncio.timeout(3), staged(database, world, Clinging, monkeypatch):
        await asyncio.sleep(0.01)


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
            patched.setattr("subscriptions.hub.read", lambda *_: 1 / 0)
            numbers = await stage.burst(ticket, 3)
            await until(lambda: "reading the log failed" in caplog.text)
        assert types(await stream.take(3)) == [("MACRO_APPLIED", number) for number in numbers]
        await stage.silent(stream)


async def test_who_does_not_read_is_told_and_can_resume(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """R161: his stream alone ends with SLOW_CONSUMER; its cursor finds the rest. Nobody else notices."""
    monkeypatch.setattr("subscriptions.hub.QUEUE", 32)
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
        reading = [task for task in asyncio.all_tasks() if "_follow_log" in repr(task)]
        assert len(reading) == 2
    await until(lambda: len(asyncio.all_tasks()) <= base)
    assert stage.hub._tails == {}
    assert stage.hub._signals == {}


async def test_a_signal_that_nobody_can_hear_costs_nothing(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    """Ephemeral: without listeners, or with one that does not read, signals are dropped and nothing grows."""
    from schema.context import Signal

    ticket = await stage.world.live_ticket()
    signal = Signal(stage.world.id, ticket.conversation_id, "TYPING", uuid4(), "END_USER")
    listening = stage.hub.signals(ticket.conversation_id)
    hearing = asyncio.ensure_future(anext(listening))
    await until(lambda: bool(stage.hub._signals))
    for _ in range(100):
        await stage.hub.signal(signal)
    assert await hearing == signal
    await until(lambda: not stage.hub._ringing)
    (queue,) = stage.hub._signals[ticket.conversation_id]
    assert queue.qsize() <= 16
    await listening.aclose()  # type: ignore[attr-defined]  # it is a generator
    assert stage.hub._signals == {}
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert await Event.filter(account_id=stage.world.id).count() == 3
