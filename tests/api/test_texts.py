"""Texts on the real application: how long they may be, what they may hold, and that they come back unchanged."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLList,
    GraphQLNonNull,
    get_named_type,
    get_nullable_type,
)
from starlette.applications import Starlette

from deskwire.schema import build_schema
from models import Comment, Ticket
from tests.api.responses import clean, only_code
from tests.api.stage import everything, gid
from tests.api.test_authorization import MATRIX, Row, Scene
from tests.conftest import SignIn
from tests.factories import World

SAMPLES = {
    "emoji": "👩‍👩‍👧‍👦 🏳️‍🌈 👍🏽",
    "right to left": "שלום עולם، مرحبا ‮abc‬",
    "html": '<script>alert(1)</script> &amp; <b>"quoted"</b> \'; DROP TABLE tickets; --',
    "white space": "one\r\n\ttwo\u2028three\u00a0",
    "unassigned and combining": "e\u0301 \ufffd \U0010fffe A\u030a",
    "templates": "{{ 7*7 }} ${7*7} %s %(x)s {0} \\u0000",
}


# The texts that are stored: the longest that is taken, and what the refusal names.
LONGEST: list[tuple[str, str, int]] = [
    ("postComment (a reply)", "body", 10_000),
    ("postComment (a note)", "body", 10_000),
    ("endSession", "closingMessage", 10_000),
    ("sendMessage", "body", 10_000),
    ("editMessage", "body", 10_000),
    ("commentOnRequest", "body", 10_000),
    ("saveMacro (a shared one)", "title", 200),
    ("saveAgent (somebody new)", "name", 200),
    ("saveEndUser", "name", 200),
    ("saveRole (a new one)", "name", 100),
    ("saveGroup", "name", 100),
    ("saveOrganization", "name", 100),
    ("createApiToken (for oneself)", "name", 200),
    ("reactToMessage", "reaction", 16),
    ("saveTrigger", "title", 200),
    ("sendMessage", "clientMessageId", 200),
    ("endSession", "idempotencyKey", 200),
    ("postComment (a note)", "idempotencyKey", 200),
    ("updateMessagingSettings", "idempotencyKey", 200),
    ("endSession", "clientId", 200),
    ("postComment (a note)", "clientId", 200),
    ("sendMessage", "clientId", 200),
    ("redactComment", "clientId", 200),
    ("updateRoutingSettings", "clientId", 200),
]


# Of programs, not of people: blanks are as good as any other character.
MARKS = ("clientMessageId", "idempotencyKey", "clientId")


async def scenes(world: World, sign_in: SignIn, app: Starlette) -> dict[str, Scene]:
    return {kind: await Scene.of(world, kind, sign_in, app) for kind in ("admin", "customer")}


def who_may(row: Row) -> str:
    return "admin" if row.expected[3] == "OK" else "customer"


async def test_the_longest_text_is_taken_and_one_more_character_is_not(
    world: World, sign_in: SignIn, app: Starlette
) -> None:
    """Design §6: counted in characters, not bytes; a refusal names the argument, and nothing is changed."""
    people = await scenes(world, sign_in, app)
    for number, (key, name, longest) in enumerate(LONGEST):
        row = MATRIX[key]
        scene = people[who_may(row)]
        given = await row.given(scene)
        before = await everything(world)
        for text in ("🙂" * (longest + 1), "", *([] if name in MARKS else [" \n\t"])):
            answer = clean(await scene.client.post(row.text, {"input": given | {name: text}})).json()
            (payload,) = answer["data"].values()
            assert [(each["code"], each["field"]) for each in payload["userErrors"]] == [("INVALID_INPUT", [name])], key
            assert await everything(world) == before
        text = "🙂" * (longest - 1) + "abcdefghijklmnopqrstuvwxyz"[number]  # no key is used twice
        answer = clean(await scene.client.post(row.text, {"input": given | {name: text}})).json()
        (payload,) = answer["data"].values()
        assert payload["userErrors"] == [], (key, name)


async def test_white_space_around_short_texts_does_not_count(world: World, sign_in: SignIn, app: Starlette) -> None:
    """Design §6: it is taken away, so that it cannot make a text longer than its column."""
    people = await scenes(world, sign_in, app)
    around = " " * 300
    for key, name, answer in (
        ("saveMacro (a shared one)", "title", "macro { title }"),
        ("reactToMessage", "reaction", "message { reaction }"),
    ):
        row = MATRIX[key]
        scene = people[who_may(row)]
        field = key.split()[0]
        text = f"mutation ($input: {field[0].upper()}{field[1:]}Input!) {{ {field}(input: $input) {{ {answer} }} }}"
        result = await scene.client.ask(text, {"input": await row.given(scene) | {name: f"{around}🙂{around}"}})
        assert list(result["data"][field].values()) == [{name: "🙂"}]


def literal(value: Any, kind: GraphQLInputType) -> str:
    """A value as GraphQL writes it in a document."""
    bare = get_nullable_type(kind)
    if isinstance(bare, GraphQLEnumType):
        return str(value)
    if isinstance(bare, GraphQLList):
        return f"[{', '.join(literal(each, bare.of_type) for each in value)}]"
    if isinstance(bare, GraphQLInputObjectType):
        return "{" + ", ".join(f"{name}: {literal(each, bare.fields[name].type)}" for name, each in value.items()) + "}"
    return orjson.dumps(value).decode()


def texts_of(kind: GraphQLInputObjectType) -> list[tuple[str, Any]]:
    """The fields of an input that take a text or a list of texts, each with a way to put one there."""
    found: list[tuple[str, Any]] = []
    for name, each in kind.fields.items():
        if get_named_type(each.type).name in ("String", "ID"):
            bare = each.type.of_type if isinstance(each.type, GraphQLNonNull) else each.type
            found.append((name, (lambda text: [text]) if isinstance(bare, GraphQLList) else (lambda text: text)))
    return found


@pytest.mark.parametrize("kind", ["admin", "customer"])
async def test_u0000_in_a_literal_is_refused_like_one_in_a_variable(
    kind: str, world: World, sign_in: SignIn, app: Starlette
) -> None:
    """Design §5: written as an escape in the document it reaches no database either, in any text of any input."""
    scene = (await scenes(world, sign_in, app))[kind]
    schema = build_schema()._schema
    tried = 0
    for key, row in MATRIX.items():
        if "$input" not in row.text or who_may(row) != kind:
            continue
        field = key.split()[0]
        assert schema.mutation_type is not None
        taken = get_named_type(schema.mutation_type.fields[field].args["input"].type)
        assert isinstance(taken, GraphQLInputObjectType)
        given = await row.given(scene)
        before = await everything(world)
        for name, put in texts_of(taken):
            value = literal(given | {name: put("a\x00b")}, taken)
            for text in (value, value.replace("\\u0000", "\\u{0}"), value.replace("\\u0000", "\\u{00000}")):
                document = f"mutation {{ {field}(input: {text}) {{ userErrors {{ code }} }} }}"
                response = await scene.client.post(document)
                assert (response.status_code, only_code(response)) == (400, "BAD_USER_INPUT"), document
            tried += 1
        assert await everything(world) == before
    assert tried > 15
    query = 'query ($x: String = "\\u0000") { tickets(first: 1, after: $x) { edges { cursor } } }'
    assert only_code(await scene.client.post(query)) == "BAD_USER_INPUT"
    assert (await scene.client.ask('{ viewer { user { name } } } # \\u0000 "'))["data"]["viewer"]


@pytest.mark.parametrize("sample", SAMPLES)
async def test_texts_come_back_byte_for_byte(sample: str, world: World, sign_in: SignIn) -> None:
    """Design §5: no escaping, no normalising, no trimming of what people write."""
    text = SAMPLES[sample]
    customer = await world.customer()
    admin, widget = await sign_in(world.admin), await sign_in(customer)
    sent = await widget.do("SendMessage", body=text, clientMessageId=text)
    assert (sent["message"]["body"], sent["message"]["clientMessageId"]) == (text, text)
    ticket = await Ticket.get(account_id=world.id)
    target = gid("Ticket", ticket.id)
    posted = await admin.do("PostComment", ticketId=target, body=text, channel="MESSAGING", clientMutationId=text)
    assert (posted["comment"]["body"], posted["clientMutationId"]) == (text, text)
    tag = f"|{text[:60]}|"
    await admin.do("UpdateTicket", ticketId=target, tags=[tag])
    query = "query ($id: ID!) { ticket(id: $id) { tags comments(first: 9) { edges { node { body } } } } }"
    response = clean(await admin.post(query, {"id": target}))
    assert response.content.count(orjson.dumps(text)) == 2
    assert response.json()["data"]["ticket"]["tags"] == [tag]
    page = (await widget.send("MyConversations", first=1))["myConversations"]
    messages = [edge["node"]["body"] for edge in page["edges"][0]["node"]["messages"]["edges"]]
    assert messages == [text, text] == [each.body for each in await Comment.filter(account_id=world.id)]


async def test_control_characters_are_no_text(world: World, sign_in: SignIn) -> None:
    """Design §5: a body is text; bells and escapes are not."""
    client, ticket = await sign_in(world.admin), await world.live_ticket()
    before = await world.fingerprint()
    for character in "\x01\x07\x08\x0b\x0c\x1b\x1f\x7f":
        body = f"a{character}b"
        payload = await client.do("PostComment", ticketId=gid("Ticket", ticket.id), body=body, channel="MESSAGING")
        assert [each["field"] for each in payload["userErrors"]] == [["body"]]
    assert await world.fingerprint() == before
