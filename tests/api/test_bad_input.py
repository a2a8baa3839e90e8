"""Hostile and mistaken input on the real application: typed answers, nothing stored, nothing of ours shown."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator
from typing import Any

import httpx
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

from deskwire.http import MAX_BODY
from deskwire.schema import build_schema
from models import Comment, Ticket, new_id
from tests.api.stage import everything, gid
from tests.api.test_authorization import MATRIX, Row, Scene
from tests.client import Client
from tests.conftest import SignIn
from tests.factories import World

GIVE_AWAY = (
    b"Traceback",
    b'File "',
    b".py",
    b"site-packages",
    b"SELECT ",
    b"INSERT ",
    b"UPDATE ",
    b"psycopg",
    b"sqlite",
)

SAMPLES = {
    "emoji": "👩‍👩‍👧‍👦 🏳️‍🌈 👍🏽",
    "right to left": "שלום עולם، مرحبا ‮abc‬",
    "html": '<script>alert(1)</script> &amp; <b>"quoted"</b> \'; DROP TABLE tickets; --',
    "white space": "one\r\n\ttwo\u2028three\u00a0",
    "unassigned and combining": "e\u0301 \ufffd \U0010fffe A\u030a",
    "templates": "{{ 7*7 }} ${7*7} %s %(x)s {0} \\u0000",
}


def clean(response: httpx.Response) -> httpx.Response:
    """The response, if it gives nothing of ours away."""
    found = [each for each in GIVE_AWAY if each in response.content]
    assert not found, response.text
    return response


def only_code(response: httpx.Response) -> str:
    (error,) = clean(response).json()["errors"]
    return str(error["extensions"]["code"])


class Raw:
    """Sends bodies that no client would."""

    def __init__(self, client: Client) -> None:
        self.client = client

    async def post(self, content: bytes | AsyncIterator[bytes]) -> httpx.Response:
        transport = httpx.ASGITransport(app=self.client.app)
        headers = self.client.headers | {"Content-Type": "application/json"}
        async with httpx.AsyncClient(transport=transport, base_url="http://deskwire.example") as http:
            return clean(await http.post("/graphql", content=content, headers=headers))


def padded(size: int) -> bytes:
    start = b'{"query": "{ viewer { user { id } } }", "extensions": {"x": "'
    return start + b"x" * (size - len(start) - 3) + b'"}}'


async def in_pieces(content: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(content), 10_000):
        yield content[start : start + 10_000]


NO_IDS: list[dict[str, Any]] = [{}, {"id": None}, {"id": 1.5}, {"id": {}}, {"id": ["a", "b"]}, {"id": True}]
NO_INTEGERS: list[Any] = ["1", 1.5, 2**31, -(2**31) - 1, [], {}, True]


async def test_requests_that_are_none_are_refused_with_their_code(world: World, sign_in: SignIn) -> None:
    """Design §5: a 4xx with a code and no data; nothing was executed."""
    raw = Raw(await sign_in(world.admin))
    ticket = "query ($id: ID!, $first: Int) { ticket(id: $id) { events(first: $first) { edges { cursor } } } }"
    cases: list[tuple[bytes, int, str]] = [
        (b"", 400, "BAD_REQUEST"),
        (b"{", 400, "BAD_REQUEST"),
        (b"[]", 400, "BAD_REQUEST"),
        (b'[{"query": "{ viewer { user { id } } }"}]', 400, "BAD_REQUEST"),
        (b'{"query": "{ viewer { user { id } } }", "variables": []}', 400, "BAD_REQUEST"),
        (b'{"query": "\xff"}', 400, "BAD_REQUEST"),
        (b'{"query": "{"}', 400, "GRAPHQL_PARSE_FAILED"),
        (b'{"query": "{ secrets }"}', 400, "GRAPHQL_VALIDATION_FAILED"),
        (b'{"query": "{ ticket(id: 1.5) { id } }"}', 400, "GRAPHQL_VALIDATION_FAILED"),
        (b'{"query": "{ viewer { user { id } } }", "operationName": "Other"}', 400, "OPERATION_RESOLUTION_FAILURE"),
        (b'{"query": "subscription { sessionEnded { cursor } }"}', 400, "SUBSCRIPTION_NEEDS_WEBSOCKET"),
        (rb'{"query": "{ viewer { user { id } } }", "variables": {"x": "\u0000"}}', 400, "BAD_USER_INPUT"),
        (rb'{"query": "{ viewer { user { id } } }", "variables": {"x": "\ud800"}}', 400, "BAD_USER_INPUT"),
        (padded(MAX_BODY + 1), 413, "BODY_TOO_LARGE"),
        *[(orjson.dumps({"query": ticket, "variables": variables}), 400, "BAD_USER_INPUT") for variables in NO_IDS],
        *[
            (orjson.dumps({"query": ticket, "variables": {"id": "x", "first": first}}), 400, "BAD_USER_INPUT")
            for first in NO_INTEGERS
        ],
    ]
    for content, status, code in cases:
        response = await raw.post(content)
        assert (response.status_code, only_code(response)) == (status, code), content[:90]
        assert response.json().keys() == {"errors"}
    response = await raw.post(in_pieces(padded(MAX_BODY + 1)))
    assert (response.status_code, only_code(response)) == (413, "BODY_TOO_LARGE")
    for largest in (padded(MAX_BODY), in_pieces(padded(MAX_BODY))):
        assert (await raw.post(largest)).json()["data"]["viewer"]["user"]["id"] == gid("User", world.admin.id)


ID = "query ($id: ID!) { node(id: $id) { id } ticket(id: $id) { id } sessionEndPreview(ticketId: $id) { allowed } }"


async def test_ids_that_name_nothing_are_answered_by_type(world: World, sign_in: SignIn) -> None:
    """R26: unknown is null, of another kind or no id at all is INVALID_ID; none is a defect of ours."""
    client, ticket = await sign_in(world.admin), await world.live_ticket()
    nothing = {"node": None, "ticket": None, "sessionEndPreview": None}
    assert await client.ask(ID, {"id": gid("Ticket", new_id())}) == {"data": nothing}
    right = gid("Ticket", ticket.id)
    wrong = [gid("User", ticket.id), gid("Query", ticket.id)]
    garbage: list[Any] = [
        "",
        " ",
        "0",
        7,
        right + "=",
        right + "\n",
        f" {right}",
        right[:-2],
        str(ticket.id),
        "é",
        "🙂",
    ]
    for identifier in wrong + garbage + ["x" * 60_000, "VGlja2V0Og", "Og", "Ojo6"]:
        response = clean(await client.post(ID, {"id": identifier}))
        assert response.status_code == 200
        errors = {error["path"][0]: error["extensions"]["code"] for error in response.json()["errors"]}
        assert errors.items() >= {"ticket": "INVALID_ID", "sessionEndPreview": "INVALID_ID"}.items(), identifier
        assert ("node" in errors) == (identifier not in wrong)
        assert response.json()["data"] == nothing


def encoded(value: Any) -> str:
    return urlsafe_b64encode(orjson.dumps(value)).decode().rstrip("=")


SOME = "0190e3a8-0000-7000-8000-000000000000"
WHEN = "2026-01-02T03:04:05+00:00"

ODDITIES: list[Any] = [None, {}, [], 1, "x", [1, 2, 3], [None, None], [[], {}], [True], [1.5], ["1"]]
NO_VALUES: list[Any] = [None, True, [], {}, 1.5]
NO_PLACES: list[Any] = [0, -1, 2**31, 2**63, 2**64 - 1, None, {}, "x"]
NO_TIMES: list[Any] = [None, "", "x", 5, "2026-01-02T03:04:05", "2026-13-01T00:00:00Z"]

NO_CURSORS: list[str] = [
    *["", "garbage", "é", "=", "x" * 5000, urlsafe_b64encode(b"[" * 3000).decode()],
    *[encoded(each) for each in ODDITIES],
    *[encoded([each, SOME]) for each in NO_VALUES],
    *[encoded([each]) for each in NO_PLACES],
    *[
        encoded(["updated_at", each, SOME])
        for each in (None, "", "x", 5, "2026-01-02T03:04:05", "2026-13-01T00:00:00Z")
    ],
    *[encoded(["updated_at", WHEN, each]) for each in (None, "", "x", 5, SOME + "0")],
    encoded(["updated_at", "0001-01-01T00:00:00+23:59", SOME]),
    encoded(["updated_at", "9999-12-31T23:59:59-23:59", SOME]),
]
NO_NUMBERS = [encoded(["number", each, SOME]) for each in ("1", 1.5, True, None, -1, 2**31, 2**63, "9" * 5000)]
NO_MOMENTS = [encoded([each, SOME]) for each in ("", "x", 5, "2026-01-02T03:04:05", "0001-01-01T00:00:00+23:59")]
NO_NAMES = [encoded([each, SOME]) for each in ("\x00", "a\x00b", 5)]

# How to ask for a page after a cursor, and cursors that only this list must refuse.
LISTS: dict[str, tuple[str, str, list[str]]] = {
    "tickets": ("admin", "query ($after: String) { tickets(first: 2, after: $after) { edges { cursor } } }", []),
    "tickets by number": (
        "admin",
        "query ($after: String) { tickets(first: 2, orderBy: {field: NUMBER}, after: $after) { edges { cursor } } }",
        NO_NUMBERS,
    ),
    "agents": ("admin", "query ($after: String) { agents(first: 2, after: $after) { edges { cursor } } }", NO_NAMES),
    "groups": ("admin", "query ($after: String) { groups(first: 2, after: $after) { edges { cursor } } }", NO_NAMES),
    "macros": ("admin", "query ($after: String) { macros(first: 2, after: $after) { edges { cursor } } }", NO_NAMES),
    "auditLog": (
        "admin",
        "query ($after: String) { auditLog(first: 2, after: $after) { edges { cursor } } }",
        NO_MOMENTS,
    ),
    "myConversations": (
        "customer",
        "query ($after: String) { myConversations(first: 2, after: $after) { edges { cursor } } }",
        NO_MOMENTS,
    ),
    "myRequests": (
        "customer",
        "query ($after: String) { myRequests(first: 2, after: $after) { edges { cursor } } }",
        NO_MOMENTS,
    ),
    "messages": (
        "customer",
        "query ($after: String) { myConversations(first: 1) { edges { node {"
        " messages(first: 2, after: $after) { edges { cursor } } } } } }",
        [],
    ),
    "messages before": (
        "customer",
        "query ($after: String) { myConversations(first: 1) { edges { node {"
        " messages(last: 2, before: $after) { edges { cursor } } } } } }",
        [],
    ),
    "comments": (
        "admin",
        "query ($after: String) { tickets(first: 1) { edges { node {"
        " comments(first: 2, after: $after) { edges { cursor } } } } } }",
        [],
    ),
    "events before": (
        "admin",
        "query ($after: String) { tickets(first: 1) { edges { node {"
        " events(last: 2, before: $after) { edges { cursor } } } } } }",
        [],
    ),
}


async def test_what_is_no_cursor_is_refused(world: World, sign_in: SignIn) -> None:
    """Design §5: a cursor that the API did not write is INVALID_CURSOR, whatever is encoded in it."""
    customer = await world.customer()
    await world.live_ticket(customer=customer)
    clients = {"admin": await sign_in(world.admin), "customer": await sign_in(customer)}
    wrong: dict[str, str] = {}
    for name, (who, text, own) in LISTS.items():
        for cursor in NO_CURSORS + own:
            response = clean(await clients[who].post(text, {"after": cursor}))
            assert response.status_code == 200
            codes = {error["extensions"]["code"] for error in response.json().get("errors", [])}
            if codes != {"INVALID_CURSOR"}:
                wrong[f"{name} after {cursor[:60]}"] = str(codes)
    assert wrong == {}


async def test_a_cursor_belongs_to_the_order_that_it_was_made_for(world: World, sign_in: SignIn) -> None:
    """Design §5: paging on in another order would skip and repeat rows; it is refused instead."""
    client = await sign_in(world.admin)
    await world.live_ticket()
    text = """query ($order: TicketOrder, $after: String) {
        tickets(first: 1, orderBy: $order, after: $after) { pageInfo { endCursor } } }"""
    fields = ("UPDATED_AT", "CREATED_AT", "NUMBER")
    cursors = {}
    for field in fields:
        answer = await client.ask(text, {"order": {"field": field}})
        cursors[field] = answer["data"]["tickets"]["pageInfo"]["endCursor"]
    for field in fields:
        for origin, cursor in cursors.items():
            answer = await client.ask(text, {"order": {"field": field}, "after": cursor})
            codes = [error["extensions"]["code"] for error in answer.get("errors", [])]
            assert codes == ([] if field == origin else ["INVALID_CURSOR"]), (field, origin)


CURSORS = "{ edges { cursor } }"

PAGES = [
    ("admin", "query ($first: Int!) { tickets(first: $first) { edges { cursor } } }"),
    ("admin", "query ($first: Int!) { agents(first: $first) { edges { cursor } } }"),
    ("admin", "query ($first: Int!) { groups(first: $first) { edges { cursor } } }"),
    ("admin", "query ($first: Int!) { macros(first: $first) { edges { cursor } } }"),
    ("admin", "query ($first: Int!) { auditLog(first: $first) { edges { cursor } } }"),
    ("customer", "query ($first: Int!) { myConversations(first: $first) { edges { cursor } } }"),
    ("customer", "query ($first: Int!) { myRequests(first: $first) { edges { cursor } } }"),
    *[
        (who, f"query (${end}: Int!) {{ {rows}(first: 1) {{ edges {{ node {{ {of}({end}: ${end}) {CURSORS} }} }} }} }}")
        for who, rows, of in (
            ("admin", "tickets", "comments"),
            ("admin", "tickets", "events"),
            ("customer", "myConversations", "messages"),
        )
        for end in ("first", "last")
    ],
]


async def test_a_page_has_one_to_a_hundred_rows(world: World, sign_in: SignIn) -> None:
    """Design §5: bounded everywhere, said by type."""
    customer = await world.customer()
    await world.live_ticket(customer=customer)
    clients = {"admin": await sign_in(world.admin), "customer": await sign_in(customer)}
    for who, text in PAGES:
        name = "last" if "$last" in text else "first"
        for size in (0, -1, 101, 2**31 - 1, -(2**31)):
            response = clean(await clients[who].post(text, {name: size}))
            assert (response.status_code, only_code(response)) == (200, "INVALID_INPUT"), text
        for size in (1, 100):
            assert "errors" not in (await clients[who].ask(text, {name: size})), text


async def test_a_piece_of_a_thread_is_named_from_one_end(world: World, sign_in: SignIn) -> None:
    """Design §5: neither 'first' nor 'last', or both, is no piece."""
    await world.live_ticket()
    client = await sign_in(world.admin)
    for arguments in ("", "(first: 1, last: 1)", "(first: null)"):
        text = f"{{ tickets(first: 1) {{ edges {{ node {{ events{arguments} {{ edges {{ cursor }} }} }} }} }} }}"
        assert only_code(await client.post(text)) == "INVALID_INPUT", arguments


# The texts that are stored: the longest that is taken, and what the refusal names.
LONGEST: list[tuple[str, str, int]] = [
    ("postComment (a reply)", "body", 10_000),
    ("postComment (a note)", "body", 10_000),
    ("endSession", "closingMessage", 10_000),
    ("sendMessage", "body", 10_000),
    ("editMessage", "body", 10_000),
    ("commentOnRequest", "body", 10_000),
    ("saveMacro (a shared one)", "title", 200),
    ("reactToMessage", "reaction", 16),
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
        text = "🙂" * (longest - 1) + "abcdefghijklmnopqr"[number]  # no key is used twice
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
