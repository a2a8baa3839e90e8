"""Hostile and mistaken input on the real application: typed answers, nothing stored, nothing of ours shown."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator
from typing import Any

import httpx
import orjson

from deskwire.http import MAX_BODY
from models import new_id
from tests.api.responses import clean, only_code
from tests.api.stage import gid
from tests.client import Client
from tests.conftest import SignIn
from tests.factories import World


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
