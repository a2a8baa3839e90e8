"""One door to a strawberry schema for every transport.

    prepare    text -> a parsed, validated, chosen operation (documents are kept in a bounded cache)
    execute    a query or mutation -> a result
    source     a subscription -> its events, before any selection is made
    respond    one event -> a result, with a context of its own
    formatted  a result -> what may be sent; refused, masked: the same for what did not come so far

strawberry's own `Schema.execute` is not used: it runs the first of several operations, makes no difference between a
request that was refused and one that failed, keeps one context for a whole subscription, and shows the text of
exceptions. Its executor class is, so `info`, permissions and field extensions work as documented.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

import strawberry
from graphql import (
    ASTValidationRule,
    DocumentNode,
    ExecutionResult,
    GraphQLError,
    NoSchemaIntrospectionCustomRule,
    OperationDefinitionNode,
    OperationType,
    parse,
    specified_rules,
    validate,
)
from graphql.execution import Executor, create_source_event_stream, execute_root_selection_set
from graphql.execution import execute_subscription_event as execute_event
from graphql.validation.specified_rules import recommended_rules
from strawberry.execution import optimized_is_awaitable
from strawberry.schema.validation_rules.maybe_null import MaybeNullValidationRule
from strawberry.schema.validation_rules.one_of import OneOfInputValidationRule

from execution.errors import (
    BAD_USER_INPUT,
    PARSE_FAILED,
    UNRESOLVED,
    VALIDATION_FAILED,
    Instead,
    Masks,
    Report,
    RequestError,
    coded,
    nothing_instead,
)
from execution.leaves import Collected, LeafExecutor, shorten
from execution.limits import Limits, limits_rule

CACHED_DOCUMENTS = 256
CACHED_DOCUMENT_SIZE = 16_384
"""Bytes. Longer documents are parsed each time, so the cache can never hold more than 4 MiB of text."""

MAX_ERRORS = 10
"""Validation and coercion stop here. Nobody reads the eleventh, and a hostile document can cause thousands."""


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation that was parsed, validated and chosen. Equal where text, kind and name are."""

    document: DocumentNode = field(compare=False, repr=False)
    query: str
    kind: OperationType
    name: str | None
    collected: Collected | None = field(compare=False, repr=False)


T = TypeVar("T")
Operations = Mapping[str | None, Operation]


class Engine:
    """Runs the operations of one schema.

    introspection  answer __schema and __type
    suggestions    say "Did you mean …" in error messages, which tells the names of the schema
    report         told of each internal exception once; returns the id that the client may quote
    instead        asked before: what the client is told of in the place of an exception that is no defect
    """

    def __init__(
        self,
        schema: strawberry.Schema,
        *,
        report: Report,
        instead: Instead = nothing_instead,
        limits: Limits = Limits(),  # noqa: B008 (frozen)
        introspection: bool = True,
        suggestions: bool = True,
    ) -> None:
        if schema.extensions or schema.directives:
            raise ValueError("The engine runs neither strawberry's extensions nor operation directives.")
        self._schema = schema._schema
        self._executor_class = cast(type[Executor[Any]], schema.execution_context_class)
        if issubclass(self._executor_class, LeafExecutor):
            shorten(schema)
        self._limits = limits
        self._suggestions = suggestions
        self._first_rules = [limits_rule(limits)]
        self._rules = _rules(introspection)
        self._masks = Masks(report, instead)
        self._cache: OrderedDict[str, Operations] = OrderedDict()

    def prepare(self, query: str, operation_name: str | None) -> Operation:
        """Return the operation of that name, or the only one. Raises RequestError."""
        operations = self._operations(query)
        if operation := operations.get(operation_name):
            return operation
        if operation_name is None:
            raise _refusal("The document has several operations: say which one in operationName.")
        raise _refusal(f"The document has no operation named '{operation_name}'.")

    async def execute(self, operation: Operation, variables: Mapping[str, Any], context: object) -> ExecutionResult:
        """Run a query or mutation. Raises RequestError, with nothing executed, where the variables do not fit."""
        if operation.kind is OperationType.SUBSCRIPTION:
            raise ValueError("A subscription has a source and responses; it is not executed.")
        return await _settled(execute_root_selection_set(self._executor(operation, variables, context)))

    async def source(self, operation: Operation, variables: Mapping[str, Any], context: object) -> AsyncIterator[Any]:
        """Start a subscription and return its source events. Raises RequestError where it cannot start.

        The caller closes the iterator (`aclose`) and gives each event to `respond`.
        """
        if operation.kind is not OperationType.SUBSCRIPTION:
            raise ValueError("Only a subscription has a source.")
        stream = await _settled(create_source_event_stream(self._executor(operation, variables, context)))
        if isinstance(stream, ExecutionResult):
            raise RequestError(stream.errors or [])
        return aiter(cast(AsyncIterable[Any], stream))

    async def respond(
        self, operation: Operation, variables: Mapping[str, Any], event: object, context: object
    ) -> ExecutionResult:
        """Make the selections of a subscription from one source event.

        Give each event a fresh context: loaders that outlive an event answer with what was true at an earlier one.
        """
        return await _settled(execute_event(self._executor(operation, variables, context, event)))

    def formatted(self, result: ExecutionResult) -> dict[str, Any]:
        """Return {"data", "errors"?} as it may be sent: internal exceptions are reported and masked."""
        formatted: dict[str, Any] = {"data": result.data}
        if result.errors:
            formatted["errors"] = self._masks.formatted(result.errors)
        return formatted

    def refused(self, refusal: RequestError) -> dict[str, Any]:
        """Return {"errors"}, without data, for a request of which nothing was executed."""
        return {"errors": self._masks.formatted(refusal.errors)}

    def masked(self, error: Exception) -> dict[str, Any]:
        """Return {"errors"} for an exception that a transport met outside of any operation."""
        return {"errors": self._masks.formatted([GraphQLError(str(error), original_error=error)])}

    def _operations(self, query: str) -> Operations:
        if operations := self._cache.get(query):
            self._cache.move_to_end(query)
            return operations
        operations = _named(query, self._validated(query))
        if len(query.encode(errors="surrogatepass")) <= CACHED_DOCUMENT_SIZE:
            self._cache[query] = operations
            if len(self._cache) > CACHED_DOCUMENTS:
                self._cache.popitem(last=False)
        return operations

    def _validated(self, query: str) -> DocumentNode:
        document = self._parsed(query)
        # The limits come first and alone: the other rules are dear for exactly the documents that these refuse.
        for rules in (self._first_rules, self._rules):
            if errors := validate(
                self._schema, document, rules, max_errors=MAX_ERRORS, hide_suggestions=not self._suggestions
            ):
                raise RequestError(coded(errors, VALIDATION_FAILED))
        return document

    def _parsed(self, query: str) -> DocumentNode:
        try:
            return parse(query, max_tokens=self._limits.tokens)
        except GraphQLError as error:
            raise RequestError(coded([error], PARSE_FAILED)) from None

    def _executor(
        self, operation: Operation, variables: Mapping[str, Any], context: object, event: object = None
    ) -> Executor[Any]:
        built = self._executor_class.build(
            self._schema,
            operation.document,
            root_value=event,
            context_value=context,
            raw_variable_values=dict(variables),
            operation_name=operation.name,
            max_coercion_errors=MAX_ERRORS,
            is_awaitable=cast(Any, optimized_is_awaitable),
            hide_suggestions=not self._suggestions,
        )
        if isinstance(built, list):
            raise RequestError(coded(built, BAD_USER_INPUT))
        if isinstance(built, LeafExecutor):
            built.collected = operation.collected
        return built


def _rules(introspection: bool) -> list[type[ASTValidationRule]]:
    rules = [*specified_rules, *recommended_rules, MaybeNullValidationRule, OneOfInputValidationRule]
    return rules if introspection else [*rules, NoSchemaIntrospectionCustomRule]


def _named(query: str, document: DocumentNode) -> Operations:
    """Return the operations by name. The only operation of a document also has no name, for who gives none."""
    nodes = [each for each in document.definitions if isinstance(each, OperationDefinitionNode)]
    operations: dict[str | None, Operation] = {}
    # Without an @ in the text there is no directive by which variables could leave a field out.
    collected: Collected | None = None if "@" in query else {}
    for node in nodes:
        name = node.name.value if node.name else None
        operations[name] = Operation(document, query, node.operation, name, collected)
    if len(nodes) == 1:
        operations[None] = next(iter(operations.values()))
    return operations


def _refusal(message: str) -> RequestError:
    return RequestError(coded([GraphQLError(message)], UNRESOLVED))


async def _settled(value: T | Awaitable[T]) -> T:
    return await cast(Awaitable[T], value) if optimized_is_awaitable(value) else cast(T, value)
