"""The schema: its committed text, and what holds for all of its types."""

from __future__ import annotations

from pathlib import Path

from graphql import GraphQLInputObjectType, GraphQLInterfaceType, GraphQLObjectType

from deskwire.schema import build_schema, sdl

SDL = Path(__file__).parents[2] / "schema" / "schema.graphql"


def test_the_committed_text_is_current() -> None:
    """Its diff is the review of the API. `make schema` writes it."""
    assert SDL.read_text() == sdl()


def test_every_type_is_described() -> None:
    types = build_schema()._schema.type_map.values()
    ours = [each for each in types if not each.name.startswith("__")]
    kinds = (GraphQLObjectType, GraphQLInputObjectType, GraphQLInterfaceType)
    assert [each.name for each in ours if isinstance(each, kinds) and not each.description] == []


def test_every_root_field_is_described() -> None:
    schema = build_schema()._schema
    for root in (schema.query_type, schema.mutation_type, schema.subscription_type):
        assert root is not None
        assert [name for name, field in root.fields.items() if not field.description] == []


def test_enums_of_inputs_reach_resolvers_as_enums() -> None:
    """Sorted schemas hand over plain strings, for which every `is` comparison of the domain is false."""
    from strawberry.schema.schema_converter import CustomGraphQLEnumType

    assert isinstance(build_schema()._schema.type_map["Channel"], CustomGraphQLEnumType)
