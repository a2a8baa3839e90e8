"""A schema that is nobody's, for the tests of what is not Deskwire's own: engine, limits, HTTP and pages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import NewType
from uuid import UUID

import strawberry
from graphql import GraphQLError
from strawberry.schema.config import StrawberryConfig
from strawberry.types import Info
from strawberry.types.nodes import SelectedField

from execution.engine import Engine
from execution.limits import Limits

SECRET = "hunter2-db-password"

Even = NewType("Even", int)


def parse_even(value: object) -> int:
    if not isinstance(value, int):
        raise KeyError(SECRET)
    if value % 2:
        raise GraphQLError(f"{value} is odd.")
    return value


EVEN = strawberry.scalar(name="Even", parse_value=parse_even)


class Code(StrEnum):
    TEAPOT = "TEAPOT"


class Refused(Exception):
    """Ducks as a refusal of the domain: a code, and something to add."""

    code = Code.TEAPOT

    def __init__(self) -> None:
        super().__init__("I am a teapot.")
        self.extensions = {"retryAfter": 3}


class LikeSQLAlchemy(Exception):
    code = "e3q8"


@strawberry.enum
class Colour(Enum):
    RED = "red"
    BLUE = "blue"


@strawberry.input
class NoteInput:
    text: str
    colour: Colour = Colour.RED
    tag: strawberry.Maybe[str] = None


@strawberry.type
class Author:
    name: str
    note: Note | None = None


@strawberry.type
class NoteEdge:
    cursor: str
    node: Note


@strawberry.type
class Notes:
    edges: list[NoteEdge]


@strawberry.type
class Note:
    id: strawberry.ID
    text: str = "a note"

    @strawberry.field
    def author(self) -> Author:
        return Author(name="Ada")

    @strawberry.field
    def notes(self, first: int | None = None, last: int | None = None) -> Notes:
        return Notes(edges=[])

    @strawberry.field
    def related(self) -> Note | None:
        return None


@dataclass
class Context:
    actor: str = "nobody"
    log: list[str] = field(default_factory=list)


@strawberry.type
class Query:
    @strawberry.field
    def hello(self, name: str = "world") -> str:
        return f"Hello, {name}!"

    @strawberry.field
    async def later(self, info: Info[Context, None]) -> str:
        await asyncio.sleep(0)
        return info.context.actor

    @strawberry.field
    def selected(self, info: Info[Context, None]) -> list[str]:
        return [each.name for each in info.selected_fields if isinstance(each, SelectedField)]

    @strawberry.field
    def notes(self, first: int | None = None, last: int | None = None) -> Notes:
        return Notes(edges=[NoteEdge(cursor="1", node=Note(id=strawberry.ID("1")))])

    @strawberry.field
    def note(self) -> Note:
        return Note(id=strawberry.ID("1"))

    @strawberry.field
    def node(self, id: strawberry.ID) -> Note | None:
        return None

    @strawberry.field
    def by_ids(self, ids: list[strawberry.ID]) -> list[Note]:
        return []

    @strawberry.field
    def half(self, of: Even) -> Even:
        return Even(of // 2)

    @strawberry.field
    def same(self, id: UUID) -> UUID:
        return id

    @strawberry.field
    def broken(self) -> str:
        raise RuntimeError(SECRET)

    @strawberry.field
    def nullable_broken(self) -> str | None:
        raise RuntimeError(SECRET)

    @strawberry.field
    def graphql_broken(self) -> str | None:
        raise GraphQLError(SECRET, extensions={"code": "BAD_USER_INPUT", "secret": SECRET})

    @strawberry.field
    def misleading(self) -> str | None:
        raise LikeSQLAlchemy(SECRET)

    @strawberry.field
    def wrong_type(self) -> int | None:
        return SECRET  # type: ignore[return-value]

    @strawberry.field
    def wrong_object(self) -> Note | None:
        return SECRET  # type: ignore[return-value]

    @strawberry.field
    def missing(self) -> str:
        return None  # type: ignore[return-value]

    @strawberry.field
    def everywhere(self) -> list[Flaky]:
        error = RuntimeError(SECRET)
        return [Flaky(error=error), Flaky(error=error)]

    @strawberry.field
    def teapot(self) -> str | None:
        raise Refused


@strawberry.type
class Flaky:
    error: strawberry.Private[Exception]

    @strawberry.field
    def value(self) -> str | None:
        raise self.error


@strawberry.type
class Mutation:
    @strawberry.mutation
    def write(self, info: Info[Context, None], input: NoteInput) -> str:
        tag = input.tag.value if input.tag else None
        info.context.log.append(input.text)
        return f"{input.text} in {input.colour.name}, tagged {tag}"


@strawberry.type
class Subscription:
    @strawberry.subscription
    async def count(self, info: Info[Context, None], to: int = 3) -> AsyncGenerator[Note, None]:
        try:
            for number in range(1, to + 1):
                yield Note(id=strawberry.ID(str(number)), text=info.context.actor)
        finally:
            info.context.log.append("closed")

    @strawberry.subscription
    async def refused(self, info: Info[Context, None]) -> AsyncGenerator[int, None]:
        if info.context:
            raise Refused
        yield 1


SCHEMA = strawberry.Schema(Query, Mutation, Subscription, config=StrawberryConfig(scalar_map={Even: EVEN}))


class Reports:
    """What was logged: the exceptions, under the ids E1, E2, …"""

    def __init__(self) -> None:
        self.seen: list[BaseException] = []

    def __call__(self, error: BaseException, _graphql_error: GraphQLError) -> str:
        self.seen.append(error)
        return f"E{len(self.seen)}"


def toy_engine(
    reports: Reports | None = None,
    *,
    limits: Limits | None = None,
    introspection: bool = True,
    suggestions: bool = True,
) -> Engine:
    return Engine(
        SCHEMA,
        report=reports or Reports(),
        limits=limits or Limits(),
        introspection=introspection,
        suggestions=suggestions,
    )
