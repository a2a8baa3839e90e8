"""The bot through the API: an admin describes it, a program speaks in its name, and both sides see who wrote."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.applications import Starlette

from domain.responders import answer_messages
from domain.sessions import end_session
from domain.transactions import Call
from models import Bot, Event, EventType
from tests.api.covered import codes
from tests.api.stage import gid
from tests.bots import AT_ONCE, HTTP, RULES, partner, put_in_front, said_in, session_of, ticket_of, writes
from tests.client import Client
from tests.conftest import SignIn
from tests.factories import World

ERRORS = "userErrors { code message field }"
BOT = "name kind greeting answers { keywords reply } handoffKeywords handoffMessage url"
SAVE = f"mutation ($input: SaveBotInput!) {{ saveBot(input: $input) {{ bot {{ id {BOT} }} signingSecret {ERRORS} }} }}"
REPLY = (
    "mutation ($input: ReplyAsBotInput!) "
    f"{{ replyAsBot(input: $input) {{ message {{ id body author {{ kind name }} }} {ERRORS} }} }}"
)
HAND_OFF = (
    "mutation ($input: HandOffConversationInput!) "
    f"{{ handOffConversation(input: $input) {{ handedOff ticket {{ id session {{ control }} }} {ERRORS} }} }}"
)
END = f"mutation ($input: EndConversationAsBotInput!) {{ endConversationAsBot(input: $input) {{ outcome {ERRORS} }} }}"
END_SESSION = (
    "mutation ($input: EndSessionInput!) { endSession(input: $input) "
    f"{{ outcome ticket {{ id }} session {{ state control }} event {{ type sequence }} {ERRORS} }} }}"
)
THREAD = (
    "query ($id: ID!) { ticket(id: $id) { session { control } comments(first: 9) "
    "{ edges { node { body author { kind id name } } } } } }"
)


async def do(client: Client, text: str, **input: Any) -> dict[str, Any]:
    """The payload of a mutation."""
    answer = await client.ask(text, {"input": input})
    assert "errors" not in answer, answer["errors"]
    (payload,) = answer["data"].values()
    result: dict[str, Any] = payload
    return result


async def test_an_admin_describes_the_bot(world: World, sign_in: SignIn) -> None:
    """R70: what he saved is what he reads; a new secret is told once."""
    client = await sign_in(world.admin)
    assert (await client.ask(f"{{ bot {{ id {BOT} }} }}"))["data"] == {"bot": None}
    form = {
        "name": "Robin",
        "kind": "RULES",
        "greeting": "Hi!",
        "answers": [{"keywords": ["refund"], "reply": "Three days."}],
        "handoffKeywords": ["human"],
        "handoffMessage": "One moment.",
    }
    saved = await do(client, SAVE, **form)
    row = await Bot.get(account_id=world.id)
    assert saved == {"bot": {"id": gid("Bot", row.id), "url": None} | form, "signingSecret": None, "userErrors": []}
    assert (await client.ask(f"{{ bot {{ id {BOT} }} }}"))["data"]["bot"] == saved["bot"]
    http = await do(client, SAVE, name="Robin", kind="HTTP", url="https://bot.example")
    assert len(http["signingSecret"]) == 64
    assert (await do(client, SAVE, name="Robin", kind="HTTP", url="https://bot.example"))["signingSecret"] is None
    renewed = await do(client, SAVE, name="Robin", kind="HTTP", url="https://bot.example", newSecret=True)
    assert renewed["signingSecret"] not in (None, http["signingSecret"])
    refused = await do(client, SAVE, name="Robin", kind="HTTP")
    assert (refused["bot"], codes(refused)) == (None, [("INVALID_INPUT", ["url"])])
    text = (
        "mutation ($input: UpdateMessagingSettingsInput!) { updateMessagingSettings(input: $input) { changed "
        f"messagingSettings {{ firstResponder customerAbsenceSeconds closeSolvedAfterDays }} {ERRORS} }} }}"
    )
    changed = await do(client, text, firstResponder="BOT", customerAbsenceSeconds=90, closeSolvedAfterDays=None)
    assert changed == {
        "changed": True,
        "messagingSettings": {
            "firstResponder": "BOT",
            "customerAbsenceSeconds": 90,
            "closeSolvedAfterDays": None,
        },
        "userErrors": [],
    }
    refused = await do(client, text, closeSolvedAfterDays=0)
    assert codes(refused) == [("INVALID_INPUT", ["closeSolvedAfterDays"])]
    refused = await do(client, text, inactiveUnassignedAfterMinutes=20)
    assert codes(refused) == [("INVALID_INPUT", ["inactiveUnassignedAfterMinutes"])]


async def test_a_program_speaks_in_the_bots_name(world: World, sign_in: SignIn) -> None:
    """R70, R128, R137: reply, repeat, hand off, repeat; afterwards it is refused."""
    await put_in_front(world, HTTP)
    sent = await writes(await world.customer())
    client = await sign_in(await partner(world))
    conversation = gid("Conversation", sent.conversation_id)
    given = {"conversationId": conversation, "body": "Hi.", "inReplyTo": gid("Message", sent.comment_id)}
    reply = await do(client, REPLY, **given)
    assert reply == await do(client, REPLY, **given)
    assert reply["message"]["body"] == "Hi."
    assert reply["message"]["author"] == {"kind": "BOT", "name": "Robin"}
    handed = await do(client, HAND_OFF, conversationId=conversation, note="Angry.")
    ticket = await ticket_of(sent)
    assert ticket is not None
    shown = {"id": gid("Ticket", ticket.id), "session": {"control": "AGENT"}}
    assert handed == {"handedOff": True, "ticket": shown, "userErrors": []}
    assert await do(client, HAND_OFF, conversationId=conversation) == handed
    late = await do(client, REPLY, conversationId=conversation, body="Still here.")
    assert (late["message"], codes(late)) == (None, [("FORBIDDEN", [])])
    ended = await do(client, END, conversationId=conversation)
    assert (ended["outcome"], codes(ended)) == (None, [("FORBIDDEN", [])])
    await end_session(Call(world.admin), ticket.id)
    late = await do(client, REPLY, conversationId=conversation, body="Still here.")
    assert codes(late) == [("SESSION_ENDED", [])]
    assert await said_in(sent) == [("END_USER", "Hello?"), ("BOT", "Hi."), ("BOT", "Angry.")]


async def test_a_program_ends_what_the_bot_has(world: World, sign_in: SignIn) -> None:
    """R42, R138."""
    await put_in_front(world, HTTP)
    sent = await writes(await world.customer())
    client = await sign_in(await partner(world))
    for outcome in ("ENDED", "ALREADY_ENDED"):
        ended = await do(client, END, conversationId=gid("Conversation", sent.conversation_id))
        assert ended == {"outcome": outcome, "userErrors": []}
    assert (await session_of(sent)).control.value == "NOBODY"


async def test_a_conversation_without_a_ticket_is_ended_by_an_admin(world: World, sign_in: SignIn) -> None:
    """R42: endSession by the conversation's id; an agent is told NO_TICKET_YET, and one of the two ids is named."""
    await put_in_front(world, HTTP)
    sent = await writes(await world.customer())
    conversation = gid("Conversation", sent.conversation_id)
    agent, admin = await sign_in(await world.agent()), await sign_in(world.admin)
    refused = await do(agent, END_SESSION, conversationId=conversation)
    assert codes(refused) == [("NO_TICKET_YET", ["conversationId"])]
    for given in ({}, {"conversationId": conversation, "ticketId": gid("Ticket", sent.conversation_id)}):
        assert codes(await do(admin, END_SESSION, **given)) == [("INVALID_INPUT", ["ticketId"])]
    ended = await do(admin, END_SESSION, conversationId=conversation)
    assert ended == {
        "outcome": "ENDED",
        "ticket": None,
        "session": {"state": "ENDED", "control": "NOBODY"},
        "event": {"type": "MESSAGING_SESSION_ENDED", "sequence": None},
        "userErrors": [],
    }
    sent = await writes(await world.customer())
    given = {"conversationId": gid("Conversation", sent.conversation_id)}
    handed = await do(await sign_in(await partner(world)), HAND_OFF, **given)
    ended = await do(agent, END_SESSION, **given)
    assert ended["ticket"] == {"id": handed["ticket"]["id"]}
    assert ended["event"]["sequence"] == 3


async def test_staff_see_who_has_a_conversation_and_what_the_bot_said(world: World, sign_in: SignIn) -> None:
    """R138, R54: by its name; a conversation without a ticket is nobody's node."""
    await put_in_front(world, RULES, AT_ONCE)
    sent = await writes(await world.customer(), "A refund?")
    await answer_messages()
    ticket = await ticket_of(sent)
    assert ticket is not None
    client = await sign_in(await world.agent())
    shown = (await client.ask(THREAD, {"id": gid("Ticket", ticket.id)}))["data"]["ticket"]
    assert shown["session"] == {"control": "BOT"}
    assert shown["comments"]["edges"][1]["node"] == {
        "body": "Refunds take three days.",
        "author": {"kind": "BOT", "id": None, "name": "Robin"},
    }


async def test_the_customer_hears_the_bot_and_staff_streams_stay_silent(
    world: World, sign_in: SignIn, app: Starlette
) -> None:
    """R53, R42: without a ticket the messages come through, in the bot's name, and no staff stream says anything."""
    await put_in_front(world)
    customer, agent = await world.customer(), await world.agent()
    clients = {name: await sign_in(actor) for name, actor in (("customer", customer), ("agent", agent))}
    async with (
        clients["customer"].listening("MessageReceived") as widget,
        clients["agent"].listening("Inbox") as inbox,
        clients["agent"].listening("SessionEnded") as ends,
    ):
        await _settled(app)
        sent = await writes(customer, "A refund?")
        assert (await widget.next())["message"]["body"] == "A refund?"
        await answer_messages()
        heard = await widget.next()
        assert heard["message"]["author"] == {"kind": "BOT", "name": "Robin"}
        assert heard["conversation"] == {"id": gid("Conversation", sent.conversation_id)}
        await inbox.nothing()
        await writes(customer, "A human!")
        await answer_messages()
        assert [(await widget.next())["message"]["body"] for _ in range(2)] == [
            "A human!",
            "A colleague will be with you.",
        ]
        item = await inbox.next()
        ticket = await ticket_of(sent)
        assert ticket is not None
        assert (item["change"], item["ticketId"]) == ("ADDED", gid("Ticket", ticket.id))
        await inbox.next()
        await ends.nothing()
    page = (await clients["customer"].send("MyConversations", first=1))["myConversations"]
    messages = page["edges"][0]["node"]["messages"]["edges"]
    assert [edge["node"]["author"]["kind"] for edge in messages] == ["END_USER", "BOT", "END_USER", "BOT"]


async def _settled(app: Starlette) -> None:
    """Until the streams have begun."""
    async with asyncio.timeout(5):
        while app.state.deskwire.hub.size.members != 3:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_the_end_of_a_conversation_without_a_ticket_is_no_staff_news(
    world: World, sign_in: SignIn, app: Starlette
) -> None:
    """R42, R53: whoever resumes from before it hears nothing, and its event is nobody's node."""
    await put_in_front(world)
    sent = await writes(await world.customer())
    agent = await sign_in(await world.agent())
    cursor = await app.state.deskwire.feeds.sync_cursor(world.admin)
    await do(await sign_in(world.admin), END_SESSION, conversationId=gid("Conversation", sent.conversation_id))
    async with agent.listening("SessionEnded", after=cursor) as ends:
        await ends.nothing()
    event = await Event.get(account_id=world.id, type=EventType.MESSAGING_SESSION_ENDED)
    answer = await agent.ask("query ($id: ID!) { node(id: $id) { id } }", {"id": gid("TicketEvent", event.id)})
    assert answer["data"] == {"node": None}
