"""Rule R160: what the bus does wrong costs time and nothing else. The bell knows of it, and says so."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest
from broadcaster._backends.base import BroadcastBackend
from broadcaster._backends.memory import MemoryBackend

from schema.context import Signal
from subscriptions.bell import BEAT_SECONDS, CHANNEL, SIGNALS, SILENT_BEATS, Bell
from subscriptions.bus import Bus, broadcast_at
from subscriptions.bus.faulty import Faults, Faulty
from tests.brokers import Breakable
from tests.conftest import NETWORK_BUSES
from tests.delivery.stage import until

network = pytest.mark.parametrize("bus_url", NETWORK_BUSES, indirect=True)


def a_signal() -> Signal:
    return Signal(uuid4(), uuid4(), "TYPING", uuid4(), "AGENT")


class Hub:
    """Who listens to a bell."""

    def __init__(self, bell: Bell) -> None:
        self.bell = bell
        self.rung: list[tuple[UUID, int]] = []
        self.signals: list[Signal] = []
        self.resyncs = 0

    def resync(self) -> None:
        self.resyncs += 1

    async def run(self) -> None:
        await self.bell.run(
            lambda account, position: self.rung.append((account, position)), self.signals.append, self.resync
        )


@asynccontextmanager
async def running(bell: Bell) -> AsyncIterator[Hub]:
    """The bell runs, whether it hears or not. It ends at once, and raises nothing."""
    hub = Hub(bell)
    task = asyncio.create_task(hub.run())
    try:
        yield hub
    finally:
        began = time.monotonic()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert time.monotonic() - began < 3


@asynccontextmanager
async def hearing(url: str) -> AsyncIterator[Hub]:
    async with running(Bell(broadcast_at(url, "sqlite://unused"))) as hub:
        await until(lambda: hub.bell.hears, 5)
        yield hub


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Silence is noticed after 1.2 seconds. A broker is waited for less long than that, as it is."""
    monkeypatch.setattr("subscriptions.bell.BEAT_SECONDS", 0.4)
    monkeypatch.setattr("subscriptions.bus.supervised.JOIN_SECONDS", 1.0)


async def test_one_rings_and_all_hear(bus_url: str) -> None:
    """R163: positions and signals arrive, in this process too, and nothing but them."""
    account, signal = uuid4(), a_signal()
    async with hearing(bus_url) as hub:
        hub.bell.ring(account, 1)
        hub.bell.signal(signal)
        await until(lambda: hub.rung == [(account, 1)] and hub.signals == [signal], 5)
        state = hub.bell.state
        assert state.heard_at is not None
        assert (state.hears, state.connected, state.waiting) == (True, True, 0)
        assert (state.reconnects, state.silences, state.lost_publishes, state.dropped_signals) == (0, 0, 0, 0)


@network
async def test_two_processes_ring_for_each_other(bus_url: str) -> None:
    """R163."""
    account = uuid4()
    async with hearing(bus_url) as one, hearing(bus_url) as two:
        one.bell.ring(account, 1)
        await until(lambda: two.rung == [(account, 1)], 5)
        two.bell.ring(account, 2)
        await until(lambda: one.rung == [(account, 1), (account, 2)], 5)


class Held(MemoryBackend):
    """In memory; publishing waits for leave."""

    def __init__(self) -> None:
        super().__init__("memory://")
        self.free = asyncio.Event()
        self.published: list[Any] = []

    async def publish(self, channel: str, message: Any) -> None:
        await self.free.wait()
        self.published.append(orjson.loads(message))
        await super().publish(channel, message)

    def rings(self) -> list[tuple[str, int]]:
        return [(each["account"], each["position"]) for each in self.published if "position" in each]


async def test_a_slow_bus_carries_the_highest_positions_only() -> None:
    """Ten thousand commits on ten accounts are ten messages, and no task but the one that publishes."""
    held, accounts = Held(), [uuid4() for _ in range(10)]
    bell = Bell(Bus(backend=held))
    async with running(bell) as hub:
        await asyncio.sleep(0.02)
        before = len(asyncio.all_tasks())
        for position in range(1, 1001):
            for account in accounts:
                bell.ring(account, position)
        bell.ring(accounts[0], 3)  # a late one changes nothing
        await asyncio.sleep(0.02)
        assert len(asyncio.all_tasks()) == before
        assert bell.state.waiting == 10
        held.free.set()
        await until(lambda: len(hub.rung) == 10, 5)
        assert held.rings() == [(str(account), 1000) for account in accounts]
        assert bell.state.waiting == 0


async def test_a_slow_bus_drops_signals_and_counts_them() -> None:
    held = Held()
    bell = Bell(Bus(backend=held))
    async with running(bell) as hub:
        await asyncio.sleep(0.02)
        for _ in range(SIGNALS + 100):
            bell.signal(a_signal())
        assert bell.state.dropped_signals == 100
        held.free.set()
        await until(lambda: len(hub.signals) == SIGNALS, 5)


async def test_what_was_rung_before_it_runs_is_rung(bus_url: str) -> None:
    account = uuid4()
    bell = Bell(broadcast_at(bus_url, "sqlite://unused"))
    bell.ring(account, 7)
    async with running(bell) as hub:
        await until(lambda: bell.hears and bell.state.waiting == 0, 5)
        bell.ring(account, 8)
        await until(lambda: (account, 8) in hub.rung, 5)


class Refusing(MemoryBackend):
    """Refuses to publish as often as it is told to."""

    refusals = 0

    async def publish(self, channel: str, message: Any) -> None:
        if self.refusals:
            self.refusals -= 1
            raise ConnectionError("not now")
        await super().publish(channel, message)


async def test_what_the_bus_refuses_is_rung_again(caplog: pytest.LogCaptureFixture) -> None:
    """Others may hear well. Typing signals are not kept: who typed a while ago does not type now."""
    back_end, account = Refusing("memory://"), uuid4()
    bell = Bell(Bus(backend=back_end))
    async with running(bell) as hub:
        await until(lambda: bell.hears, 5)
        back_end.refusals = 2
        bell.ring(account, 1)
        bell.signal(a_signal())
        await until(lambda: bell.state.lost_publishes == 1, 5)
        bell.signal(a_signal())
        assert (bell.state.waiting, bell.state.dropped_signals) == (1, 2)
        bell.ring(account, 2)
        await until(lambda: hub.rung == [(account, 2)], 5)
        assert (bell.state.waiting, bell.state.lost_publishes, hub.signals) == (0, 2, [])
    assert caplog.text.count("the bell cannot be rung") == 1


async def test_nonsense_on_the_bell_is_ignored(caplog: pytest.LogCaptureFixture) -> None:
    nonsense = [
        *("nonsense", "[1]", "null", "1", '"x"', "", '{"account": 1, "position": 1}', '{"signal": "TYPING"}'),
        *('{"account": "x", "position": {}}', '{"signal": "TYPING", "account": "x"}', '{"position": 1}', "{}"),
    ]
    account = uuid4()
    async with hearing("memory://") as hub:
        for message in nonsense:
            await hub.bell._broadcast.publish(CHANNEL, message)
        hub.bell.ring(account, 1)
        await until(lambda: hub.rung == [(account, 1)], 5)
        assert hub.signals == []
        assert hub.bell.hears
    assert caplog.text.count("unreadable") == 9  # the others say nothing


async def test_the_beat_of_another_proves_nothing(quick: None) -> None:
    """Whom nobody hears is deaf, though others are heard well."""
    faulty = Faulty(MemoryBackend("memory://"), Faults())
    bell = Bell(Bus(backend=faulty))
    async with running(bell) as hub:
        await until(lambda: bell.hears, 5)
        faulty.faults = Faults(drop=1.0)
        for number in range(40):
            await faulty._back_end.publish(CHANNEL, '{"beat": "of another"}')
            await faulty._back_end.publish(
                CHANNEL, orjson.dumps({"account": str(uuid4()), "position": number}).decode()
            )
            await asyncio.sleep(0.05)
        assert len(hub.rung) > 5
        assert not bell.hears
        assert bell.state.silences >= 1


@pytest.mark.parametrize(
    "faults",
    [Faults(drop=1.0), Faults(refuse=1.0), Faults(hang=1.0), Faults(repeat=0), Faults(drop=0.9, refuse=0.5, hang=0.5)],
    ids=str,
)
async def test_a_bad_bus_makes_deaf_until_it_is_good(
    quick: None, monkeypatch: pytest.MonkeyPatch, faults: Faults
) -> None:
    """Nothing is raised, tasks do not grow; when it is good again, the logs are looked at and the bell hears."""
    monkeypatch.setattr("subscriptions.bell.CALL_SECONDS", 0.3)
    faulty = Faulty(MemoryBackend("memory://"), faults)
    bell = Bell(Bus(backend=faulty))
    async with running(bell) as hub:
        for position in range(150):
            bell.ring(uuid4(), position)
            bell.signal(a_signal())
            await asyncio.sleep(0.01)
        assert len(asyncio.all_tasks()) < 10
        faulty.faults = Faults()
        resyncs = hub.resyncs
        await until(lambda: bell.hears, 10)
        assert hub.resyncs > resyncs
        account = uuid4()
        bell.ring(account, 1)
        await until(lambda: (account, 1) in hub.rung, 5)


class Mortal(MemoryBackend):
    """Its listener can die without a word, as broadcaster's do when the connection breaks. Connected anew, it lives."""

    def __init__(self) -> None:
        super().__init__("memory://")
        self.connections = 0

    async def connect(self) -> None:
        self.connections += 1
        await super().connect()


async def test_a_bus_that_dies_without_a_word_is_noticed(quick: None, caplog: pytest.LogCaptureFixture) -> None:
    """F3: deaf without an error. The silence is noticed, and the bell connects anew."""
    mortal = Mortal()
    bus = Bus(backend=mortal)
    bell = Bell(bus)
    async with running(bell) as hub:
        await until(lambda: bell.hears, 5)
        assert (hub.resyncs, mortal.connections) == (1, 1)
        assert bus._listener_task is not None
        bus._listener_task.cancel()
        await until(lambda: not bell.hears, 5)
        await until(lambda: bell.hears, 5)
        assert (hub.resyncs, mortal.connections) == (3, 2)  # when it was noticed, and when it was there again
        assert (bell.state.reconnects, bell.state.silences) == (1, 1)
        bus._listener_task.cancel()  # at the end, too, it harms nobody
    assert "our own beat was not heard" in caplog.text


class Clinging(MemoryBackend):
    """Raises from its clean-up, in the place of a cancellation."""

    async def unsubscribe(self, channel: str) -> None:
        raise KeyError(channel)

    async def disconnect(self) -> None:
        raise KeyError("disconnect")


class Unwilling(MemoryBackend):
    async def connect(self) -> None:
        raise ConnectionError("no")


class Endless(MemoryBackend):
    """Never comes back from anything."""

    async def connect(self) -> None:
        await asyncio.Event().wait()

    async def disconnect(self) -> None:
        await asyncio.Event().wait()


@pytest.mark.parametrize("back_end", [Clinging, Unwilling, Endless])
async def test_a_bus_that_breaks_everything_does_not_hold_up_the_end(
    monkeypatch: pytest.MonkeyPatch, back_end: Callable[[str], BroadcastBackend]
) -> None:
    monkeypatch.setattr("subscriptions.bell.CALL_SECONDS", 0.2)
    before = asyncio.all_tasks()
    async with running(Bell(Bus(backend=back_end("memory://")))):
        await asyncio.sleep(0.1)
    assert asyncio.all_tasks() == before


async def test_a_broker_that_is_killed_is_noticed_at_once(quick: None, broker: Breakable) -> None:
    """F3: deaf in a moment, not after a silence; then it hears again, and the logs are looked at."""
    account = uuid4()
    async with hearing(broker.url) as hub:
        broker.down()
        await until(lambda: not hub.bell.hears and not hub.bell.state.connected, 5)
        resyncs = hub.resyncs
        hub.bell.ring(uuid4(), 1)
        await until(lambda: hub.bell.state.lost_publishes >= 1, 5)
        assert hub.bell.state.waiting == 1
        await asyncio.sleep(1.5)
        assert hub.bell.state.silences == 0  # it is known to be away; there is nothing to wait for
        broker.up()
        await until(lambda: hub.bell.hears, 10)
        await until(lambda: hub.bell.state.waiting == 0, 10)
        assert hub.resyncs > resyncs
        hub.bell.ring(account, 1)
        await until(lambda: (account, 1) in hub.rung, 5)
        assert hub.bell.state.reconnects >= 1


def test_polling_takes_over_within_ten_seconds() -> None:
    """So that a revoked token stops delivery in time."""
    assert SILENT_BEATS * BEAT_SECONDS < 10


async def test_a_broker_that_hangs_is_noticed(quick: None, broker: Breakable) -> None:
    """Deaf after the silence, hearing again soon after it moves, and nothing piles up."""
    async with hearing(broker.url) as hub:
        tasks = len(ours())
        broker.stall()
        try:
            began = time.monotonic()
            while hub.bell.hears:
                hub.bell.ring(uuid4(), 1)
                await asyncio.sleep(0.05)
                assert time.monotonic() - began < 3.0
            await asyncio.sleep(3)
            assert len(ours()) <= tasks + 2
            resyncs = hub.resyncs
        finally:
            broker.resume()
        await until(lambda: hub.bell.hears, 10)
        await until(lambda: hub.bell.state.waiting == 0, 10)
        assert hub.resyncs > resyncs
        assert hub.bell.state.silences >= 1


def ours() -> list[object]:
    """The tasks that are not of the test's own relay."""
    return [task for task in asyncio.all_tasks() if "Relay" not in repr(task)]
