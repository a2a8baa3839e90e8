"""Subscriptions over HTTP end with a reason, and leave nothing behind (R156, R157)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from domain.people import deactivate, issue_token, revoke_token
from domain.transactions import Call
from models import Presence, User, new_id, utc_now
from subscriptions.connections import Caps
from tests.client import Client
from tests.delivery.stage import SIGNALS, Stage, ticket_id, until
from tests.delivery.streaming import FORMATS, activity, connections, hearing, is_released
from tests.streams import SENT_EVENTS, Completed, Streamed


@pytest.fixture(params=FORMATS)
def accept(request: pytest.FixtureRequest) -> str:
    return FORMATS[request.param]


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """None of these ends is an error of ours."""
    yield
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


# Who is known no longer


@pytest.mark.parametrize("query", ["TicketActivity", SIGNALS], ids=["log", "signals"])
async def test_an_expired_token_ends_the_stream(stage: Stage, accept: str, query: str) -> None:
    """R156, also of a stream in which nothing happens, and of one that follows no log."""
    ticket = await stage.world.live_ticket()
    user = await User.get(id=stage.world.admin.id)
    token = await issue_token(user, "short", utc_now(), life=timedelta(seconds=2))
    async with Streamed(stage.app, token.secret, accept).asking(query, {"ticketId": ticket_id(ticket)}) as stream:
        assert stream.status == 200
        error = await stream.end()
        assert error["extensions"]["code"] == "UNAUTHENTICATED"
        assert "expired" in error["message"]
    await until(lambda: is_released(stage))


async def test_a_revoked_token_ends_its_streams_and_no_others(stage: Stage, accept: str) -> None:
    """R156: nothing that happened afterwards is told."""
    ticket = await stage.world.live_ticket()
    issued = await issue_token(await User.get(id=stage.world.admin.id), "other", utc_now())
    other = Streamed(stage.app, issued.secret, accept)
    async with activity(stage, accept, ticket) as first:
        async with other.asking("TicketActivity", {"ticketId": ticket_id(ticket)}) as second:
            await until(lambda: stage.feeds() == 2)
            await revoke_token(Call(stage.world.admin), issued.token_id)
            numbers = await stage.burst(ticket, 20)
            assert (await second.end())["extensions"]["code"] == "UNAUTHENTICATED"
        assert [(await first.item())["event"]["sequence"] for _ in numbers] == numbers


async def test_a_deactivated_user_is_out(stage: Stage, accept: str) -> None:
    agent = await stage.world.agent()
    ticket = await stage.world.live_ticket()
    async with hearing(stage, agent, accept, SIGNALS, ticketId=ticket_id(ticket)) as stream:
        await deactivate(Call(stage.world.admin), agent.id or new_id())
        assert (await stream.end())["extensions"]["code"] == "UNAUTHENTICATED"
    await until(lambda: is_released(stage))


# Who leaves, and the server's own leaving


async def test_a_client_that_hangs_up_leaves_nothing(stage: Stage, accept: str) -> None:
    """Neither on the log, nor among signals, nor among those present, nor in the counts."""
    ticket = await stage.world.live_ticket()
    agent = await stage.world.agent()
    there: dict[str, Any] = {"ticketId": ticket_id(ticket)}
    async with (
        hearing(stage, agent, accept, "TicketActivity", **there),
        hearing(stage, agent, accept, SIGNALS, **there),
    ):
        assert await Presence.filter(user_id=agent.id).count() == 1
        assert len(connections(stage)) == 2
    assert is_released(stage)
    assert await Presence.all().count() == 0


async def test_a_client_that_hangs_up_before_it_listens_leaves_nothing(stage: Stage, accept: str) -> None:
    client = await stage.client(stage.world.admin)
    ticket = await stage.world.live_ticket()
    for _ in range(5):
        async with Streamed(stage.app, client.token, accept).asking("TicketActivity", {"ticketId": ticket_id(ticket)}):
            pass
    await until(lambda: is_released(stage))
    assert await Presence.all().count() == 0


async def test_a_server_that_restarts_says_so(stage: Stage, accept: str) -> None:
    """The stream resumes elsewhere; new ones are refused with a status."""
    ticket = await stage.world.live_ticket()
    client = await stage.client(stage.world.admin)
    async with activity(stage, accept, ticket) as stream:
        await stage.burst(ticket, 1)
        await stream.item()
        draining = asyncio.create_task(stage.app.state.deskwire.drain())
        assert (await stream.end())["extensions"]["code"] == "SERVER_RESTARTING"
        async with Streamed(stage.app, client.token, accept).asking("SessionEnded") as refused:
            assert refused.status == 503
        await draining
    assert is_released(stage)


async def test_a_stalled_reader_does_not_hold_up_the_restart(
    stage: Stage, accept: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is dropped, as if it had never been asked to go."""
    monkeypatch.setattr("subscriptions.connections.CLOSE_SECONDS", 0.2)
    ticket = await stage.world.live_ticket()
    async with activity(stage, accept, ticket, room=1) as stream:
        await stage.burst(ticket, 5)
        await stage.settled()
        async with asyncio.timeout(3):
            await stage.app.state.deskwire.drain()
        await until(lambda: stream.aborted)
        assert is_released(stage)


# Who does not read


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection is full, and a reader too slow, sooner."""
    monkeypatch.setattr("subscriptions.wires.FULL_BYTES", 2_000)
    monkeypatch.setattr("subscriptions.cohorts.QUEUE", 10)


@pytest.mark.usefixtures("small")
async def test_a_slow_reader_is_told_and_resumes(stage: Stage, accept: str) -> None:
    """Alone, with the cursor from which nothing is missing."""
    ticket = await stage.world.live_ticket()
    found: list[Any] = []
    async with activity(stage, accept, ticket) as healthy, activity(stage, accept, ticket, room=1) as slow:
        numbers = await stage.burst(ticket, 40)
        assert [(await healthy.item())["event"]["sequence"] for _ in numbers] == numbers
        await stage.settled()
        assert stage.feeds() == 1
        while "errors" not in (result := await slow.next()):
            found.append(result["data"]["ticketActivity"]["event"]["sequence"])
        (error,) = result["errors"]
        with pytest.raises(Completed):
            await slow.next()
    assert error["extensions"]["code"] == "SLOW_CONSUMER"
    assert 0 < len(found) < 30
    after = {"ticketId": ticket_id(ticket), "after": error["extensions"]["cursor"]}
    client = await stage.client(stage.world.admin)
    async with Streamed(stage.app, client.token, accept).asking("TicketActivity", after) as again:
        found += [(await again.item())["event"]["sequence"] for _ in range(len(numbers) - len(found))]
    assert found == numbers


@pytest.mark.usefixtures("small")
async def test_a_reader_that_catches_up_in_time_misses_nothing(stage: Stage, accept: str) -> None:
    """What its connection did not take it finds in the log."""
    ticket = await stage.world.live_ticket()
    async with activity(stage, accept, ticket, room=1) as slow:
        numbers = [*await stage.burst(ticket, 8), *await stage.burst(ticket, 1)]
        await stage.settled()
        assert [(await slow.item())["event"]["sequence"] for _ in numbers] == numbers
        numbers = await stage.burst(ticket, 1)
        assert [(await slow.item())["event"]["sequence"] for _ in numbers] == numbers


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("count", [2, 40], ids=["a few", "too many"])
async def test_a_reader_that_never_reads_is_dropped(
    stage: Stage, accept: str, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one that was told that it is slow: it cannot hear that, either."""
    monkeypatch.setattr("subscriptions.wires.SEND_SECONDS", 0.3)
    ticket = await stage.world.live_ticket()
    async with activity(stage, accept, ticket, room=1) as stream:
        await stage.burst(ticket, count)
        await until(lambda: stream.aborted)
        await until(lambda: is_released(stage))


# How many


async def test_a_full_process_takes_no_more_streams(stage: Stage, accept: str) -> None:
    """A status, so that whoever balances the load tries another one. There is room again when one leaves."""
    ticket = await stage.world.live_ticket()
    client = await stage.client(stage.world.admin)
    connections(stage).caps = Caps(process=1)
    more = Streamed(stage.app, client.token, accept)
    async with activity(stage, accept, ticket), more.asking("SessionEnded") as refused:
        assert refused.status == 503
    async with activity(stage, accept, ticket) as stream:
        await stage.burst(ticket, 1)
        await stream.item()


async def test_a_person_has_so_many_streams(stage: Stage, accept: str) -> None:
    """Over HTTP and WebSocket together; others are not concerned."""
    ticket = await stage.world.live_ticket()
    agent = await stage.world.agent()
    client, other = await stage.client(stage.world.admin), await stage.client(agent)
    connections(stage).caps = Caps(person=2)
    async with activity(stage, accept, ticket), client.connected():
        async with Streamed(stage.app, client.token, accept).asking("SessionEnded") as refused:
            assert (await refused.end())["extensions"]["code"] == "TOO_MANY_CONNECTIONS"
        async with other.connected():
            pass
    await until(lambda: is_released(stage))


async def test_a_client_without_a_token_takes_no_place(stage: Stage) -> None:
    client = Client(stage.app, "nonsense")
    async with Streamed(stage.app, client.token, SENT_EVENTS).asking("SessionEnded") as refused:
        assert refused.status == 401
    assert is_released(stage)
