"""The faulty bus does what it is told, or the tests that use it prove nothing."""

from __future__ import annotations

import asyncio
from collections import Counter
from uuid import UUID, uuid4

import orjson
import pytest
from broadcaster._backends.memory import MemoryBackend

from subscriptions.bus import Bus, broadcast_at
from subscriptions.bus.faulty import BadFaults, Faults, Faulty

CHANNEL = "test"


async def carried(faults: Faults, messages: list[str], quiet: float = 1.0) -> list[str]:
    """What arrives of these until nothing more has come for so many seconds."""
    bus = Bus(backend=Faulty(MemoryBackend("memory://"), faults))
    await bus.connect()
    heard: list[str] = []
    try:
        async with bus.subscribe(CHANNEL) as subscriber:
            for message in messages:
                await bus.publish(CHANNEL, message)
            while True:
                async with asyncio.timeout(quiet):
                    heard.append((await subscriber.get()).message)
    except TimeoutError:
        return heard
    finally:
        await bus.disconnect()


HUNDRED = [f'{{"n": {number}}}' for number in range(100)]


async def test_without_faults_it_carries_everything() -> None:
    assert await carried(Faults(), HUNDRED) == HUNDRED


async def test_it_drops() -> None:
    assert await carried(Faults(drop=1.0), HUNDRED) == []
    half = await carried(Faults(drop=0.5), HUNDRED)
    assert 30 < len(half) < 70
    assert await carried(Faults(drop=0.5), HUNDRED) == half
    assert await carried(Faults(drop=0.5, seed=1), HUNDRED) != half


async def test_it_repeats() -> None:
    assert Counter(await carried(Faults(repeat=3), HUNDRED)) == Counter(HUNDRED * 3)


async def test_it_reorders_and_delays() -> None:
    mixed = await carried(Faults(reorder=0.5), HUNDRED)
    assert mixed != HUNDRED
    assert Counter(mixed) == Counter(HUNDRED)
    assert await carried(Faults(delay=30), HUNDRED, 0.1) == []
    assert await carried(Faults(delay=0.1), HUNDRED) == HUNDRED


async def test_it_rings_for_strangers() -> None:
    account = str(uuid4())
    message = orjson.dumps({"account": account, "position": 1}).decode()
    (wrong,) = await carried(Faults(misdirect=1.0), [message])
    told = orjson.loads(wrong)
    assert told["position"] == 1
    assert UUID(told["account"]) != UUID(account)
    assert await carried(Faults(misdirect=1.0), ['{"beat": "x"}']) == ['{"beat": "x"}']


async def test_it_refuses_and_hangs() -> None:
    faulty = Faulty(MemoryBackend("memory://"), Faults(refuse=1.0))
    with pytest.raises(ConnectionError):
        await faulty.publish(CHANNEL, "x")
    with pytest.raises(ConnectionError):
        await faulty.subscribe(CHANNEL)
    faulty.faults = Faults(hang=1.0)
    for call in (faulty.publish(CHANNEL, "x"), faulty.subscribe(CHANNEL)):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await call


async def test_what_is_late_is_forgotten_by_who_leaves() -> None:
    before = asyncio.all_tasks()
    bus = broadcast_at("memory://", "sqlite://unused", "delay=30")
    await bus.connect()
    await bus.publish(CHANNEL, "late")
    await bus.disconnect()
    assert asyncio.all_tasks() == before


def test_faults_are_read() -> None:
    assert Faults.parse("drop=1.0") == Faults(drop=1.0)
    assert Faults.parse("drop=0.1, repeat=3,reorder=0.5,seed=7") == Faults(drop=0.1, repeat=3, reorder=0.5, seed=7)


@pytest.mark.parametrize("text", ["drops=1", "drop", "drop=x", "drop=2", "repeat=-1", "delay=inf", "drop=nan"])
def test_what_is_no_fault_is_said(text: str) -> None:
    with pytest.raises(BadFaults):
        Faults.parse(text)
