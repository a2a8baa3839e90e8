"""GraphQL over HTTP: what is served, what is refused and how, and that nothing of ours leaks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route

from deskwire.http import MAX_BODY, METHODS, graphql_endpoint, negotiated
from deskwire.slots import Slots
from execution.errors import APOLOGY
from tests.api.toy import SECRET, Context, Reports, toy_engine

JSON = "application/json"
RESPONSE_JSON = "application/graphql-response+json"


class Unauthenticated(Exception):
    code = "UNAUTHENTICATED"
    status = 401


class TooMany(Exception):
    code = "RATE_LIMITED"
    status = 429
    headers = {"Retry-After": "7"}  # noqa: RUF012
    extensions = {"retryAfter": 7}  # noqa: RUF012


async def authenticate(request: Request) -> str:
    who = request.headers.get("authorization", "")
    if who == "crash":
        raise RuntimeError(SECRET)
    if who == "flood":
        raise TooMany("Slow down.")
    if not who:
        raise Unauthenticated("Say who you are.")
    return who


class Caller:
    """A client of the toy endpoint; its answers are checked for what must hold of every answer."""

    def __init__(self, *, allow_get: bool = False, max_body_size: int | None = None) -> None:
        self.reports = Reports()
        self.contexts: list[Context] = []
        endpoint = graphql_endpoint(
            toy_engine(self.reports), authenticate, self._context, allow_get=allow_get, changes=Slots(4)
        )
        app = Starlette(routes=[Route("/graphql", endpoint, methods=list(METHODS))], max_body_size=max_body_size)
        self.client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://desk.test")

    def _context(self, actor: str) -> Context:
        self.contexts.append(Context(actor))
        return self.contexts[-1]

    async def send(self, method: str, **request: Any) -> httpx.Response:
        request["headers"] = {"authorization": "ada", **request.get("headers", {})}
        response = await self.client.request(method, "/graphql", **request)
        assert SECRET not in response.text
        assert "Traceback" not in response.text
        assert response.headers["cache-control"] == "no-store"
        assert response.headers["x-content-type-options"] == "nosniff"
        return response

    async def post(self, body: Any, **headers: str) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await self.send("POST", content=content, headers={"content-type": JSON, **named})


@pytest.fixture
async def caller() -> AsyncIterator[Caller]:
    caller = Caller()
    async with caller.client:
        yield caller


@pytest.fixture
async def getter() -> AsyncIterator[Caller]:
    caller = Caller(allow_get=True)
    async with caller.client:
        yield caller


def code(response: httpx.Response) -> str:
    """The code of the only error of an answer without data."""
    body = response.json()
    assert body.keys() == {"errors"}
    assert isinstance(body["errors"][0]["message"], str)
    return str(body["errors"][0]["extensions"]["code"])


async def test_a_query_is_answered_in_json(caller: Caller) -> None:
    response = await caller.post({"query": "query Q($n: String!) { hello(name: $n) later }", "variables": {"n": "é"}})
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json; charset=utf-8"
    assert response.json() == {"data": {"hello": "Hello, é!", "later": "ada"}}


async def test_each_operation_has_a_context_of_its_own(caller: Caller) -> None:
    await caller.post({"query": "{ later }"})
    await caller.post({"query": "{ later }"})
    assert len(caller.contexts) == 2


@pytest.mark.parametrize("extra", [{}, {"operationName": None, "variables": None, "extensions": None}])
async def test_what_is_null_is_as_if_absent(caller: Caller, extra: dict[str, Any]) -> None:
    assert (await caller.post({"query": "{ hello }", **extra})).json() == {"data": {"hello": "Hello, world!"}}


async def test_the_operation_is_chosen_by_name(caller: Caller) -> None:
    text = "query A { hello } query B { later }"
    assert (await caller.post({"query": text, "operationName": "B"})).json() == {"data": {"later": "ada"}}
    response = await caller.post({"query": text})
    assert (response.status_code, code(response)) == (400, "OPERATION_RESOLUTION_FAILURE")
    assert len(caller.contexts) == 1


@pytest.mark.parametrize("content_type", [JSON, "Application/JSON; charset=UTF-8", 'application/json;charset="utf-8"'])
async def test_json_in_utf8_is_the_content_type(caller: Caller, content_type: str) -> None:
    assert (await caller.post({"query": "{ hello }"}, content_type=content_type)).status_code == 200


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "text/plain",
        "application/jsonp",
        "application/json; charset=utf-16",
        "application/json; charset=utf-7",
        "application/json; boundary=x",
        "application/json, text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/graphql",
        RESPONSE_JSON,
    ],
)
async def test_no_other_content_type_is_read(caller: Caller, content_type: str) -> None:
    response = await caller.post({"query": "{ hello }"}, content_type=content_type)
    assert (response.status_code, code(response)) == (415, "UNSUPPORTED_MEDIA_TYPE")


async def test_a_missing_or_doubled_content_type_is_refused(caller: Caller) -> None:
    assert (await caller.send("POST", content=b'{"query": "{ hello }"}')).status_code == 415
    doubled = [("content-type", JSON), ("content-type", "text/plain"), ("authorization", "ada")]
    response = await caller.client.post("/graphql", content=b'{"query": "{ hello }"}', headers=doubled)
    assert response.status_code == 415


async def test_a_compressed_body_is_refused(caller: Caller) -> None:
    response = await caller.post({"query": "{ hello }"}, content_encoding="gzip")
    assert (response.status_code, code(response)) == (415, "UNSUPPORTED_MEDIA_TYPE")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"true",
        b"1",
        b'"x"',
        b"[]",
        b'[{"query": "{ hello }"}]',
        b"{}",
        b'{"query": null}',
        b'{"query": 5}',
        b'{"query": ""}',
        b'{"query": ["{ hello }"]}',
        b'{"query": "{ hello }", "variables": []}',
        b'{"query": "{ hello }", "variables": "{}"}',
        b'{"query": "{ hello }", "variables": 0}',
        b'{"query": "{ hello }", "operationName": 5}',
        b'{"query": "{ hello }", "extensions": []}',
        b'{"query": "{ hello }", "extensions": "x"}',
        b'{"query": "{ hello \xff}"}',
        '{"query": "{ hello }"}'.encode("utf-16"),
        b'\xef\xbb\xbf{"query": "{ hello }"}',
        b'{"query": "{ hello }", "variables": {"n": NaN}}',
        b'{"query": "{ hello }", "variables": {"n": ' + b"1" * 5000 + b"}}",
        b"[" * 30_000,
        b'{"a":' * 10_000,
        b'{"query": "{ hello }", "variables": {"n": ' + b"[" * 500 + b"]" * 500 + b"}}",
        b"\x1f\x8b\x08\x00\x00\x00\x00\x00",
    ],
    ids=lambda body: repr(body[:44]),
)
async def test_a_malformed_request_is_refused_and_nothing_is_run(caller: Caller, body: bytes) -> None:
    response = await caller.post(body, accept=JSON)
    assert (response.status_code, code(response)) == (400, "BAD_REQUEST")
    assert caller.contexts == []
    assert caller.reports.seen == []


@pytest.mark.parametrize("bad", [r"\u0000", r"\ud800", r"\udfff", r"\udc00\ud800"])
@pytest.mark.parametrize(
    "shape",
    [
        '{"query": "{ hello } # %s"}',
        '{"query": "{ hello }", "operationName": "%s"}',
        '{"query": "{ hello }", "variables": {"n": [{"x": "%s"}]}}',
        '{"query": "{ hello }", "variables": {"%s": 1}}',
        '{"query": "{ hello }", "extensions": {"x": "%s"}}',
    ],
)
async def test_strings_that_no_database_takes_are_refused(caller: Caller, shape: str, bad: str) -> None:
    response = await caller.post((shape % bad).encode())
    assert (response.status_code, code(response)) == (400, "BAD_USER_INPUT")


async def test_a_whole_surrogate_pair_is_a_character(caller: Caller) -> None:
    body = rb'{"query": "query ($n: String!) { hello(name: $n) }", "variables": {"n": "\ud83d\ude00"}}'
    assert (await caller.post(body)).json() == {"data": {"hello": "Hello, 😀!"}}


def padded(size: int) -> bytes:
    start = b'{"query": "{ hello }", "extensions": {"x": "'
    return start + b"x" * (size - len(start) - 3) + b'"}}'


async def chunks(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), 10_000):
        yield body[start : start + 10_000]


@pytest.mark.parametrize("max_body_size", [None, MAX_BODY, 10_000])
async def test_a_body_is_bounded_declared_or_chunked(max_body_size: int | None) -> None:
    caller = Caller(max_body_size=max_body_size)
    limit = max_body_size or MAX_BODY
    async with caller.client:
        assert (await caller.post(padded(limit))).status_code == 200
        for size, content in ((limit + 1, padded(limit + 1)), (limit + 1, chunks(padded(limit + 1)))):
            response = await caller.client.post(
                "/graphql", content=content, headers={"content-type": JSON, "authorization": "ada"}
            )
            assert (response.status_code, size) == (413, limit + 1)


async def test_a_body_too_large_is_said_in_json(caller: Caller) -> None:
    for content in (padded(MAX_BODY + 1), chunks(padded(MAX_BODY + 1))):
        response = await caller.send("POST", content=content, headers={"content-type": JSON})
        assert (response.status_code, code(response)) == (413, "BODY_TOO_LARGE")
    declared = await caller.post(b"{}", content_length="9" * 5000)
    assert (declared.status_code, code(declared)) == (413, "BODY_TOO_LARGE")


async def test_a_body_that_does_not_come_is_not_waited_for(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    async def never() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(60)

    monkeypatch.setattr("deskwire.http.BODY_SECONDS", 0.05)
    response = await caller.send("POST", content=never(), headers={"content-type": JSON})
    assert (response.status_code, code(response)) == (408, "REQUEST_TIMEOUT")


@pytest.mark.parametrize(
    ("accept", "media_type", "refused"),
    [
        ([], JSON, 400),
        (["*/*"], JSON, 400),
        (["application/*"], JSON, 400),
        (["text/html"], JSON, 400),
        (["text/event-stream"], JSON, 400),
        ([JSON], JSON, 200),
        ([RESPONSE_JSON], RESPONSE_JSON, 400),
        ([f"{RESPONSE_JSON}, {JSON}"], RESPONSE_JSON, 400),
        ([f"{JSON}, {RESPONSE_JSON}"], RESPONSE_JSON, 400),
        ([JSON, RESPONSE_JSON], RESPONSE_JSON, 400),
        ([f"{RESPONSE_JSON};q=0.8, {JSON}"], JSON, 200),
        ([f"{JSON};q=0.5, {RESPONSE_JSON};q=0.6"], RESPONSE_JSON, 400),
        ([f"{RESPONSE_JSON};charset=utf-8, {JSON};charset=utf-8"], RESPONSE_JSON, 400),
        ([f"{RESPONSE_JSON}; q=0, */*"], JSON, 400),
        ([f"{JSON}; q=0, */*;q=0.1"], RESPONSE_JSON, 400),
        ([f"{RESPONSE_JSON};q=nonsense, {JSON};q=0.1"], JSON, 200),
        ([f"{RESPONSE_JSON.upper()}"], RESPONSE_JSON, 400),
        ([f"{RESPONSE_JSON}, */*;q=0.1"], RESPONSE_JSON, 400),
    ],
)
def test_the_media_type_is_what_the_client_likes_best(accept: list[str], media_type: str, refused: int) -> None:
    assert negotiated(accept) == (media_type, refused)


@pytest.mark.parametrize(("accept", "status"), [(RESPONSE_JSON, 400), ("*/*", 400), (JSON, 200)])
@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"query": "{ hello"}, "GRAPHQL_PARSE_FAILED"),
        ({"query": "{ nonsense }"}, "GRAPHQL_VALIDATION_FAILED"),
        ({"query": "query ($of: Even!) { half(of: $of) }", "variables": {"of": "x"}}, "BAD_USER_INPUT"),
        ({"query": "{ hello }", "operationName": "Other"}, "OPERATION_RESOLUTION_FAILURE"),
        ({"query": "{" + "hello " * 11 + "}"}, "GRAPHQL_VALIDATION_FAILED"),
        ({"query": "{" + "hello " * 2000 + "}"}, "GRAPHQL_PARSE_FAILED"),
    ],
)
async def test_an_invalid_operation_has_no_data(
    caller: Caller, body: dict[str, Any], expected: str, accept: str, status: int
) -> None:
    response = await caller.post(body, accept=accept)
    assert (response.status_code, code(response)) == (status, expected)
    assert response.headers["content-type"] == f"{RESPONSE_JSON if accept == RESPONSE_JSON else JSON}; charset=utf-8"
    assert caller.reports.seen == []


async def test_a_field_that_fails_leaves_the_rest(caller: Caller) -> None:
    response = await caller.post({"query": "{ hello nullableBroken teapot }"}, accept=RESPONSE_JSON)
    assert response.status_code == 200
    body = response.json()
    assert body["data"] == {"hello": "Hello, world!", "nullableBroken": None, "teapot": None}
    assert [error["extensions"]["code"] for error in body["errors"]] == ["INTERNAL_SERVER_ERROR", "TEAPOT"]
    assert [str(error) for error in caller.reports.seen] == [SECRET]


async def test_a_subscription_is_sent_to_the_websocket(caller: Caller) -> None:
    response = await caller.post({"query": "subscription { count { id } }"}, accept=JSON)
    assert (response.status_code, code(response)) == (400, "SUBSCRIPTION_NEEDS_WEBSOCKET")
    assert "WebSocket" in response.text
    assert caller.contexts == []


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_only_post_is_served(caller: Caller, method: str) -> None:
    response = await caller.send(method, params={"query": "{ hello }"})
    assert (response.status_code, response.headers["allow"]) == (405, "POST")
    assert method == "HEAD" or code(response) == "METHOD_NOT_ALLOWED"
    assert caller.contexts == []


async def test_get_answers_queries_where_it_is_allowed(getter: Caller) -> None:
    query = "query Q($n: String!) { hello(name: $n) }"
    params = {"query": query, "variables": '{"n": "you"}', "operationName": "Q", "extensions": "{}"}
    assert (await getter.send("GET", params=params)).json() == {"data": {"hello": "Hello, you!"}}
    assert (await getter.send("GET", params={"query": "{ hello }", "variables": ""})).status_code == 200


async def test_get_changes_nothing(getter: Caller) -> None:
    response = await getter.send("GET", params={"query": 'mutation { write(input: {text: "t"}) }'})
    assert (response.status_code, response.headers["allow"]) == (405, "POST")
    assert code(response) == "METHOD_NOT_ALLOWED"
    assert getter.contexts == []
    other = await getter.send("PUT")
    assert (other.status_code, other.headers["allow"]) == (405, "GET, POST")


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, "BAD_REQUEST"),
        ({"query": ""}, "BAD_REQUEST"),
        ({"query": "{ hello }", "variables": "{"}, "BAD_REQUEST"),
        ({"query": "{ hello }", "variables": "[]"}, "BAD_REQUEST"),
        ({"query": "{ hello }", "extensions": '"x"'}, "BAD_REQUEST"),
        ({"query": "{ hello } #\x00"}, "BAD_USER_INPUT"),
        ({"query": "{ hello }", "variables": r'{"n": "\u0000"}'}, "BAD_USER_INPUT"),
        ({"query": "subscription { count { id } }"}, "SUBSCRIPTION_NEEDS_WEBSOCKET"),
    ],
)
async def test_get_is_as_strict_as_post(getter: Caller, params: dict[str, str], expected: str) -> None:
    response = await getter.send("GET", params=params)
    assert (response.status_code, code(response)) == (400, expected)


async def test_who_is_nobody_is_told_so(caller: Caller) -> None:
    response = await caller.post({"query": "{ hello }"}, authorization="")
    assert (response.status_code, code(response)) == (401, "UNAUTHENTICATED")
    assert response.headers["www-authenticate"] == "Bearer"
    assert caller.contexts == []


async def test_a_refusal_before_graphql_keeps_its_headers_and_extensions(caller: Caller) -> None:
    response = await caller.post({"query": "{ hello }"}, authorization="flood")
    assert (response.status_code, response.headers["retry-after"]) == (429, "7")
    assert response.json()["errors"] == [
        {"message": "Slow down.", "extensions": {"code": "RATE_LIMITED", "retryAfter": 7}}
    ]


async def test_a_crash_of_the_endpoint_is_masked_and_reported_once(caller: Caller) -> None:
    response = await caller.post({"query": "{ hello }"}, authorization="crash")
    assert response.status_code == 500
    assert response.json() == {
        "errors": [{"message": APOLOGY, "extensions": {"code": "INTERNAL_SERVER_ERROR", "id": "E1"}}]
    }
    assert [str(error) for error in caller.reports.seen] == [SECRET]
