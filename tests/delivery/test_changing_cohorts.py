"""Cohorts that change while they are told: nothing lost, nothing twice, in order, nothing to who may not see it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import pytest

from domain.actors import Actor, load_actor
from domain.people import deactivate, revoke_token, set_groups
from domain.tickets import update_ticket
from domain.transactions import Call
from models import Account, Event, Group, Permission, Ticket, TicketAccess
from subscriptions import tail as tails
from subscriptions.scenes import Moment
from tests.delivery.checkers import faults
from tests.delivery.ears import Ear, Ears, held_back
from tests.delivery.stage import Stage, ticket_id, until
from tests.factories import AGENT

MODEST = AGENT - {Permission.END_OTHERS_SESSIONS}


@pytest.fixture
async def ticket(stage: Stage) -> Ticket:
    return await stage.world.live_ticket()


async def positions_since(stage: Stage, ticket: Ticket, after: int) -> list[int]:
    rows = await Event.filter(ticket_id=ticket.id, position__gt=after).order_by("position")
    return [row.position for row in rows]


async def last_position(stage: Stage) -> int:
    return int((await Account.get(id=stage.world.id)).last_position)


async def burst_at_once(stage: Stage, ticket: Ticket, count: int) -> None:
    async with held_back(stage):
        await stage.burst(ticket, count)


class Gate:
    """Something that is waited at until it is opened."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()
        self.waiting = 0

    async def wait(self) -> None:
        self.waiting += 1
        await self.opened.wait()

    async def reached(self) -> None:
        await until(lambda: self.waiting > 0)


# Joining and leaving in the middle of a telling


async def test_members_come_and_go_between_the_chunks_of_a_telling(
    ears: Ears, stage: Stage, ticket: Ticket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R157: who stays, leaves, joins from now, joins from a cursor, or goes and comes back, in any of its pauses."""
    monkeypatch.setattr(tails, "AT_ONCE", 2)
    caller = await ears.caller(stage.world.admin)
    watched = {"ticketId": ticket_id(ticket)}
    start, since = await stage.cursor(), await last_position(stage)

    async def watch(after: str | None = None) -> Ear:
        return await ears.listen(caller, "TicketActivity", **watched, after=after)

    stayed = [await watch() for _ in range(9)]
    leaving = [await watch() for _ in range(6)]
    joined: list[tuple[int, Ear]] = []
    resumed: list[Ear] = []
    writing = asyncio.create_task(burst_at_once(stage, ticket, 12))
    left_at: list[int] = []
    while not (writing.done() and stage.hub._tails[stage.world.id].is_idle and not leaving):
        await asyncio.sleep(0)
        if any(ear.tellings for ear in stayed) and leaving:
            gone = leaving.pop()
            gone.leave()
            left_at.append(len(gone.tellings))
            joined.append((await last_position(stage), await watch()))
            resumed.append(await watch(start))
    await writing
    await ears.heard()
    written = await positions_since(stage, ticket, since)
    assert len(written) == 12
    for ear in [*stayed, *resumed]:
        assert faults(written, ear.positions) == {}
    for after, ear in joined:
        assert faults([position for position in written if position > after], ear.positions) == {}
    assert len(joined) == len(left_at) == 6


async def test_who_leaves_is_told_nothing_more(
    ears: Ears, stage: Stage, ticket: Ticket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the middle of the telling that he would have been told next."""
    monkeypatch.setattr(tails, "AT_ONCE", 1)
    caller = await ears.caller(stage.world.admin)
    heard = [await ears.listen(caller, "TicketActivity", ticketId=ticket_id(ticket)) for _ in range(4)]
    others: dict[Ear, int] = {}

    def leave(first: Ear) -> None:
        for ear in heard:
            if ear is not first and ear not in others:
                ear.leave()
                others[ear] = len(ear.tellings)

    told = Ear.tell

    def tell(self: Ear, telling: Any) -> bool:
        leave(self)
        return told(self, telling)

    monkeypatch.setattr(Ear, "tell", tell)
    await burst_at_once(stage, ticket, 3)
    await ears.heard()
    assert sorted(len(ear.tellings) for ear in heard) == [0, 0, 0, 3]
    assert list(others.values()) == [0, 0, 0]


# Access that changes


@pytest.fixture
async def groups(stage: Stage) -> list[Group]:
    return [await stage.world.group(name) for name in "ABC"]


async def put(stage: Stage, agent: Actor, *groups: Group) -> None:
    assert agent.id is not None
    await set_groups(Call(stage.world.admin), agent.id, frozenset(group.id for group in groups))


async def of_group(stage: Stage, *groups: Group) -> Actor:
    return await stage.world.agent(access=TicketAccess.GROUPS, groups=groups)


def shown(ear: Ear) -> set[str]:
    """The rows of an inbox that was empty when the stream began, as its items leave it."""
    rows: set[str] = set()
    for item in ear.items:
        (rows.discard if item["change"] == "REMOVED" else rows.add)(item["ticketId"])
    return rows


async def tickets_of(stage: Stage, groups: list[Group]) -> list[Ticket]:
    """One of each group, with the events that an inbox hears of."""
    made = []
    for group in groups:
        ticket = await stage.world.live_ticket()
        await update_ticket(Call(stage.world.admin), ticket.id, {"group_id": group.id})
        made.append(ticket)
    return made


async def test_an_access_that_changes_twice_in_one_batch(ears: Ears, stage: Stage, groups: list[Group]) -> None:
    """R154, R155: the rows of the end remain, and none of what he saw on the way or before; so for all his sockets."""
    agent = await of_group(stage, groups[0])
    start = await stage.cursor()
    heard = [await ears.hear(agent, "Inbox") for _ in range(2)]
    tickets = await tickets_of(stage, groups)
    await ears.heard()
    assert shown(heard[0]) == {ticket_id(tickets[0])}
    heard += [await ears.hear(agent, "Inbox", after=start)]
    async with held_back(stage):
        await put(stage, agent, groups[1])
        await stage.world.comment(tickets[1], stage.world.admin)
        await put(stage, agent, groups[2])
        await stage.world.comment(tickets[2], stage.world.admin)
    await ears.heard()
    heard += [await ears.hear(agent, "Inbox", after=start)]
    await ears.heard()
    for ear in heard:
        assert ear.errors is None
        assert shown(ear) == {ticket_id(tickets[2])}
        assert ear.positions == sorted(ear.positions)


async def test_a_late_cohort_never_overtakes_a_change_of_access(
    ears: Ears, stage: Stage, groups: list[Group], monkeypatch: pytest.MonkeyPatch
) -> None:
    """R154, R155: who still catches up when his access changes is told of the rows that it moved.

    The tail has passed the change and looks up who he is now, which takes a while. Meanwhile his cohort reaches it, and
    waits there: his access had changed before, so it remembers by what else he may have been shown rows.
    """
    agent = await of_group(stage, groups[0])
    caller = await ears.caller(agent)
    start = await stage.cursor()
    tickets = await tickets_of(stage, groups)
    await put(stage, agent, groups[1])
    await ears.heard()
    gate = Gate()

    async def slow(*arguments: Any) -> Any:
        await gate.wait()
        return await load_actor(*arguments)

    monkeypatch.setattr(tails, "load_actor", slow)
    async with held_back(stage):
        await put(stage, agent, groups[2])
        changed = await last_position(stage)
        await stage.world.live_ticket()
    await gate.reached()
    late = await ears.listen(caller, "Inbox", after=start)
    cohort = late.cohort
    assert cohort is not None
    await until(lambda: cohort.position == changed == ears.tail.position)
    gate.opened.set()
    await ears.heard()
    assert shown(late) == {ticket_id(tickets[2])}


async def test_a_parked_member_is_told_by_what_he_may_see_when_he_reads_on(
    ears: Ears, stage: Stage, groups: list[Group]
) -> None:
    """R154, R161: his access changed while his connection was full."""
    agent = await of_group(stage, groups[0])
    ear = await ears.hear(agent, "Inbox")
    ear.is_full = True
    tickets = await tickets_of(stage, groups[:2])
    await ears.heard()
    assert ear.parked_at is not None
    assert len(ear.tellings) == 1
    await put(stage, agent, groups[1])
    await stage.world.comment(tickets[0], stage.world.admin)
    await stage.world.comment(tickets[1], stage.world.admin)
    await ears.heard()
    assert len(ear.tellings) == 1
    ear.drain()
    await ears.heard()
    assert shown(ear) == {ticket_id(tickets[1])}
    assert ear.positions == sorted(ear.positions)


async def test_a_lost_ticket_ends_its_streams_in_late_cohorts_too(
    ears: Ears, stage: Stage, groups: list[Group]
) -> None:
    """R154: live, parked and catching up. None of what happened later is told."""
    agent = await of_group(stage, groups[0])
    (ticket,) = await tickets_of(stage, groups[:1])
    watched = {"ticketId": ticket_id(ticket)}
    start = await stage.cursor()
    await stage.burst(ticket, 3)
    live, parked = [await ears.hear(agent, "TicketActivity", **watched) for _ in range(2)]
    parked.is_full = True
    await stage.burst(ticket, 2)
    await ears.heard()
    late_caller = await ears.caller(agent)
    async with held_back(stage):
        await put(stage, agent, groups[1])
        after = await last_position(stage)
        await stage.burst(ticket, 2)
        late = await ears.listen(late_caller, "TicketActivity", **watched, after=start)
    await ears.heard()
    parked.drain()
    await ears.heard()
    for ear in (live, parked, late):
        assert ear.code == "ACCESS_REVOKED"
        assert all(position < after for position in ear.positions)


async def test_who_is_turned_away_while_he_joins_is_told_nothing(
    ears: Ears, stage: Stage, ticket: Ticket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R156: his token was revoked, or he was deactivated, while his subscription was being looked at."""
    from subscriptions.topics import Activity

    gate, check = Gate(), Activity.check

    async def slow(self: Activity, actor: Actor) -> None:
        await check(self, actor)
        await gate.wait()

    monkeypatch.setattr(Activity, "check", slow)
    one, two = await stage.world.agent(), await stage.world.agent()
    callers = [await ears.caller(one), await ears.caller(two)]
    asked = [await ears.ask(caller, "TicketActivity", ticketId=ticket_id(ticket)) for caller in callers]
    joining = [Ear(caller, each.question) for caller, each in zip(callers, asked, strict=True)]
    tasks = [asyncio.create_task(ear.caller.tail.join(ear, None)) for ear in joining]
    await until(lambda: gate.waiting == 2)
    assert callers[0].token_id is not None
    assert two.id is not None
    await revoke_token(Call(stage.world.admin), callers[0].token_id)
    await deactivate(Call(stage.world.admin), two.id)
    await ears.heard()
    assert ears.gone == callers
    gate.opened.set()
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert [getattr(error, "code", None) for error in ended] == ["UNAUTHENTICATED"] * 2
    await stage.burst(ticket, 2)
    await ears.heard()
    assert [ear.tellings for ear in joining] == [[], []]
    assert [ear.cohort for ear in joining] == [None, None]
    assert len(ears.tail.index) == 0


# Questions that turn out to be personal

COMPOSER = """
subscription ($id: ID!, $after: String) {
  ticketActivity(ticketId: $id, after: $after) { cursor event { sequence } ticket { composer { actions } } }
}
"""


def is_personal(ear: Ear) -> bool:
    return ear.caller.tail.index.viewers(ear.question, ear.caller.actor).person is not None


def actions(ear: Ear) -> list[list[str]]:
    return [item["ticket"]["composer"]["actions"] for item in ear.items]


async def test_a_question_turns_out_personal_live_and_while_catching_up(
    ears: Ears, stage: Stage, ticket: Ticket
) -> None:
    """Each is told by himself from the event on that shows it: nothing lost, nothing twice, nothing of the other."""
    world = stage.world
    mine, other = await world.agent(permissions=MODEST), await world.agent(permissions=MODEST)
    start, since = await stage.cursor(), await last_position(stage)
    live = [await ears.hear(agent, COMPOSER, id=ticket_id(ticket)) for agent in (mine, other)]
    await stage.burst(ticket, 2)  # nobody's yet, so it does not matter who asks
    await ears.heard()
    assert not is_personal(live[0])
    assert live[0].cohort is live[1].cohort
    late: list[Ear] = []
    async with held_back(stage):
        await update_ticket(Call(world.admin), ticket.id, {"assignee_id": mine.id})
        await stage.burst(ticket, 2)
        late += [await ears.hear(agent, COMPOSER, id=ticket_id(ticket), after=start) for agent in (mine, other)]
    await ears.heard()
    assert is_personal(live[0])
    late += [await ears.hear(agent, COMPOSER, id=ticket_id(ticket), after=start) for agent in (mine, other)]
    await ears.heard()
    written = await positions_since(stage, ticket, since)
    for ear in [*live, *late]:
        assert faults(written, ear.positions) == {}
    assert [actions(ear)[-1] for ear in [*live, *late]] == [["END_SESSION"], []] * 3
    assert live[0].cohort is late[0].cohort
    assert live[0].cohort is not live[1].cohort


async def test_a_parked_member_of_a_question_that_turns_out_personal(ears: Ears, stage: Stage, ticket: Ticket) -> None:
    """R161: it reads on by itself."""
    world = stage.world
    mine, other = await world.agent(permissions=MODEST), await world.agent(permissions=MODEST)
    since = await last_position(stage)
    heard = [await ears.hear(agent, COMPOSER, id=ticket_id(ticket)) for agent in (mine, other, mine)]
    heard[0].is_full = True
    await stage.burst(ticket, 1)
    await ears.heard()
    assert heard[0].parked_at is not None
    await update_ticket(Call(world.admin), ticket.id, {"assignee_id": mine.id})
    await stage.burst(ticket, 2)
    await ears.heard()
    heard[0].drain()
    await ears.heard()
    written = await positions_since(stage, ticket, since)
    for ear in heard:
        assert faults(written, ear.positions) == {}
    assert [actions(ear)[-1] for ear in heard] == [["END_SESSION"], [], ["END_SESSION"]]


# A database that goes away


@asynccontextmanager
async def away(monkeypatch: pytest.MonkeyPatch, times: int) -> AsyncIterator[Callable[[], int]]:
    """The next so many answers meet a database that is gone."""
    made, failed = Moment._made, [0]

    async def failing(self: Moment, *arguments: Any) -> Any:
        if failed[0] < times:
            failed[0] += 1
            raise psycopg.OperationalError("the server closed the connection unexpectedly")
        return await made(self, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(Moment, "_made", failing)
        yield lambda: failed[0]


async def test_a_database_that_goes_away_in_the_middle_of_a_telling(
    ears: Ears, stage: Stage, ticket: Ticket, groups: list[Group], monkeypatch: pytest.MonkeyPatch
) -> None:
    """R160: three times in a row; live, late, and where one event brings several items."""
    agent = await of_group(stage, groups[0])
    tickets = await tickets_of(stage, groups[1:])
    start, since = await stage.cursor(), await last_position(stage)
    live = await ears.hear(stage.world.admin, "TicketActivity", ticketId=ticket_id(ticket))
    inbox = await ears.hear(agent, "Inbox")
    async with away(monkeypatch, 3) as failed:
        await stage.burst(ticket, 4)
        await put(stage, agent, *groups)
        await ears.heard()
        assert failed() == 3
    async with away(monkeypatch, 3) as failed:
        late = await ears.hear(stage.world.admin, "TicketActivity", ticketId=ticket_id(ticket), after=start)
        await ears.heard()
        assert failed() == 3
    written = await positions_since(stage, ticket, since)
    for ear in (live, late):
        assert faults(written, ear.positions) == {}
    assert sorted(item["ticketId"] for item in inbox.items) == sorted(map(ticket_id, tickets))


async def test_a_database_that_goes_away_inside_of_an_answer_is_asked_again(
    ears: Ears, stage: Stage, ticket: Ticket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R160: a resolver met it; its error is no answer, and nobody is shown one."""
    from schema import people

    actor_of, failures = people.actor_of, [0]

    async def failing(*arguments: Any) -> Any:
        if failures[0] < 2:
            failures[0] += 1
            raise psycopg.OperationalError("the server closed the connection unexpectedly")
        return await actor_of(*arguments)

    monkeypatch.setattr("schema.events.actor_of", failing)
    since = await last_position(stage)
    heard = [await ears.hear(stage.world.admin, "TicketActivity", ticketId=ticket_id(ticket)) for _ in range(2)]
    await stage.burst(ticket, 2)
    await ears.heard()
    assert failures == [2]
    for ear in heard:
        assert faults(await positions_since(stage, ticket, since), ear.positions) == {}


async def test_who_begins_behind_a_change_that_is_not_passed_yet(ears: Ears, stage: Stage, groups: list[Group]) -> None:
    """R154, R157: the tail lags. He hears nothing from before his cursor; what he may not follow any more, ends.

    The snapshot that his cursor came with was read after the change, and shows what it moved.
    """
    agent = await of_group(stage, groups[0])
    kept, lost = await tickets_of(stage, [groups[0], groups[1]])
    await put(stage, agent, groups[0], groups[1])
    caller = await ears.caller(agent)
    await ears.heard()
    async with held_back(stage):
        await stage.burst(kept, 1)
        await put(stage, agent, groups[0])
        await stage.burst(kept, 2)
        await stage.burst(lost, 2)
        start, since = await stage.cursor(), await last_position(stage)
        activity = await ears.listen(caller, "TicketActivity", ticketId=ticket_id(kept), after=start)
        inbox = await ears.listen(caller, "Inbox", after=start)
        ending = await ears.listen(caller, "TicketActivity", ticketId=ticket_id(lost), after=start)
    await ears.heard()
    assert ending.code in ("ACCESS_REVOKED", "NOT_FOUND")
    assert [ear.tellings for ear in (activity, inbox, ending)] == [[], [], []]
    await stage.burst(kept, 1)
    await ears.heard()
    assert activity.positions == inbox.positions == [since + 1]
