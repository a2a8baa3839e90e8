"""The limits: each at its edge, the same through fragments, and far from what the clients send."""

from __future__ import annotations

import time
from dataclasses import fields
from pathlib import Path

import pytest
from graphql import (
    ASTValidationRule,
    DocumentNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    OperationDefinitionNode,
    Visitor,
    get_introspection_query,
    parse,
    print_ast,
    validate,
    visit,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from execution.errors import RequestError
from execution.limits import CEILING, Limits, Measure, Survey, limits_rule
from tests.api.toy import SCHEMA, toy_engine

GRAPHQL = SCHEMA._schema
LIMITS = Limits()
RULE = limits_rule(LIMITS)
CLIENTS = Path(__file__).parents[1] / "contract"


def over(document: str, rule: type[ASTValidationRule] = RULE) -> set[str]:
    """The names of the limits that a document is over."""
    return {(error.extensions or {})["limit"] for error in validate(GRAPHQL, parse(document), [rule])}


def measure(document: str) -> Measure:
    parsed = parse(document)
    [operation] = [each for each in parsed.definitions if isinstance(each, OperationDefinitionNode)]
    return Survey(GRAPHQL, LIMITS, parsed).operation(operation)


def nested(depth: int) -> str:
    """A query whose deepest leaf is at `depth`."""
    return "{ note {" + "related {" * (depth - 2) + "id" + "}" * depth


@pytest.mark.parametrize(
    ("name", "allowed", "refused"),
    [
        ("depth", nested(12), nested(13)),
        ("aliases", "{ note {" + "a: id " * 30 + "} }", "{ note {" + "a: id " * 31 + "} }"),
        (
            "directives",
            "{ note {" + "id @skip(if: false) @include(if: true) " * 25 + "} }",
            "{ note {" + "id @skip(if: false) @include(if: true) " * 25 + "text @skip(if: false) } }",
        ),
        ("directives_per_node", "{ hello @a @b @c }", "{ hello @a @b @c @d }"),
        ("root_fields", "{" + "hello " * 10 + "}", "{" + "hello " * 11 + "}"),
        ("root_fields", "mutation { write __typename }", "mutation { write write }"),
        ("cost", "{ notes(first: 9999) { edges { cursor } } }", "{ notes(first: 10000) { edges { cursor } } }"),
    ],
)
def test_each_limit_is_exact(name: str, allowed: str, refused: str) -> None:
    assert over(allowed) == set()
    assert over(refused) == {name}


def test_tokens_are_counted_before_anything_is_built() -> None:
    engine = toy_engine()
    engine.prepare("{ byIds(ids: [" + "1 " * 980 + "]) { id } }", None)
    with pytest.raises(RequestError, match="1000 tokens"):
        engine.prepare("{ byIds(ids: [" + "1 " * 1000 + "]) { id } }", None)


@pytest.mark.parametrize(
    ("document", "cost"),
    [
        ("{ hello }", 0),
        ("{ note { id } }", 1),
        ("{ note { author { name } } }", 2),
        ("{ notes(first: 5) { edges { node { id } } } }", 1 + 5),
        ("{ notes(last: 5) { edges { node { author { name } related { id } } } } }", 1 + 5 * 2),
        ("{ notes(first: 5) { edges { node { notes(first: 7) { edges { cursor } } } } } }", 1 + 5 * (1 + 7)),
        ("{ notes { edges { cursor } } }", 1 + 100),
        ("query ($n: Int) { notes(first: $n) { edges { cursor } } }", 1 + 100),
        ("query ($n: Int = 500) { notes(first: $n) { edges { cursor } } }", 1 + 500),
        ("{ notes(first: null) { edges { cursor } } }", 1 + 100),
        ("{ notes(first: -5) { edges { cursor } } }", 1),
        ("{ byIds(ids: [1, 2, 3]) { id } }", 1 + 3),
        ("query ($ids: [ID!]!) { byIds(ids: $ids) { author { name } } }", 1 + 100),
        ('{ node(id: "1") { id } }', 1),
        (f"{{ notes(first: {'9' * 5000}) {{ edges {{ cursor }} }} }}", CEILING),
    ],
)
def test_the_cost_is_the_number_of_objects_that_may_be_asked_for(document: str, cost: int) -> None:
    assert measure(document).cost == cost


def test_a_small_declared_default_does_not_make_a_page_cheaper() -> None:
    small = "query ($n: Int = 1) { notes(first: $n) { edges { node { notes(first: $n) { edges { node { notes(first: $n)"
    assert over(small + " { edges { cursor } } } } } } } } }") == {"cost"}


def test_what_one_operation_declares_counts_in_the_fragments_of_all() -> None:
    document = """
        query A { ...F }
        query B($n: Int = 20000) { ...F }
        fragment F on Query { notes(first: $n) { edges { cursor } } }
    """
    assert [error.nodes[0].name.value for error in validate(GRAPHQL, parse(document), [RULE])] == ["A", "B"]  # type: ignore[index,union-attr]


def test_cycles_and_unknown_names_end() -> None:
    assert over("{ note { ...F } } fragment F on Note { related { ...G } } fragment G on Note { ...F }") == set()
    assert over("{ nonsense(first: 3) { more { ...None } } } fragment F on Nonsense { id }") == set()


def test_doubling_fragments_are_measured_at_once_and_saturate() -> None:
    chain = [f"fragment F{n} on Note {{ ...F{n + 1} ...F{n + 1} }}" for n in range(60)]
    document = "{ note { ...F0 } } " + " ".join(chain) + " fragment F60 on Note { a: id b: related { id } }"
    started = time.perf_counter()
    found = measure(document)
    assert time.perf_counter() - started < 1  # and not 2^60 steps
    assert (found.aliases, found.cost) == (CEILING, CEILING)
    assert over(document) == {"aliases", "cost"}


@pytest.mark.parametrize(
    "document",
    [
        nested(190),
        "{ note { ...F0 } } " + " ".join(f"fragment F{n} on Note {{ ...F{n + 1} }}" for n in range(120)),
        "{ note { ...F0 } } " + " ".join(f"fragment F{n} on Note {{ related {{ ...F{n + 1} }} }}" for n in range(80)),
    ],
)
def test_endless_nesting_is_refused_and_not_a_crash(document: str) -> None:
    with pytest.raises(RequestError) as raised:
        toy_engine().prepare(document, None)
    assert {(error.extensions or {})["code"] for error in raised.value.errors} == {"GRAPHQL_VALIDATION_FAILED"}


def test_introspection_has_a_depth_of_its_own() -> None:
    query = get_introspection_query(input_value_deprecation=True, specified_by_url=True, schema_description=True)
    assert over(query) == set()
    assert measure(query).introspection_depth < LIMITS.introspection_depth
    toy_engine().prepare(query, None)
    assert over("{ __schema { types {" + "ofType {" * 20 + "name" + "}" * 23) == {"introspection_depth"}


def test_circular_introspection_is_refused() -> None:
    query = "{ __schema { types { fields { type { fields { type { fields { type { name } } } } } } } } }"
    with pytest.raises(RequestError, match="introspection"):
        toy_engine().prepare(query, None)


# What the clients send. Their schema is not needed: pages are known by their arguments.


def operations_of(text: str) -> list[str]:
    """Each operation with the fragments that it uses, as clients send them."""
    document = parse(text)
    fragments = {each.name.value: each for each in document.definitions if isinstance(each, FragmentDefinitionNode)}
    operations = [each for each in document.definitions if isinstance(each, OperationDefinitionNode)]
    return [print_ast(DocumentNode(definitions=(each, *_used(each, fragments)))) for each in operations]


def _used(node: OperationDefinitionNode, fragments: dict[str, FragmentDefinitionNode]) -> list[FragmentDefinitionNode]:
    names: dict[str, None] = {}

    class Collect(Visitor):
        def enter_fragment_spread(self, spread: FragmentSpreadNode, *_: object) -> None:
            if spread.name.value not in names:
                names[spread.name.value] = None
                visit(fragments[spread.name.value], self)

    visit(node, Collect())
    return [fragments[name] for name in names]


CLIENT_OPERATIONS = [each for file in sorted(CLIENTS.glob("*.graphql")) for each in operations_of(file.read_text())]


@pytest.mark.parametrize("document", CLIENT_OPERATIONS, ids=lambda text: text.split("(")[0].split("{")[0].strip())
def test_what_the_clients_send_is_far_below_the_limits(document: str) -> None:
    found = measure(document)
    parse(document, max_tokens=LIMITS.tokens // 2)
    assert found.depth <= LIMITS.depth - 3
    assert found.cost <= LIMITS.cost * 0.6
    assert (found.aliases, found.directives) == (0, 0)
    assert found.root_fields <= LIMITS.root_fields / 2


# Inlined or shared: the same.

SMALL = Limits(depth=4, aliases=3, directives=3, directives_per_node=2, root_fields=3, cost=40, page=7)
SMALL_RULE = limits_rule(SMALL)


class Tree:
    """A field of the toy schema with what is selected in it."""

    def __init__(self, head: str, on: str, children: list[Tree], shared: bool) -> None:
        self.head, self.on, self.children, self.shared = head, on, children, shared

    def inlined(self) -> str:
        return self.head + _braces([child.inlined() for child in self.children])

    def with_fragments(self, fragments: list[str]) -> str:
        inside = _braces([child.with_fragments(fragments) for child in self.children])
        if not self.shared:
            return self.head + inside
        fragments.append(f"fragment F{len(fragments)} on {self.on} {{ {self.head}{inside} }}")
        return f"...F{len(fragments) - 1}"


def _braces(selections: list[str]) -> str:
    return " { " + " ".join(selections) + " }" if selections else ""


HEADS: dict[str, list[tuple[str, str | None]]] = {
    "Query": [("hello", None), ("note", "Note"), ("notes", "Notes"), ("notes(first: 3)", "Notes")],
    "Note": [("id", None), ("author", "Author"), ("related", "Note"), ("notes(last: 2)", "Notes"), ("text", None)],
    "Author": [("name", None), ("note", "Note")],
    "Notes": [("edges", "NoteEdge")],
    "NoteEdge": [("cursor", None), ("node", "Note")],
}
DIRECTIVES = ["", "", "", " @skip(if: false)", " @skip(if: false) @include(if: true)", " @a @b @c"]


@st.composite
def trees(draw: st.DrawFn, on: str = "Query", room: int = 5) -> Tree:
    head, below = draw(st.sampled_from([each for each in HEADS[on] if room > 0 or each[1] is None] or [HEADS[on][0]]))
    alias = draw(st.sampled_from(["", "", "a: ", "b: "]))
    children = draw(st.lists(trees(below, room - 1), min_size=1, max_size=3)) if below and room > 0 else []
    return Tree(alias + head + draw(st.sampled_from(DIRECTIVES)), on, children, draw(st.booleans()))


@settings(max_examples=200, deadline=None)
@given(st.lists(trees(), min_size=1, max_size=5), st.sampled_from(["query", "mutation"]))
def test_a_document_weighs_the_same_written_out_or_through_fragments(roots: list[Tree], kind: str) -> None:
    fragments: list[str] = []
    through = f"{kind} {_braces([root.with_fragments(fragments) for root in roots])} {' '.join(fragments)}"
    inlined = f"{kind} {_braces([root.inlined() for root in roots])}"
    if kind == "mutation":
        through, inlined = (text.replace("on Query", "on Mutation") for text in (through, inlined))
    assert over(inlined, SMALL_RULE) == over(through, SMALL_RULE)
    assert measure(inlined) == measure(through)


def test_the_small_limits_above_are_all_within_reach() -> None:
    # A property whose examples never cross an edge proves nothing.
    assert {each.name for each in fields(Limits)} - {"tokens", "introspection_depth", "page"} == over(
        "{ a: hello b: hello c: hello d: hello @a @b @c @d note { related { related { related { id } } } }"
        " notes(first: 90) { edges { cursor } } }",
        SMALL_RULE,
    )
