"""Routing and capacity as workspaces and admin consoles meet them: the outcomes of rules 2.5, end to end."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from domain.tickets import update_ticket
from domain.transactions import Call
from models import Event, LedgerEntry, Ticket, TicketAccess
from tests.api.covered import codes, covers
from tests.api.stage import gid
from tests.client import Client
from tests.conftest import SignIn
from tests.factories import World
from tests.routing import omnichannel, online

pytestmark = pytest.mark.jobs

ASSIGNEE = "query ($id: ID!) { ticket(id: $id) { assignee { id } } }"
LIMITS = {"messagingLimit": 3, "emailLimit": 1, "isDefault": True}


def save(what: str, answer: str) -> str:
    """A mutation with one input."""
    errors = "userErrors { code message field }"
    given = f"$input: {what[0].upper()}{what[1:]}Input!"
    return f"mutation ({given}) {{ {what}(input: $input) {{ {answer} {errors} }} }}"


async def given_to(client: Client, ticket: Ticket, agent_id: str) -> None:
    """Wait until routing gave the ticket to this agent."""
    async with asyncio.timeout(10):
        while True:
            shown = (await client.ask(ASSIGNEE, {"id": gid("Ticket", ticket.id)}))["data"]["ticket"]["assignee"]
            if shown is not None and shown["id"] == agent_id:
                return
            await asyncio.sleep(0.05)


async def counts(client: Client) -> dict[str, int]:
    """The work counts that the viewer is shown."""
    availability = (await client.send("Viewer"))["viewer"]["availability"]
    return {each["channel"]: each["workItemCount"] for each in availability["channels"]}


# Rules 2.5: mode, countInactiveTowardCapacity, routeAgentEndedSessionsAsEmail; outcome; counts after.
OUTCOMES: list[tuple[str, bool, bool, str, dict[str, int]]] = [
    ("STANDARD", False, False, "NOT_TRACKED", {"MESSAGING": 0}),
    ("OMNICHANNEL", False, False, "RELEASED", {"MESSAGING": 0, "EMAIL": 0}),
    ("OMNICHANNEL", True, False, "KEPT", {"MESSAGING": 1, "EMAIL": 0}),
    ("OMNICHANNEL", False, True, "MOVED_TO_EMAIL", {"MESSAGING": 0, "EMAIL": 1}),
    ("OMNICHANNEL", True, True, "MOVED_TO_EMAIL", {"MESSAGING": 0, "EMAIL": 1}),
]


@covers("SetAvailability", "UpdateRoutingSettings")
@pytest.mark.parametrize(("mode", "inactive", "email", "outcome", "after"), OUTCOMES)
async def test_each_capacity_outcome_of_an_end(
    mode: str, inactive: bool, email: bool, outcome: str, after: dict[str, int], world: World, sign_in: SignIn
) -> None:
    """R83–R88, S4g: an admin configures, an agent comes online, gets a ticket by himself, and ends its session."""
    agent = await world.agent()
    admin, client = await sign_in(world.admin), await sign_in(agent)
    saved = await admin.ask(save("saveCapacityRule", "capacityRule { name }"), {"input": {"name": "All", **LIMITS}})
    assert saved["data"]["saveCapacityRule"]["userErrors"] == []
    settings = {
        "mode": mode,
        "countInactiveTowardCapacity": inactive,
        "routeAgentEndedSessionsAsEmail": email,
        "standardDistribution": "ASSIGN",
    }
    payload = await admin.do("UpdateRoutingSettings", **settings)
    assert payload["userErrors"] == []
    payload = await client.do("SetAvailability", status="ONLINE")
    assert payload["availability"]["status"] == "ONLINE"
    ticket = await world.message(await world.customer())
    await given_to(client, ticket, gid("User", agent.id))
    assert (await counts(client))["MESSAGING"] == 1
    preview = await client.send("EndPreview", ticketId=gid("Ticket", ticket.id))
    assert preview["sessionEndPreview"]["routingOutcome"] == outcome
    ended = await client.do("EndSession", ticketId=gid("Ticket", ticket.id))
    assert ended["event"]["routingOutcome"] == outcome
    assert ended["ticket"]["status"] == "OPEN"
    assert await counts(client) == after


@covers("CapacityLedger")
async def test_the_ledger_tells_an_admin_why(world: World, sign_in: SignIn) -> None:
    """R99: the newest first, page by page."""
    await omnichannel(world)
    agent = await world.agent()
    client = await sign_in(world.admin)
    ticket = await world.live_ticket()
    await client.do("UpdateTicket", ticketId=gid("Ticket", ticket.id), assigneeId=gid("User", agent.id))
    await client.do("EndSession", ticketId=gid("Ticket", ticket.id))
    entries = await LedgerEntry.filter(agent_id=agent.id).order_by("-sequence")
    page = (await client.send("CapacityLedger", agentId=gid("Agent", agent.id), first=1))["capacityLedger"]
    assert page["pageInfo"]["hasNextPage"] is True
    cursor = page["pageInfo"]["endCursor"]
    rest = await client.send("CapacityLedger", agentId=gid("Agent", agent.id), first=9, after=cursor)
    nodes = [edge["node"] for edge in page["edges"] + rest["capacityLedger"]["edges"]]
    shown = {"id": gid("Ticket", ticket.id), "number": ticket.number}
    assert nodes == [
        {
            "at": entries[0].at.isoformat(),
            "channel": "MESSAGING",
            "change": -1,
            "reason": "SESSION_ENDED",
            "ticket": shown,
            "auditId": gid("Audit", entries[0].audit_id),
            "countAfter": 0,
        },
        {
            "at": entries[1].at.isoformat(),
            "channel": "MESSAGING",
            "change": 1,
            "reason": "ASSIGNMENT_CHANGED",
            "ticket": shown,
            "auditId": gid("Audit", entries[1].audit_id),
            "countAfter": 1,
        },
    ]
    assert await Event.filter(audit_id=entries[0].audit_id, type="MESSAGING_SESSION_ENDED").count() == 1


async def test_an_agent_takes_one_offer_and_passes_another(world: World, sign_in: SignIn) -> None:
    """R44, R92: through the API alone."""
    await omnichannel(world, auto_accept=False)
    agent = await world.agent()
    client = await sign_in(agent)
    await client.do("SetAvailability", status="ONLINE")
    tickets = [await world.message(await world.customer()) for _ in range(2)]
    offers = await _offers(client, 2)
    assert [offer["ticket"]["id"] for offer in offers] == [gid("Ticket", ticket.id) for ticket in tickets]
    taken = await client.ask(save("acceptOffer", "ticket { assignee { id } }"), {"input": {"offerId": offers[0]["id"]}})
    assert taken["data"]["acceptOffer"]["ticket"] == {"assignee": {"id": gid("User", agent.id)}}
    passed = await client.ask(save("declineOffer", "declined"), {"input": {"offerId": offers[1]["id"]}})
    assert passed["data"]["declineOffer"] == {"declined": True, "userErrors": []}
    closed = [await _closings(client, ticket) for ticket in tickets]
    me = gid("User", agent.id)
    assert closed == [
        [{"agentIds": [me], "channel": "MESSAGING"}, {"agentId": me, "state": state}]
        for state in ("ACCEPTED", "DECLINED")
    ]
    again = await client.ask(save("acceptOffer", "ticket { id }"), {"input": {"offerId": offers[1]["id"]}})
    assert codes(again["data"]["acceptOffer"]) == [("OFFER_CLOSED", [])]
    assert await _offers(client, 0) == []


async def _closings(client: Client, ticket: Ticket) -> list[dict[str, Any]]:
    """What the history of a ticket tells of its offer."""
    text = (
        "query ($id: ID!) { ticket(id: $id) { events(first: 50) { edges { node { type"
        " ... on TicketOffered { agentIds channel } ... on OfferClosed { agentId state } } } } } }"
    )
    ticket_shown = (await client.ask(text, {"id": gid("Ticket", ticket.id)}))["data"]["ticket"]
    nodes = [edge["node"] for edge in ticket_shown["events"]["edges"]]
    return [node for node in nodes if node.pop("type") in ("TICKET_OFFERED", "OFFER_CLOSED")]


async def _offers(client: Client, count: int) -> list[dict[str, Any]]:
    async with asyncio.timeout(10):
        while True:
            answer = await client.ask("{ myOffers { id channel state expiresAt ticket { id } } }", {})
            offers: list[dict[str, Any]] = answer["data"]["myOffers"]
            if len(offers) == count:
                return offers
            await asyncio.sleep(0.05)


async def test_an_admin_configures_rules_and_queues(world: World, sign_in: SignIn) -> None:
    """S1: saved, shown, replaced, chosen, deleted, and each of it in the account's log."""
    agent, group = await world.agent(), await world.group("Experts")
    client = await sign_in(world.admin)
    rule = (await client.ask(save("saveCapacityRule", "capacityRule { id }"), {"input": {"name": "Few", **LIMITS}}))[
        "data"
    ]["saveCapacityRule"]["capacityRule"]
    given = {"input": {"agentId": gid("Agent", agent.id), "capacityRuleId": rule["id"]}}
    chosen = await client.ask(save("chooseCapacityRule", "capacityRule { id name messagingLimit }"), given)
    assert chosen["data"]["chooseCapacityRule"]["capacityRule"]["messagingLimit"] == 3
    again = await client.ask(save("saveCapacityRule", "capacityRule { id }"), {"input": {"name": "Few"}})
    assert codes(again["data"]["saveCapacityRule"]) == [("INVALID_INPUT", ["name"])]
    queue = {"name": "VIP", "groupIds": [gid("Group", group.id)], "place": 2}
    saved = await client.ask(save("saveQueue", "queue { id name place groups { name } }"), {"input": queue})
    node = saved["data"]["saveQueue"]["queue"]
    assert (node["name"], node["place"], node["groups"]) == ("VIP", 2, [{"name": "Experts"}])
    gone = await client.ask(save("deleteQueue", "deleted"), {"input": {"id": node["id"]}})
    assert gone["data"]["deleteQueue"]["deleted"] is True
    await client.ask(save("deleteCapacityRule", "deleted"), {"input": {"id": rule["id"]}})
    shown = (await client.ask("{ capacityRules { id } queues { id } }", {}))["data"]
    assert shown == {"capacityRules": [], "queues": []}
    assert [entry.action for entry in await world.log()] == [
        "CAPACITY_RULE_SAVED",
        "CAPACITY_RULE_CHOSEN",
        "QUEUE_SAVED",
        "QUEUE_DELETED",
        "CAPACITY_RULE_DELETED",
    ]


async def test_the_settings_of_routing_are_checked(world: World, sign_in: SignIn) -> None:
    """R6, R95: a limit of chats can be taken away again; what makes no sense is refused."""
    client = await sign_in(world.admin)
    for values, expected in (
        ({"chatLimit": 5, "autoAccept": False, "offerSeconds": 20, "agentAbsenceSeconds": 30}, []),
        ({"chatLimit": None}, []),
        ({"chatLimit": 0}, [("INVALID_INPUT", ["chatLimit"])]),
        ({"offerSeconds": 1}, [("INVALID_INPUT", ["offerSeconds"])]),
        ({"autoAccept": None}, [("INVALID_INPUT", ["autoAccept"])]),
    ):
        answer = await client.ask(save("updateRoutingSettings", "changed"), {"input": values})
        assert codes(answer["data"]["updateRoutingSettings"]) == expected
    shown = await client.ask("{ routingSettings { chatLimit autoAccept offerSeconds agentAbsenceSeconds } }", {})
    assert shown["data"]["routingSettings"] == {
        "chatLimit": None,
        "autoAccept": False,
        "offerSeconds": 20,
        "agentAbsenceSeconds": 30,
    }


async def test_a_ledger_hides_tickets_that_one_may_not_see(world: World, sign_in: SignIn) -> None:
    """S1, R27: an agent reads his own ledger, and of tickets that he lost only the counts."""
    await omnichannel(world)
    agent = await world.agent(access=TicketAccess.ASSIGNED)
    await online(agent)
    ticket = await world.live_ticket()
    await update_ticket(Call(world.admin), ticket.id, {"assignee_id": agent.id})
    await update_ticket(Call(world.admin), ticket.id, {"assignee_id": world.admin.id})
    page = await (await sign_in(agent)).send("CapacityLedger", agentId=gid("Agent", agent.id), first=9)
    nodes = [edge["node"] for edge in page["capacityLedger"]["edges"]]
    assert [(node["change"], node["ticket"]) for node in nodes] == [(-1, None), (1, None)]
