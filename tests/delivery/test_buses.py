"""Rule R160: what every bus must do, whatever carries it, and what it must survive."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from uuid import uuid4

import pytest
from broadcaster import Broadcast
from broadcaster._base import Subscriber
from redis.asyncio.connection import SSLConnection

from subscriptions.bus import BadBroadcastUrl, broadcast_at
from subscriptions.bus.redis import RedisBroker
from subscriptions.bus.supervised import JOINED, PARTED, BusDown
from tests.brokers import Breakable
from tests.conftest import NETWORK_BUSES
from tests.delivery.stage import until

network = pytest.mark.parametrize("bus_url", NETWORK_BUSES, indirect=True)


class Heard:
    """What a subscriber has heard, apart from what the bus says of itself."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        self.marks: list[str] = []

    async def collect(self, subscriber: Subscriber) -> None:
        while True:
            message = (await subscriber.get()).message
            (self.marks if message in (JOINED, PARTED) else self.messages).append(message)

    async def until(self, *messages: str) -> None:
        """Wait until exactly these were heard, in this order."""
        with suppress(TimeoutError):
            await until(lambda: len(self.messages) >= len(messages), 5)
        assert self.messages == list(messages)


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Broadcast]:
    bus = broadcast_at(url, "sqlite://unused")
    await bus.connect()
    try:
        yield bus
    finally:
        await bus.disconnect()


@asynccontextmanager
async def hearing(bus: Broadcast, channel: str) -> AsyncIterator[Heard]:
    """From the subscription on, whether it is heard yet or not."""
    heard = Heard()
    async with bus.subscribe(channel) as subscriber:
        task = asyncio.create_task(heard.collect(subscriber))
        try:
            yield heard
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def joined(bus: Broadcast, channel: str, url: str) -> AsyncIterator[Heard]:
    """From when it is heard."""
    async with hearing(bus, channel) as heard:
        if url != "memory://":
            await until(lambda: heard.marks[-1:] == [JOINED])
        yield heard


@pytest.fixture
def channel() -> str:
    return f"test-{uuid4().hex}"


async def test_what_is_said_is_heard_once(bus_url: str, channel: str) -> None:
    said = ["plain", '{"a": "ü €"}', "x" * 7000, ""]
    async with (
        connected(bus_url) as bus,
        joined(bus, channel, bus_url) as heard,
        joined(bus, "other", bus_url) as other,
    ):
        for message in said:
            await bus.publish(channel, message)
        await heard.until(*said)
        assert other.messages == []


async def test_fifty_say_something_at_once(bus_url: str, channel: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """F5: broadcaster's own PostgreSQL back end fails for all but one."""
    # The last one waits for all others.
    monkeypatch.setattr("subscriptions.bus.supervised.PUBLISH_SECONDS", 20.0)
    said = [f"{number}" for number in range(50)]
    async with connected(bus_url) as bus, joined(bus, channel, bus_url) as heard:
        await asyncio.gather(*[bus.publish(channel, message) for message in said])
        await until(lambda: len(heard.messages) >= 50, 5)
        assert sorted(heard.messages) == sorted(said)


async def test_each_publisher_is_heard_in_his_order(bus_url: str, channel: str) -> None:
    async with connected(bus_url) as bus, joined(bus, channel, bus_url) as heard:

        async def say(name: str) -> None:
            for number in range(100):
                await bus.publish(channel, f"{name} {number}")

        await asyncio.gather(say("a"), say("b"))
        await until(lambda: len(heard.messages) >= 200, 5)
        for name in ("a", "b"):
            assert [each for each in heard.messages if each[0] == name] == [f"{name} {number}" for number in range(100)]


async def test_who_subscribes_at_the_same_moment_hears(bus_url: str, channel: str) -> None:
    """F5: with broadcaster's own back ends, all but one stay deaf."""
    async with connected(bus_url) as bus:
        heard: list[Heard] = []

        async def listen() -> None:
            async with joined(bus, channel, "memory://") as each:
                heard.append(each)
                await until(lambda: "stop" in each.messages, 10)

        tasks = [asyncio.create_task(listen()) for _ in range(5)]
        await until(lambda: len(heard) == 5)
        async with joined(bus, "another", bus_url):
            await bus.publish(channel, "stop")
            await asyncio.gather(*tasks)
        assert [each.messages for each in heard] == [["stop"]] * 5


@network
async def test_two_processes_hear_each_other(bus_url: str, channel: str) -> None:
    async with (
        connected(bus_url) as one,
        connected(bus_url) as two,
        joined(one, channel, bus_url) as first,
        joined(two, channel, bus_url) as second,
    ):
        await one.publish(channel, "from one")
        await second.until("from one")
        await two.publish(channel, "from two")
        await first.until("from one", "from two")
        await second.until("from one", "from two")


@pytest.mark.parametrize("steps", range(6))
async def test_a_subscription_that_is_cancelled_harms_nobody(bus_url: str, channel: str, steps: int) -> None:
    """Nothing takes the place of the cancellation, and who subscribes next hears."""
    async with connected(bus_url) as bus:

        async def listen() -> None:
            async with bus.subscribe(channel):
                await asyncio.Event().wait()

        task = asyncio.create_task(listen())
        for _ in range(steps):
            await asyncio.sleep(0.002)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with joined(bus, channel, bus_url) as heard:
            await bus.publish(channel, "heard")
            await heard.until("heard")


async def test_who_says_something_and_is_cancelled_mixes_nothing_up(bus_url: str, channel: str) -> None:
    """What was cancelled may be heard or not; the next ones are heard, in their order."""
    async with connected(bus_url) as bus, joined(bus, channel, bus_url) as heard:
        for number in range(20):
            saying = asyncio.create_task(bus.publish(channel, "cancelled"))
            await asyncio.sleep(0.0003 * (number % 5))
            saying.cancel()
            await asyncio.gather(saying, return_exceptions=True)
            await bus.publish(channel, f"{number}")
        await until(lambda: "19" in heard.messages, 5)
        assert [each for each in heard.messages if each != "cancelled"] == [f"{number}" for number in range(20)]


async def test_who_leaves_leaves_nothing(bus_url: str, channel: str) -> None:
    """No task is left, and it takes no time."""
    before = asyncio.all_tasks()
    async with connected(bus_url) as bus:
        async with joined(bus, channel, bus_url):
            await bus.publish(channel, "something")
        left = time.monotonic()
    assert time.monotonic() - left < 1
    assert asyncio.all_tasks() == before


async def test_it_connects_anew_after_it_was_left(bus_url: str, channel: str) -> None:
    """Also when broadcaster's listener has died, of which it would not recover."""
    bus = broadcast_at(bus_url, "sqlite://unused")
    for _ in range(2):
        await bus.connect()
        async with joined(bus, channel, bus_url) as heard:
            await bus.publish(channel, "heard")
            await heard.until("heard")
            bus._listener_task.cancel()
        await bus.disconnect()


@pytest.mark.parametrize("bus_url", ["postgres"], indirect=True)
async def test_what_postgresql_cannot_carry_is_said(bus_url: str, channel: str) -> None:
    async with connected(bus_url) as bus, joined(bus, channel, bus_url) as heard:
        with pytest.raises(ValueError, match="7999 bytes"):
            await bus.publish(channel, "€" * 2667)
        await bus.publish(channel, "x" * 7999)
        await heard.until("x" * 7999)


async def test_a_broker_that_is_killed_is_found_again(broker: Breakable, channel: str) -> None:
    """F3: who waits hears again, and is told that he may have missed something. Meanwhile publishing fails at once."""
    async with connected(broker.url) as bus, joined(bus, channel, broker.url) as heard:
        await bus.publish(channel, "before")
        await heard.until("before")
        broker.down()
        await until(lambda: heard.marks[:2] == [JOINED, PARTED], 5)
        for _ in range(3):
            with pytest.raises(Exception) as caught:  # each driver has its own
                await bus.publish(channel, "meanwhile")
            assert not isinstance(caught.value, TimeoutError)
        broker.up()
        await until(lambda: heard.marks[-1] == JOINED, 10)
        await until_taken(bus, channel, "after")
        await heard.until("before", "after")


async def until_taken(bus: Broadcast, channel: str, message: str) -> None:
    """Publish until it does not fail."""
    async with asyncio.timeout(10):
        while True:
            try:
                await bus.publish(channel, message)
                return
            except Exception:
                await asyncio.sleep(0.05)


async def test_a_connection_that_is_cut_is_made_again(broker: Breakable, channel: str) -> None:
    async with connected(broker.url) as bus, joined(bus, channel, broker.url) as heard:
        broker.cut()
        await until(lambda: heard.marks == [JOINED, PARTED, JOINED], 5)
        await until_taken(bus, channel, "after")
        await heard.until("after")


async def test_a_broker_that_hangs_hangs_nobody(broker: Breakable, channel: str) -> None:
    """Publishing gives up in 2 seconds; leaving takes none. When it moves again, so does what it carries."""
    async with (
        connected(broker.url) as bus,
        connected(broker.url) as leaving,
        joined(bus, channel, broker.url) as heard,
        joined(leaving, channel, broker.url),
    ):
        await until_taken(bus, channel, "before")
        await until_taken(leaving, "elsewhere", "before")
        await heard.until("before")
        broker.stall()
        try:
            await asyncio.gather(give_up(bus, channel), leave(leaving), asyncio.sleep(5))
        finally:
            broker.resume()
        await until_taken(bus, channel, "after")
        # What was given up may be heard after it: it went another way, on a connection that moves again, too.
        await until(lambda: "after" in heard.messages, 5)


async def give_up(bus: Broadcast, channel: str) -> None:
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        await bus.publish(channel, "meanwhile")
    assert 1.5 < time.monotonic() - began < 4
    began = time.monotonic()
    with pytest.raises(BusDown):  # it is not waited for again so soon
        await bus.publish(channel, "meanwhile")
    assert time.monotonic() - began < 1.5


async def leave(bus: Broadcast) -> None:
    began = time.monotonic()
    await bus.disconnect()
    assert time.monotonic() - began < 1


async def test_one_may_subscribe_while_it_hangs(broker: Breakable, channel: str) -> None:
    async with connected(broker.url) as bus:
        broker.stall()
        try:
            async with asyncio.timeout(1), hearing(bus, channel):
                pass
            async with hearing(bus, channel) as heard:
                await until(lambda: heard.marks[:1] == [PARTED])
                broker.resume()
                await until(lambda: heard.marks[-1] == JOINED, 10)
        finally:
            broker.resume()


async def test_one_may_be_there_before_the_broker(broker: Breakable, channel: str) -> None:
    broker.down()
    async with connected(broker.url) as bus, hearing(bus, channel) as heard:
        await until(lambda: heard.marks[:1] == [PARTED], 5)
        broker.up()
        await until(lambda: heard.marks[-1] == JOINED, 10)
        await until_taken(bus, channel, "after")
        await heard.until("after")


async def test_who_is_refused_is_told_and_tries_again(
    broker: Breakable, channel: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A wrong password, or a user whom the broker does not know. The log shows what it says, and no password."""
    async with connected(broker.refused_url) as bus, hearing(bus, channel) as heard:
        await until(lambda: heard.marks == [PARTED] * 3, 10)
        with pytest.raises(Exception):  # noqa: B017  # each driver has its own
            await bus.publish(channel, "never")
    (record,) = [each for each in caplog.records if each.name == "deskwire.bus" and each.levelname == "WARNING"]
    assert "no broker" in record.message
    assert "wrong@" not in record.message


def test_redis_is_reached_as_its_url_says() -> None:
    """TLS needs a server with a certificate, which the tests have not; that it is asked for is seen here."""
    broker = RedisBroker("rediss://desk:s%2Fcret@redis.example:7000/3?decode_responses=true&protocol=3")
    connection = broker._connection()
    assert isinstance(connection, SSLConnection)
    assert (connection.host, connection.port, connection.db) == ("redis.example", 7000, 3)
    assert (connection.username, connection.password, connection.protocol) == ("desk", "s/cret", 2)
    assert not connection.encoder.decode_responses


@pytest.mark.parametrize(
    ("url", "database_url", "words"),
    [
        ("kafka://host", "sqlite://x", "kafka"),
        ("database://", "sqlite://x", "needs PostgreSQL"),
        ("redis://host:port", "sqlite://x", "cannot be used"),
        ("postgres://host:port/x", "sqlite://x", "cannot be used"),
    ],
)
def test_a_url_that_cannot_be_used_is_said(url: str, database_url: str, words: str) -> None:
    with pytest.raises(BadBroadcastUrl, match=words):
        broadcast_at(url, database_url)


@pytest.mark.parametrize("bus_url", ["postgres"], indirect=True)
async def test_the_database_rings_the_bell_itself(bus_url: str, channel: str) -> None:
    """`database://`: no broker beside it."""
    one, two = broadcast_at("database://", bus_url), broadcast_at(bus_url, "sqlite://unused")
    await one.connect()
    await two.connect()
    async with joined(one, channel, bus_url) as heard:
        await two.publish(channel, "heard")
        await heard.until("heard")
    await one.disconnect()
    await two.disconnect()
