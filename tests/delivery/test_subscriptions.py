"""Rules 3.13, and what other sections promise to whoever listens: every subscription of the contract."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any
from uuid import UUID, uuid4

import pytest

from domain.actors import Actor, load_actor
from domain.people import deactivate, set_groups, set_organizations, set_role
from domain.settings import update_messaging_settings
from domain.tickets import update_ticket
from domain.transactions import Call, Transaction, unit_of_work
from models import (
    Channel,
    Event,
    EventType,
    FirstResponder,
    Group,
    MessagingSession,
    Permission,
    Ticket,
    TicketAccess,
    TicketCreation,
    TicketStatus,
)
from schema.ids import decode_any, encode_id
from subscriptions.topics import Activity
from tests.client import Closed, Refused, Stream
from tests.delivery.stage import READ, SIGNALS, TYPE, Stage, changes, refusal_of, ticket_id, types, user_id
from tests.factories import AGENT, World

ALL_STREAMS = ("SessionEnded", "TicketCreated", "Inbox")


async def everything_happens(stage: Stage) -> Ticket:
    """A busy quarter of an hour in the account: something of every kind of event."""
    world, admin = stage.world, stage.world.admin
    ticket = await world.live_ticket()
    await world.comment(ticket, admin, "A note", Channel.INTERNAL_NOTE)
    await world.comment(ticket, admin, "An answer", Channel.MESSAGING)
    await update_ticket(Call(admin), ticket.id, {"status": TicketStatus.PENDING, "assignee_id": admin.id})
    await update_messaging_settings(Call(admin), {"remind_within_minutes": 7})
    await world.end(ticket, admin, closing_message="Good bye")
    return ticket


# The end of a session


async def test_an_end_is_told_exactly_once_to_each_subscription(stage: Stage) -> None:
    """R152, R162: one event for each subscription, complete, with the marks of the client that caused it."""
    world = stage.world
    agent, colleague = await world.agent("Alex"), await world.agent("Bea")
    ticket = await world.live_ticket(assignee=agent)
    async with AsyncExitStack() as stack:
        streams = [
            await stack.enter_async_context(stage.hearing(actor, "SessionEnded")) for actor in (agent, agent, colleague)
        ]
        payload = await stage.do(agent, "EndSession", ticketId=ticket_id(ticket), clientId="tab-1")
        again = await stage.do(colleague, "EndSession", ticketId=ticket_id(ticket), clientId="tab-2")
        items = [await stream.next() for stream in streams]
        await stage.silent(*streams)
    session = await MessagingSession.get(conversation_id=ticket.conversation_id)
    event = await Event.get(ticket_id=ticket.id, type=EventType.MESSAGING_SESSION_ENDED)
    assert (payload["outcome"], again["outcome"]) == ("ENDED", "ALREADY_ENDED")
    assert items == [
        {
            "cursor": stage.hub.cursors.write(stage.hub.cursors.read(items[0]["cursor"])),
            "clientId": "tab-1",
            "event": {
                "id": encode_id("TicketEvent", event.id),
                "type": "MESSAGING_SESSION_ENDED",
                "sequence": 4,
                "auditId": encode_id("Audit", event.audit_id),
                "occurredAt": event.occurred_at.isoformat(),
                "actor": {"kind": "AGENT", "id": user_id(agent), "name": "Alex"},
                "reason": "AGENT",
                "previousState": "ACTIVE",
                "routingOutcome": "NOT_TRACKED",
                "session": {"id": encode_id("MessagingSession", session.id), "state": "ENDED"},
            },
            "ticket": await stage.row(agent, ticket),
        }
    ] * len(items)
    assert stage.hub.cursors.read(items[0]["cursor"]).position == event.position


async def test_nothing_is_told_before_the_commit(stage: Stage) -> None:
    """R152: after commit; of what is rolled back nothing is told at all."""
    world, gate = stage.world, asyncio.Event()
    ticket = await world.live_ticket()

    async def change(fails: bool) -> None:
        async def work(tx: Transaction) -> None:
            row = await Ticket.filter(id=ticket.id).select_for_update().get()
            tx.follow(row)
            tx.record(EventType.MACRO_APPLIED, ticket=row, macro="", title="")
            await tx.store()
            await gate.wait()
            tx._events.clear()
            if fails:
                raise ZeroDivisionError

        await unit_of_work(Call(world.system), work)
        stage.hub.announce(world.id, 10**6)

    async with stage.hearing(world.admin, "TicketActivity", ticketId=ticket_id(ticket)) as stream:
        for fails in (True, False):
            gate.clear()
            changing = asyncio.create_task(change(fails))
            await stream.nothing(0.25)
            gate.set()
            await asyncio.gather(changing, return_exceptions=True)
        assert types([await stream.next()]) == [("MACRO_APPLIED", 4)]
        await stage.silent(stream)


async def test_a_message_before_the_end_is_told_before_it(stage: Stage) -> None:
    """R125, R66: a closing message comes first, under one audit; with the end, the composer falls back to notes."""
    world = stage.world
    agent = await world.agent()
    ticket = await world.live_ticket(assignee=agent)
    before = await stage.composer(agent, ticket)
    async with stage.hearing(agent, "TicketActivity", ticketId=ticket_id(ticket)) as stream:
        await world.message(await actor_of(world, ticket.requester_id), "One more thing")
        await stage.do(agent, "EndSession", ticketId=ticket_id(ticket), closingMessage="Good bye")
        items = await stream.take(3)
        await stage.silent(stream)
    assert types(items) == [
        ("TICKET_COMMENT_ADDED", 4),
        ("TICKET_COMMENT_ADDED", 5),
        ("MESSAGING_SESSION_ENDED", 6),
    ]
    assert [item["event"]["comment"]["body"] for item in items[:2]] == ["One more thing", "Good bye"]
    assert items[1]["event"]["auditId"] == items[2]["event"]["auditId"] != items[0]["event"]["auditId"]
    assert (before["defaultChannel"], before["actions"]) == ("MESSAGING", ["END_SESSION"])
    assert items[2]["ticket"]["composer"] == {
        "defaultChannel": "INTERNAL_NOTE",
        "actions": [],
        "channels": [
            {"channel": "MESSAGING", "enabled": False, "reason": "SESSION_ENDED"},
            {"channel": "EMAIL", "enabled": True, "reason": None},
            {"channel": "INTERNAL_NOTE", "enabled": True, "reason": None},
        ],
    }


async def actor_of(world: World, user: UUID) -> Actor:
    actor = await load_actor(world.id, user)
    assert actor is not None
    return actor


# Tickets


async def test_a_new_ticket_is_told_once(stage: Stage) -> None:
    """A ticket is created by the first message of a session, not by the second."""
    world = stage.world
    customer = await world.customer("Cleo")
    client = await stage.client(customer)
    async with stage.hearing(world.admin, "TicketCreated") as stream:
        await client.do("SendMessage", body="Hello", clientId="widget-1")
        item = await stream.next()
        (ticket,) = await Ticket.all()
        assert item == {
            "cursor": item["cursor"],
            "clientId": "widget-1",
            "ticket": await stage.row(world.admin, ticket),
        }
        assert item["ticket"]["subject"] == "Hello"
        await client.do("SendMessage", body="Anybody there?")
        await stage.silent(stream)


async def test_an_activity_stream_tells_everything_of_its_ticket_and_nothing_else(stage: Stage) -> None:
    """R162, R125: every event of the ticket, in the order of its sequence, and none of another's."""
    world = stage.world
    agent = await world.agent("Alex")
    ticket, other = await world.live_ticket(), await world.live_ticket()
    mine = {"ticketId": ticket_id(ticket), "clientId": "tab-1"}
    async with stage.hearing(agent, "TicketActivity", ticketId=ticket_id(ticket)) as stream:
        await stage.do(agent, "PostComment", **mine, body="A note", channel="INTERNAL_NOTE")
        await world.comment(other, agent, "elsewhere")
        await stage.do(agent, "UpdateTicket", **mine, status="PENDING", assigneeId=user_id(agent))
        await world.message(await actor_of(world, ticket.requester_id), "Back again")
        items = await stream.take(7)
        await stage.silent(stream)
    assert types(items) == [
        ("TICKET_COMMENT_ADDED", 4),
        ("TICKET_FIELD_CHANGED", 5),
        ("TICKET_FIELD_CHANGED", 6),
        ("MESSAGING_SESSION_STATE_CHANGED", 7),
        ("MESSAGING_SESSION_STATE_CHANGED", 8),
        ("TICKET_COMMENT_ADDED", 9),
        ("TICKET_FIELD_CHANGED", 10),
    ]
    assert [item["clientId"] for item in items] == ["tab-1"] * 4 + [None] * 3
    assert {key: items[1]["event"][key] for key in ("field", "from", "to")} == {
        "field": "status",
        "from": "NEW",
        "to": "PENDING",
    }
    assert items[2]["event"]["to"] == user_id(agent)
    assert items[0]["event"]["comment"]["visibility"] == "INTERNAL"
    last = dict(items[-1]["ticket"])
    assert last.pop("composer") == await stage.composer(agent, ticket)
    assert last == await stage.row(agent, ticket)


async def test_an_inbox_tells_what_enters_changes_and_leaves(stage: Stage) -> None:
    """R162, R154: rows in and out of a view; who loses one learns nothing but that."""
    world = stage.world
    agent, customer = await world.agent("Alex"), await world.customer()
    async with stage.hearing(agent, "Inbox", filter={"statuses": ["NEW", "OPEN"]}) as stream:
        ticket = await world.message(customer)
        assert changes(await stream.take(3)) == [("ADDED", ticket_id(ticket))] * 3
        await stage.do(agent, "PostComment", ticketId=ticket_id(ticket), body="!", channel="MESSAGING", clientId="me")
        changed = await stream.next()
        assert changed == {
            "cursor": changed["cursor"],
            "clientId": "me",
            "change": "UPDATED",
            "ticketId": ticket_id(ticket),
            "ticket": await stage.row(agent, ticket),
        }
        await stage.do(agent, "UpdateTicket", ticketId=ticket_id(ticket), status="SOLVED", clientId="me")
        # Once, although the status changed and the session became inactive with it.
        removed = await stream.next()
        assert removed == {
            "cursor": removed["cursor"],
            "clientId": "me",
            "change": "REMOVED",
            "ticketId": ticket_id(ticket),
            "ticket": None,
        }
        await world.comment(ticket, agent, "of a ticket outside of the view")
        await stage.silent(stream)
        await world.message(customer, "It is still broken")
        back = await stream.take(3)
        assert changes(back) == [("ADDED", ticket_id(ticket))] * 3
        assert back[-1]["ticket"]["status"] == "OPEN"


async def test_views_by_assignee_group_and_session(stage: Stage) -> None:
    """The other conditions of a view, each crossed in both directions."""
    world = stage.world
    agent, group = await world.agent("Alex"), await world.group()
    ticket = await world.live_ticket()
    filters: list[dict[str, Any]] = [
        {"unassigned": True},
        {"assigneeId": user_id(agent)},
        {"groupId": encode_id("Group", group.id)},
        {"sessionStates": ["ACTIVE"]},
    ]
    async with AsyncExitStack() as stack:
        streams = [await stack.enter_async_context(stage.hearing(agent, "Inbox", filter=each)) for each in filters]
        await stage.do(
            agent, "UpdateTicket", ticketId=ticket_id(ticket), assigneeId=user_id(agent), groupId=group_id(group)
        )
        # Three fields changed: with an assignee a ticket is no longer new.
        counts = (1, 3, 3, 3)
        heard = [[change for change, _ in changes(await s.take(n))] for s, n in zip(streams, counts, strict=True)]
        assert heard == [["REMOVED"], ["ADDED"] * 3, ["ADDED"] * 3, ["UPDATED"] * 3]
        await world.end(ticket, agent)
        ends = [[change for change, _ in changes(await stream.take(1))] for stream in streams[1:]]
        assert ends == [["UPDATED"], ["UPDATED"], ["REMOVED"]]
        await world.comment(ticket, agent)
        assert [(await stream.next())["change"] for stream in streams[1:3]] == ["UPDATED"] * 2
        await stage.silent(streams[0])
        await stage.silent(streams[3])


def group_id(group: Group) -> str:
    return encode_id("Group", group.id)


async def test_a_conversation_without_a_ticket_disturbs_no_inbox(stage: Stage) -> None:
    """R42: what a bot has alone is nobody's row yet; the stream goes on."""
    world = stage.world
    await world.settings(first_responder=FirstResponder.BOT, ticket_creation=TicketCreation.AT_HANDOFF)
    ticket = await world.email_ticket()
    async with stage.hearing(world.admin, "Inbox") as stream:
        client = await stage.client(await world.customer())
        await client.do("SendMessage", body="Hello, bot")
        await stage.silent(stream)
        await world.comment(ticket, world.admin)
        assert changes([await stream.next()]) == [("UPDATED", ticket_id(ticket))]


# Who may hear


async def test_a_ticket_without_access_looks_like_a_missing_one(stage: Stage, other_world: World) -> None:
    """R153, R31: not his group's, another account's, none at all: one answer, even to who is copied in."""
    world = stage.world
    agent = await world.agent(access=TicketAccess.GROUPS, groups=(await world.group(),))
    ticket = await world.live_ticket(cc_ids=[str(agent.id)], follower_ids=[str(agent.id)])
    foreign = await other_world.live_ticket()
    client = await stage.client(agent)
    answers = []
    for identifier in (ticket_id(ticket), ticket_id(foreign), encode_id("Ticket", uuid4())):
        for operation in ("TicketActivity", SIGNALS):
            async with client.listening(operation, ticketId=identifier) as stream:
                answers.append((operation, [strip(error) for error in await refusal_of(stream)]))
                await world.comment(ticket, world.admin)
                await stage.silent(stream)
    for operation in ("TicketActivity", SIGNALS):
        of_operation = [errors for name, errors in answers if name == operation]
        assert of_operation == [of_operation[0]] * 3
        assert [error["code"] for error in of_operation[0]] == ["NOT_FOUND"]
    assert stage.listeners() == 0


def strip(error: dict[str, Any]) -> dict[str, Any]:
    return {"code": error["extensions"]["code"], "message": error["message"], "path": error.get("path")}


async def test_streams_are_for_one_side_only(stage: Stage) -> None:
    """R53: a customer gets no stream of the workspace, an agent none of the widget."""
    world = stage.world
    ticket = await world.live_ticket()
    customer = await stage.client(await world.customer())
    for operation in (*ALL_STREAMS, "TicketActivity"):
        async with customer.listening(operation, ticketId=ticket_id(ticket)) as stream:
            assert (await refusal_of(stream))[0]["extensions"]["code"] == "FORBIDDEN"
    admin = await stage.client(world.admin)
    async with admin.listening("MessageReceived") as stream:
        assert (await refusal_of(stream))[0]["extensions"]["code"] == "FORBIDDEN"


async def test_nobody_hears_of_tickets_that_he_does_not_reach(stage: Stage, other_world: World) -> None:
    """R31, R16: not the agent who is copied in, and nobody of another account."""
    world = stage.world
    outsider = await world.agent("Otto", access=TicketAccess.GROUPS, groups=(await world.group(),))
    stranger = await other_world.agent("Sam")
    async with AsyncExitStack() as stack:
        streams = [
            await stack.enter_async_context(stage.hearing(actor, operation))
            for actor in (outsider, stranger)
            for operation in ALL_STREAMS
        ]
        ticket = await everything_happens(stage)
        await Ticket.filter(id=ticket.id).update(cc_ids=[str(outsider.id)], follower_ids=[str(outsider.id)])
        await world.comment(ticket, world.admin, f"@{outsider.id}")
        await stage.silent(*streams)


def id_of(actor: Actor) -> UUID:
    assert actor.id is not None
    return actor.id


Loss = Callable[[Stage, Actor, Ticket], Awaitable[object]]


async def loses_group(stage: Stage, agent: Actor, ticket: Ticket) -> None:
    await set_groups(Call(stage.world.admin), id_of(agent), frozenset())


async def loses_role(stage: Stage, agent: Actor, ticket: Ticket) -> None:
    role = await stage.world.role(TicketAccess.ORGANIZATIONS)
    await set_role(Call(stage.world.admin), id_of(agent), role.id)


async def loses_organization(stage: Stage, agent: Actor, ticket: Ticket) -> None:
    await set_organizations(Call(stage.world.admin), id_of(agent), frozenset())


async def loses_assignment(stage: Stage, agent: Actor, ticket: Ticket) -> None:
    await update_ticket(Call(stage.world.admin), ticket.id, {"assignee_id": stage.world.admin.id})


async def moves_the_ticket(stage: Stage, agent: Actor, ticket: Ticket) -> None:
    elsewhere = await stage.world.group("Elsewhere")
    await update_ticket(Call(stage.world.admin), ticket.id, {"group_id": elsewhere.id})


LOSSES: list[tuple[TicketAccess, Loss]] = [
    (TicketAccess.GROUPS, loses_group),
    (TicketAccess.GROUPS, loses_role),
    (TicketAccess.GROUPS, moves_the_ticket),
    (TicketAccess.ORGANIZATIONS, loses_organization),
    (TicketAccess.ASSIGNED, loses_assignment),
]


async def agent_of(stage: Stage, access: TicketAccess) -> tuple[Actor, Ticket]:
    """An agent who reaches a ticket by this access alone, and the ticket."""
    world = stage.world
    group, organization = await world.group(), await world.organization()
    groups = (group,) if access is TicketAccess.GROUPS else ()
    organizations = (organization,) if access is TicketAccess.ORGANIZATIONS else ()
    agent = await world.agent("Alex", access=access, groups=groups, organizations=organizations)
    customer = await world.customer(organization=organization)
    return agent, await world.live_ticket(customer=customer, group=group, assignee=agent)


@pytest.mark.parametrize(("access", "lose"), LOSSES, ids=[lose.__name__ for _, lose in LOSSES])
async def test_lost_access_ends_the_stream_of_a_ticket(stage: Stage, access: TicketAccess, lose: Loss) -> None:
    """R154: one ACCESS_REVOKED without content, then nothing. In a list: the row is removed, and that once."""
    world = stage.world
    agent, ticket = await agent_of(stage, access)
    async with (
        stage.hearing(agent, "TicketActivity", ticketId=ticket_id(ticket)) as activity,
        stage.hearing(agent, "Inbox") as inbox,
        stage.hearing(agent, "SessionEnded") as ends,
    ):
        await world.comment(ticket, world.admin, "before")
        assert (await activity.next())["event"]["comment"]["body"] == "before"
        assert changes([await inbox.next()]) == [("UPDATED", ticket_id(ticket))]
        await lose(stage, agent, ticket)
        removed = await inbox.next()
        assert (removed["change"], removed["ticketId"], removed["ticket"]) == ("REMOVED", ticket_id(ticket), None)
        for body in ("secret", "and more"):
            await world.comment(ticket, world.admin, body)
        await world.end(ticket, world.admin)
        (error,) = await refusal_of(activity)
        assert strip(error) == {"code": "ACCESS_REVOKED", "message": "You no longer have access.", "path": None}
        await stage.silent(activity, inbox, ends)


async def test_a_deactivated_agent_hears_nothing_more(stage: Stage) -> None:
    """R154, R156: his streams end with ACCESS_REVOKED, or his sockets before them with 4403."""
    world = stage.world
    agent, ticket = await agent_of(stage, TicketAccess.ALL)
    async with (
        stage.hearing(agent, "TicketActivity", ticketId=ticket_id(ticket)) as activity,
        stage.hearing(agent, "Inbox") as inbox,
    ):
        await deactivate(Call(world.admin), id_of(agent))
        await world.comment(ticket, world.admin, "secret")
        for stream in (activity, inbox):
            assert await last_words(stream) in ([4403], ["ACCESS_REVOKED", 4403])


async def last_words(stream: Stream) -> list[Any]:
    """The codes with which a stream and its socket end. Nothing else may come."""
    codes: list[Any] = []
    while True:
        try:
            raise AssertionError(f"unexpected: {await stream.next()}")
        except Refused as refused:
            codes.append(refused.code)
        except Closed as closed:
            return [*codes, closed.code]


async def test_gained_access_adds_the_rows(stage: Stage) -> None:
    """R155: by group, organisation, role, assignment and a ticket that moves in."""
    world = stage.world
    group, organization = await world.group(), await world.organization()
    agent = await world.agent("Alex", access=TicketAccess.GROUPS)
    admin = Call(world.admin)
    first = await world.live_ticket(group=group)
    second = await world.live_ticket(customer=await world.customer(organization=organization))
    third = await world.live_ticket()
    async with stage.hearing(agent, "Inbox") as stream:
        await set_groups(admin, id_of(agent), frozenset({group.id}))
        item = await stream.next()
        assert (item["change"], item["ticket"]) == ("ADDED", await stage.row(agent, first))
        await update_ticket(admin, third.id, {"group_id": group.id})
        assert changes([await stream.next()]) == [("ADDED", ticket_id(third))]
        await set_organizations(admin, id_of(agent), frozenset({organization.id}))
        await stage.settled()  # of two changes that are met as one, each tells of all that they moved
        await set_role(admin, id_of(agent), (await world.role(TicketAccess.ORGANIZATIONS)).id)
        assert changes(await stream.take(3)) == [
            ("ADDED", ticket_id(second)),
            ("REMOVED", ticket_id(first)),
            ("REMOVED", ticket_id(third)),
        ]
        await set_role(admin, id_of(agent), (await world.role(TicketAccess.ASSIGNED)).id)
        assert changes([await stream.next()]) == [("REMOVED", ticket_id(second))]
        await update_ticket(admin, first.id, {"assignee_id": agent.id})
        # The assignee, and the status that follows from it.
        assert changes(await stream.take(2)) == [("ADDED", ticket_id(first))] * 2
        await stage.silent(stream)


async def test_a_changed_role_changes_what_the_stream_shows(stage: Stage) -> None:
    """R154, R24, R72: an event shows the composer, and the links, of the actor as he is, not as he connected."""
    world = stage.world
    group = await world.group()
    agent = await world.agent("Alex")
    customer = await world.customer()
    old = await world.live_ticket(customer=customer, group=group)
    await world.end(old, world.admin)
    new = await world.live_ticket(customer=customer)
    await set_groups(Call(world.admin), id_of(agent), frozenset({group.id}))
    linked = """
        subscription ($ticketId: ID!) {
          ticketActivity(ticketId: $ticketId) { ticket { continuedBy { subject } composer { actions defaultChannel } } }
        }
    """
    async with stage.hearing(agent, linked, ticketId=ticket_id(old)) as stream:
        await world.comment(old, world.admin)
        assert (await stream.next())["ticket"]["continuedBy"] == {"subject": new.subject}
        role = await world.role(TicketAccess.GROUPS, AGENT - {Permission.INTERNAL_NOTES, Permission.PUBLIC_COMMENTS})
        await set_role(Call(world.admin), id_of(agent), role.id)
        # The change itself is told: it changed what his composer offers.
        assert await stream.next() == {"ticket": {"continuedBy": None, "composer": NOTHING}}
        await world.comment(old, world.admin)
        assert await stream.next() == {"ticket": {"continuedBy": None, "composer": NOTHING}}


NOTHING: dict[str, Any] = {"actions": [], "defaultChannel": None}


async def test_access_lost_while_a_stream_begins_is_noticed(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """R154: a loss between reading who he is and joining the log is not skipped."""
    world = stage.world
    agent, ticket = await agent_of(stage, TicketAccess.GROUPS)
    client = await stage.client(agent)
    check = Activity.check

    async def check_and_lose(topic: Activity, actor: Actor) -> None:
        await check(topic, actor)
        await loses_group(stage, agent, ticket)

    monkeypatch.setattr("subscriptions.topics.Activity.check", check_and_lose)
    async with client.listening("TicketActivity", ticketId=ticket_id(ticket)) as stream:
        assert (await refusal_of(stream))[0]["extensions"]["code"] == "ACCESS_REVOKED"
        await world.comment(ticket, world.admin, "secret")
        await stage.silent(stream)


# Settings


async def test_switching_the_end_off_reaches_every_composer(stage: Stage, other_world: World) -> None:
    """R12, R16: every subscribed composer loses END_SESSION, no session changes, no other account notices."""
    world = stage.world
    agent, colleague = await world.agent("Alex"), await world.agent("Bea")
    tickets = [await world.live_ticket() for _ in range(2)]
    ended = await world.ended_ticket()
    foreign, stranger = await other_world.live_ticket(), await other_world.agent()
    async with AsyncExitStack() as stack:
        streams = [
            await stack.enter_async_context(stage.hearing(actor, "TicketActivity", ticketId=ticket_id(ticket)))
            for actor in (agent, colleague)
            for ticket in tickets
        ]
        elsewhere = await stack.enter_async_context(
            stage.hearing(stranger, "TicketActivity", ticketId=ticket_id(foreign))
        )
        assert (await stage.composer(agent, tickets[0]))["actions"] == ["END_SESSION"]
        before = await MessagingSession.all().order_by("id").values()
        for wanted, actions in ((False, []), (True, ["END_SESSION"])):
            await stage.do(world.admin, "UpdateMessagingSettings", agentsCanEndSessions=wanted)
            for stream in streams:
                item = await stream.next()
                assert types([item]) == [("MESSAGING_SETTINGS_CHANGED", None)]
                assert item["event"]["actor"]["name"] == "Ada Admin"
                assert item["ticket"]["composer"]["actions"] == actions
                assert item["ticket"]["composer"]["defaultChannel"] == "MESSAGING"
                await stage.silent(stream)
        await stage.silent(elsewhere)
        assert await MessagingSession.all().order_by("id").values() == before
        assert (await stage.composer(agent, ended))["actions"] == []
        assert (await stage.composer(stranger, foreign))["actions"] == ["END_SESSION"]


# The customer's side


async def test_the_customer_hears_messages_and_nothing_else(stage: Stage) -> None:
    """R53, R108, R109: nothing caused by an end, a note, an e-mail or a setting, until somebody writes to him."""
    world = stage.world
    agent, customer, other = await world.agent("Alex"), await world.customer("Cleo"), await world.customer("Otto")
    ticket = await world.live_ticket(customer=customer)
    async with (
        stage.hearing(customer, "MessageReceived") as stream,
        stage.hearing(other, "MessageReceived") as elsewhere,
    ):
        answer = await stage.do(agent, "PostComment", ticketId=ticket_id(ticket), body="An answer", channel="MESSAGING")
        item = await stream.next()
        assert item == {
            "cursor": item["cursor"],
            "conversation": {"id": encode_id("Conversation", ticket.conversation_id)},
            "message": {
                "id": encode_id("Message", decode_any(answer["comment"]["id"])[1]),
                "clientMessageId": None,
                "body": "An answer",
                "sentAt": answer["comment"]["createdAt"],
                "author": {"kind": "AGENT", "name": "Alex"},
            },
            "survey": None,
        }
        await world.comment(ticket, agent, "A note", Channel.INTERNAL_NOTE)
        await world.comment(ticket, agent, "An e-mail", Channel.EMAIL)
        await update_ticket(Call(agent), ticket.id, {"status": TicketStatus.SOLVED, "assignee_id": agent.id})
        await update_messaging_settings(Call(world.admin), {"agents_can_collaborate": False})
        await world.end(ticket, agent)
        await stage.silent(stream)
        client = await stage.client(customer)
        sent = await client.do("SendMessage", body="Still broken", clientMessageId="m1")
        own = await stream.next()
        assert own["conversation"] == sent["conversation"] != {"id": encode_id("Conversation", ticket.conversation_id)}
        assert own["message"] == sent["message"] | {"author": {"kind": "END_USER", "name": "Cleo"}}
        new = await Ticket.get(continuation_of_id=ticket.id)
        await world.end(new, agent, closing_message="Good bye")
        assert (await stream.next())["message"]["body"] == "Good bye"
        await stage.silent(stream)
        await stage.silent(elsewhere)


async def test_typing_ends_with_the_session(stage: Stage) -> None:
    """R62: delivered to the other side while the session lives, dropped from either side afterwards."""
    world = stage.world
    agent, customer = await world.agent(), await world.customer()
    ticket = await world.live_ticket(customer=customer)
    there = {"ticketId": ticket_id(ticket)}
    here = {"conversationId": encode_id("Conversation", ticket.conversation_id)}
    async with (
        stage.hearing(agent, SIGNALS, **there) as workspace,
        stage.hearing(customer, SIGNALS, **here) as widget,
    ):
        assert (await stage.do(agent, TYPE, **there))["delivered"]
        assert (await stage.do(customer, TYPE, **here))["delivered"]
        assert await widget.next() == {"kind": "TYPING", "side": "AGENT"}
        assert await workspace.next() == {"kind": "TYPING", "side": "END_USER"}
        await world.end(ticket, agent)
        assert not (await stage.do(agent, TYPE, **there))["delivered"]
        assert not (await stage.do(customer, TYPE, **here))["delivered"]
        await workspace.nothing(0.2)  # nor do they hear themselves
        await widget.nothing(0.1)


async def test_reading_after_the_end_changes_nothing(stage: Stage) -> None:
    """R63: a read mark after the end is passed on as a signal, and changes neither session nor ticket."""
    world = stage.world
    agent, customer = await world.agent(), await world.customer()
    ticket = await world.live_ticket(customer=customer)
    comment = await world.comment(ticket, agent, "An answer", Channel.MESSAGING)
    await world.end(ticket, agent)
    before = (await Ticket.get(id=ticket.id).values(), await MessagingSession.all().values(), await world.positions())
    here = {"conversationId": encode_id("Conversation", ticket.conversation_id)}
    async with (
        stage.hearing(agent, SIGNALS, ticketId=ticket_id(ticket)) as workspace,
        stage.hearing(customer, SIGNALS, **here) as widget,
        stage.hearing(agent, "TicketActivity", ticketId=ticket_id(ticket)) as activity,
    ):
        await stage.do(customer, READ, messageId=encode_id("Message", comment))
        assert await workspace.next() == {"kind": "READ", "side": "END_USER"}
        await stage.do(agent, READ, messageId=encode_id("Comment", comment))
        assert await widget.next() == {"kind": "READ", "side": "AGENT"}
        await stage.silent(activity)
    after = (await Ticket.get(id=ticket.id).values(), await MessagingSession.all().values(), await world.positions())
    assert after == before


async def test_that_a_note_was_read_is_nothing_to_the_customer(stage: Stage) -> None:
    """R53, R63: neither the note nor the mark on it reaches the widget."""
    world = stage.world
    agent, customer = await world.agent(), await world.customer()
    ticket = await world.live_ticket(customer=customer)
    note = await world.comment(ticket, world.admin, "Between us")
    async with stage.hearing(
        customer, SIGNALS, conversationId=encode_id("Conversation", ticket.conversation_id)
    ) as widget:
        assert (await stage.do(agent, READ, messageId=encode_id("Comment", note)))["marked"]
        await widget.nothing(0.3)


async def test_signals_stay_in_their_conversation(stage: Stage) -> None:
    """R31, R16, R154: who lost the ticket, and who has another conversation, hears no signal."""
    world = stage.world
    agent, ticket = await agent_of(stage, TicketAccess.GROUPS)
    customer = await actor_of(world, ticket.requester_id)
    other = await world.live_ticket()
    here = {"conversationId": encode_id("Conversation", ticket.conversation_id)}
    async with (
        stage.hearing(agent, SIGNALS, ticketId=ticket_id(ticket)) as lost,
        stage.hearing(world.admin, SIGNALS, ticketId=ticket_id(other)) as elsewhere,
    ):
        await loses_group(stage, agent, ticket)
        await stage.do(customer, TYPE, **here)
        assert (await refusal_of(lost))[0]["extensions"]["code"] == "NOT_FOUND"
        await elsewhere.nothing(0.1)
