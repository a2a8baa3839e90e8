"""strawberry's executor with three short cuts.

Leaves: a plain attribute of an object, shown as a scalar or an enum. graphql-core makes a path, an info and a
dictionary of arguments for each of them, and most fields are such. What is not plain, or goes wrong, takes the long
way, which says what is wrong.

Plain resolvers: functions of an object and, if they want it, the info, without arguments, permissions or extensions.
strawberry looks for all of these at each call.

Collected fields: graphql-core collects the fields of each object anew in every execution. Where no directive can leave
one out, they are always the same, and are kept with the document.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter
from typing import Any

import strawberry
from graphql import GraphQLField, GraphQLObjectType, is_non_null_type
from graphql.execution.collect_fields import CollectedFields, FieldDetailsList, GroupedFieldSet
from graphql.pyutils import AwaitableOrValue, Path
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext
from strawberry.schema.schema_converter import CustomGraphQLEnumType
from strawberry.types import Info

USUAL: dict[str, type | tuple[type, ...]] = {
    "Boolean": bool,
    "DateTime": datetime,
    "Float": (float, int),
    "ID": (str, int),
    "Int": int,
    "String": str,
}
"""What each scalar is usually given. Of anything else they show the text, also of an exception that is to be raised."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """How to get one field without anything around it."""

    get: Callable[[Any], Any]
    show: Callable[[Any], Any]
    usual: type | tuple[type, ...]
    nullable: bool


Collected = dict[tuple[object, ...], CollectedFields]
"""What is selected from objects of a type by some field nodes of one document."""


class LeafExecutor(StrawberryGraphQLCoreExecutionContext):
    """See the module. Results, errors and their paths are those of graphql-core."""

    collected: Collected | None = None
    """Those of other executions of the same document, or None where they may differ from this one's."""

    def collect_subfields(
        self, return_type: GraphQLObjectType, field_details_list: FieldDetailsList
    ) -> CollectedFields:
        if self.collected is None:
            return super().collect_subfields(return_type, field_details_list)
        key = (return_type, *[id(each.node) for each in field_details_list])
        fields = self.collected.get(key)
        if fields is None:
            fields = self.collected[key] = super().collect_subfields(return_type, field_details_list)
        return fields

    def execute_fields(
        self,
        parent_type: GraphQLObjectType,
        source_value: Any,
        path: Path | None,
        grouped_field_set: GroupedFieldSet,
        position_context: Any,
    ) -> AwaitableOrValue[dict[str, Any]]:
        leaves = _leaves_of(parent_type)
        shown: dict[str, Any] = {}
        rest: GroupedFieldSet = {}
        for name, details in grouped_field_set.items():
            leaf = leaves.get(details[0].node.name.value)
            value = _shown(leaf, source_value) if leaf is not None else _LONG_WAY
            if value is _LONG_WAY:
                rest[name] = details
            shown[name] = value  # in its place, as the order of the answer is that of the question
        if not rest:
            return shown
        others = super().execute_fields(parent_type, source_value, path, rest, position_context)
        if self.is_awaitable(others):
            return _joined(shown, others)
        return _filled(shown, others)  # type: ignore[arg-type]


_LONG_WAY: Any = object()


def _shown(leaf: Leaf, source: Any) -> Any:
    try:
        value = leaf.get(source)
        if value is None:
            return None if leaf.nullable else _LONG_WAY
        return leaf.show(value) if isinstance(value, leaf.usual) else _LONG_WAY
    except Exception:
        return _LONG_WAY


async def _joined(shown: dict[str, Any], others: Any) -> dict[str, Any]:
    return _filled(shown, await others)


def _filled(shown: dict[str, Any], others: dict[str, Any]) -> dict[str, Any]:
    shown |= others
    # A field that the type lacks is left out, as the long way does.
    return {name: value for name, value in shown.items() if value is not _LONG_WAY}


def shorten(schema: strawberry.Schema) -> None:
    """Let the fields of a schema that have a plain resolver call it and nothing else."""
    if schema.schema_converter.exception_handlers:
        return  # they stand around every resolver
    made = schema._schema
    for kind in made.type_map.values():
        # The resolvers of a subscription are its sources.
        if isinstance(kind, GraphQLObjectType) and kind is not made.subscription_type:
            for field in kind.fields.values():
                field.resolve = _plain(field, schema.config.info_class) or field.resolve


def _plain(field: GraphQLField, info_class: type[Info]) -> Callable[..., Any] | None:
    definition: Any = field.extensions.get("strawberry-definition")
    resolver = definition.base_resolver if definition is not None else None
    if resolver is None or definition.extensions or field.args or resolver.parent_parameter or resolver.root_parameter:
        return None
    call, name = resolver.wrapped_func, resolver.info_parameter and resolver.info_parameter.name
    if resolver.self_parameter is None:
        if name is None:
            return lambda source, info: call()
        return lambda source, info: call(**{name: info_class(_raw_info=info, _field=definition)})
    if name is None:
        return lambda source, info: call(source)
    return lambda source, info: call(source, **{name: info_class(_raw_info=info, _field=definition)})


def _leaves_of(parent_type: GraphQLObjectType) -> dict[str, Leaf]:
    """The plain leaves of a type; kept with it."""
    leaves: dict[str, Leaf] | None = getattr(parent_type, "_deskwire_leaves", None)
    if leaves is None:
        found = {name: _leaf(field) for name, field in parent_type.fields.items()}
        leaves = {name: leaf for name, leaf in found.items() if leaf is not None}
        parent_type._deskwire_leaves = leaves  # type: ignore[attr-defined]
    return leaves


def _leaf(field: Any) -> Leaf | None:
    definition = field.extensions.get("strawberry-definition")
    # Of a field with permissions or extensions strawberry says, too, that its resolver is the default one.
    if definition is None or not definition.is_basic_field or definition.default_resolver is not getattr or field.args:
        return None
    nullable = not is_non_null_type(field.type)
    kind = field.type if nullable else field.type.of_type
    get = attrgetter(definition.python_name)
    if isinstance(kind, CustomGraphQLEnumType):
        # strawberry compares with one after the other.
        members: Iterable[Any] = kind.wrapped_cls
        names = {member: kind.coerce_output_value(member) for member in members}
        return Leaf(get, names.__getitem__, kind.wrapped_cls, nullable)
    usual = USUAL.get(getattr(kind, "name", ""))
    return Leaf(get, kind.coerce_output_value, usual, nullable) if usual is not None else None
