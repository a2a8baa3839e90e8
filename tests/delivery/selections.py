"""What can be selected of a subscription, read off the schema: one document for each field of each type.

One field to a document, because who else is told an answer depends on all that it asks: beside a field that is one
person's, no other could reach the wrong one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from graphql import (
    GraphQLField,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLUnionType,
    get_named_type,
    is_abstract_type,
    is_composite_type,
    is_required_argument,
)

PAGES = ("first", "last")
DEPTH = 12


@dataclass(frozen=True)
class Selection:
    """A document that selects one field of a type, by the shortest way from a field of the root."""

    root: str
    type: str
    field: str
    text: str

    @property
    def name(self) -> tuple[str, str]:
        return self.type, self.field


@dataclass(frozen=True)
class Way:
    """How to come from a subscription's item to a type: fields and conditions, from the outside in."""

    type: GraphQLNamedType
    steps: tuple[str, ...] = ()
    depth: int = 2

    def into(self, step: str, type: GraphQLNamedType, depth: int = 1) -> Way:
        return Way(type, (*self.steps, step), self.depth + depth)

    def around(self, selected: str) -> str:
        for step in reversed(self.steps):
            selected = f"{step} {{ {selected} }}"
        return selected


def fields_of(type: GraphQLNamedType) -> dict[str, GraphQLField]:
    return dict(type.fields) if isinstance(type, GraphQLObjectType | GraphQLInterfaceType) else {}


def ways(schema: GraphQLSchema, start: GraphQLNamedType) -> Iterator[Way]:
    """To every type that can be reached, the shortest."""
    seen = {start.name}
    found = deque([Way(start)])
    while found:
        way = found.popleft()
        yield way
        for further in _steps(schema, way):
            if further.type.name not in seen and further.depth < DEPTH:
                seen.add(further.type.name)
                found.append(further)


def _steps(schema: GraphQLSchema, way: Way) -> Iterator[Way]:
    for name, field in fields_of(way.type).items():
        if is_composite_type(get_named_type(field.type)):
            yield way.into(called(name, field), get_named_type(field.type))
    if is_abstract_type(way.type):
        assert isinstance(way.type, GraphQLInterfaceType | GraphQLUnionType)
        for each in schema.get_possible_types(way.type):
            yield way.into(f"... on {each.name}", each, depth=0)


def called(name: str, field: GraphQLField) -> str:
    """A field with the arguments that it must have."""
    missing = [argument for argument, of in field.args.items() if is_required_argument(of)]
    assert not missing, f"say in this module what {name} is given for {missing}"
    page = next((argument for argument in PAGES if argument in field.args), None)
    return f"{name}({page}: 2)" if page else name


def selections(schema: GraphQLSchema, heads: dict[str, str]) -> list[Selection]:
    """All that can be selected below these fields of the root; `heads` says how each is begun."""
    assert schema.subscription_type is not None
    made = []
    for root, head in heads.items():
        item = get_named_type(schema.subscription_type.fields[root].type)
        for way in ways(schema, item):
            for name, field in fields_of(way.type).items():
                below = " { __typename }" if is_composite_type(get_named_type(field.type)) else ""
                text = f"{head} {{ cursor {way.around(called(name, field) + below)} }} }}"
                made.append(Selection(root, way.type.name, name, text))
    return made


def reachable(schema: GraphQLSchema, roots: list[str]) -> set[tuple[str, str]]:
    """The same fields, found another way: by what each type mentions, however deep."""
    assert schema.subscription_type is not None
    found: set[str] = set()
    open_types = {get_named_type(schema.subscription_type.fields[root].type).name for root in roots}
    while open_types:
        name = open_types.pop()
        found.add(name)
        type = schema.type_map[name]
        mentioned = [get_named_type(field.type) for field in fields_of(type).values()]
        mentioned += schema.get_possible_types(type) if is_abstract_type(type) else []
        open_types |= {each.name for each in mentioned if is_composite_type(each)} - found
    return {(name, field) for name in found for field in fields_of(schema.type_map[name])}
