"""How large an operation may be, decided from its document alone, before anything runs.

strawberry's own depth and alias limiters are not used: they are not linear in the size of the document, and one
built per request empties the validation cache. Here each fragment is measured once, so the work is linear however
often the fragment is spread, and an operation weighs the same whether its selections are written out or shared.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

from graphql import (
    SKIP,
    ArgumentNode,
    ASTValidationRule,
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLCompositeType,
    GraphQLError,
    GraphQLField,
    GraphQLNamedType,
    GraphQLSchema,
    InlineFragmentNode,
    IntValueNode,
    ListValueNode,
    NamedTypeNode,
    OperationDefinitionNode,
    OperationType,
    SelectionNode,
    SelectionSetNode,
    ValidationContext,
    ValueNode,
    VariableNode,
    VisitorAction,
    get_named_type,
    is_composite_type,
)

CEILING = 10**9
"""Where counting stops. Nested fragments can multiply without end; no limit is anywhere near this."""

PAGE_ARGUMENTS = frozenset({"first", "last", "ids"})
STRUCTURE = frozenset({"edges", "node", "nodes", "items", "pageInfo"})
INTROSPECTION = frozenset({"__schema", "__type"})


@dataclass(frozen=True, slots=True)
class Limits:
    """What one operation may ask for.

    tokens               lexical tokens of the whole document, refused by the parser
    depth                fields inside one another, leaves included
    introspection_depth  the same below __schema and __type (the usual introspection query needs 15)
    aliases, directives  occurrences in the operation with every fragment written out
    directives_per_node  directives on one field, fragment, operation or variable
    root_fields          selections at the top; a mutation always has exactly one
    cost                 see `Measure.cost`
    page                 items that a page is taken to have when the document does not say; also the least that a
                         variable counts, since what it will hold is not known (a declared default is no promise)
    """

    tokens: int = 1_000
    depth: int = 12
    introspection_depth: int = 20
    aliases: int = 30
    directives: int = 50
    directives_per_node: int = 3
    root_fields: int = 10
    cost: int = 10_000
    page: int = 100


class Measure(NamedTuple):
    """The size of some selections with every fragment written out.

    `cost` counts the objects that resolvers may be asked for. Leaves cost nothing, since tokens bound them; the
    wrappers of a connection (edges, node, pageInfo) cost nothing; any other object costs 1 and what is in it; a page
    of n costs 1 and n times what is in an item, or n where an item has only leaves.
    """

    depth: int = 0
    introspection_depth: int = 0
    aliases: int = 0
    directives: int = 0
    directives_per_node: int = 0
    root_fields: int = 0
    cost: int = 0

    def beside(self, other: Measure) -> Measure:
        """Both, in one selection set."""
        return Measure(
            max(self.depth, other.depth),
            max(self.introspection_depth, other.introspection_depth),
            min(self.aliases + other.aliases, CEILING),
            min(self.directives + other.directives, CEILING),
            max(self.directives_per_node, other.directives_per_node),
            min(self.root_fields + other.root_fields, CEILING),
            min(self.cost + other.cost, CEILING),
        )


NOTHING = Measure()

SAYS = {
    "depth": "{found} levels deep",
    "introspection_depth": "{found} levels deep below the introspection fields",
    "aliases": "made of {found} aliases",
    "directives": "made of {found} directives",
    "directives_per_node": "made with {found} directives in one place",
    "root_fields": "made of {found} root fields",
    "cost": "too costly: it may ask for {found} objects",
}


class Survey:
    """Measures the operations of one document. Keep it for one document only: it remembers fragments by name."""

    def __init__(self, schema: GraphQLSchema, limits: Limits, document: DocumentNode) -> None:
        self._schema = schema
        self._limits = limits
        fragments = (each for each in document.definitions if isinstance(each, FragmentDefinitionNode))
        self._fragments = {fragment.name.value: fragment for fragment in fragments}
        self._defaults = _largest_defaults(document)
        self._measured: dict[str, Measure] = {}

    def operation(self, node: OperationDefinitionNode) -> Measure:
        """Return the measure of the whole operation. Raises RecursionError where nesting has no sensible end."""
        root = self._schema.get_root_type(node.operation)
        total = _with_directives(self._selection_set(node.selection_set, root), node)
        for definition in node.variable_definitions or ():
            total = _with_directives(total, definition)
        return total

    def _selection_set(self, node: SelectionSetNode, parent: GraphQLNamedType | None) -> Measure:
        total = NOTHING
        for selection in node.selections:
            total = total.beside(_with_directives(self._selection(selection, parent), selection))
        return total

    def _selection(self, node: SelectionNode, parent: GraphQLNamedType | None) -> Measure:
        if isinstance(node, FieldNode):
            return self._field(node, parent)
        if isinstance(node, FragmentSpreadNode):
            return self._spread(node.name.value)
        assert isinstance(node, InlineFragmentNode)
        return self._selection_set(node.selection_set, self._condition(node.type_condition, parent))

    def _spread(self, name: str) -> Measure:
        if name not in self._measured:
            # A cycle or an unknown fragment counts as nothing here: another rule refuses the document for it.
            self._measured[name] = NOTHING
            if fragment := self._fragments.get(name):
                inside = self._selection_set(fragment.selection_set, self._condition(fragment.type_condition, None))
                self._measured[name] = _with_directives(inside, fragment)
        return self._measured[name]

    def _condition(self, node: NamedTypeNode | None, parent: GraphQLNamedType | None) -> GraphQLNamedType | None:
        return self._schema.get_type(node.name.value) if node else parent

    def _field(self, node: FieldNode, parent: GraphQLNamedType | None) -> Measure:
        name = node.name.value
        field = self._definition(name, parent)
        below = NOTHING
        if node.selection_set:
            below = self._selection_set(node.selection_set, get_named_type(field.type) if field else None)
        hidden = name in INTROSPECTION
        return Measure(
            1 if hidden else below.depth + 1,
            below.depth + 1 if hidden else below.introspection_depth,
            min(below.aliases + (node.alias is not None), CEILING),
            below.directives,
            below.directives_per_node,
            0 if name == "__typename" else 1,
            self._cost(node, field, below.cost) if node.selection_set else 0,
        )

    def _definition(self, name: str, parent: GraphQLNamedType | None) -> GraphQLField | None:
        if parent is None or not is_composite_type(parent):
            return None
        composite: GraphQLCompositeType = parent
        return self._schema.get_field(composite, name)

    def _cost(self, node: FieldNode, field: GraphQLField | None, below: int) -> int:
        if not node.arguments and node.name.value in STRUCTURE:
            return below
        page = self._page(node.arguments or (), field)
        if page is None:
            return min(1 + below, CEILING)
        return min(1 + page * max(1, below), CEILING)

    def _page(self, arguments: Iterable[ArgumentNode], field: GraphQLField | None) -> int | None:
        """Return how many items the field may answer with, or None where it is not a page."""
        sizes = [self._size(each.value) for each in arguments if each.name.value in PAGE_ARGUMENTS]
        if sizes:
            return max(sizes)
        return self._limits.page if field and PAGE_ARGUMENTS & field.args.keys() else None

    def _size(self, value: ValueNode) -> int:
        if isinstance(value, IntValueNode):
            return _literal(value)
        if isinstance(value, ListValueNode):
            return len(value.values or ())
        default = self._defaults.get(value.name.value, 0) if isinstance(value, VariableNode) else 0
        return max(self._limits.page, default)


def _largest_defaults(document: DocumentNode) -> dict[str, int]:
    """Return the largest declared default of each variable over all operations, since these share the fragments."""
    largest: dict[str, int] = {}
    operations = (each for each in document.definitions if isinstance(each, OperationDefinitionNode))
    for definition in chain.from_iterable(each.variable_definitions or () for each in operations):
        if isinstance(definition.default_value, IntValueNode):
            name = definition.variable.name.value
            largest[name] = max(largest.get(name, 0), _literal(definition.default_value))
    return largest


def _literal(node: IntValueNode) -> int:
    # int() refuses more than 4,300 digits by raising; nothing of ten digits is a page.
    return CEILING if len(node.value) > 9 else max(0, int(node.value))


def _with_directives(measure: Measure, node: Any) -> Measure:
    count = len(node.directives or ())
    if not count:
        return measure
    return measure._replace(
        directives=min(measure.directives + count, CEILING),
        directives_per_node=max(measure.directives_per_node, count),
    )


def exceeded(measure: Measure, limits: Limits) -> list[tuple[str, int, int]]:
    """Return (limit, found, allowed) for each limit that the measure is over."""
    pairs = ((name, getattr(measure, name), getattr(limits, name)) for name in SAYS)
    return [(name, found, allowed) for name, found, allowed in pairs if found > allowed]


def limits_rule(limits: Limits) -> type[ASTValidationRule]:
    """Return the validation rule that refuses what is over `limits`. Make it once and keep it."""

    class LimitsRule(ASTValidationRule):
        def __init__(self, context: ValidationContext) -> None:
            super().__init__(context)
            self._survey = Survey(context.schema, limits, context.document)

        def enter_operation_definition(self, node: OperationDefinitionNode, *_: Any) -> VisitorAction:
            try:
                measure = self._survey.operation(node)
            except RecursionError:
                self._refuse(node, "depth", "The operation is nested too deeply.")
                return SKIP
            for name, found, allowed in exceeded(measure, limits):
                self._refuse(node, name, _sentence(name, found, allowed))
            if node.operation is OperationType.MUTATION and measure.root_fields > 1:
                self._refuse(node, "root_fields", "A mutation has exactly one root field. Send one after the other.")
            return SKIP

        def enter_fragment_definition(self, _node: FragmentDefinitionNode, *_: Any) -> VisitorAction:
            return SKIP

        def _refuse(self, node: OperationDefinitionNode, name: str, message: str) -> None:
            self.report_error(GraphQLError(message, node, extensions={"limit": name}))

    return LimitsRule


def _sentence(name: str, found: int, allowed: int) -> str:
    shown = f"{found:,}" if found < CEILING else f"more than {CEILING:,}"
    return f"The operation is {SAYS[name].format(found=shown)}; {allowed:,} are allowed."
