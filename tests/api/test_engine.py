"""The engine: what is prepared, executed and streamed, and what a client is told when something fails."""

from __future__ import annotations

import json
from typing import Any

import pytest
import strawberry
from graphql import OperationType, get_introspection_query
from strawberry.extensions import SchemaExtension

from execution.engine import CACHED_DOCUMENT_SIZE, CACHED_DOCUMENTS, Engine
from execution.errors import APOLOGY, RequestError
from tests.api.toy import SECRET, Context, Reports, toy_engine


async def answer(engine: Engine, query: str, variables: dict[str, Any] | None = None) -> dict[str, Any]:
    """What a transport would send for a query or mutation."""
    try:
        operation = engine.prepare(query, None)
        return engine.formatted(await engine.execute(operation, variables or {}, Context("ada")))
    except RequestError as refusal:
        return engine.refused(refusal)


async def only_error(engine: Engine, query: str, variables: dict[str, Any] | None = None) -> dict[str, Any]:
    errors: list[dict[str, Any]] = (await answer(engine, query, variables))["errors"]
    assert len(errors) == 1
    return errors[0]


def refusal(engine: Engine, query: str, name: str | None = None) -> list[dict[str, Any]]:
    with pytest.raises(RequestError) as raised:
        engine.prepare(query, name)
    errors: list[dict[str, Any]] = engine.refused(raised.value)["errors"]
    return errors


async def test_resolvers_are_given_the_info_of_strawberry() -> None:
    response = await answer(toy_engine(), '{ hello(name: "you") later selected }')
    assert response == {"data": {"hello": "Hello, you!", "later": "ada", "selected": ["selected"]}}


async def test_inputs_enums_and_scalars_arrive_as_python_values() -> None:
    engine = toy_engine()
    query = "mutation ($input: NoteInput!) { write(input: $input) }"
    response = await answer(engine, query, {"input": {"text": "t", "colour": "BLUE", "tag": "x"}})
    assert response == {"data": {"write": "t in BLUE, tagged x"}}
    assert await answer(engine, "query ($of: Even!) { half(of: $of) }", {"of": 4}) == {"data": {"half": 2}}


def test_one_document_is_parsed_once() -> None:
    engine = toy_engine()
    assert engine.prepare("{ hello }", None).document is engine.prepare("{ hello }", None).document


def test_the_document_cache_is_bounded_in_number_and_in_size() -> None:
    engine = toy_engine()
    first = engine.prepare("{ hello }", None)
    for number in range(CACHED_DOCUMENTS):
        engine.prepare(f"{{ h{number}: hello }}", None)
    assert len(engine._cache) == CACHED_DOCUMENTS
    assert engine.prepare("{ hello }", None).document is not first.document

    long = "{ hello } #" + "é" * (CACHED_DOCUMENT_SIZE // 2)
    assert engine.prepare(long, None).document is not engine.prepare(long, None).document


def test_a_refused_document_takes_no_place_in_the_cache() -> None:
    engine = toy_engine()
    refusal(engine, "{ nonsense }")
    assert len(engine._cache) == 0


def test_operations_are_equal_where_text_and_name_are() -> None:
    text = "query A { hello } query B { hello }"
    one, other = toy_engine().prepare(text, "A"), toy_engine().prepare(text, "A")
    assert one == other
    assert hash(one) == hash(other)
    assert one != toy_engine().prepare(text, "B")
    assert one.kind is OperationType.QUERY


def test_the_first_of_several_operations_is_never_taken() -> None:
    engine = toy_engine()
    text = 'query A { hello } mutation B { write(input: {text: "t"}) }'
    assert engine.prepare(text, "B").kind is OperationType.MUTATION
    for name in (None, "C", ""):
        [error] = refusal(engine, text, name)
        assert error["extensions"] == {"code": "OPERATION_RESOLUTION_FAILURE"}


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("{ hello", "GRAPHQL_PARSE_FAILED"),
        ("", "GRAPHQL_PARSE_FAILED"),
        ("{ helo }", "GRAPHQL_VALIDATION_FAILED"),
        ("fragment F on Query { hello }", "GRAPHQL_VALIDATION_FAILED"),
        ("type Query { hello: String }", "GRAPHQL_VALIDATION_FAILED"),
        ("{ note { ...F } } fragment F on Note { related { ...F } }", "GRAPHQL_VALIDATION_FAILED"),
        ("subscription { count { id } refused }", "GRAPHQL_VALIDATION_FAILED"),
        ('{ half(of: "x") }', "GRAPHQL_VALIDATION_FAILED"),
    ],
)
def test_an_invalid_document_is_refused_with_its_code(query: str, code: str) -> None:
    errors = refusal(toy_engine(), query)
    assert {error["extensions"]["code"] for error in errors} == {code}
    assert SECRET not in json.dumps(errors)


@pytest.mark.parametrize(
    ("query", "variables"),
    [
        ("query ($id: UUID!) { same(id: $id) }", {"id": "x"}),
        ("query ($id: UUID!) { same(id: $id) }", {}),
        ("query ($of: Even!) { half(of: $of) }", {"of": "x"}),
        ("query ($of: Even!) { half(of: $of) }", {"of": 3}),
        ("mutation ($i: NoteInput!) { write(input: $i) }", {"i": {"text": "t", "nonsense": 1}}),
    ],
)
async def test_variables_that_do_not_fit_are_refused_before_anything_runs(
    query: str, variables: dict[str, Any]
) -> None:
    reports = Reports()
    response = await answer(toy_engine(reports), query, variables)
    assert response.keys() == {"errors"}
    assert {error["extensions"]["code"] for error in response["errors"]} == {"BAD_USER_INPUT"}
    assert SECRET not in json.dumps(response)
    assert reports.seen == []


@pytest.mark.parametrize(
    ("query", "variables"),
    [
        ("query ($name: String) { hello(name: $name) }", {"name": None}),
        ("mutation ($i: NoteInput!) { write(input: $i) }", {"i": {"text": "t", "tag": None}}),
    ],
)
async def test_an_argument_that_shows_wrong_only_in_execution_is_the_clients_mistake(
    query: str, variables: dict[str, Any]
) -> None:
    reports = Reports()
    error = await only_error(toy_engine(reports), query, variables)
    assert error["extensions"] == {"code": "BAD_USER_INPUT"}
    assert reports.seen == []


@pytest.mark.parametrize("suggestions", [True, False])
async def test_suggestions_are_made_only_where_allowed(suggestions: bool) -> None:
    engine = toy_engine(suggestions=suggestions)
    query = "mutation ($i: NoteInput!) { write(input: $i) }"
    responses = [
        await answer(engine, "{ helo }"),
        await answer(engine, "{ hello(nam: 1) }"),
        await answer(engine, "query ($x: UUIDD) { hello }"),
        await answer(engine, query, {"i": {"text": "t", "colour": "BLU"}}),
    ]
    said = ["Did you mean" in json.dumps(response["errors"]) for response in responses]
    assert said == [suggestions] * len(responses)


@pytest.mark.parametrize(
    "query",
    [
        "{ broken }",
        "{ nullableBroken }",
        "{ graphqlBroken }",
        "{ misleading }",
        "{ wrongType }",
        "{ wrongObject { id } }",
        "{ missing }",
    ],
)
async def test_internal_exceptions_are_masked_and_reported_once(query: str) -> None:
    reports = Reports()
    error = await only_error(toy_engine(reports), query)
    assert error["message"] == APOLOGY
    assert error["extensions"] == {"code": "INTERNAL_SERVER_ERROR", "id": "E1"}
    assert error["path"][0] in query
    assert SECRET not in json.dumps(error)
    assert len(reports.seen) == 1


async def test_one_exception_in_many_places_is_reported_once() -> None:
    reports = Reports()
    response = await answer(toy_engine(reports), "{ everywhere { value } }")
    assert response["data"] == {"everywhere": [{"value": None}, {"value": None}]}
    assert [error["extensions"]["id"] for error in response["errors"]] == ["E1", "E1"]
    assert len(reports.seen) == 1


async def test_a_refusal_passes_with_its_code_and_what_it_adds() -> None:
    reports = Reports()
    error = await only_error(toy_engine(reports), "{ teapot }")
    assert error["message"] == "I am a teapot."
    assert error["extensions"] == {"code": "TEAPOT", "retryAfter": 3}
    assert reports.seen == []


async def test_introspection_is_answered_only_where_allowed() -> None:
    assert "data" in await answer(toy_engine(), get_introspection_query(input_value_deprecation=True))
    closed = toy_engine(introspection=False)
    [*errors] = refusal(closed, "{ __schema { queryType { name } } }")
    assert {error["extensions"]["code"] for error in errors} == {"GRAPHQL_VALIDATION_FAILED"}
    assert await answer(closed, "{ __typename }") == {"data": {"__typename": "Query"}}


async def test_each_event_is_answered_with_its_own_context() -> None:
    engine = toy_engine()
    operation = engine.prepare("subscription ($to: Int!) { count(to: $to) { id text } }", None)
    opened = Context("subscriber")
    source = await engine.source(operation, {"to": 2}, opened)
    answers = [
        engine.formatted(await engine.respond(operation, {"to": 2}, event, Context(f"event {event.id}")))
        async for event in source
    ]
    assert answers == [{"data": {"count": {"id": number, "text": "subscriber"}}} for number in ("1", "2")]
    assert opened.log == ["closed"]


async def test_a_source_that_is_closed_runs_its_finally() -> None:
    engine = toy_engine()
    context = Context()
    source = await engine.source(engine.prepare("subscription { count { id } }", None), {}, context)
    assert (await anext(source)).id == "1"
    await source.aclose()  # type: ignore[attr-defined]
    assert context.log == ["closed"]


async def test_a_subscription_that_cannot_start_is_refused() -> None:
    engine = toy_engine()
    operation = engine.prepare("subscription ($to: Int!) { count(to: $to) { id } }", None)
    with pytest.raises(RequestError) as raised:
        await engine.source(operation, {"to": "x"}, Context())
    [error] = engine.refused(raised.value)["errors"]
    assert error["extensions"] == {"code": "BAD_USER_INPUT"}


async def test_an_exception_outside_an_operation_is_masked_like_one_inside() -> None:
    reports = Reports()
    engine = toy_engine(reports)
    source = await engine.source(engine.prepare("subscription { refused }", None), {}, Context())
    with pytest.raises(Exception, match="teapot") as raised:
        await anext(source)
    assert engine.masked(raised.value)["errors"][0]["extensions"]["code"] == "TEAPOT"
    [error] = engine.masked(RuntimeError(SECRET))["errors"]
    assert error == {"message": APOLOGY, "extensions": {"code": "INTERNAL_SERVER_ERROR", "id": "E1"}}


async def test_each_kind_of_operation_has_its_own_way() -> None:
    engine = toy_engine()
    with pytest.raises(ValueError, match="not executed"):
        await engine.execute(engine.prepare("subscription { refused }", None), {}, Context())
    with pytest.raises(ValueError, match="Only a subscription"):
        await engine.source(engine.prepare("{ hello }", None), {}, Context())


def test_what_the_engine_would_not_run_is_refused_at_once() -> None:
    @strawberry.type
    class Query:
        hello: str

    with pytest.raises(ValueError, match="extensions"):
        Engine(strawberry.Schema(Query, extensions=[SchemaExtension]), report=Reports())
