"""What subscribers ask: an operation with its variables, and the topic that it follows.

Workspaces run the same application, so thousands of subscribers ask few questions. Each is parsed, validated and
understood once per process; who asks it again is found by the text of his operation and variables alone.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, cast
from uuid import UUID

import orjson
from graphql import (
    DefinitionNode,
    FieldNode,
    FragmentDefinitionNode,
    Node,
    NonNullTypeNode,
    OperationDefinitionNode,
    VariableNode,
    Visitor,
    visit,
)

from domain.actors import Actor
from execution.engine import Engine, Operation
from models import Event, EventType
from schema.context import Context

MOST_QUESTIONS = 4_096
RESUME = "after"

Key = EventType | UUID | str
TICKETS = "tickets"


class Topic(Protocol):
    """What one field of the root Subscription follows, with its arguments. It knows nothing of who asks."""

    @property
    def keys(self) -> Collection[Key]:
        """What of the log matters to it: see `keys_of`."""

    @property
    def by_reach(self) -> bool:
        """Whether only those are told who reach the ticket of an event; then nobody else is even looked at."""

    @property
    def heeds_access(self) -> bool:
        """Whether a change of the subscriber's own access tells him something by itself."""

    async def check(self, actor: Actor) -> None:
        """Raises a Refusal unless he may follow it."""

    async def items(self, scene: Any, event: Event) -> Sequence[Any]:
        """What an event tells the viewers of a scene (`subscriptions.scenes.Scene`). Raises AccessRevoked.

        What it remembers in the scene's state, it notes last: it may be asked again when it fails.
        """

    def state(self) -> Any:
        """What is remembered from event to event for one cohort, or None."""


def keys_of(event: Event) -> list[Key]:
    """By what an event is found: its type, that it is of some ticket, and of which."""
    keys: list[Key] = [event.type]
    if event.ticket_id is not None:
        keys += [TICKETS, event.ticket_id]
    return keys


@dataclass(frozen=True, slots=True)
class Source(AsyncGenerator[Any, None]):
    """What a subscription resolver returns: a topic, and from where on. Followed by the hub, not iterated."""

    topic: Topic
    after: str | None

    async def __anext__(self) -> Any:
        raise RuntimeError("A topic is followed by the hub.")

    async def asend(self, value: None) -> Any:
        raise RuntimeError("A topic is followed by the hub.")

    async def athrow(self, *_: Any) -> Any:
        raise RuntimeError("A topic is followed by the hub.")

    async def aclose(self) -> None:
        return


def follow(topic: Topic, after: str | None) -> AsyncGenerator[Any, None]:
    """The source of a subscription, typed as what its items are."""
    return Source(topic, after)


Selection = tuple[Operation, bytes]
"""An operation, with the variables that count below its root field."""


@dataclass(slots=True, eq=False)
class Question:
    """One operation with its variables, but for the cursor. Equal questions are one object."""

    operation: Operation
    variables: Mapping[str, Any]
    topic: Topic
    selection: Selection
    """What is selected from an item. Questions that differ in what they follow alone (lists by many filters, say) have
    it in common, and so the answers to an item that they share."""


@dataclass(frozen=True, slots=True)
class Following:
    """A question, and the cursor that its subscriber resumes from."""

    question: Question
    after: str | None


class Questions:
    """The questions of this process."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._known: OrderedDict[tuple[Operation, bytes], Question] = OrderedDict()
        self._resumes: OrderedDict[Operation, Resume] = OrderedDict()

    async def ask(
        self, operation: Operation, variables: Mapping[str, Any], context: Callable[[], Context]
    ) -> Following | AsyncGenerator[Any, None]:
        """The question of a subscription; for one that follows no log, its source of events, which the caller closes.

        A context is made only for one that nobody has asked yet. Raises RequestError.
        """
        resume = self._resume(operation)
        after = variables.get(resume.variable) if resume.variable else None
        key = (operation, _key(variables, resume))
        if resume.shared and resume.takes(after) and (known := self._known.get(key)):
            self._known.move_to_end(key)
            return Following(known, after)
        source = await self._engine.source(operation, variables, context())
        if not isinstance(source, Source):
            return cast(AsyncGenerator[Any, None], source)
        below = {name: value for name, value in variables.items() if name in resume.below}
        question = Question(operation, variables, source.topic, (operation, _encoded(below)))
        if resume.shared:
            question = self._known.setdefault(key, question)
            if len(self._known) > MOST_QUESTIONS:
                self._known.popitem(last=False)
        return Following(question, source.after)

    def _resume(self, operation: Operation) -> Resume:
        if operation not in self._resumes:
            self._resumes[operation] = resume_of(operation)
            if len(self._resumes) > MOST_QUESTIONS:
                self._resumes.popitem(last=False)
        return self._resumes[operation]


def _key(variables: Mapping[str, Any], resume: Resume) -> bytes:
    return _encoded({name: value for name, value in variables.items() if name != resume.variable})


def _encoded(variables: Mapping[str, Any]) -> bytes:
    return orjson.dumps(variables, option=orjson.OPT_SORT_KEYS)


@dataclass(frozen=True, slots=True)
class Resume:
    """How an operation gets its cursor: by a variable that is used for nothing else, or not at all.

    Where it is neither (the cursor is written into the document, say), the question is its subscriber's own. `below`
    are the variables that are used elsewhere than in the arguments of the root field.
    """

    shared: bool
    variable: str | None = None
    below: frozenset[str] = field(default=frozenset(), compare=False)
    required: bool = False

    def takes(self, after: object) -> bool:
        """Whether the variable may have this value. What it may not, the engine says."""
        return isinstance(after, str) or (after is None and not self.required)


def resume_of(operation: Operation) -> Resume:
    """Read it off the document."""
    node = next(each for each in operation.document.definitions if _is(operation, each))
    assert isinstance(node, OperationDefinitionNode)
    (root, *others) = node.selection_set.selections
    if others or not isinstance(root, FieldNode):
        return Resume(shared=False, below=frozenset(_uses(operation.document)))
    below = frozenset(
        name
        for part in (root.selection_set, *(root.directives or ()), *_fragments(operation))
        if part is not None
        for name in _uses(part)
    )
    values = [argument.value for argument in root.arguments or () if argument.name.value == RESUME]
    if not values:
        return Resume(shared=True, below=below)
    if not isinstance(values[0], VariableNode):
        return Resume(shared=False, below=below)
    name = values[0].name.value
    declared = next(each for each in node.variable_definitions or () if each.variable.name.value == name)
    # Once where it is declared, once where it is used; other operations of the document have variables of their own.
    count = sum(_uses(part)[name] for part in (node, *_fragments(operation)))
    if count != 2 or declared.default_value is not None:
        return Resume(shared=False, below=below)
    required = isinstance(declared.type, NonNullTypeNode)
    return Resume(shared=True, variable=name, below=below, required=required)


def _fragments(operation: Operation) -> list[DefinitionNode]:
    return [each for each in operation.document.definitions if isinstance(each, FragmentDefinitionNode)]


def _is(operation: Operation, node: DefinitionNode) -> bool:
    return isinstance(node, OperationDefinitionNode) and (node.name.value if node.name else None) == operation.name


def _uses(node: Node) -> Counter[str]:
    """How often each variable is named in a part of a document."""
    named = _Named()
    visit(node, named)
    return named.counts


class _Named(Visitor):
    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def enter_variable(self, node: VariableNode, *_: Any) -> None:
        self.counts[node.name.value] += 1
