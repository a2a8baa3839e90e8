"""The operations of the admin console, the customer's widget and partners, as the contract writes them."""

from __future__ import annotations

from typing import Any

from models import (
    AccountSettings,
    AuditLogEntry,
    Comment,
    Event,
    EventType,
    Macro,
    Permission,
    TicketAccess,
    TicketStatus,
    UserKind,
    new_id,
)
from tests.api.covered import codes, covers, envelope, moment, user_id
from tests.api.stage import gid
from tests.client import Client
from tests.conftest import SignIn
from tests.factories import AGENT, LIGHT, World, columns


@covers("MessagingSettings")
async def test_settings_are_read_as_they_are_stored(world: World, sign_in: SignIn) -> None:
    """R1, R7: reading changes nothing, so what an admin edits without saving is not there when he reads again."""
    client = await sign_in(world.admin)
    stored = columns(await world.settings())
    first = await client.send("MessagingSettings")
    assert first == {
        "messagingSettings": {
            "enabled": True,
            "enabledAt": moment(stored["messaging_enabled_at"]),
            "agentsCanEndSessions": True,
            "remindAgentsToNotify": True,
            "inactiveAfterMinutes": 10,
            "inactiveUnassignedAfterMinutes": 10,
            "ticketCreation": "IMMEDIATE",
            "firstResponder": "AGENT",
            "version": 1,
            "updatedAt": moment(stored["messaging_updated_at"]),
        },
        "routingSettings": {
            "mode": "STANDARD",
            "method": "HIGHEST_SPARE_CAPACITY",
            "countInactiveTowardCapacity": False,
            "routeAgentEndedSessionsAsEmail": False,
            "version": 1,
        },
    }
    assert await client.send("MessagingSettings") == first
    assert columns(await world.settings()) == stored


@covers("UpdateMessagingSettings", "AccountAudit")
async def test_a_saved_setting_is_stored_and_written_into_the_log_once(world: World, sign_in: SignIn) -> None:
    """R6, R9: one entry with actor, old and new value and time; saving the same again changes nothing."""
    client = await sign_in(world.admin)
    payload = await client.do("UpdateMessagingSettings", agentsCanEndSessions=False)
    stored = await world.settings()
    shown = {"agentsCanEndSessions": False, "version": 2, "updatedAt": moment(stored.messaging_updated_at)}
    assert payload == {"changed": True, "messagingSettings": shown, "userErrors": []}
    assert stored.agents_can_end_sessions is False
    again = await client.do("UpdateMessagingSettings", agentsCanEndSessions=False)
    assert again == {"changed": False, "messagingSettings": shown, "userErrors": []}
    log = (await client.send("AccountAudit", first=10))["auditLog"]
    entry = await AuditLogEntry.get(account_id=world.id)
    (edge,) = log["edges"]
    assert edge["node"] == {
        "id": gid("AuditLogEntry", entry.id),
        "at": moment(entry.at),
        "actor": {"kind": "ADMIN", "id": user_id(world.admin), "name": "Ada Admin"},
        "action": "SETTINGS_CHANGED",
        "target": "MessagingSettings",
        "changes": [{"field": "agentsCanEndSessions", "from": "true", "to": "false"}],
    }
    assert log["pageInfo"]["hasNextPage"] is False
    assert await Event.filter(account_id=world.id, type=EventType.MESSAGING_SETTINGS_CHANGED).count() == 1


@covers("UpdateMessagingSettings")
async def test_settings_that_cannot_be_saved_stay(world: World, sign_in: SignIn) -> None:
    """R8: only who may manage channels; values and versions are checked; nothing is changed by a refusal."""
    admin = await sign_in(world.admin)
    agent, light = await world.agent(), await world.agent("Lia Light", permissions=LIGHT)
    customer = await world.customer()
    partner = await world.agent("Parcels", permissions=frozenset(Permission), kind=UserKind.PARTNER)
    stored = columns(await world.settings())
    for actor in (agent, light, customer, partner):
        payload = await (await sign_in(actor)).do("UpdateMessagingSettings", agentsCanEndSessions=False)
        assert (payload["changed"], payload["messagingSettings"], codes(payload)) == (False, None, [("FORBIDDEN", [])])
    cases: list[tuple[dict[str, Any], str, list[str]]] = [
        ({"inactiveAfterMinutes": 0}, "INVALID_INPUT", ["inactiveAfterMinutes"]),
        ({"inactiveAfterMinutes": 10081}, "INVALID_INPUT", ["inactiveAfterMinutes"]),
        ({"agentsCanEndSessions": None}, "INVALID_INPUT", ["agentsCanEndSessions"]),
        ({"firstResponder": "BOT"}, "INVALID_INPUT", ["firstResponder"]),
        ({"enabled": None}, "INVALID_INPUT", ["enabled"]),
        ({"enabled": False, "expectedVersion": 2}, "STALE_VERSION", ["expectedVersion"]),
    ]
    for input, code, field in cases:
        assert codes(await admin.do("UpdateMessagingSettings", **input)) == [(code, field)], input
    assert columns(await world.settings()) == stored
    assert await AuditLogEntry.filter(account_id=world.id).count() == 0


@covers("UpdateMessagingSettings")
async def test_a_role_that_manages_channels_saves_settings(world: World, sign_in: SignIn) -> None:
    """R6, R16: all given values in one change; the settings of another account are its own."""
    other = await World.create("globex")
    before = columns(await AccountSettings.get(account_id=other.id))
    manager = await world.agent(permissions=AGENT | {Permission.MANAGE_CHANNELS})
    payload = await (await sign_in(manager)).do(
        "UpdateMessagingSettings",
        enabled=False,
        remindWithinMinutes=3,
        ticketCreation="AT_HANDOFF",
        agentsCanCollaborate=False,
        expectedVersion=1,
    )
    assert (payload["changed"], payload["messagingSettings"]["version"]) == (True, 2)
    entry = await AuditLogEntry.get(account_id=world.id)
    assert entry.actor_id == manager.id
    assert {change["field"] for change in entry.changes} == {
        "enabled",
        "remindWithinMinutes",
        "ticketCreation",
        "agentsCanCollaborate",
    }
    assert columns(await AccountSettings.get(account_id=other.id)) == before


@covers("UpdateRoutingSettings", "MessagingSettings")
async def test_routing_settings_have_a_version_of_their_own(world: World, sign_in: SignIn) -> None:
    """R6, R8, R9: like the settings of messaging."""
    client = await sign_in(world.admin)
    input = {"mode": "OMNICHANNEL", "routeAgentEndedSessionsAsEmail": True}
    shown = {
        "mode": "OMNICHANNEL",
        "countInactiveTowardCapacity": False,
        "routeAgentEndedSessionsAsEmail": True,
        "version": 2,
    }
    payload = await client.do("UpdateRoutingSettings", **input)
    assert payload == {"changed": True, "routingSettings": shown, "userErrors": []}
    again = await client.do("UpdateRoutingSettings", **input)
    assert again == {"changed": False, "routingSettings": shown, "userErrors": []}
    read = await client.send("MessagingSettings")
    assert (read["messagingSettings"]["version"], read["routingSettings"]["version"]) == (1, 2)
    assert [entry.target for entry in await world.log()] == ["RoutingSettings"]
    refused = await (await sign_in(await world.agent())).do("UpdateRoutingSettings", mode="STANDARD")
    assert codes(refused) == [("FORBIDDEN", [])]


@covers("AccountAudit")
async def test_the_log_is_paged_from_its_newest_line(world: World, sign_in: SignIn) -> None:
    """R6, R30: refused ends are in it too; new lines do not shift the pages."""
    client, ticket = await sign_in(world.admin), await world.live_ticket()
    light = await sign_in(await world.agent("Lia Light", permissions=LIGHT))
    for minutes in (11, 12, 13):
        await client.do("UpdateMessagingSettings", inactiveAfterMinutes=minutes)
    await light.do("EndSession", ticketId=gid("Ticket", ticket.id))
    first = (await client.send("AccountAudit", first=2))["auditLog"]
    await client.do("UpdateMessagingSettings", inactiveAfterMinutes=14)
    second = (await client.send("AccountAudit", first=2, after=first["pageInfo"]["endCursor"]))["auditLog"]
    assert [each["pageInfo"]["hasNextPage"] for each in (first, second)] == [True, False]
    lines = [edge["node"] for page in (first, second) for edge in page["edges"]]
    assert [line["changes"][0]["to"] for line in lines] == ["FORBIDDEN", "13", "12", "11"]
    assert (lines[0]["action"], lines[0]["target"]) == ("SESSION_END_REFUSED", f"Ticket {ticket.id}")
    assert lines[0]["actor"]["name"] == "Lia Light"


@covers("People")
async def test_the_directory_shows_who_answers(world: World, sign_in: SignIn) -> None:
    """S1: agents and admins with role and groups; nobody of another account, no customer, no partner."""
    await (await World.create("globex")).agent("Not ours")
    back, front = await world.group("Back"), await world.group("Front")
    agent = await world.agent(groups=(front, back))
    await world.customer()
    await world.agent("Parcels", permissions=LIGHT, kind=UserKind.PARTNER)
    people = await (await sign_in(agent)).send("People")
    roles = [
        {"id": gid("Role", role.id), "name": role.name, "ticketAccess": "ALL", "permissions": sorted(permissions)}
        for permissions in (AGENT, LIGHT)
        for role in [await world.role(TicketAccess.ALL, permissions)]
    ]
    groups = [{"id": gid("Group", back.id), "name": "Back"}, {"id": gid("Group", front.id), "name": "Front"}]
    chats = {"channel": "MESSAGING", "workItemCount": 0, "maxCapacity": None}
    offline = {"status": "OFFLINE", "channels": [chats]}
    admin, other = [edge["node"] for edge in people["agents"]["edges"]]
    assert admin == {
        "id": gid("Agent", world.admin.id),
        "name": "Ada Admin",
        "email": "ada@acme.example",
        "role": None,
        "groups": [],
        "availability": offline,
    }
    assert other.pop("email").endswith("@acme.example")
    assert other == {
        "id": gid("Agent", agent.id),
        "name": "Alex Agent",
        "role": roles[0],
        "groups": groups,
        "availability": offline,
    }
    assert [edge["node"] for edge in people["groups"]["edges"]] == groups
    assert people["roles"] == sorted(roles, key=lambda role: str(role["name"]))


MACROS = "{ macros(first: 9) { edges { node { id title shared active actions { kind value } } } } }"


@covers("SaveMacro")
async def test_a_macro_is_saved_replaced_and_shown_again_as_it_was_sent(world: World, sign_in: SignIn) -> None:
    """R113: an agent keeps macros of his own; shared ones need the right. What names somebody is a global id."""
    agent, group = await world.agent(), await world.group()
    client, admin = await sign_in(agent), await sign_in(world.admin)
    actions = [
        {"kind": "PUBLIC_REPLY", "value": "Bye, {{ticket.requester.name}}."},
        {"kind": "SET_ASSIGNEE", "value": user_id(agent)},
        {"kind": "SET_GROUP", "value": gid("Group", group.id)},
        {"kind": "END_SESSION", "value": None},
    ]
    saved = await client.do("SaveMacro", title="Bye", actions=actions)
    macro = await Macro.get(account_id=world.id)
    assert saved == {"macro": {"id": gid("Macro", macro.id), "title": "Bye"}, "userErrors": []}
    replaced = await client.do("SaveMacro", title="Goodbye", actions=actions, macroId=saved["macro"]["id"])
    assert replaced["macro"] == {"id": saved["macro"]["id"], "title": "Goodbye"}
    (edge,) = (await client.ask(MACROS))["data"]["macros"]["edges"]
    assert edge["node"] == {**replaced["macro"], "shared": False, "active": True, "actions": actions}
    assert (await admin.ask(MACROS))["data"]["macros"]["edges"] == []
    refused = await client.do("SaveMacro", title="For all", actions=actions, shared=True)
    assert (refused["macro"], codes(refused)) == (None, [("FORBIDDEN", [])])
    assert (await admin.do("SaveMacro", title="For all", actions=actions, shared=True))["userErrors"] == []
    titles = [edge["node"]["title"] for edge in (await client.ask(MACROS))["data"]["macros"]["edges"]]
    assert titles == ["For all", "Goodbye"]


@covers("SaveMacro")
async def test_a_macro_that_cannot_work_is_not_saved(world: World, sign_in: SignIn) -> None:
    """R112, R113: refused when it is saved, not when it is applied."""
    client = await sign_in(world.admin)
    end = [{"kind": "END_SESSION"}]
    cases: list[tuple[dict[str, Any], str, list[str]]] = [
        ({"title": " "}, "INVALID_INPUT", ["title"]),
        ({"title": "x" * 201}, "INVALID_INPUT", ["title"]),
        ({"actions": []}, "INVALID_INPUT", ["actions"]),
        ({"actions": end * 21}, "INVALID_INPUT", ["actions"]),
        ({"actions": [{"kind": "PUBLIC_REPLY"}]}, "INVALID_INPUT", ["actions"]),
        ({"actions": [{"kind": "PUBLIC_REPLY", "value": "{{secret}}"}]}, "INVALID_INPUT", ["actions"]),
        ({"actions": [{"kind": "SET_STATUS", "value": "GONE"}]}, "INVALID_INPUT", ["actions"]),
        ({"actions": [{"kind": "SET_GROUP", "value": str(new_id())}]}, "INVALID_ID", ["actions"]),
        ({"macroId": gid("Macro", new_id())}, "NOT_FOUND", []),
    ]
    for input, code, field in cases:
        payload = await client.do("SaveMacro", **{"title": "Macro", "actions": end} | input)
        assert (payload["macro"], codes(payload)) == (None, [(code, field)]), input
    assert await Macro.filter(account_id=world.id).count() == 0


async def _conversations(client: Client, **more: Any) -> dict[str, Any]:
    page: dict[str, Any] = (await client.send("MyConversations", **{"first": 10} | more))["myConversations"]
    return page


@covers("MyConversations")
async def test_a_customer_reads_all_his_conversations_and_nothing_else(world: World, sign_in: SignIn) -> None:
    """R53, R77: ended ones stay readable; no note, no e-mail, no trace of the end, nobody else's messages."""
    customer, agent = await world.customer(), await world.agent()
    old = await world.message(customer, "First.", client_message_id="m-1")
    for body, channel in (("Reply.", "MESSAGING"), ("A note.", "INTERNAL_NOTE"), ("A letter.", "EMAIL")):
        await (await sign_in(agent)).do("PostComment", ticketId=gid("Ticket", old.id), body=body, channel=channel)
    await world.end(old, agent)
    new = await world.message(customer, "Second.")
    await world.live_ticket()
    await world.email_ticket(customer)
    page = await _conversations(await sign_in(customer))
    written = await Comment.filter(conversation_id__in=[old.conversation_id, new.conversation_id]).order_by("id")
    messages = {comment.body: comment for comment in written}
    him, her = {"kind": "END_USER", "name": "Cleo Customer"}, {"kind": "AGENT", "name": "Alex Agent"}

    def shown(body: str, author: dict[str, str], key: str | None = None) -> dict[str, Any]:
        row = messages[body]
        sent = moment(row.created_at)
        message = {"id": gid("Message", row.id), "clientMessageId": key, "body": body, "sentAt": sent}
        return {"node": message | {"author": author}}

    assert [edge["node"]["id"] for edge in page["edges"]] == [
        gid("Conversation", each.conversation_id) for each in (new, old)
    ]
    assert [edge["node"]["messages"]["edges"] for edge in page["edges"]] == [
        [shown("Second.", him)],
        [shown("First.", him, "m-1"), shown("Reply.", her)],
    ]
    assert page["pageInfo"] == {"hasNextPage": False, "endCursor": page["pageInfo"]["endCursor"]}


@covers("MyConversations")
async def test_conversations_are_paged_from_the_newest(world: World, sign_in: SignIn) -> None:
    """R77: while the customer begins new ones, none is skipped or repeated."""
    customer = await world.customer()
    tickets = []
    for _ in range(3):
        tickets.append(await world.message(customer))
        await world.end(tickets[-1], world.admin)
    client = await sign_in(customer)
    first = await _conversations(client, first=2)
    await world.message(customer)
    second = await _conversations(client, first=2, after=first["pageInfo"]["endCursor"])
    ids = [edge["node"]["id"] for page in (first, second) for edge in page["edges"]]
    assert ids == [gid("Conversation", each.conversation_id) for each in reversed(tickets)]
    assert [page["pageInfo"]["hasNextPage"] for page in (first, second)] == [True, False]


@covers("SendMessage")
async def test_a_message_after_the_end_opens_a_new_conversation(world: World, sign_in: SignIn) -> None:
    """R68, R69, R75, R76: a stale widget learns where its message went, and one that repeats itself too."""
    customer = await world.customer()
    client = await sign_in(customer)
    first = await client.do("SendMessage", body="Hello.", clientMessageId="m-1")
    old = await Comment.get(account_id=world.id)
    assert first == {
        "message": {
            "id": gid("Message", old.id),
            "clientMessageId": "m-1",
            "body": "Hello.",
            "sentAt": moment(old.created_at),
        },
        "conversation": {"id": gid("Conversation", old.conversation_id)},
        "userErrors": [],
    }
    joined = await client.do("SendMessage", body="More.", conversationId=first["conversation"]["id"])
    assert joined["conversation"] == first["conversation"]
    ticket = await world.message(customer, "Still here?")
    await world.end(ticket, world.admin)
    stale = await client.do("SendMessage", body="Hello?", conversationId=first["conversation"]["id"])
    assert stale["conversation"]["id"] != first["conversation"]["id"]
    assert await world.thread(ticket) == ["Hello.", "More.", "Still here?"]
    before = await world.fingerprint()
    assert (before["tickets"], before["sessions"]) == (2, 2)
    repeated = await client.do("SendMessage", body="Hello.", clientMessageId="m-1")
    assert repeated == first
    assert await world.fingerprint() == before


@covers("SendMessage")
async def test_a_message_that_cannot_be_sent_is_refused(world: World, sign_in: SignIn) -> None:
    """R150: without messaging no session starts."""
    client = await sign_in(await world.customer())
    await world.settings(messaging_enabled=False)
    before = await world.fingerprint()
    cases: list[tuple[dict[str, Any], str, list[str]]] = [
        ({}, "CHANNEL_UNAVAILABLE", []),
        ({"body": " \n"}, "INVALID_INPUT", ["body"]),
        ({"clientMessageId": ""}, "INVALID_INPUT", ["clientMessageId"]),
        ({"clientMessageId": "x" * 201}, "INVALID_INPUT", ["clientMessageId"]),
        ({"conversationId": gid("Conversation", new_id())}, "NOT_FOUND", ["conversationId"]),
    ]
    for input, code, field in cases:
        payload = await client.do("SendMessage", **{"body": "Hello."} | input)
        assert (payload["message"], payload["conversation"], codes(payload)) == (None, None, [(code, field)]), input
    assert await world.fingerprint() == before


@covers("TicketPage")
async def test_a_partner_reads_a_page_with_the_last_ten_events(world: World, sign_in: SignIn) -> None:
    """R50, R56: the newest ten of each ticket, in order, with their actors."""
    customer, agent = await world.customer(), await world.agent()
    long = await world.live_ticket(customer=customer, assignee=agent, status=TicketStatus.OPEN)
    for count in range(12):
        await world.comment(long, agent, f"Note {count}")
    short = await world.email_ticket(customer)
    client = await sign_in(await world.agent("Parcels", permissions=LIGHT, kind=UserKind.PARTNER))
    page = (await client.send("TicketPage", first=1))["tickets"]
    page["edges"] += (await client.send("TicketPage", first=1, after=page["pageInfo"]["endCursor"]))["tickets"]["edges"]
    by_id = {edge["node"]["id"]: edge["node"] for edge in page["edges"]}
    assert by_id.keys() == {gid("Ticket", long.id), gid("Ticket", short.id)}
    for ticket in (long, short):
        shown = by_id[gid("Ticket", ticket.id)]
        events = [await envelope(event) for event in (await world.events(ticket))[-10:]]
        for event in events:
            del event["auditId"]
        assert [edge["node"] for edge in shown["events"]["edges"]] == events
        assert shown["requester"].keys() == {"id", "name", "email"}
    assert by_id[gid("Ticket", short.id)]["session"] is None
    assert by_id[gid("Ticket", long.id)]["assignee"] == {"id": user_id(agent), "name": "Alex Agent"}
    assert page["pageInfo"]["hasNextPage"] is True
