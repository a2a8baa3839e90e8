"""Suspending, merging, deleting, restoring and giving to another requester, as an agent's workspace does it."""

from __future__ import annotations

from typing import Any

import pytest

from domain.actors import Actor
from domain.merging import merge_tickets
from domain.suspension import suspend_user
from domain.transactions import Call
from models import Comment, Event, EventType, SuspendedMessage, Suspension, Ticket, TicketAccess, TicketStatus
from schema.ids import decode_id
from tests.api.covered import codes, moment, user_id
from tests.api.stage import gid
from tests.client import Client, Refused
from tests.conftest import SignIn
from tests.factories import World

ERRORS = "userErrors { code message field } clientMutationId"
SUSPEND = f"""mutation ($input: SuspendUserInput!) {{
    suspendUser(input: $input) {{ user {{ id name suspension }} changed {ERRORS} }} }}"""
LIFT = f"""mutation ($input: LiftSuspensionInput!) {{
    liftSuspension(input: $input) {{ user {{ id suspension }} changed {ERRORS} }} }}"""
MERGE = f"""mutation ($input: MergeTicketsInput!) {{ mergeTickets(input: $input) {{
    source {{ id status mergedInto {{ id number }} session {{ state endReason endedBy {{ kind id name }} }} }}
    target {{ id status }} {ERRORS} }} }}"""
DELETE = f"mutation ($input: DeleteTicketInput!) {{ deleteTicket(input: $input) {{ deletedTicketId {ERRORS} }} }}"
RESTORE = f"""mutation ($input: RestoreTicketInput!) {{
    restoreTicket(input: $input) {{ ticket {{ id subject session {{ state }} }} {ERRORS} }} }}"""
UPDATE = f"""mutation ($input: UpdateTicketInput!) {{
    updateTicket(input: $input) {{ ticket {{ id requester {{ id name }} }} {ERRORS} }} }}"""
COMMENT = """mutation ($input: CommentOnRequestInput!) {
    commentOnRequest(input: $input) { request { id status } userErrors { code } } }"""
REQUESTS = "{ myRequests(first: 9) { edges { node { id } } } }"


async def do(client: Client, mutation: str, **input: Any) -> dict[str, Any]:
    answer = await client.ask(mutation, {"input": input})
    assert "errors" not in answer, answer
    (payload,) = answer["data"].values()
    result: dict[str, Any] = payload
    return result


async def read(client: Client, query: str, **variables: Any) -> Any:
    answer = await client.ask(query, variables)
    assert "errors" not in answer, answer
    (value,) = answer["data"].values()
    return value


async def composer(client: Client, ticket: Ticket) -> dict[str, Any]:
    shown = (await client.send("TicketView", id=gid("Ticket", ticket.id)))["ticket"]["composer"]
    return {channel["channel"]: channel["reason"] for channel in shown["channels"]}


async def test_an_agent_suspends_a_customer_and_lets_him_in_again(world: World, sign_in: SignIn) -> None:
    """R139, R142: what the workspace shows before, between and after."""
    customer = await world.customer()
    ticket, client = await world.live_ticket(customer=customer), await sign_in(world.admin)
    assert (await composer(client, ticket))["MESSAGING"] is None
    done = await do(client, SUSPEND, userId=user_id(customer), scope="MESSAGING", clientMutationId="m")
    assert done == {
        "user": {"id": user_id(customer), "name": "Cleo Customer", "suspension": "MESSAGING"},
        "changed": True,
        "userErrors": [],
        "clientMutationId": "m",
    }
    assert await composer(client, ticket) == {"MESSAGING": "USER_SUSPENDED", "EMAIL": None, "INTERNAL_NOTE": None}
    assert not (await do(client, SUSPEND, userId=user_id(customer), scope="MESSAGING"))["changed"]
    refused = await client.do("PostComment", ticketId=gid("Ticket", ticket.id), body="x", channel="MESSAGING")
    assert codes(refused) == [("USER_SUSPENDED", ["channel"])]
    lifted = await do(client, LIFT, userId=user_id(customer))
    assert (lifted["user"]["suspension"], lifted["changed"]) == (None, True)
    assert (await composer(client, ticket))["MESSAGING"] == "SESSION_ENDED"


async def test_an_open_composer_learns_of_it(world: World, sign_in: SignIn) -> None:
    """R139, R66, R12: by the events of the ticket, which name the agent and the system."""
    customer = await world.customer()
    ticket = await world.live_ticket(customer=customer)
    client = await sign_in(await world.agent("Watching"))
    cursor = (await client.send("TicketList", first=1))["tickets"]["syncCursor"]
    activity = """subscription ($id: ID!, $after: String) { ticketActivity(ticketId: $id, after: $after) { event {
        type actor { kind name } ... on RequesterSuspensionChanged { scope } ... on MessagingSessionEnded { reason } }
        ticket { composer { channels { channel reason } } } } }"""
    assert customer.id is not None
    async with client.listening(activity, id=gid("Ticket", ticket.id), after=cursor) as stream:
        await suspend_user(Call(world.admin), customer.id, Suspension.ALL)
        told, ended = await stream.take(2)
        assert told["event"] == {
            "type": "USER_SUSPENDED",
            "actor": {"kind": "ADMIN", "name": "Ada Admin"},
            "scope": "ALL",
        }
        assert ended["event"] == {
            "type": "MESSAGING_SESSION_ENDED",
            "actor": {"kind": "SYSTEM", "name": "Deskwire"},
            "reason": "USER_SUSPENDED",
        }
        for item in (told, ended):
            reasons = {each["channel"]: each["reason"] for each in item["ticket"]["composer"]["channels"]}
            assert reasons == {"MESSAGING": "USER_SUSPENDED", "EMAIL": "USER_SUSPENDED", "INTERNAL_NOTE": None}


@pytest.mark.parametrize("had_a_conversation", [True, False])
async def test_the_suspended_customer_is_not_told(world: World, sign_in: SignIn, had_a_conversation: bool) -> None:
    """R140: his widget is answered as before, and nothing of what he does reaches an agent."""
    customer = await world.customer()
    ticket = await world.live_ticket(customer=customer) if had_a_conversation else None
    agent, widget = await sign_in(world.admin), await sign_in(customer)
    assert customer.id is not None
    await suspend_user(Call(world.admin), customer.id, Suspension.ALL)
    events = await Event.all().count()
    sent = await widget.do("SendMessage", body="Hello?", clientMessageId="c1")
    (kept,) = await SuspendedMessage.all()
    assert sent == {
        "message": {
            "id": gid("Message", kept.id),
            "clientMessageId": "c1",
            "body": "Hello?",
            "sentAt": moment(kept.received_at),
        },
        "conversation": {"id": gid("Conversation", kept.conversation_id)},
        "userErrors": [],
    }
    assert await widget.do("SendMessage", body="Hello?", clientMessageId="c1") == sent
    conversation, message = sent["conversation"]["id"], sent["message"]["id"]
    again = await widget.do("SendMessage", body="Hello??", conversationId=conversation)
    assert again["conversation"]["id"] == conversation
    if ticket is not None:
        assert conversation == gid("Conversation", ticket.conversation_id)
    typing = "mutation ($input: SendTypingInput!) { sendTyping(input: $input) { delivered userErrors { code } } }"
    assert await do(widget, typing, conversationId=conversation) == {"delivered": False, "userErrors": []}
    mark = "mutation ($input: MarkReadInput!) { markRead(input: $input) { marked userErrors { code } } }"
    assert await do(widget, mark, messageId=message) == {"marked": True, "userErrors": []}
    assert (await read(widget, "{ viewer { user { suspension } } }"))["user"] == {"suspension": None}
    assert (await Event.all().count(), await SuspendedMessage.all().count()) == (events, 2)
    page = await read(
        agent, "{ suspendedMessages(first: 1) { edges { node { body channel user { id suspension } } } } }"
    )
    (edge,) = page["edges"]
    whose = {"id": user_id(customer), "suspension": "ALL"}
    assert edge["node"] == {"body": "Hello??", "channel": "MESSAGING", "user": whose}


async def test_his_author_and_his_conversation_look_real(world: World, sign_in: SignIn) -> None:
    """R140: down to the fields that few widgets ask for."""
    customer = await world.customer()
    widget = await sign_in(customer)
    assert customer.id is not None
    await suspend_user(Call(world.admin), customer.id, Suspension.MESSAGING)
    send = """mutation ($input: SendMessageInput!) { sendMessage(input: $input) {
        message { author { kind name } editedAt deletedAt reaction }
        conversation { startedAt messages(last: 9) { edges { node { id } } } } userErrors { code } } }"""
    done = await do(widget, send, body="Hello?")
    author = {"kind": "END_USER", "name": "Cleo Customer"}
    assert done["message"] == {"author": author, "editedAt": None, "deletedAt": None, "reaction": None}
    kept = await SuspendedMessage.get()
    assert done["conversation"] == {"startedAt": moment(kept.received_at), "messages": {"edges": []}}
    assert done["userErrors"] == []


async def test_who_is_suspended_from_all_channels_comments_on_his_request_in_vain(
    world: World, sign_in: SignIn
) -> None:
    """R140, R80: the answer is the request, as after any comment."""
    customer = await world.customer()
    ticket = await world.email_ticket(customer)
    assert customer.id is not None
    await suspend_user(Call(world.admin), customer.id, Suspension.ALL)
    done = await do(await sign_in(customer), COMMENT, requestId=gid("Request", ticket.id), body="Hello?")
    assert done == {"request": {"id": gid("Request", ticket.id), "status": "NEW"}, "userErrors": []}
    assert await world.thread(ticket) == ["Dear all, …"]


async def merged_pair(world: World, **fields: Any) -> tuple[Ticket, Ticket]:
    customer = await world.customer()
    return await world.live_ticket(customer=customer), await world.email_ticket(customer, **fields)


async def test_merging_asks_before_it_ends_a_session(world: World, sign_in: SignIn) -> None:
    """R146, D8."""
    source, target = await merged_pair(world)
    client = await sign_in(world.admin)
    both = {"sourceId": gid("Ticket", source.id), "targetId": gid("Ticket", target.id)}
    refused = await do(client, MERGE, **both)
    assert (refused["source"], codes(refused)) == (None, [("SESSION_LIVE", ["sourceId"])])
    for _ in range(2):
        done = await do(client, MERGE, **both, endSession=True)
        system = {"kind": "SYSTEM", "id": None, "name": "Deskwire"}
        assert done["source"] == {
            "id": gid("Ticket", source.id),
            "status": "CLOSED",
            "mergedInto": {"id": gid("Ticket", target.id), "number": target.number},
            "session": {"state": "ENDED", "endReason": "TICKET_MERGED", "endedBy": system},
        }
        assert done["target"] == {"id": gid("Ticket", target.id), "status": "NEW"}
        assert done["userErrors"] == []


HISTORY = """query ($id: ID!, $first: Int!, $after: String) { ticket(id: $id) { mergedInto { id }
    mergedTickets { id number subject mergedAt mergedTickets { number }
    events(first: $first, after: $after) { pageInfo { hasNextPage endCursor } edges { node { type sequence
      ... on MessagingSessionEnded { reason routingOutcome session { state } }
      ... on TicketMerged { intoThis sourceId targetId } } } } } } }"""


async def test_the_history_of_the_source_is_read_from_the_target(world: World, sign_in: SignIn) -> None:
    """R147: whole and by pages, also by who reaches the target alone; who reaches the source alone sees no target."""
    group, other = await world.group(), await world.group("Elsewhere")
    source, target = await merged_pair(world, group_id=group.id)
    await Ticket.filter(id=source.id).update(group_id=other.id)
    await merge_tickets(Call(world.admin), source.id, target.id, end_session=True)
    reader = await sign_in(await world.agent("Target", access=TicketAccess.GROUPS, groups=(group,)))
    shown = await read(reader, HISTORY, id=gid("Ticket", target.id), first=50)
    (merged,) = shown["mergedTickets"]
    source = await Ticket.get(id=source.id)
    assert (merged["id"], merged["number"], merged["subject"]) == (gid("Ticket", source.id), 1, source.subject)
    (told, _, ended) = merged["events"]["edges"][-3:]
    assert merged["mergedAt"] == moment((await world.events(source))[-1].occurred_at)
    ids = {"sourceId": gid("Ticket", source.id), "targetId": gid("Ticket", target.id)}
    assert told["node"] == {"type": "TICKET_MERGED", "sequence": 4, "intoThis": False, **ids}
    assert ended["node"] == {
        "type": "MESSAGING_SESSION_ENDED",
        "sequence": 6,
        "reason": "TICKET_MERGED",
        "routingOutcome": "NOT_TRACKED",
        "session": {"state": "ENDED"},
    }
    found, after = [], None
    while True:
        page = await read(reader, HISTORY, id=gid("Ticket", target.id), first=4, after=after)
        events = page["mergedTickets"][0]["events"]
        found += [edge["node"]["sequence"] for edge in events["edges"]]
        after = events["pageInfo"]["endCursor"]
        if not events["pageInfo"]["hasNextPage"]:
            break
    assert found == [1, 2, 3, 4, 5, 6]
    assert await read(reader, HISTORY, id=gid("Ticket", source.id), first=9) is None
    source_only = await sign_in(await world.agent("Source", access=TicketAccess.GROUPS, groups=(other,)))
    shown = await read(source_only, HISTORY, id=gid("Ticket", source.id), first=9)
    assert (shown["mergedInto"], shown["mergedTickets"]) == (None, [])


async def test_what_was_merged_before_comes_along(world: World, sign_in: SignIn) -> None:
    """R147: a chain is read through its links; a source that was deleted is not shown."""
    customer, client = await world.customer(), await sign_in(world.admin)
    one, two, three = [await world.email_ticket(customer) for _ in range(3)]
    await merge_tickets(Call(world.admin), one.id, two.id)
    await merge_tickets(Call(world.admin), two.id, three.id)
    shown = await read(client, HISTORY, id=gid("Ticket", three.id), first=9)
    (merged,) = shown["mergedTickets"]
    assert (merged["number"], merged["mergedTickets"]) == (2, [{"number": 1}])
    await do(client, DELETE, ticketId=gid("Ticket", two.id))
    assert (await read(client, HISTORY, id=gid("Ticket", three.id), first=9))["mergedTickets"] == []


async def test_a_deleted_ticket_leaves_every_screen_and_comes_back(world: World, sign_in: SignIn) -> None:
    """R148, R120: list, view, node, open stream and the customer's requests; restored by its id."""
    customer = await world.customer()
    ticket, client = await world.live_ticket(customer=customer), await sign_in(world.admin)
    identifier, widget = gid("Ticket", ticket.id), await sign_in(customer)
    cursor = (await client.send("TicketList", first=1))["tickets"]["syncCursor"]
    async with (
        client.listening("Inbox", after=cursor) as inbox,
        client.listening("TicketActivity", ticketId=identifier, after=cursor) as activity,
    ):
        assert (await do(client, DELETE, ticketId=identifier))["deletedTicketId"] == identifier
        gone = await inbox.next()
        assert (gone["change"], gone["ticketId"], gone["ticket"]) == ("REMOVED", identifier, None)
        with pytest.raises(Refused) as refused:
            await activity.next()
        assert refused.value.code == "ACCESS_REVOKED"
        assert (await client.send("TicketList", first=9))["tickets"]["totalCount"] == 0
        assert (await client.send("TicketView", id=identifier))["ticket"] is None
        comment = await Comment.get(conversation_id=ticket.conversation_id)
        event = await Event.filter(ticket_id=ticket.id).first()
        assert event is not None
        nodes = [identifier, gid("Comment", comment.id), gid("TicketEvent", event.id)]
        assert await read(client, "query ($ids: [ID!]!) { nodes(ids: $ids) { id } }", ids=nodes) == [None] * 3
        assert (await read(widget, REQUESTS))["edges"] == []
        assert [each["node"]["messages"]["edges"] != [] for each in await conversations(widget)] == [True]
        assert codes(await do(client, DELETE, ticketId=identifier)) == [("NOT_FOUND", [])]
        listed = await read(
            client, "{ deletedTickets(first: 9) { edges { node { id number subject deletedAt requester { id } } } } }"
        )
        row = await Ticket.get(id=ticket.id)
        assert [edge["node"] for edge in listed["edges"]] == [
            {
                "id": identifier,
                "number": 1,
                "subject": row.subject,
                "deletedAt": moment(row.deleted_at),
                "requester": {"id": user_id(customer)},
            }
        ]
        restored = await do(client, RESTORE, ticketId=identifier)
        assert restored["ticket"] == {"id": identifier, "subject": row.subject, "session": {"state": "ENDED"}}
        back = await inbox.next()
        assert (back["change"], back["ticketId"]) == ("ADDED", identifier)
    assert [edge["node"]["id"] for edge in (await read(widget, REQUESTS))["edges"]] == [gid("Request", ticket.id)]


async def conversations(widget: Client) -> list[dict[str, Any]]:
    page = (await widget.send("MyConversations", first=9))["myConversations"]
    result: list[dict[str, Any]] = page["edges"]
    return result


async def test_a_stream_from_before_a_deletion_meets_it_as_one_removal(world: World, sign_in: SignIn) -> None:
    """R157, R148: also with the ticket deleted and restored in between, and by events that tell nothing of deletion."""
    ticket, client = await world.live_ticket(), await sign_in(world.admin)
    cursor = (await client.send("TicketList", first=1))["tickets"]["syncCursor"]
    await do(client, DELETE, ticketId=gid("Ticket", ticket.id))
    async with client.listening("Inbox", after=cursor) as inbox:
        assert (await inbox.next())["change"] == "REMOVED"
        await inbox.nothing()
    await do(client, RESTORE, ticketId=gid("Ticket", ticket.id))
    async with client.listening("Inbox", after=cursor) as inbox:
        changes = [item["change"] for item in await inbox.take(3)]
        assert changes == ["UPDATED", "UPDATED", "ADDED"]


async def test_the_requester_changes_once_the_session_has_ended(world: World, sign_in: SignIn) -> None:
    """R151."""
    ticket, client, other = await world.live_ticket(), await sign_in(world.admin), await world.customer("Nora New")
    change = {"ticketId": gid("Ticket", ticket.id), "requesterId": user_id(other)}
    assert codes(await do(client, UPDATE, **change)) == [("SESSION_LIVE", ["requesterId"])]
    await world.end(ticket, world.admin)
    done = await do(client, UPDATE, **change)
    assert done["ticket"]["requester"] == {"id": user_id(other), "name": "Nora New"}
    events = (
        "query ($id: ID!) { ticket(id: $id) { events(last: 1) { edges { node { ... on TicketFieldChanged {%s} } } } } }"
    )
    shown = await read(client, events % " field from to ", id=gid("Ticket", ticket.id))
    assert [edge["node"] for edge in shown["events"]["edges"]] == [
        {"field": "requester", "from": gid("User", ticket.requester_id), "to": user_id(other)}
    ]
    nobody = await do(client, UPDATE, ticketId=gid("Ticket", ticket.id), requesterId=None)
    assert codes(nobody) == [("INVALID_INPUT", ["requesterId"])]


async def test_with_messaging_off_the_last_sessions_are_finished(world: World, sign_in: SignIn) -> None:
    """R150: the composer of a live session is what it was; a customer without one is told that messaging is off."""
    customer, client = await world.customer(), await sign_in(world.admin)
    ticket, widget = await world.live_ticket(customer=customer), await sign_in(customer)
    assert (await client.do("UpdateMessagingSettings", enabled=False))["changed"]
    shown = (await client.send("TicketView", id=gid("Ticket", ticket.id)))["ticket"]["composer"]
    assert (shown["defaultChannel"], shown["actions"]) == ("MESSAGING", ["END_SESSION"])
    assert (await widget.do("SendMessage", body="One more"))["userErrors"] == []
    posted = await client.do("PostComment", ticketId=gid("Ticket", ticket.id), body="Yes", channel="MESSAGING")
    assert posted["userErrors"] == []
    assert (await client.do("EndSession", ticketId=gid("Ticket", ticket.id)))["outcome"] == "ENDED"
    assert codes(await widget.do("SendMessage", body="Hello?")) == [("CHANNEL_UNAVAILABLE", [])]
    assert await Ticket.all().count() == 1
    assert await world.thread(ticket) == ["Hello, my order is late.", "One more", "Yes"]


async def test_refusals_have_their_codes(world: World, sign_in: SignIn) -> None:
    """R143, R26: without the right, and for what does not fit."""
    source, target = await merged_pair(world, status=TicketStatus.OPEN)
    agent: Actor = await world.agent()
    client, stranger = await sign_in(agent), await world.email_ticket()
    customer = gid("User", source.requester_id)
    expected: list[tuple[str, dict[str, Any], str]] = [
        (SUSPEND, {"userId": customer, "scope": "ALL"}, "FORBIDDEN"),
        (LIFT, {"userId": customer}, "FORBIDDEN"),
        (DELETE, {"ticketId": gid("Ticket", source.id)}, "FORBIDDEN"),
        (RESTORE, {"ticketId": gid("Ticket", source.id)}, "FORBIDDEN"),
        (MERGE, {"sourceId": gid("Ticket", source.id), "targetId": gid("Ticket", target.id)}, "FORBIDDEN"),
    ]
    before = await world.fingerprint()
    for mutation, input, code in expected:
        assert [each[0] for each in codes(await do(client, mutation, **input))] == [code]
    admin = await sign_in(world.admin)
    foreign = {"sourceId": gid("Ticket", target.id), "targetId": gid("Ticket", stranger.id)}
    assert codes(await do(admin, MERGE, **foreign)) == [("INVALID_INPUT", ["targetId"])]
    assert await world.fingerprint() == before
    assert decode_id("Ticket", foreign["sourceId"]) == target.id
    assert await Event.filter(type=EventType.USER_SUSPENDED).count() == 0
