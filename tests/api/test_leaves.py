"""The short cut for leaves answers as graphql-core's own executor does: data, errors, their places, their order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from datetime import UTC, datetime
from enum import Enum
from typing import Any
from uuid import UUID

import pytest
import strawberry
from graphql import ExecutionResult
from graphql.execution import collect_fields
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from strawberry.extensions.field_extension import FieldExtension
from strawberry.permission import BasePermission
from strawberry.schema import schema_converter
from strawberry.types import Info

import resolvers
from deskwire.schema import EVENTS, build_schema
from execution.engine import Engine
from execution.errors import RequestError
from execution.leaves import LeafExecutor
from resolvers.loaders import loaders_for
from schema.context import Context
from subscriptions.fields import Subscription
from tests.api import toy
from tests.api.stage import gid
from tests.api.toy import SCHEMA, Reports
from tests.client import OPERATIONS
from tests.factories import World


@strawberry.enum
class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Never(BasePermission):
    message = "Never."

    async def has_permission(self, source: Any, info: Any, **kwargs: Any) -> bool:
        return False


class Shouting(FieldExtension):
    def resolve(self, next_: Callable[..., Any], source: Any, info: Any, **kwargs: Any) -> Any:
        return f"{next_(source, info, **kwargs)}!"


@strawberry.interface
class Named:
    name: str


@strawberry.type
class Thing(Named):
    nick: str | None
    number: int
    count: int | None
    size: float
    flag: bool
    id: strawberry.ID
    key: UUID | None
    at: datetime | None
    colour: Colour
    tint: Colour | None
    words: list[str]
    renamed: str | None = strawberry.field(name="otherName")
    forbidden: str | None = strawberry.field(permission_classes=[Never])
    loud: str | None = strawberry.field(extensions=[Shouting()])
    other: Thing | None
    others: list[Thing | None] | None
    sure: Thing

    @classmethod
    def is_type_of(cls, value: Any, info: Any) -> bool:
        return isinstance(value, Bag)

    @strawberry.field
    def computed(self) -> str:
        return "computed"

    @strawberry.field
    def asked(self, info: Info[Any, None]) -> str:
        return f"{info.field_name} {info.python_name} {info.path.key} {info.return_type} {type(info.context).__name__}"

    @strawberry.field
    def given(self, number: int = 1) -> int:
        return number

    @strawberry.field(permission_classes=[Never])
    def guarded(self) -> str | None:
        return "secret"

    @strawberry.field(extensions=[Shouting()])
    def shouted(self, info: Info[Any, None]) -> str:
        return info.field_name

    @strawberry.field
    def failure(self) -> str | None:
        raise LookupError("at once")

    @strawberry.field
    @staticmethod
    def alone() -> str:
        return "alone"

    @strawberry.field
    async def later(self) -> str | None:
        await asyncio.sleep(0)
        return "later"

    @strawberry.field
    async def late_failure(self) -> str:
        await asyncio.sleep(0)
        raise LookupError("late")


@strawberry.type
class Query:
    @strawberry.field
    def thing(self, info: Info[Any, None]) -> Thing | None:
        return info.context  # type: ignore[no-any-return]

    @strawberry.field
    def named(self, info: Info[Any, None]) -> Named | None:
        return info.context  # type: ignore[no-any-return]


class Boom(Exception):
    """Raised by the attribute that it is the value of."""


class Later:
    """An awaitable, which a plain attribute may hold."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __await__(self) -> Generator[Any, None, Any]:
        yield from asyncio.sleep(0).__await__()
        return self.value


class Bag:
    """An object with these attributes; what is left out, it lacks."""

    def __init__(self, values: dict[str, Any]) -> None:
        self._values = values

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name not in self.__dict__["_values"]:
            raise AttributeError(name)
        value = self.__dict__["_values"][name]
        if isinstance(value, Boom):
            raise value
        return value


GOOD: dict[str, Any] = {
    "name": "Ada",
    "nick": None,
    "number": 7,
    "count": 8,
    "size": 1.5,
    "flag": True,
    "id": "T1",
    "key": UUID(int=5),
    "at": datetime(2030, 1, 1, tzinfo=UTC),
    "colour": Colour.RED,
    "tint": None,
    "words": ["a", "b"],
    "renamed": "other",
    "forbidden": "secret",
    "loud": "loud",
    "other": None,
    "others": None,
}
BAD: st.SearchStrategy[Any] = st.sampled_from(
    [
        None,
        "text",
        "",
        7,
        2**40,
        -1.5,
        float("nan"),
        True,
        Colour.BLUE,
        "RED",
        "red",
        datetime(2030, 1, 1, tzinfo=UTC),
        UUID(int=9),
        object,
        [],
        {"a": 1},
        b"bytes",
        RuntimeError("a value that is an exception"),
        Boom("a property that raises"),
        Later("in a moment"),
        Later(None),
        Later(7),
    ]
)
LEAVES = [name for name in GOOD if name not in ("other", "others")]
SPELLED = {"renamed": "otherName"}


def bags(depth: int) -> st.SearchStrategy[Bag]:
    wrong = st.dictionaries(st.sampled_from(LEAVES), BAD, max_size=3)
    missing = st.sets(st.sampled_from(LEAVES), max_size=1)
    below = st.none() | bags(depth - 1) if depth else st.none()
    return st.builds(made, wrong, missing, below, st.none() | st.lists(below, max_size=2), below)


def made(wrong: dict[str, Any], missing: set[str], other: Any, others: Any, sure: Any) -> Bag:
    values = GOOD | wrong | {"other": other, "others": others, "sure": sure}
    return Bag({name: value for name, value in values.items() if name not in missing})


def selections(depth: int) -> st.SearchStrategy[str]:
    """The text of some fields of a Thing: leaves, computed ones, aliases, repetitions, directives, objects."""
    spelled = st.sampled_from([SPELLED.get(name, name) for name in LEAVES])
    leaf = st.one_of(
        spelled,
        spelled,
        spelled.map("a: {}".format),
        spelled.map("{} @skip(if: true)".format),
        spelled.map("{} @include(if: true)".format),
        st.sampled_from(["computed", "later", "lateFailure", "__typename", "b: __typename"]),
        st.sampled_from(
            ["asked", "d: asked", "given", "e: given(number: 3)", "guarded", "shouted", "failure", "alone"]
        ),
        spelled.map("... on Thing {{ {} }}".format),
    )
    if not depth:
        return st.lists(leaf, min_size=1, max_size=5).map(" ".join)
    inner = selections(depth - 1)
    objects = st.builds("{} {{ {} }}".format, st.sampled_from(["other", "others", "sure", "c: other"]), inner)
    return st.lists(st.one_of(leaf, leaf, leaf, objects), min_size=1, max_size=7).map(" ".join)


SHORT = strawberry.Schema(Query, types=[Thing], execution_context_class=LeafExecutor)
LONG = strawberry.Schema(Query, types=[Thing])


def engine_of(schema: strawberry.Schema) -> Engine:
    return Engine(schema, report=Reports())


def seen(result: ExecutionResult) -> dict[str, Any]:
    """All that a client, or a log, could tell from it."""
    return {
        "data": repr(result.data),  # also the order, and 1 from True
        "errors": [
            (error.message, error.path, [tuple(each) for each in error.locations or ()], repr(error.original_error))
            for error in result.errors or ()
        ],
    }


async def both(query: str, context: Any, name: str | None = None, short: Any = SHORT, long: Any = LONG) -> list[Any]:
    found = []
    for schema in (short, long):
        engine = engine_of(schema)
        operation = engine.prepare(query, name)
        answer, again = [seen(await engine.execute(operation, {}, context)) for _ in range(2)]
        assert again == answer  # what is kept with a document changes nothing
        found.append(answer)
    return found


# Where a null ends an object, graphql-core leaves behind what it had begun beside it: both ways, so both warn.
@pytest.mark.filterwarnings("ignore:.*was never awaited:RuntimeWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@settings(max_examples=400, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(selections(2), bags(2), st.sampled_from(["thing { %s }", "named { name ... on Thing { %s } }"]))
@example("forbidden loud name", made({}, set(), None, None, None), "thing { %s }")
def test_generated_answers_are_those_of_the_long_way(fields: str, bag: Bag, root: str) -> None:
    """Errors in leaves, nulls where none may be, missing attributes, properties that raise, enums, aliases."""
    try:
        short, long = asyncio.run(both("{ " + root % fields + " }", bag))
    except RequestError:  # one name for two fields, say
        return
    assert short == long


async def test_a_field_with_a_permission_or_an_extension_is_no_plain_leaf() -> None:
    """Whoever adds one to an attribute relies on it."""
    bag = made({}, set(), None, None, None)
    engine = engine_of(SHORT)
    result = await engine.execute(engine.prepare("{ thing { forbidden loud } }", None), {}, bag)
    assert result.data == {"thing": {"forbidden": None, "loud": "loud!"}}
    assert [error.message for error in result.errors or ()] == ["Never."]


async def test_the_short_way_is_taken() -> None:
    """Else the comparison would compare nothing."""
    calls: list[str] = []
    way = LeafExecutor.execute_field

    def noting(self: Any, parent: Any, source: Any, details: Any, path: Any, *more: Any) -> Any:
        calls.append(path.key)
        return way(self, parent, source, details, path, *more)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(LeafExecutor, "execute_field", noting)
        await both("{ thing { name nick number size flag id at colour otherName computed words } }", Bag(GOOD))
    assert calls == ["thing", "computed", "words"] * 2


TOY = [
    "{ hello later selected notes { edges { cursor node { id text } } } }",
    "{ note { id a: id text author { name note { id } } related { text } } }",
    "{ broken }",
    "{ nullableBroken graphqlBroken misleading wrongType teapot }",
    "{ wrongObject { id } hello }",
    "{ missing }",
    "{ everywhere { value } }",
    "query ($x: Boolean = false) { note { id @include(if: $x) text @skip(if: $x) } }",
]


@pytest.mark.parametrize("query", TOY)
async def test_answers_of_another_schema_are_those_of_the_long_way(query: str) -> None:
    config = SCHEMA.config
    short = strawberry.Schema(
        toy.Query, toy.Mutation, toy.Subscription, config=config, execution_context_class=LeafExecutor
    )
    one, other = await both(query, toy.Context(), short=short, long=SCHEMA)
    assert one == other


@pytest.mark.parametrize("operation", ["TicketView", "Viewer", "TicketList", "MessagingSettings", "People"])
async def test_answers_of_our_schema_are_those_of_the_long_way(app: Starlette, world: World, operation: str) -> None:
    """With real rows: what the contract's queries answer."""
    ticket = await world.live_ticket(assignee=world.admin, group=await world.group())
    await world.comment(ticket, world.admin)
    await world.end(ticket, world.admin)
    deskwire = app.state.deskwire
    given_to: dict[str, dict[str, Any]] = {"TicketView": {"id": gid("Ticket", ticket.id)}, "TicketList": {"first": 5}}
    found = []
    for schema in (build_schema(), strawberry.Schema(resolvers.Query, resolvers.Mutation, Subscription, types=EVENTS)):
        engine = engine_of(schema)
        context = Context(world.admin, loaders_for(world.admin), deskwire.feeds, deskwire.links)
        variables = given_to.get(operation, {})
        result = await engine.execute(engine.prepare(OPERATIONS[operation], None), variables, context)
        assert result.errors is None
        found.append(seen(result))
    assert found[0] == found[1]


async def test_a_plain_resolver_is_called_without_strawberry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the comparison would compare nothing. What has arguments, permissions or extensions is not plain."""
    called: list[str] = []
    ordinary = schema_converter.get_arguments

    def noting(**arguments: Any) -> Any:
        called.append(arguments["field"].python_name)
        return ordinary(**arguments)

    monkeypatch.setattr(schema_converter, "get_arguments", noting)
    query = "{ thing { computed asked given guarded shouted failure alone later } }"
    await both(query, made({}, set(), None, None, None), long=SHORT)
    assert set(called) == {"given", "guarded", "shouted"}


async def test_fields_are_collected_once_for_a_document(monkeypatch: pytest.MonkeyPatch) -> None:
    """By type, where several are possible; executions that run beside each other share them."""
    collected: list[str] = []
    collect = collect_fields.collect_subfields

    def noting(*arguments: Any, **more: Any) -> Any:
        collected.append(arguments[4].name)
        return collect(*arguments, **more)

    monkeypatch.setattr("graphql.execution.executor.collect_subfields", noting)
    bag = made({}, set(), None, None, None)
    engine = engine_of(SHORT)
    query = "{ thing { name ...More } again: thing { number } named { name ... on Thing { number } } }"
    operation = engine.prepare(query + " fragment More on Thing { number computed }", None)
    answers = await asyncio.gather(*(engine.execute(operation, {}, bag) for _ in range(5)))
    assert collected == ["Thing", "Thing", "Thing"]
    assert [seen(each) for each in answers] == [seen(answers[0])] * 5
    assert answers[0].data is not None
    assert list(answers[0].data["thing"]) == ["name", "number", "computed"]
    assert list(answers[0].data["again"]) == ["number"]


async def test_fields_that_a_variable_can_leave_out_are_collected_each_time() -> None:
    """In a field, in a fragment, and around one."""
    fields = ["number @include(if: $x)", "...More @skip(if: $x)", "... on Thing @include(if: $x) { flag }"]
    query = f"query ($x: Boolean!) {{ thing {{ name {' '.join(fields)} }} }} fragment More on Thing {{ size }}"
    engine = engine_of(SHORT)
    operation = engine.prepare(query, None)
    bag = made({}, set(), None, None, None)
    for shown, names in [
        (True, ["name", "number", "flag"]),
        (False, ["name", "size"]),
        (True, ["name", "number", "flag"]),
    ]:
        result = await engine.execute(operation, {"x": shown}, bag)
        assert result.data is not None
        assert list(result.data["thing"]) == names
