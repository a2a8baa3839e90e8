"""What the agent workspace reads, by the operations of the contract as they stand, with everything that they answer.

What it changes is in test_changing_operations.py; the admin console, the widget and partners in
test_other_operations.py.
"""

from __future__ import annotations

from typing import Any

import pytest
from graphql import OperationDefinitionNode, OperationType, parse

from models import (
    Comment,
    Permission,
    Ticket,
    TicketAccess,
    TicketStatus,
)
from tests.api import test_automation_operations, test_changing_operations, test_other_operations
from tests.api.covered import (
    COVERED,
    all_events,
    closed_ticket,
    covers,
    moment,
    ticket_row,
    user_id,
)
from tests.api.stage import gid
from tests.client import OPERATIONS, Client
from tests.conftest import SignIn
from tests.factories import AGENT, LIGHT, World


def _kind(text: str) -> OperationType:
    (node,) = [each for each in parse(text).definitions if isinstance(each, OperationDefinitionNode)]
    return node.operation


def test_every_operation_of_the_contract_is_tested() -> None:
    """An operation that an application sends and no test executes is a promise that nobody keeps."""
    assert test_automation_operations.__doc__
    assert test_changing_operations.__doc__
    assert test_other_operations.__doc__
    assert {name for name, text in OPERATIONS.items() if _kind(text) is not OperationType.SUBSCRIPTION} == COVERED


@covers("Viewer")
async def test_the_viewer_is_who_asks(world: World, sign_in: SignIn) -> None:
    """Design §7: each kind of caller learns who he is and what he may."""
    agent, customer = await world.agent(), await world.customer(email=False)
    account = {"id": gid("Account", world.id), "name": "Acme"}
    seen = [(await (await sign_in(actor)).send("Viewer"))["viewer"] for actor in (agent, world.admin, customer)]
    assert seen[0].pop("user")["role"] == "AGENT"
    assert seen[1].pop("user") == {
        "id": user_id(world.admin),
        "name": "Ada Admin",
        "email": "ada@acme.example",
        "role": "ADMIN",
    }
    assert seen[2].pop("user") == {
        "id": user_id(customer),
        "name": "Cleo Customer",
        "email": None,
        "role": "END_USER",
    }
    permissions: list[list[str]] = [sorted(AGENT), sorted(Permission), []]
    chats = {"channel": "MESSAGING", "workItemCount": 0, "maxCapacity": None}
    offline = {"status": "OFFLINE", "channels": [chats]}
    assert seen == [
        {"account": account, "permissions": each, "availability": availability}
        for each, availability in zip(permissions, [offline, offline, None], strict=True)
    ]


def numbers(page: dict[str, Any]) -> list[int]:
    return [edge["node"]["number"] for edge in page["edges"]]


@covers("TicketList")
async def test_a_list_holds_exactly_the_tickets_of_its_filter(world: World, sign_in: SignIn) -> None:
    """Design §4: filters hold together; the total counts what the filter holds; the latest change comes first."""
    agent, group, customer = await world.agent(), await world.group(), await world.customer()
    first = await world.live_ticket(customer=customer, assignee=agent, group=group, status=TicketStatus.OPEN)
    second = await world.ended_ticket(status=TicketStatus.PENDING)
    third = await world.email_ticket(customer)
    client = await sign_in(agent)
    filters: list[tuple[dict[str, Any] | None, list[int]]] = [
        (None, [3, 2, 1]),
        ({}, [3, 2, 1]),
        ({"statuses": ["OPEN", "PENDING"]}, [2, 1]),
        ({"statuses": []}, []),
        ({"assigneeId": user_id(agent)}, [1]),
        ({"unassigned": True}, [3, 2]),
        ({"unassigned": False}, [1]),
        ({"groupId": gid("Group", group.id)}, [1]),
        ({"requesterId": user_id(customer)}, [3, 1]),
        ({"channel": "EMAIL"}, [3]),
        ({"sessionStates": ["ENDED"]}, [2]),
        ({"sessionStates": ["ACTIVE", "ENDED"]}, [2, 1]),
        ({"requesterId": user_id(customer), "sessionStates": ["ACTIVE"], "statuses": ["OPEN"]}, [1]),
        ({"requesterId": user_id(customer), "unassigned": True, "channel": "MESSAGING"}, []),
    ]
    for filter, expected in filters:
        page = (await client.send("TicketList", first=10, filter=filter))["tickets"]
        assert (numbers(page), page["totalCount"]) == (expected, len(expected)), filter
    page = (await client.send("TicketList", first=10))["tickets"]
    assert [edge["node"] for edge in page["edges"]] == [await ticket_row(each.id) for each in (third, second, first)]


@covers("TicketList")
@pytest.mark.parametrize("field", ["UPDATED_AT", "CREATED_AT", "NUMBER"])
async def test_paging_skips_and_repeats_nothing_while_tickets_arrive(field: str, world: World, sign_in: SignIn) -> None:
    """Design §5: a cursor names the last row seen; ties are broken by the id, in both directions."""
    client = await sign_in(world.admin)
    for _ in range(6):
        await world.live_ticket()
    same = (await Ticket.get(account_id=world.id, number=1)).created_at
    await Ticket.filter(account_id=world.id, number__lte=4).update(created_at=same, updated_at=same)
    for direction in ("ASC", "DESC"):
        before = await Ticket.filter(account_id=world.id).count()
        order = {"field": field, "direction": direction}
        found = await _paged(world, client, order)
        assert len(found) == len(set(found))
        assert set(found) >= set(range(1, before + 1))
        if direction == "DESC":
            assert set(found) == set(range(1, before + 1))
        if field == "NUMBER":
            assert found == sorted(found, reverse=direction == "DESC")


async def _paged(world: World, client: Client, order: dict[str, str]) -> list[int]:
    """The numbers of all pages of two; before each of the first three pages after the first a new ticket arrives."""
    found: list[int] = []
    after: str | None = None
    for turn in range(20):
        page = (await client.send("TicketList", first=2, after=after, orderBy=order))["tickets"]
        found += numbers(page)
        assert page["totalCount"] == await Ticket.filter(account_id=world.id).count()
        assert page["pageInfo"]["endCursor"] == page["edges"][-1]["cursor"]
        after = page["pageInfo"]["endCursor"]
        if not page["pageInfo"]["hasNextPage"]:
            return found
        if turn < 3:
            await world.live_ticket()
    raise AssertionError("paging does not end")


@covers("TicketList")
async def test_the_sync_cursor_joins_a_list_and_its_stream(world: World, sign_in: SignIn) -> None:
    """R159: what happens after the list was read is delivered to who subscribes with its syncCursor, and no more."""
    await world.live_ticket()
    client = await sign_in(world.admin)
    cursor = (await client.send("TicketList", first=1))["tickets"]["syncCursor"]
    missed = await world.live_ticket()
    async with client.listening("TicketCreated", after=cursor) as stream:
        item = await stream.next()
        assert item["ticket"] == await ticket_row(missed.id)
        await stream.nothing()


@covers("TicketList")
async def test_a_list_holds_only_what_its_reader_may_see(world: World, sign_in: SignIn) -> None:
    """R17, R19: restricted agents page and count their own tickets."""
    group = await world.group()
    restricted = await world.agent("In groups", access=TicketAccess.GROUPS, groups=(group,))
    assigned = await world.agent("Assigned only", access=TicketAccess.ASSIGNED)
    await world.live_ticket(group=group)
    await world.live_ticket(assignee=assigned)
    for _ in range(2):
        await world.live_ticket()
    for agent, expected in ((restricted, [1]), (assigned, [2])):
        page = (await (await sign_in(agent)).send("TicketList", first=1))["tickets"]
        assert (numbers(page), page["totalCount"], page["pageInfo"]["hasNextPage"]) == (expected, 1, False)


@covers("TicketView")
async def test_a_ticket_is_shown_with_its_thread_and_history(world: World, sign_in: SignIn) -> None:
    """R47, R48, R56, R57: every event has the envelope, and each kind its own facts."""
    agent = await world.agent()
    ticket = await world.live_ticket(assignee=agent, status=TicketStatus.OPEN)
    client = await sign_in(agent)
    await client.do("UpdateTicket", ticketId=gid("Ticket", ticket.id), assigneeId=None)
    await world.end(ticket, agent, closing_message="Goodbye.")
    shown = (await client.send("TicketView", id=gid("Ticket", ticket.id)))["ticket"]
    assert shown.items() >= (await ticket_row(ticket.id)).items()
    comments = await Comment.filter(conversation_id=ticket.conversation_id).order_by("sequence")
    writers = [("END_USER", ticket.requester_id, "Cleo Customer"), ("AGENT", agent.id, "Alex Agent")]
    assert [edge["node"] for edge in shown["comments"]["edges"]] == [
        {
            "id": gid("Comment", comment.id),
            "body": body,
            "channel": "MESSAGING",
            "visibility": "PUBLIC",
            "createdAt": moment(comment.created_at),
            "author": {"kind": kind, "id": gid("User", writer), "name": name},
        }
        for comment, body, (kind, writer, name) in zip(
            comments, ("Hello, my order is late.", "Goodbye."), writers, strict=True
        )
    ]
    said = [
        {"id": gid("Comment", each.id), "body": each.body, "channel": "MESSAGING", "visibility": "PUBLIC"}
        for each in comments
    ]
    session = {"id": gid("MessagingSession", (await world.session(ticket)).id), "state": "ENDED"}
    own: list[dict[str, Any]] = [
        {},
        {},
        {"comment": said[0]},
        {"field": "assignee", "from": user_id(agent), "to": None},
        {"comment": said[1]},
        {"reason": "AGENT", "previousState": "ACTIVE", "routingOutcome": "NOT_TRACKED", "session": session},
    ]
    envelopes = await all_events(world, ticket)
    assert [edge["node"] for edge in shown["events"]["edges"]] == [
        common | facts for common, facts in zip(envelopes, own, strict=True)
    ]
    assert [each["sequence"] for each in envelopes] == [1, 2, 3, 4, 5, 6]
    assert envelopes[4]["auditId"] == envelopes[5]["auditId"]
    assert shown["events"]["pageInfo"] == {
        "hasNextPage": False,
        "endCursor": shown["events"]["edges"][-1]["cursor"],
    }
    assert shown["composer"] == {
        "defaultChannel": "INTERNAL_NOTE",
        "actions": [],
        "channels": [
            {"channel": "MESSAGING", "enabled": False, "reason": "SESSION_ENDED"},
            {"channel": "EMAIL", "enabled": True, "reason": None},
            {"channel": "INTERNAL_NOTE", "enabled": True, "reason": None},
        ],
    }


@covers("TicketView")
async def test_the_composer_is_the_viewers_own(world: World, sign_in: SignIn) -> None:
    """R10, R22: what is offered depends on the session and on who looks."""
    ticket = await world.live_ticket(customer=await world.customer(email=False))
    note = {"channel": "INTERNAL_NOTE", "enabled": True, "reason": None}
    expected: list[tuple[frozenset[Permission], dict[str, Any]]] = [
        (
            AGENT,
            {
                "defaultChannel": "MESSAGING",
                "actions": ["END_SESSION"],
                "channels": [
                    {"channel": "MESSAGING", "enabled": True, "reason": None},
                    {"channel": "EMAIL", "enabled": False, "reason": "CHANNEL_UNAVAILABLE"},
                    note,
                ],
            },
        ),
        (LIGHT, {"defaultChannel": "INTERNAL_NOTE", "actions": [], "channels": [note]}),
        (frozenset(), {"defaultChannel": None, "actions": [], "channels": []}),
    ]
    for permissions, composer in expected:
        client = await sign_in(await world.agent("Agent", permissions=permissions))
        assert (await client.send("TicketView", id=gid("Ticket", ticket.id)))["ticket"]["composer"] == composer


HISTORY = """query ($id: ID!, $first: Int, $after: String, $last: Int, $before: String) { ticket(id: $id) {
    events(first: $first, after: $after, last: $last, before: $before) {
        pageInfo { hasNextPage hasPreviousPage startCursor endCursor } edges { node { sequence } } } } }"""


@covers("TicketView")
async def test_history_is_paged_whole_while_it_grows(world: World, sign_in: SignIn) -> None:
    """R50, R55: no event is skipped or repeated, forwards or backwards; a first page may come from the contract."""
    ticket, client = await world.live_ticket(), await sign_in(world.admin)
    for _ in range(5):
        await world.comment(ticket, world.admin)
    start = (await client.send("TicketView", id=gid("Ticket", ticket.id), events=2))["ticket"]["events"]
    assert start["pageInfo"]["hasNextPage"]
    found = [edge["node"]["sequence"] for edge in start["edges"]]
    page = start["pageInfo"]
    for turn in range(10):
        if turn < 3:
            await world.comment(ticket, world.admin)
        events = await _history(client, ticket, first=2, after=page["endCursor"])
        found += [edge["node"]["sequence"] for edge in events["edges"]]
        if not (page := events["pageInfo"])["hasNextPage"]:
            break
    assert found == list(range(1, 12))
    back: list[int] = []
    before: str | None = None
    for _ in range(10):
        events = await _history(client, ticket, last=3, before=before)
        back = [edge["node"]["sequence"] for edge in events["edges"]] + back
        before = events["pageInfo"]["startCursor"]
        if not events["pageInfo"]["hasPreviousPage"]:
            break
        await world.comment(ticket, world.admin)
    assert back == list(range(1, 12))


async def _history(client: Client, ticket: Ticket, **window: Any) -> dict[str, Any]:
    answer = await client.ask(HISTORY, {"id": gid("Ticket", ticket.id), **window})
    events: dict[str, Any] = answer["data"]["ticket"]["events"]
    return events


@covers("TicketView")
async def test_a_ticket_and_the_one_that_continues_it_name_each_other(world: World, sign_in: SignIn) -> None:
    """R72: filtered by what the reader may see of each."""
    group, customer = await world.group(), await world.customer()
    old = await world.ended_ticket(customer=customer, group=group)
    new = await world.message(customer, "Me again.")
    restricted = await world.agent(access=TicketAccess.GROUPS, groups=(group,))
    admin, agent = await sign_in(world.admin), await sign_in(restricted)

    async def links(client: Client, ticket: Ticket) -> tuple[Any, Any]:
        shown = (await client.send("TicketView", id=gid("Ticket", ticket.id)))["ticket"]
        return shown["continuationOf"], shown["continuedBy"]

    assert await links(admin, old) == (None, {"id": gid("Ticket", new.id), "number": 2})
    assert await links(admin, new) == ({"id": gid("Ticket", old.id), "number": 1}, None)
    assert await links(agent, old) == (None, None)
    await Ticket.filter(id=old.id).update(group_id=None)
    await Ticket.filter(id=new.id).update(group_id=group.id)
    assert await links(agent, new) == (None, None)


@covers("EndPreview")
async def test_a_preview_says_what_an_end_would_do(world: World, sign_in: SignIn) -> None:
    """R11, R21, R40, R57: the same checks as the end itself, and nothing is changed by asking."""
    live, ended, email = await world.live_ticket(), await world.ended_ticket(), await world.email_ticket()
    closed = await closed_ticket(world)
    agent = await sign_in(await world.agent())
    light = await sign_in(await world.agent("Lia Light", permissions=LIGHT))
    before = await world.fingerprint()

    def preview(reason: str | None, status: str = "NEW") -> dict[str, Any]:
        return {
            "allowed": reason is None,
            "reason": reason,
            "routingOutcome": "NOT_TRACKED" if reason is None else None,
            "surveyWillBeSent": False,
            "customerWillBeNotified": False,
            "ticketStatusAfter": status,
        }

    async def asked(client: Client, ticket: Ticket) -> Any:
        return (await client.send("EndPreview", ticketId=gid("Ticket", ticket.id)))["sessionEndPreview"]

    assert await asked(agent, live) == preview(None)
    assert await asked(agent, ended) == preview("SESSION_ENDED")
    assert await asked(agent, email) == preview("NO_MESSAGING_SESSION")
    assert await asked(agent, closed) == preview("TICKET_CLOSED", "CLOSED")
    assert await asked(light, live) == preview("FORBIDDEN")
    await world.settings(agents_can_end_sessions=False)
    assert await asked(agent, live) == preview("FEATURE_DISABLED")
    assert await world.fingerprint() == before
