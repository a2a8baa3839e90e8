"""Triggers, surveys and webhooks, by the operations of the contract as they stand, with everything that they answer."""

from __future__ import annotations

from typing import Any

import httpx

from domain.revisions import redact_comment
from domain.transactions import Call
from domain.triggers import TriggerAction
from models import Comment, Event, EventType, OutboundCall, Survey, Trigger, Webhook, new_id
from partners.webhooks import send_due_calls, webhook_client
from tests.api.covered import codes, covers, moment
from tests.api.stage import gid
from tests.automation import ENDED_BY_AGENT, SURVEY, Kind, every, rule, settle, trigger
from tests.client import Client
from tests.conftest import SignIn
from tests.factories import World
from tests.partners.receiver import Receiver

HISTORY = """
query ($id: ID!) { ticket(id: $id) { events(first: 50) { edges { node {
  type actor { kind id name }
  ... on SurveyOffered { question }
  ... on SurveySkipped { reason }
  ... on SurveyAnswered { score amended said: comment }
  ... on TriggerFailed { triggerId code }
  ... on RoutingChannelChanged { was: from became: to }
} } } } }
"""
CONVERSATIONS = "{ myConversations(first: 9) { edges { node { id survey { id question } } } } }"

Answer = dict[str, Any]


async def history(client: Client, ticket_id: Any) -> list[dict[str, Any]]:
    answer = await client.ask(HISTORY, {"id": gid("Ticket", ticket_id)})
    return [edge["node"] for edge in answer["data"]["ticket"]["events"]["edges"]]


@covers("SaveTrigger", "Automation")
async def test_an_admin_saves_and_lists_triggers(world: World, sign_in: SignIn) -> None:
    """R115, R116: with global ids in rules and actions, and with hints."""
    admin, group, agent = await sign_in(world.admin), await world.group(), await world.agent()
    created = await admin.do("CreateWebhook", url="https://hooks.example/in")
    conditions = [
        {"match": "ALL", "rules": [rule("STATUS", "CHANGED_TO", "SOLVED"), rule("CHANNEL", "IS", "MESSAGING")]},
        {"match": "ANY", "rules": [rule("GROUP", "IS", gid("Group", group.id)), rule("ASSIGNEE", "IS_NOT", None)]},
    ]
    actions = [
        {"kind": "SEND_SURVEY", "value": None},
        {"kind": "SET_GROUP", "value": gid("Group", group.id)},
        {"kind": "SET_ASSIGNEE", "value": gid("User", agent.id)},
        {"kind": "NOTIFY_WEBHOOK", "value": created["webhook"]["id"]},
    ]
    payload = await admin.do("SaveTrigger", title="Ask", conditions=conditions, actions=actions)
    saved = payload["trigger"]
    assert (saved["title"], payload["userErrors"]) == ("Ask", [])
    (hint,) = saved["hints"]
    assert hint.startswith("After an agent ends the session, solving happens outside messaging")
    (edge,) = (await admin.send("Automation"))["triggers"]["edges"]
    whole = {"active": True, "conditions": conditions, "actions": actions}
    assert edge["node"] == saved | whole
    stored = await Trigger.get()
    assert stored.conditions[1]["rules"][0]["value"] == str(group.id)
    assert [action["value"] for action in stored.actions[1:]] == [
        str(group.id),
        str(agent.id),
        str((await Webhook.get()).id),
    ]
    either = [{"match": "ANY", "rules": [*conditions[0]["rules"][:1], ENDED_BY_AGENT]}]
    payload = await admin.do("SaveTrigger", id=saved["id"], title="Ask", conditions=either, actions=actions[:1])
    assert payload["trigger"] == {"id": saved["id"], "title": "Ask", "hints": []}
    deleted = await admin.ask(
        "mutation ($id: ID!) { deleteTrigger(input: {id: $id}) { deleted userErrors { code } } }", {"id": saved["id"]}
    )
    assert deleted["data"]["deleteTrigger"] == {"deleted": True, "userErrors": []}
    assert (await admin.send("Automation"))["triggers"]["edges"] == []


@covers("SaveTrigger")
async def test_a_trigger_that_cannot_be_is_refused_with_its_field(
    world: World, other_world: World, sign_in: SignIn
) -> None:
    """R27, R123."""
    admin = await sign_in(world.admin)
    good = {"title": "x", "conditions": [every(ENDED_BY_AGENT)], "actions": [{"kind": "END_SESSION"}]}
    foreign = gid("Group", (await other_world.group()).id)
    cases: list[tuple[dict[str, Any], str, str]] = [
        ({"title": ""}, "INVALID_INPUT", "title"),
        ({"conditions": []}, "INVALID_INPUT", "conditions"),
        ({"conditions": [every(rule("STATUS", "IS", "GONE"))]}, "INVALID_INPUT", "conditions"),
        ({"conditions": [every(rule("GROUP", "IS", foreign))]}, "NOT_FOUND", "conditions"),
        ({"conditions": [every(rule("GROUP", "IS", gid("User", world.admin.id)))]}, "INVALID_ID", "conditions"),
        ({"actions": [{"kind": "SET_GROUP", "value": foreign}]}, "NOT_FOUND", "actions"),
        ({"actions": [{"kind": "NOTIFY_WEBHOOK", "value": "x"}]}, "INVALID_ID", "actions"),
        ({"id": gid("Trigger", new_id())}, "NOT_FOUND", "id"),
    ]
    for given, code, field in cases:
        payload = await admin.do("SaveTrigger", **(good | given))
        assert (payload["trigger"], codes(payload)) == (None, [(code, [field])]), given
    await world.settings(customizable_surveys=False)
    payload = await admin.do("SaveTrigger", **(good | {"actions": [{"kind": "SEND_SURVEY"}]}))
    assert codes(payload) == [("FEATURE_DISABLED", ["conditions"])]
    assert "plan" in payload["userErrors"][0]["message"]
    assert await Trigger.all().count() == 0


@covers("RateConversation", "MyConversations")
async def test_the_customer_finds_the_survey_again_and_answers_it(world: World, sign_in: SignIn) -> None:
    """R119: also with a widget that was closed; and staff read the answer in the history, named by the trigger."""
    asking = await trigger(world, every(ENDED_BY_AGENT), SURVEY, title="Ask after the end")
    customer = await world.customer()
    ticket = await world.live_ticket(customer=customer)
    client, admin = await sign_in(customer), await sign_in(world.admin)
    conversation: Answer = {"id": gid("Conversation", ticket.conversation_id), "survey": None}
    page: Answer = {"data": {"myConversations": {"edges": [{"node": conversation}]}}}
    assert await client.ask(CONVERSATIONS) == page
    await world.end(ticket, world.admin)
    await settle()
    survey = await Survey.get()
    offered = {"id": gid("Survey", survey.id), "question": "How was your conversation?"}
    page["data"]["myConversations"]["edges"] = [{"node": conversation | {"survey": offered}}]
    assert await client.ask(CONVERSATIONS) == page
    payload = await client.do("RateConversation", surveyId=offered["id"], score="GOOD", comment="Fine.")
    assert payload == {"rating": {"score": "GOOD", "comment": "Fine."}, "userErrors": []}
    page["data"]["myConversations"]["edges"] = [{"node": conversation}]
    assert await client.ask(CONVERSATIONS) == page
    payload = await client.do("RateConversation", surveyId=offered["id"], score="BAD")
    assert payload["rating"] == {"score": "BAD", "comment": None}
    told, first, second = (await history(admin, ticket.id))[-3:]
    actor = {"kind": "TRIGGER", "id": gid("Trigger", asking.id), "name": "Ask after the end"}
    assert told == {"type": "SURVEY_OFFERED", "actor": actor, "question": "How was your conversation?"}
    # What he wrote is as it reads now; the history keeps what he thought at each time.
    assert (first["score"], first["amended"], first["said"]) == ("GOOD", False, None)
    assert (second["score"], second["amended"], second["actor"]["name"]) == ("BAD", True, "Cleo Customer")


@covers("RateConversation")
async def test_an_answer_that_cannot_be_is_refused(world: World, sign_in: SignIn) -> None:
    """R119: stored nowhere."""
    customer = await world.customer()
    await trigger(world, every(ENDED_BY_AGENT), SURVEY)
    await world.ended_ticket(customer=customer)
    await settle()
    client, survey = await sign_in(customer), gid("Survey", (await Survey.get()).id)
    payload = await client.do("RateConversation", surveyId=gid("Survey", new_id()), score="GOOD")
    assert (payload["rating"], codes(payload)) == (None, [("NOT_FOUND", ["surveyId"])])
    payload = await client.do("RateConversation", surveyId=survey, score="GOOD", comment="x" * 2001)
    assert (payload["rating"], codes(payload)) == (None, [("INVALID_INPUT", ["comment"])])
    assert (await Survey.get()).score is None


@covers("Satisfaction", "EndPreview")
async def test_satisfaction_and_the_preview(world: World, sign_in: SignIn) -> None:
    """R118: counts with their reasons; D9: the preview knows of the survey."""
    agent, admin = await sign_in(await world.agent()), await sign_in(world.admin)
    ticket = await world.live_ticket()

    async def preview() -> Any:
        return (await agent.send("EndPreview", ticketId=gid("Ticket", ticket.id)))["sessionEndPreview"]

    assert (await preview())["surveyWillBeSent"] is False
    await trigger(world, every(rule("SESSION_STATE", "CHANGED_TO", "ENDED")), SURVEY)
    assert (await preview())["surveyWillBeSent"] is True
    await world.settings(agents_can_end_sessions=False)
    assert (await preview())["surveyWillBeSent"] is False
    await world.settings(agents_can_end_sessions=True)
    await world.end(ticket, world.admin)
    await world.settings(survey_sampling_percent=0)
    await settle()
    await world.settings(survey_sampling_percent=100)
    await world.ended_ticket()
    await settle()
    figures = {"offered": 1, "answered": 0, "skipped": 1, "good": 0, "bad": 0}
    expected = figures | {"skippedByReason": [{"reason": "SAMPLING", "count": 1}]}
    assert (await admin.send("Satisfaction"))["satisfaction"] == expected
    nothing = {"offered": 0, "answered": 0, "skipped": 0, "good": 0, "bad": 0, "skippedByReason": []}
    assert (await admin.send("Satisfaction", since="2999-01-01T00:00:00+14:00"))["satisfaction"] == nothing
    assert (await admin.send("Satisfaction", since="2000-01-01T00:00:00"))["satisfaction"] == expected
    skipped = next(event for event in await history(admin, ticket.id) if event["type"] == "SURVEY_SKIPPED")
    assert skipped["reason"] == "SAMPLING"


async def test_a_failure_and_a_move_of_the_routing_channel_are_shown(world: World, sign_in: SignIn) -> None:
    """R52, R102, R122: with the trigger that did it; a deleted one is still a trigger."""
    routing = await trigger(world, every(ENDED_BY_AGENT), TriggerAction(Kind.SET_ROUTING_CHANNEL, "EMAIL"))
    failing = await trigger(world, every(ENDED_BY_AGENT), TriggerAction(Kind.PUBLIC_REPLY, "…"), title="Write")
    ticket = await world.ended_ticket(customer=await world.customer(email=False))
    await settle()
    admin = await sign_in(world.admin)
    moved, failed = (await history(admin, ticket.id))[-2:]
    assert (moved["was"], moved["became"], moved["actor"]["id"]) == ("MESSAGING", "EMAIL", gid("Trigger", routing.id))
    actor = {"kind": "TRIGGER", "id": gid("Trigger", failing.id), "name": "Write"}
    assert failed == {"type": "TRIGGER_FAILED", "actor": actor, "triggerId": actor["id"], "code": "SESSION_ENDED"}
    await admin.ask("mutation ($id: ID!) { deleteTrigger(input: {id: $id}) { deleted } }", {"id": actor["id"]})
    assert (await history(admin, ticket.id))[-1]["actor"] == actor | {"name": "Trigger"}


@covers("CreateWebhook", "Webhooks")
async def test_webhooks_and_their_deliveries(world: World, sign_in: SignIn) -> None:
    """R164: the secret is shown once; deliveries show how they went, the newest last."""
    admin = await sign_in(world.admin)
    async with Receiver.started(200, 500) as receiver, webhook_client() as client:
        payload = await admin.do("CreateWebhook", url=receiver.url, eventTypes=["MESSAGING_SESSION_ENDED"])
        webhook = payload["webhook"]
        assert payload["signingSecret"] == (await Webhook.get()).secret
        types = ["MESSAGING_SESSION_ENDED"]
        assert webhook == {"id": webhook["id"], "url": receiver.url, "eventTypes": types, "active": True}
        await trigger(world, every(ENDED_BY_AGENT), TriggerAction(Kind.NOTIFY_WEBHOOK, str((await Webhook.get()).id)))
        assert await _deliveries(admin, webhook) == []
        for _ in range(2):
            await world.ended_ticket()
            await settle()
            await _sent(client)
        await admin.do("CreateWebhook", url="https://unused.example/")
        ends = await Event.filter(type=EventType.MESSAGING_SESSION_ENDED).order_by("position")
        calls = await OutboundCall.all().order_by("created_at")
        assert await _deliveries(admin, webhook) == [
            {
                "id": gid("Delivery", call.id),
                "eventId": gid("TicketEvent", end.id),
                "attempt": 1,
                "status": status,
                "responseCode": code,
                "at": moment(call.created_at),
                "nextAttemptAt": moment(call.next_attempt_at) if status == "PENDING" else None,
            }
            for end, call, status, code in zip(ends, calls, ("SENT", "PENDING"), (200, 500), strict=True)
        ]
        one = "{ webhooks(first: 9) { edges { node { deliveries(last: 1) { edges { node { status } } } } } } }"
        first, unused = (await admin.ask(one))["data"]["webhooks"]["edges"]
        assert first["node"]["deliveries"]["edges"] == [{"node": {"status": "PENDING"}}]
        assert unused["node"]["deliveries"]["edges"] == []
    payload = await admin.do("CreateWebhook", url="ftp://x.example")
    assert (payload["webhook"], payload["signingSecret"], codes(payload)) == (None, None, [("INVALID_INPUT", ["url"])])


async def _sent(client: httpx.AsyncClient) -> None:
    await send_due_calls(client, allow_private_urls=True)


async def _deliveries(admin: Client, webhook: dict[str, Any]) -> list[dict[str, Any]]:
    edges = (await admin.send("Webhooks"))["webhooks"]["edges"]
    (found,) = [edge["node"] for edge in edges if edge["node"]["id"] == webhook["id"]]
    return [edge["node"] for edge in found["deliveries"]["edges"]]


async def test_what_a_trigger_wrote_can_be_redacted_and_names_nobody(world: World, sign_in: SignIn) -> None:
    """R49, R53: the customer sees an answer of the account, without the name of the trigger."""
    customer = await world.customer()
    await trigger(
        world,
        every(rule("STATUS", "CHANGED_TO", "PENDING")),
        TriggerAction(Kind.PUBLIC_REPLY, "Are you there?"),
        title="Nag the customer",
    )
    ticket = await world.live_ticket(customer=customer)
    admin, client = await sign_in(world.admin), await sign_in(customer)
    await admin.do("UpdateTicket", ticketId=gid("Ticket", ticket.id), status="PENDING")
    await settle()
    page = (await client.send("MyConversations", first=1))["myConversations"]
    message = page["edges"][0]["node"]["messages"]["edges"][-1]["node"]
    assert (message["body"], message["author"]) == ("Are you there?", {"kind": "AGENT", "name": "Support"})
    comment = await Comment.get(body="Are you there?")
    await redact_comment(Call(world.admin), comment.id)
    assert (await Comment.get(id=comment.id)).body == "[redacted]"


async def test_an_admin_sets_the_question_and_how_many_are_asked(world: World, sign_in: SignIn) -> None:
    """R118, S16: what makes no sense is refused."""
    client = await sign_in(world.admin)
    text = (
        "mutation ($input: UpdateMessagingSettingsInput!) { updateMessagingSettings(input: $input) {"
        " messagingSettings { surveyQuestion surveySamplingPercent } userErrors { code message field } } }"
    )
    for values, expected in (
        ({"surveyQuestion": "Were we kind?", "surveySamplingPercent": 50}, []),
        ({"surveyQuestion": "  "}, [("INVALID_INPUT", ["surveyQuestion"])]),
        ({"surveySamplingPercent": 101}, [("INVALID_INPUT", ["surveySamplingPercent"])]),
    ):
        payload = (await client.ask(text, {"input": values}))["data"]["updateMessagingSettings"]
        assert codes(payload) == expected
    shown = await client.ask("{ messagingSettings { surveyQuestion surveySamplingPercent } }")
    assert shown["data"]["messagingSettings"] == {"surveyQuestion": "Were we kind?", "surveySamplingPercent": 50}
