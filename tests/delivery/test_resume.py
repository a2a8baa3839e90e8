"""Rules R157–R159: from a cursor on, everything, in order, once."""

from __future__ import annotations

import asyncio
import random
from datetime import timedelta
from typing import Any

import pytest

from domain.actors import Actor
from models import Account, Event, Ticket, new_id
from subscriptions.resume import Position
from tests.client import Refused, Stream
from tests.delivery.checkers import faults
from tests.delivery.stage import Stage, arrived, refusal_of, ticket_id
from tests.factories import World

WRITTEN = list(range(1, 9))
BAD_HISTORIES = {
    "lost": [1, 2, 3, 5, 6, 7, 8],
    "repeated": [1, 2, 3, 4, 4, 5, 6, 7, 8],
    "out_of_order": [1, 2, 4, 3, 5, 6, 7, 8],
    "phantom": [1, 2, 3, 4, 5, 99, 6, 7, 8],
}


@pytest.mark.parametrize("fault", BAD_HISTORIES)
def test_a_checker_catches_its_fault_and_no_other(fault: str) -> None:
    """The checkers themselves: drop one, repeat one, swap two, leak one."""
    assert list(faults(WRITTEN, BAD_HISTORIES[fault])) == [fault]


def test_checkers_find_nothing_wrong_with_a_faultless_stream() -> None:
    assert faults(WRITTEN, WRITTEN) == {}
    assert faults([], []) == {}
    assert faults(WRITTEN, [])["lost"] == WRITTEN


def sequence(item: dict[str, Any]) -> int:
    number: int = item["event"]["sequence"]
    return number


async def sequences(ticket: Ticket, after: int) -> list[int]:
    rows = await Event.filter(ticket_id=ticket.id, ticket_sequence__gt=after).order_by("position")
    return [row.ticket_sequence or 0 for row in rows]


async def drained(stage: Stage, stream: Stream) -> list[int]:
    await stage.settled()
    return [sequence(item) async for item in arrived(stream)]


async def test_a_reconnecting_reader_gets_what_he_missed_and_then_what_happens(stage: Stage) -> None:
    """R157: all later events, in order, none twice, before the live ones; more of them than one reading holds."""
    ticket = await stage.world.live_ticket()
    watched = {"ticketId": ticket_id(ticket)}
    async with stage.hearing(stage.world.admin, "TicketActivity", **watched) as stream:
        await stage.burst(ticket, 5)
        seen = [await stream.next() for _ in range(3)]  # the other two are lost with the connection
    await stage.burst(ticket, 210)
    async with stage.hearing(stage.world.admin, "TicketActivity", **watched, after=seen[-1]["cursor"]) as stream:
        await stage.burst(ticket, 5)
        heard = await drained(stage, stream)
    assert faults(await sequences(ticket, after=3), [*map(sequence, seen), *heard]) == {}


async def test_every_cursor_of_a_stream_resumes_right_behind_its_item(stage: Stage) -> None:
    """R157: wherever the connection broke; what a reader may not see moves his cursor along all the same."""
    world = stage.world
    ticket, other = await world.live_ticket(), await world.live_ticket()
    start = await stage.cursor()
    for _ in range(3):
        await world.comment(ticket, world.admin)
        await world.comment(other, world.admin)
    watched = {"ticketId": ticket_id(ticket)}
    async with stage.hearing(world.admin, "TicketActivity", **watched, after=start) as stream:
        items = await stream.take(3)
    for count, item in enumerate(items, start=1):
        async with stage.hearing(world.admin, "TicketActivity", **watched, after=item["cursor"]) as stream:
            assert await drained(stage, stream) == [sequence(later) for later in items[count:]]


async def test_what_happens_between_snapshot_and_stream_is_included(stage: Stage) -> None:
    """R159: the cursor of a list and its stream join without a gap."""
    world = stage.world
    client = await stage.client(world.admin)
    ticket = await world.live_ticket()
    page = (await client.send("TicketList", first=1))["tickets"]
    await world.end(ticket, world.admin, closing_message="Good bye")
    new = await world.live_ticket()
    async with (
        stage.hearing(world.admin, "SessionEnded", after=page["syncCursor"]) as ended,
        stage.hearing(world.admin, "TicketCreated", after=page["syncCursor"]) as created,
        stage.hearing(world.admin, "Inbox", after=page["syncCursor"]) as inbox,
    ):
        assert (await ended.next())["ticket"]["id"] == ticket_id(ticket)
        assert (await created.next())["ticket"]["id"] == ticket_id(new)
        items = await inbox.take(5)
        assert [item["ticketId"] for item in items] == [ticket_id(ticket)] * 2 + [ticket_id(new)] * 3
        await stage.silent(ended, created, inbox)


async def test_an_access_change_with_many_rows_can_be_resumed_from_any_of_them(stage: Stage) -> None:
    """R157, R155: one event moves several rows; who has heard of the first still learns of the others."""
    from domain.people import set_groups
    from domain.transactions import Call
    from models import TicketAccess

    world = stage.world
    group = await world.group()
    agent = await world.agent(access=TicketAccess.GROUPS)
    tickets = {ticket_id(await world.live_ticket(group=group)) for _ in range(3)}
    async with stage.hearing(agent, "Inbox") as stream:
        await set_groups(Call(world.admin), agent.id or new_id(), frozenset({group.id}))
        items = await stream.take(3)
    assert {item["ticketId"] for item in items} == tickets
    for count, item in enumerate(items, start=1):
        async with stage.hearing(agent, "Inbox", after=item["cursor"]) as stream:
            again = await stream.take(0 if count == 3 else 3)
            await stage.silent(stream)
        assert {each["ticketId"] for each in items[:count] + again} == tickets


async def test_a_cursor_that_cannot_be_resumed_from_is_refused(stage: Stage, other_world: World) -> None:
    """R158: another account's, another epoch's, of the future: CURSOR_EXPIRED; tampered with: INVALID_CURSOR."""
    world, hub = stage.world, stage.hub
    ticket = await world.live_ticket()
    account = await Account.get(id=world.id)
    good = await stage.cursor()
    cursors = {
        await hub.sync_cursor(other_world.admin): "CURSOR_EXPIRED",
        hub.cursors.write(Position(world.id, new_id(), account.last_position)): "CURSOR_EXPIRED",
        hub.cursors.write(Position(world.id, account.epoch, account.last_position + 1)): "CURSOR_EXPIRED",
        good[:-1] + ("A" if good[-1] != "A" else "B"): "INVALID_CURSOR",
        good[:40] + ("A" if good[40] != "A" else "B") + good[41:]: "INVALID_CURSOR",
        good + "!": "INVALID_CURSOR",
        good[:10] + "\n" + good[10:]: "INVALID_CURSOR",
        good[:-4]: "INVALID_CURSOR",
        "😀": "INVALID_CURSOR",
        "none": "INVALID_CURSOR",
        "A" * 5_000: "INVALID_CURSOR",
    }
    operations: list[tuple[Actor, str]] = [
        (world.admin, "SessionEnded"),
        (world.admin, "TicketActivity"),
        (world.admin, "Inbox"),
        (await world.customer(), "MessageReceived"),
    ]
    for actor, operation in operations:
        client = await stage.client(actor)
        async with client.connected() as socket:
            for cursor, code in cursors.items():
                stream = await socket.subscribe(document(operation), {"ticketId": ticket_id(ticket), "after": cursor})
                (error,) = await refusal_of(stream)
                assert error["extensions"]["code"] == code, cursor
    assert stage.feeds() == 0


def document(operation: str) -> str:
    from tests.client import OPERATIONS

    return OPERATIONS[operation]


async def test_a_cursor_older_than_the_retention_is_refused(stage: Stage) -> None:
    """R158: too old, never an empty success. The snapshot's cursor is good again."""
    world = stage.world
    ticket = await world.live_ticket()
    start = await stage.cursor()
    await world.comment(ticket, world.admin)
    client = await stage.client(world.admin)

    async def code() -> str:
        async with client.listening("TicketActivity", ticketId=ticket_id(ticket), after=start) as stream:
            try:
                await stream.next()
            except Refused as refused:
                return str(refused.code)
        return "resumed"

    assert await code() == "resumed"
    days, stage.hub.cursors.retention = stage.hub.cursors.retention, timedelta(0)
    assert await code() == "CURSOR_EXPIRED"
    stage.hub.cursors.retention = days
    assert await code() == "resumed"
    page = (await client.send("TicketList", first=1))["tickets"]
    async with stage.hearing(
        world.admin, "TicketActivity", ticketId=ticket_id(ticket), after=page["syncCursor"]
    ) as stream:
        assert (await stage.burst(ticket, 1))[0] == sequence(await stream.next())


async def test_a_cursor_before_a_piece_that_the_log_lacks_is_refused(stage: Stage) -> None:
    """R158: what was cut off is no silent gap."""
    world = stage.world
    await world.live_ticket()
    start = await stage.cursor()
    await Account.filter(id=world.id).update(last_position=100)
    client = await stage.client(world.admin)
    async with client.listening("SessionEnded", after=start) as stream:
        assert (await refusal_of(stream))[0]["extensions"]["code"] == "CURSOR_EXPIRED"


async def test_joining_while_others_write_at_full_speed(stage: Stage) -> None:
    """R157, R159: no gap and no repeat where the log and the live stream meet, wherever that is. Twenty times."""
    world = stage.world
    tickets = [await world.live_ticket() for _ in range(4)]
    watched, dice = tickets[0], random.Random(5)
    client = await stage.client(world.admin)
    stop = asyncio.Event()

    async def write(ticket: Ticket) -> None:
        while not stop.is_set():
            await stage.burst(ticket, dice.randint(1, 4))
            await asyncio.sleep(dice.uniform(0, 0.03))

    async def join() -> tuple[list[int], list[int]]:
        """What was written since his cursor, and what he heard of it."""
        await asyncio.sleep(dice.uniform(0, 0.3))
        row = await Ticket.get(id=watched.id)
        cursor = await stage.cursor()
        seen: list[int] = []
        for patience in (dice.randint(0, 5), dice.randint(1, 15)):  # once more in the middle of it
            async with client.listening("TicketActivity", ticketId=ticket_id(watched), after=cursor) as stream:
                for _ in range(patience):
                    item = await stream.next()
                    seen.append(sequence(item))
                    cursor = item["cursor"]
        # His cursor may be ahead of the row, which was read before it.
        written = await sequences(watched, after=max(row.last_sequence, (seen[0] if seen else 1) - 1))
        return written[: len(seen)], seen

    writers = [asyncio.create_task(write(ticket)) for ticket in (*tickets, watched)]
    try:
        joined = await asyncio.gather(*(join() for _ in range(20)))
    finally:
        stop.set()
        await asyncio.gather(*writers)
    for written, seen in joined:
        assert faults(written, seen) == {}
