"""The unit of work: all or nothing, announced after the commit, not to be broken off, and never waited for in vain."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from typing import Any, TypeVar
from uuid import UUID

import psycopg
import pytest
from tortoise.connection import get_connection
from tortoise.exceptions import BaseORMException
from tortoise.models import Model

import domain.transactions
import models.postgres
from domain.comments import post_comment
from domain.errors import BusyRetry, Refusal
from domain.messages import SentMessage, send_message
from domain.sessions import SessionEnd, end_session
from domain.transactions import Call, Transaction, announce_to, unit_of_work
from models import (
    Account,
    Channel,
    Comment,
    Event,
    EventType,
    MessagingSession,
    OutboundEmail,
    SessionState,
    User,
)
from models.database import READER, WRITER, is_sqlite, opened
from tests.databases import plain_connection, sabotaged
from tests.factories import World
from tests.invariants import assert_consistent

T = TypeVar("T")
Heard = list[tuple[UUID, int]]
# Whoever needs a lock or a connection that was leaked waits longer than this before he gives up.
IN_TURN = 4.0


@contextmanager
def listening() -> Iterator[Heard]:
    """What is announced while the body runs."""
    heard: Heard = []
    announce_to(lambda account_id, position: heard.append((account_id, position)))
    try:
        yield heard
    finally:
        announce_to(None)


async def head(world: World) -> int:
    return int((await Account.get(id=world.id)).last_position)


STEPS = [
    ("comments", "INSERT"),
    ("conversations", "UPDATE"),
    ("messaging_sessions", "UPDATE"),
    ("tickets", "UPDATE"),
    ("accounts", "UPDATE"),
    ("audits", "INSERT"),
    ("events", "INSERT"),
    ("idempotency_records", "INSERT"),
]


@pytest.mark.parametrize(("table", "event"), STEPS, ids=[table for table, _ in STEPS])
async def test_an_error_in_any_step_of_an_end_leaves_nothing(world: World, table: str, event: str) -> None:
    """R33: nothing to see, nothing announced; and the next try succeeds as if nothing had been."""
    ticket = await world.live_ticket()
    before, position = await world.fingerprint(), await head(world)
    call = Call(world.admin, idempotency_key="k")
    with listening() as heard:
        async with sabotaged(table, event):
            with pytest.raises(BaseORMException, match="nowhere"):
                await end_session(call, ticket.id, closing_message="Goodbye!")
        assert heard == []
    assert await world.fingerprint() == before
    assert (await head(world), (await world.session(ticket)).state) == (position, SessionState.ACTIVE)
    assert (await end_session(call, ticket.id, closing_message="Goodbye!")).outcome == "ENDED"
    assert await head(world) == position + 2
    await assert_consistent(world)


async def test_an_error_while_the_events_are_written_leaves_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R33: an error of ours instead of the database's, after everything but the events was written."""

    async def fail(*_: Any) -> None:
        raise RuntimeError("the lights went out")

    ticket, before = await world.live_ticket(), await world.fingerprint()
    with listening() as heard, monkeypatch.context() as patch:
        patch.setattr(Event, "bulk_create", fail)
        with pytest.raises(RuntimeError):
            await world.end(ticket, world.admin)
    assert (heard, await world.fingerprint()) == ([], before)
    assert (await world.session(ticket)).state is SessionState.ACTIVE
    await assert_consistent(world)


async def test_an_error_of_the_commit_itself_leaves_nothing(world: World) -> None:
    """R33: a promise that is looked at only by the commit is broken; the next unit of work finds a clean connection."""
    connection = get_connection(WRITER)
    await connection.execute_script(
        "CREATE TABLE promised (id INTEGER PRIMARY KEY);"
        "CREATE TABLE promises (id INTEGER REFERENCES promised (id) DEFERRABLE INITIALLY DEFERRED)"
    )

    async def promise_in_vain(tx: Transaction) -> None:
        tx.record(EventType.ROUTING_SETTINGS_CHANGED, changes=[])
        await get_connection(WRITER).execute_query("INSERT INTO promises VALUES (1)")

    before = await world.fingerprint()
    with listening() as heard:
        with pytest.raises((BaseORMException, psycopg.errors.ForeignKeyViolation)):
            await unit_of_work(Call(world.admin), promise_in_vain)
        assert heard == []
    assert await world.fingerprint() == before
    async with asyncio.timeout(IN_TURN):
        await world.live_ticket()
    await assert_consistent(world)


async def test_a_refusal_announces_nothing(world: World) -> None:
    """R33: nor does a call that changes nothing."""
    ticket = await world.ended_ticket()
    with listening() as heard:
        await world.end(ticket, world.admin)
        with pytest.raises(Refusal):
            await world.comment(ticket, world.admin, channel=Channel.MESSAGING)
    assert heard == []


async def test_what_is_announced_is_committed(world: World, database: str) -> None:
    """R34: at the moment of the call another program already reads the position that it names, and no later one."""
    ticket = await world.live_ticket()
    start = await head(world)
    announced: list[int] = []

    def look(account_id: UUID, position: int) -> None:
        assert (account_id, _position_seen_from_outside(database)) == (world.id, position)
        announced.append(position)

    announce_to(look)
    try:
        await world.comment(ticket, world.admin)
        await world.end(ticket, world.admin, closing_message="Goodbye!")
    finally:
        announce_to(None)
    assert announced == [start + 1, start + 3]


def _position_seen_from_outside(url: str) -> int:
    with closing(plain_connection(url)) as other:
        row = other.execute("SELECT max(position) FROM events").fetchone()
        assert row is not None
        return int(row[0])


async def test_every_commit_is_announced_once(world: World) -> None:
    """R34: also when many commit beside each other; the last position is among them."""
    agent = await world.agent()
    tickets = [await world.live_ticket() for _ in range(4)]
    start = await head(world)
    with listening() as heard:
        await asyncio.gather(*(world.comment(tickets[n % 4], agent, f"{n}") for n in range(40)))
    assert sorted(heard) == [(world.id, start + n) for n in range(1, 41)]
    assert await world.positions() == list(range(1, start + 41))


async def test_a_reader_that_follows_the_positions_misses_nothing(world: World) -> None:
    """R34, R50: whoever reads up to the last position has seen all that will ever lie below it."""
    agents = [await world.agent(f"Agent {n}") for n in range(3)]
    tickets = [await world.live_ticket() for _ in range(6)]
    seen = await world.positions()
    writing = asyncio.gather(*(world.comment(tickets[n % 6], agents[n % 3], f"{n}") for n in range(120)))
    while not writing.done() or len(seen) < await head(world):
        news = Event.filter(account_id=world.id, position__gt=seen[-1]).order_by("position")
        seen += [event.position for event in await news]
        await asyncio.sleep(0)
    await writing
    assert seen == list(range(1, len(seen) + 1))
    assert len(seen) == 6 * 3 + 120


async def cancelled_at_random(
    chance: random.Random, calls: list[Coroutine[Any, Any, T]], *, at_once: int = 30
) -> list[T | BaseException]:
    """Run the calls, some beside each other, and cancel each after 0 to 20 ms, if it still runs then."""

    async def cut(call: Coroutine[Any, Any, T]) -> T | BaseException:
        task = asyncio.create_task(call)
        await asyncio.sleep(chance.uniform(0, 0.02))
        task.cancel()
        [result] = await asyncio.gather(task, return_exceptions=True)
        return result

    results: list[T | BaseException] = []
    for start in range(0, len(calls), at_once):
        results += await asyncio.gather(*(cut(call) for call in calls[start : start + at_once]))
    return results


async def assert_nothing_is_held(world: World) -> None:
    """No task runs on, no lock and no connection of the pool is kept, and a new unit of work has its turn at once."""
    assert not [task for task in asyncio.all_tasks() if "_tried_again" in repr(task.get_coro())]
    async with asyncio.timeout(IN_TURN):
        await world.live_ticket()
    connection: Any = get_connection(WRITER)
    if connection.capabilities.dialect == "sqlite":
        assert not connection._lock.locked()
        return
    stats = connection._pool.get_stats()
    assert (stats["pool_available"], stats.get("requests_waiting", 0)) == (stats["pool_size"], 0)


async def test_cancelled_ends_happen_wholly_or_not_at_all(world: World) -> None:
    """R33, reliability F1: one hundred sessions, each ended by three calls that are all broken off."""
    agent, chance = await world.agent(), random.Random(1)
    tickets = [await world.live_ticket() for _ in range(100)]
    calls = [
        end_session(Call(agent, client_id=str(ticket.id)), ticket.id, closing_message="Goodbye!")
        for ticket in tickets
        for _ in range(3)
    ]
    with listening() as heard:
        results = await cancelled_at_random(chance, calls)
    assert any(isinstance(result, asyncio.CancelledError) for result in results)
    for ticket in tickets:
        happened = (await world.history(ticket))[3:]
        assert happened in ([], ["TICKET_COMMENT_ADDED", "MESSAGING_SESSION_ENDED"])
        assert await MessagingSession.filter(conversation_id=ticket.conversation_id, ended_at=None).count() == (
            0 if happened else 1
        )
    told = {result.ticket_id for result in results if isinstance(result, SessionEnd)}
    ended = {event.ticket_id for event in await Event.filter(type=EventType.MESSAGING_SESSION_ENDED)}
    assert told <= ended
    assert len(heard) == len(ended) > 0
    await assert_nothing_is_held(world)
    await assert_consistent(world)


async def test_cancelled_comments_and_messages_happen_wholly_or_not_at_all(world: World) -> None:
    """R33, reliability F1: notes, e-mails and customers' messages, three hundred, all broken off."""
    chance = random.Random(2)
    customers = [await world.customer(f"Customer {n}") for n in range(5)]
    tickets = [await world.email_ticket() for _ in range(5)]
    comments, emails = await Comment.all().count(), 0

    def call(n: int) -> Coroutine[Any, Any, object]:
        if n % 3 == 0:
            return send_message(Call(customers[n % 5]), body=f"{n}", client_message_id=f"{n}")
        channel = Channel.EMAIL if n % 3 == 1 else Channel.INTERNAL_NOTE
        return post_comment(Call(world.admin), tickets[n % 5].id, body=f"{n}", channel=channel)

    with listening() as heard:
        results = await cancelled_at_random(chance, [call(n) for n in range(300)])
    stored = {c.body: c for c in await Comment.filter(body__not_in=["Dear all, …"])}
    assert len(stored) == len(heard) == await Comment.all().count() - comments
    assert {f"{n}" for n, result in enumerate(results) if not isinstance(result, BaseException)} <= stored.keys()
    emails = sum(comment.channel is Channel.EMAIL for comment in stored.values())
    assert await OutboundEmail.all().count() == emails > 0
    # What was broken off can be sent again, without looking whether it had happened.
    for n in range(0, 300, 3):
        again = await send_message(Call(customers[n % 5]), body=f"{n}", client_message_id=f"{n}")
        assert isinstance(again, SentMessage)
    assert await Comment.filter(channel=Channel.MESSAGING).count() == 100
    await assert_nothing_is_held(world)
    await assert_consistent(world)


async def test_a_cancelled_caller_learns_of_it_only_when_all_is_done(world: World) -> None:
    """Reliability F1: whoever tidies up after a cancellation finds nothing still at work."""
    ticket = await world.live_ticket()
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(tx: Transaction) -> None:
        begun.set()
        await go_on.wait()
        tx.record(EventType.ROUTING_SETTINGS_CHANGED, changes=[])

    position = await head(world)
    task = asyncio.create_task(unit_of_work(Call(world.admin), slow))
    await begun.wait()
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0.005)
        assert not task.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await head(world) == position + 1
    assert (await world.end(ticket, world.admin)).outcome == "ENDED"


@asynccontextmanager
async def impatient(url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    """An account in a database where nobody waits long for a lock."""
    monkeypatch.setattr(models.postgres, "LOCK_TIMEOUT", "40ms")
    async with opened(url):
        if is_sqlite(url):
            await get_connection(WRITER).execute_query("PRAGMA busy_timeout = 40")
        yield await World.create("acme")


@contextmanager
def lock_held(url: str, row: Model) -> Iterator[sqlite3.Connection | psycopg.Connection[Any]]:
    """Another program holds this row against changes. Who only shares it is let in, who wants it alone is not."""
    with closing(plain_connection(url)) as other:
        if isinstance(other, sqlite3.Connection):
            other.execute("BEGIN IMMEDIATE")
        else:
            other.execute("BEGIN")
            other.execute(f"SELECT 1 FROM {row._meta.db_table} WHERE id = %s FOR SHARE".encode(), [row.pk])
        yield other
        other.execute("ROLLBACK")


async def test_who_finds_a_lock_held_is_told_to_try_again(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """R131: nothing happened, nothing was announced, and afterwards it works."""
    async with impatient(database_url, monkeypatch) as world:
        ticket = await world.live_ticket()
        with listening() as heard:
            with lock_held(database_url, ticket):
                async with world.refuses(BusyRetry):
                    await end_session(Call(world.admin, idempotency_key="k"), ticket.id, closing_message="Goodbye!")
            assert heard == []
        assert (await world.session(ticket)).state is SessionState.ACTIVE
        end = await end_session(Call(world.admin, idempotency_key="k"), ticket.id, closing_message="Goodbye!")
        assert end.outcome == "ENDED"
        await assert_nothing_is_held(world)
        await assert_consistent(world)


async def test_who_finds_a_lock_held_for_a_moment_gets_through(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R131: the first tries fail, a later one succeeds, and the caller notices nothing."""
    async with impatient(database_url, monkeypatch) as world:
        ticket = await world.live_ticket()
        with lock_held(database_url, ticket):
            ending = asyncio.create_task(world.end(ticket, world.admin, closing_message="Goodbye!"))
            await asyncio.sleep(0.1)
            assert not ending.done()
        assert (await ending).outcome == "ENDED"
        assert await world.thread(ticket) == ["Hello, my order is late.", "Goodbye!"]
        await assert_consistent(world)


async def test_an_end_and_a_message_wait_for_customer_session_and_ticket(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R124, R131: both lock the same three rows, the customer's even before there is a session to lock."""
    if is_sqlite(database_url):
        pytest.skip("SQLite has one lock for all")
    monkeypatch.setattr(domain.transactions, "ATTEMPTS", 1)
    async with impatient(database_url, monkeypatch) as world:
        customer = await world.customer()
        ticket = await world.live_ticket(customer=customer)
        requester = await User.get(id=customer.id)
        for row in (requester, await world.session(ticket), ticket):
            with lock_held(database_url, row):
                async with world.refuses(BusyRetry):
                    await world.end(ticket, world.admin)
                async with world.refuses(BusyRetry):
                    await send_message(Call(customer), body="Hello?")
        await world.end(ticket, world.admin)
        with lock_held(database_url, requester):
            async with world.refuses(BusyRetry):
                await send_message(Call(customer), body="Hello?")


async def test_others_work_on_beside_a_locked_ticket(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """R131: PostgreSQL locks rows, so only those wait who want this one."""
    if is_sqlite(database_url):
        pytest.skip("SQLite has one lock for all")
    async with impatient(database_url, monkeypatch) as world:
        ticket, other = await world.live_ticket(), await world.live_ticket()
        with lock_held(database_url, ticket):
            assert (await world.end(other, world.admin)).outcome == "ENDED"


async def test_reads_go_on_beside_a_running_transaction(world: World) -> None:
    """Reliability: the reader does not wait for the writer, and sees what was before."""
    ticket = await world.live_ticket()
    written, go_on = asyncio.Event(), asyncio.Event()

    async def slow(tx: Transaction) -> None:
        await MessagingSession.filter(conversation_id=ticket.conversation_id).update(state=SessionState.INACTIVE)
        written.set()
        await go_on.wait()

    task = asyncio.create_task(unit_of_work(Call(world.admin), slow))
    await written.wait()
    try:
        async with asyncio.timeout(IN_TURN):
            states = [(await world.session(ticket)).state for _ in range(20)]
    finally:
        go_on.set()
        await task
    assert states == [SessionState.ACTIVE] * 20
    assert (await world.session(ticket)).state is SessionState.INACTIVE


async def test_the_reader_refuses_to_write(world: World) -> None:
    """Reliability: a query that went the wrong way is an error and not a write beside all rules."""
    reader = get_connection(READER)
    for statement in (
        "UPDATE accounts SET name = 'Mine'",
        "DELETE FROM account_settings",
        "CREATE TABLE mine (id INTEGER)",
    ):
        with pytest.raises((BaseORMException, psycopg.errors.ReadOnlySqlTransaction)):
            await reader.execute_query(statement)
    assert (await Account.get(id=world.id)).name == "Acme"
