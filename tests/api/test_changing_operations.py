"""What the agent workspace changes, by the operations of the contract as they stand, with all that they answer."""

from __future__ import annotations

from typing import Any

from domain.macros import MacroAction, MacroActionKind, save_macro
from domain.transactions import Call
from models import (
    Channel,
    Comment,
    EventType,
    OutboundEmail,
    Permission,
    SessionState,
    Ticket,
    TicketAccess,
    TicketPriority,
    TicketStatus,
)
from tests.api.covered import (
    closed_ticket,
    codes,
    covers,
    envelope,
    moment,
    session_row,
    ticket_row,
    user_id,
)
from tests.api.stage import gid
from tests.client import Client
from tests.conftest import SignIn
from tests.factories import AGENT, LIGHT, World


async def _end_event(world: World, ticket: Ticket) -> dict[str, Any]:
    event = (await world.events(ticket))[-1]
    session = await world.session(ticket)
    return await envelope(event) | {
        "reason": "AGENT",
        "previousState": "ACTIVE",
        "routingOutcome": "NOT_TRACKED",
        "session": {"id": gid("MessagingSession", session.id), "state": "ENDED"},
    }


@covers("EndSession")
async def test_an_end_answers_all_that_it_did_and_a_second_end_who_did_it(world: World, sign_in: SignIn) -> None:
    """R32, R35, R103, R114: ENDED once, then ALREADY_ENDED with the first actor, time and event."""
    first, second = await world.agent("Fay First"), await world.agent("Sam Second")
    ticket = await world.live_ticket(assignee=second, status=TicketStatus.OPEN)
    untouched = await Ticket.get(id=ticket.id)
    payload = await (await sign_in(first)).do("EndSession", ticketId=gid("Ticket", ticket.id), clientMutationId="m1")
    session = await world.session(ticket)
    assert session.ended_by_id == first.id
    warning = payload.pop("warnings")
    expected = {
        "outcome": "ENDED",
        "session": {name: value for name, value in (await session_row(session)).items() if name != "startedAt"},
        "ticket": await ticket_row(ticket.id),
        "event": await _end_event(world, ticket),
        "userErrors": [],
        "clientMutationId": "m1",
    }
    assert payload == expected
    assert [each["code"] for each in warning] == ["CUSTOMER_NOT_TOLD"]
    assert payload["ticket"]["status"] == untouched.status.value
    assert payload["ticket"]["version"] == untouched.version + 1
    before = await world.fingerprint()
    again = await (await sign_in(second)).do("EndSession", ticketId=gid("Ticket", ticket.id))
    assert again == expected | {"outcome": "ALREADY_ENDED", "warnings": [], "clientMutationId": None}
    assert again["event"]["actor"] == {"kind": "AGENT", "id": user_id(first), "name": "Fay First"}
    assert await world.fingerprint() == before


@covers("EndSession")
async def test_a_closing_message_is_said_before_the_end_or_nothing_happens(world: World, sign_in: SignIn) -> None:
    """R46, R111, R114: who was told needs no warning; a message that cannot be stored stops the end."""
    ticket, client = await world.live_ticket(), await sign_in(world.admin)
    before = await world.fingerprint()
    refused = await client.do("EndSession", ticketId=gid("Ticket", ticket.id), closingMessage=" ")
    assert codes(refused) == [("INVALID_INPUT", ["closingMessage"])]
    assert [refused[name] for name in ("outcome", "session", "ticket", "event", "warnings")] == [None] * 4 + [[]]
    assert await world.fingerprint() == before
    payload = await client.do("EndSession", ticketId=gid("Ticket", ticket.id), closingMessage="Goodbye.")
    assert (payload["outcome"], payload["warnings"]) == ("ENDED", [])
    assert await world.thread(ticket) == ["Hello, my order is late.", "Goodbye."]
    assert (await world.history(ticket))[-2:] == ["TICKET_COMMENT_ADDED", "MESSAGING_SESSION_ENDED"]


@covers("EndSession")
async def test_a_customer_who_was_told_lately_needs_no_warning(world: World, sign_in: SignIn) -> None:
    """R114: by a public message within the minutes of the setting; a note tells the customer nothing."""
    client = await sign_in(world.admin)
    told, noted, off = [await world.live_ticket() for _ in range(3)]
    await world.comment(told, world.admin, channel=Channel.MESSAGING)
    await world.comment(noted, world.admin, channel=Channel.INTERNAL_NOTE)
    assert (await client.do("EndSession", ticketId=gid("Ticket", told.id)))["warnings"] == []
    warned = await client.do("EndSession", ticketId=gid("Ticket", noted.id))
    assert [each["code"] for each in warned["warnings"]] == ["CUSTOMER_NOT_TOLD"]
    await world.settings(remind_agents_to_notify=False)
    assert (await client.do("EndSession", ticketId=gid("Ticket", off.id)))["warnings"] == []


@covers("EndSession")
async def test_a_retried_end_gets_the_first_answer(world: World, sign_in: SignIn) -> None:
    """R37, R97: the same key takes effect once; with other input it is refused."""
    ticket, other, client = await world.live_ticket(), await world.live_ticket(), await sign_in(world.admin)
    call = {"ticketId": gid("Ticket", ticket.id), "idempotencyKey": "key-1"}
    first = await client.do("EndSession", **call)
    before = await world.fingerprint()
    assert await client.do("EndSession", **call) == first
    assert first["outcome"] == "ENDED"
    conflict = await client.do("EndSession", ticketId=gid("Ticket", other.id), idempotencyKey="key-1")
    assert codes(conflict) == [("IDEMPOTENCY_CONFLICT", ["idempotencyKey"])]
    assert await world.fingerprint() == before


@covers("EndSession")
async def test_a_stale_end_changes_nothing_and_shows_the_ticket_as_it_is(world: World, sign_in: SignIn) -> None:
    """R38."""
    ticket, client = await world.live_ticket(), await sign_in(world.admin)
    await world.comment(ticket, world.admin)
    current, before = await ticket_row(ticket.id), await world.fingerprint()
    call = {"ticketId": gid("Ticket", ticket.id), "clientMutationId": "m1"}
    stale = await client.do("EndSession", expectedVersion=current["version"] - 1, **call)
    assert codes(stale) == [("STALE_VERSION", ["expectedVersion"])]
    assert (stale["ticket"], stale["outcome"], stale["event"]) == (current, None, None)
    assert stale["clientMutationId"] == "m1"
    assert await world.fingerprint() == before
    assert (await client.do("EndSession", expectedVersion=current["version"], **call))["outcome"] == "ENDED"


@covers("EndSession")
async def test_an_end_that_is_not_possible_says_why(world: World, sign_in: SignIn) -> None:
    """R11, R21, R40, R41."""
    live, email, closed = await world.live_ticket(), await world.email_ticket(), await closed_ticket(world)
    agent = await sign_in(await world.agent())
    light = await sign_in(await world.agent("Lia Light", permissions=LIGHT))

    async def refused(client: Client, ticket: Ticket) -> str:
        before = await world.fingerprint()
        payload = await client.do("EndSession", ticketId=gid("Ticket", ticket.id))
        assert await world.fingerprint() == before
        ((code, _),) = codes(payload)
        return code

    assert await refused(light, live) == "FORBIDDEN"
    assert await refused(agent, email) == "NO_MESSAGING_SESSION"
    assert await refused(agent, closed) == "TICKET_CLOSED"
    await world.settings(agents_can_end_sessions=False)
    assert await refused(agent, live) == "FEATURE_DISABLED"


@covers("EndSessions")
async def test_many_ends_are_each_on_their_own(world: World, sign_in: SignIn) -> None:
    """R45: one refusal does not undo the others; results come in the order of the input."""
    client = await sign_in(world.admin)
    live, email, ended, last = [
        await world.live_ticket(),
        await world.email_ticket(),
        await world.ended_ticket(),
        await world.live_ticket(),
    ]
    ids = [gid("Ticket", each.id) for each in (live, email, ended, live, last)] + [gid("User", world.admin.id)]
    results = (await client.do("EndSessions", ticketIds=ids, closingMessage="Bye."))["results"]
    refusals = [[], [("NO_MESSAGING_SESSION", [])], [], [], [], [("INVALID_ID", ["ticketIds"])]]
    assert [codes(each) for each in results] == refusals
    assert [each["outcome"] for each in results] == ["ENDED", None, "ALREADY_ENDED", "ALREADY_ENDED", "ENDED", None]
    assert [each["ticketId"] for each in results] == ids
    assert await world.thread(live) == ["Hello, my order is late.", "Bye."]
    ends = [event for event in await world.events(live) if event.type is EventType.MESSAGING_SESSION_ENDED]
    assert len(ends) == 1


POST = "mutation ($input: EndSessionsInput!) { endSessions(input: $input) { userErrors { code field } } }"


async def test_how_many_sessions_are_ended_at_once_is_bounded(world: World, sign_in: SignIn) -> None:
    """R45: 1 to 100."""
    client, ticket = await sign_in(world.admin), await world.live_ticket()
    for ids in ([], [gid("Ticket", ticket.id)] * 101):
        answer = await client.ask(POST, {"input": {"ticketIds": ids}})
        assert answer["data"]["endSessions"]["userErrors"] == [{"code": "INVALID_INPUT", "field": ["ticketIds"]}]
    assert (await world.session(ticket)).state is SessionState.ACTIVE


@covers("PostComment")
async def test_a_comment_is_stored_for_whom_its_channel_reaches(world: World, sign_in: SignIn) -> None:
    """R59, R60: a reply over messaging or e-mail is public, a note is internal; only e-mail is queued."""
    agent = await world.agent()
    ticket, client = await world.live_ticket(), await sign_in(agent)
    for count, (channel, visibility) in enumerate(
        [("MESSAGING", "PUBLIC"), ("INTERNAL_NOTE", "INTERNAL"), ("EMAIL", "PUBLIC")], start=1
    ):
        payload = await client.do(
            "PostComment", ticketId=gid("Ticket", ticket.id), body=channel, channel=channel, clientMutationId="m1"
        )
        row = await Comment.get(conversation_id=ticket.conversation_id, sequence=count + 1)
        assert payload == {
            "comment": {
                "id": gid("Comment", row.id),
                "body": channel,
                "channel": channel,
                "visibility": visibility,
                "createdAt": moment(row.created_at),
                "author": {"kind": "AGENT", "id": user_id(agent), "name": "Alex Agent"},
            },
            "ticket": {"id": gid("Ticket", ticket.id), "version": count + 1},
            "userErrors": [],
            "clientMutationId": "m1",
        }
        assert await OutboundEmail.filter(account_id=world.id).count() == (channel == "EMAIL")


@covers("PostComment")
async def test_a_comment_that_cannot_be_posted_is_refused_with_its_reason(world: World, sign_in: SignIn) -> None:
    """R58, R61, R38, R144: nothing is stored, and the code says what stands in the way."""
    silent = await world.customer(email=False)
    live, ended = await world.live_ticket(customer=silent), await world.ended_ticket()
    email, closed = await world.email_ticket(), await world.live_ticket(status=TicketStatus.CLOSED)
    agent = await sign_in(await world.agent())
    light = await sign_in(await world.agent("Lia Light", permissions=LIGHT))
    mute = await sign_in(await world.agent("No notes", permissions=AGENT - {Permission.INTERNAL_NOTES}))
    cases: list[tuple[Client, Ticket, dict[str, Any], str, list[str]]] = [
        (agent, ended, {"channel": "MESSAGING"}, "SESSION_ENDED", ["channel"]),
        (agent, email, {"channel": "MESSAGING"}, "NO_MESSAGING_SESSION", ["channel"]),
        (agent, live, {"channel": "EMAIL"}, "CHANNEL_UNAVAILABLE", ["channel"]),
        (agent, live, {"channel": "HELP_CENTER"}, "CHANNEL_UNAVAILABLE", ["channel"]),
        (agent, closed, {"channel": "INTERNAL_NOTE"}, "TICKET_CLOSED", []),
        (agent, live, {"channel": "MESSAGING", "expectedVersion": 7}, "STALE_VERSION", ["expectedVersion"]),
        (agent, live, {"channel": "MESSAGING", "body": ""}, "INVALID_INPUT", ["body"]),
        (light, live, {"channel": "MESSAGING"}, "FORBIDDEN", []),
        (light, live, {"channel": "EMAIL"}, "FORBIDDEN", []),
        (mute, live, {"channel": "INTERNAL_NOTE"}, "FORBIDDEN", []),
    ]
    before = await world.fingerprint()
    for client, ticket, input, code, field in cases:
        payload = await client.do("PostComment", **{"ticketId": gid("Ticket", ticket.id), "body": "…"} | input)
        assert codes(payload) == [(code, field)], input
        assert payload["comment"] is None
        shown = {"id": gid("Ticket", ticket.id), "version": 1} if code == "STALE_VERSION" else None
        assert payload["ticket"] == shown
    assert await world.fingerprint() == before
    await world.settings(agents_can_collaborate=False)
    taken = await world.live_ticket(assignee=world.admin)
    payload = await agent.do("PostComment", ticketId=gid("Ticket", taken.id), body="…", channel="MESSAGING")
    assert codes(payload) == [("FORBIDDEN", [])]


@covers("UpdateTicket")
async def test_an_update_changes_what_is_given_and_null_empties(world: World, sign_in: SignIn) -> None:
    """R51: one event for each fact, in one audit; what is absent stays, and what is equal is no event."""
    agent, group, ticket = await world.agent(), await world.group(), await world.live_ticket()
    client, target = await sign_in(agent), gid("Ticket", ticket.id)
    payload = await client.do(
        "UpdateTicket",
        ticketId=target,
        status="OPEN",
        assigneeId=user_id(agent),
        groupId=gid("Group", group.id),
        tags=["b", "a", "b"],
        priority="HIGH",
    )
    assert payload == {"ticket": await ticket_row(ticket.id), "userErrors": []}
    assert (payload["ticket"]["assignee"], payload["ticket"]["group"]) == (
        {"id": user_id(agent), "name": "Alex Agent"},
        {"id": gid("Group", group.id), "name": "First line"},
    )
    events = (await world.events(ticket))[3:]
    assert sorted(event.payload["field"] for event in events) == ["assignee", "group", "priority", "status", "tags"]
    assert len({event.audit_id for event in events}) == 1
    emptied = await client.do("UpdateTicket", ticketId=target, assigneeId=None, groupId=None)
    assert (emptied["ticket"]["assignee"], emptied["ticket"]["group"]) == (None, None)
    stored = await Ticket.get(id=ticket.id)
    assert (emptied["ticket"]["status"], stored.tags, stored.priority) == ("OPEN", ["a", "b"], TicketPriority.HIGH)
    before = await world.fingerprint()
    same = await client.do("UpdateTicket", ticketId=target, status="OPEN", tags=["a", "b"], assigneeId=None)
    assert same == {"ticket": emptied["ticket"], "userErrors": []}
    assert await world.fingerprint() == before


@covers("UpdateTicket")
async def test_an_update_that_is_not_possible_changes_nothing(world: World, sign_in: SignIn) -> None:
    """R38, R51, R144: all of it or none of it; null where there must be a value is refused."""
    agent, customer = await world.agent(), await world.customer()
    ticket, closed = await world.live_ticket(status=TicketStatus.OPEN), await world.live_ticket(status="CLOSED")
    client = await sign_in(agent)
    cases: list[tuple[dict[str, Any], str, list[str]]] = [
        ({"status": None}, "INVALID_INPUT", ["status"]),
        ({"tags": None}, "INVALID_INPUT", ["tags"]),
        ({"tags": [""]}, "INVALID_INPUT", ["tags"]),
        ({"tags": ["x" * 65]}, "INVALID_INPUT", ["tags"]),
        ({"tags": ["x"] * 51}, "INVALID_INPUT", ["tags"]),
        ({"status": "CLOSED"}, "INVALID_INPUT", ["status"]),
        ({"status": "NEW"}, "INVALID_INPUT", ["status"]),
        ({"assigneeId": user_id(customer)}, "NOT_FOUND", ["assigneeId"]),
        ({"priority": "LOW", "groupId": gid("Group", customer.id)}, "NOT_FOUND", ["groupId"]),
        ({"priority": "LOW", "expectedVersion": 9}, "STALE_VERSION", ["expectedVersion"]),
        ({"ticketId": gid("Ticket", closed.id), "priority": "LOW"}, "TICKET_CLOSED", []),
    ]
    before = await world.fingerprint()
    for input, code, field in cases:
        payload = await client.do("UpdateTicket", **{"ticketId": gid("Ticket", ticket.id)} | input)
        assert codes(payload) == [(code, field)], input
        assert payload["ticket"] == (await ticket_row(ticket.id) if code == "STALE_VERSION" else None)
    assert await world.fingerprint() == before


@covers("UpdateTicket")
async def test_who_gives_a_ticket_away_does_not_get_it_back(world: World, sign_in: SignIn) -> None:
    """R19: the change succeeds; the answer holds nothing that the caller may no longer see."""
    agent = await world.agent(access=TicketAccess.ASSIGNED)
    ticket = await world.live_ticket(assignee=agent, status=TicketStatus.OPEN)
    payload = await (await sign_in(agent)).do("UpdateTicket", ticketId=gid("Ticket", ticket.id), assigneeId=None)
    assert payload == {"ticket": None, "userErrors": []}
    assert (await Ticket.get(id=ticket.id)).assignee_id is None


@covers("ApplyMacro")
async def test_a_macro_is_applied_as_a_whole_or_not_at_all(world: World, sign_in: SignIn) -> None:
    """R110, R112: message and end are one call, under the checks of each."""
    agent, ticket = await world.agent(), await world.live_ticket()
    actions = [
        MacroAction(MacroActionKind.PUBLIC_REPLY, "Hi {{ticket.requester.first_name}}, I close this. {{agent.name}}"),
        MacroAction(MacroActionKind.SET_STATUS, "PENDING"),
        MacroAction(MacroActionKind.ADD_TAGS, "told"),
        MacroAction(MacroActionKind.END_SESSION),
    ]
    macro = (await save_macro(Call(world.admin), title="End", actions=actions, shared=True)).macro_id
    call = {"ticketId": gid("Ticket", ticket.id), "macroId": gid("Macro", macro)}
    light = await sign_in(await world.agent("Lia Light", permissions=LIGHT))
    before = await world.fingerprint()
    assert codes(await light.do("ApplyMacro", **call)) == [("FORBIDDEN", [])]
    stale = await (await sign_in(agent)).do("ApplyMacro", **call, expectedVersion=5)
    assert codes(stale) == [("STALE_VERSION", ["expectedVersion"])]
    assert stale["ticket"] == await ticket_row(ticket.id)
    assert await world.fingerprint() == before
    payload = await (await sign_in(agent)).do("ApplyMacro", **call)
    comment = await Comment.get(conversation_id=ticket.conversation_id, sequence=2)
    assert payload == {
        "ticket": await ticket_row(ticket.id),
        "comment": {"id": gid("Comment", comment.id), "body": "Hi Cleo, I close this. Alex Agent"},
        "endSessionOutcome": "ENDED",
        "userErrors": [],
    }
    assert (payload["ticket"]["status"], payload["ticket"]["session"]["state"]) == ("PENDING", "ENDED")
    before = await world.fingerprint()
    again = await (await sign_in(agent)).do("ApplyMacro", **call)
    assert codes(again) == [("SESSION_ENDED", ["channel"])]
    assert [again[name] for name in ("ticket", "comment", "endSessionOutcome")] == [None, None, None]
    assert await world.fingerprint() == before
