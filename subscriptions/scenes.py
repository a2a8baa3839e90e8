"""The answers to some events: read once, made once for all who are told the same, never kept.

A `Moment` is made after its events were committed, so whatever is read for one of them shows at least what is true
since the last. It is shared by everybody of the account who is told of them; a `Scene` is the moment as some viewers
see it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar
from uuid import UUID

import orjson

from domain.actors import Actor
from domain.transactions import shielded
from domain.visibility import audience_of, may_see
from execution.engine import Engine
from models import Account, Event, Ticket
from models.database import is_passing
from models.prepared import rows_by
from schema.context import Batches, Context, Loaders
from subscriptions.counts import Counts
from subscriptions.questions import Question, Selection
from subscriptions.telling import Telling
from subscriptions.viewers import Anyone, Asked, Viewers

T = TypeVar("T")


class Personal(Exception):
    """The answer has asked who somebody is: it must be made for each person alone."""


@dataclass(frozen=True, slots=True)
class Means:
    """What answers are made with, as `deskwire` gives it."""

    engine: Engine
    of_account: Callable[[UUID], Mapping[str, Batches]]
    of_actor: Callable[[Actor], Mapping[str, Batches]]
    context: Callable[[Actor, Loaders], Context]
    counts: Counts = field(default_factory=Counts)


class _OfViewers:
    """The loaders that depend on who asks, for one kind of viewers. Each has a stand-in of its own, which notes."""

    def __init__(self, viewers: Viewers, means: Means) -> None:
        self._viewers = viewers
        self._means = means
        self._made: dict[str, tuple[Anyone, Loaders]] = {}

    def get(self, name: str) -> tuple[Anyone, Any] | None:
        if name not in self._made:
            somebody = Anyone(self._viewers)
            source = self._means.of_actor(somebody)
            if name not in source:
                return None
            self._made[name] = (somebody, Loaders({name: source[name]}))
        somebody, loaders = self._made[name]
        return somebody, getattr(loaders, name)


class _Noting(Loaders):
    """The loaders of one answer: those of the account are everybody's, those of the viewers note what they ask."""

    def __init__(self, account: Loaders, viewers: _OfViewers) -> None:
        super().__init__()
        self._account = account
        self._viewers = viewers
        self.used: list[Anyone] = []

    def __getattr__(self, name: str) -> Any:
        found = self._viewers.get(name)
        if found is None:
            loader = getattr(self._account, name)
        else:
            somebody, loader = found
            self.used.append(somebody)
        setattr(self, name, loader)
        return loader


class Moment:
    """See the module."""

    def __init__(self, account_id: UUID, means: Means) -> None:
        self.account_id = account_id
        self.means = means
        self._loaders = Loaders(means.of_account(account_id))
        self._of_viewers: dict[Viewers, _OfViewers] = {}
        self._tickets: dict[UUID, Ticket | None] = {}
        self._items: dict[Any, Any] = {}
        # With the item, which must live as long as its id is the key.
        self._answers: dict[tuple[Selection, int, Viewers | None], tuple[object, Telling]] = {}

    async def head(self) -> int:
        """The position of the last event, or later."""
        account = await Account.get(id=self.account_id)
        return int(account.last_position)

    async def ticket(self, ticket_id: UUID) -> Ticket | None:
        """A ticket as it is, whoever may see it."""
        if ticket_id not in self._tickets:
            found = await rows_by(Ticket, self.account_id, [ticket_id])
            self._tickets[ticket_id] = found[0] if found else None
        return self._tickets[ticket_id]

    def item(self, key: object, make: Callable[[], T]) -> T:
        """The one item of this key: what is made from it is made once."""
        if key not in self._items:
            self._items[key] = make()
        made: T = self._items[key]
        return made

    async def read(self, key: object, read: Callable[[], Awaitable[T]]) -> T:
        """What is read under this key, read once."""
        if key not in self._items:
            self._items[key] = await read()
        found: T = self._items[key]
        return found

    async def answer(self, question: Question, item: object, viewers: Viewers) -> Telling:
        """The answer that these viewers get. Raises Personal."""
        for whom in (None, viewers):
            if found := self._answers.get((question.selection, id(item), whom)):
                return found[1]
        telling, asked = await self._made(question, item, viewers)
        if asked is Asked.PERSON:
            raise Personal
        self._answers[question.selection, id(item), viewers if asked is Asked.ROLE else None] = (item, telling)
        return telling

    def failure(self, question: Question, event: Event, error: Exception) -> Telling:
        """What is told in the place of an event that a defect of ours met. Reported once for each question."""
        return self.item(
            (question, event.position),
            lambda: Telling(orjson.dumps({"data": None} | self.means.engine.masked(error))),
        )

    async def _made(self, question: Question, item: object, viewers: Viewers) -> tuple[Telling, Asked]:
        if viewers not in self._of_viewers:
            self._of_viewers[viewers] = _OfViewers(viewers, self.means)
        loaders = _Noting(self._loaders, self._of_viewers[viewers])
        somebody = Anyone(viewers)
        engine = self.means.engine
        self.means.counts.answers += 1
        context = self.means.context(somebody, loaders)
        # To its end even when cancelled: graphql-core leaves coroutines behind, the pool may lose a connection.
        result = await shielded(engine.respond(question.operation, question.variables, item, context))
        for error in result.errors or ():
            if error.original_error is not None and is_passing(error.original_error):
                raise error.original_error  # not an answer: it is tried again when the database is there
        asked = max(each.asked for each in (somebody, *loaders.used))
        if asked is Asked.PERSON:
            return Telling(b""), asked
        return Telling(orjson.dumps(engine.formatted(result))), asked


@dataclass(slots=True, eq=False)
class Scene:
    """A moment as some viewers see it."""

    moment: Moment
    viewers: Viewers
    cursors: Callable[[int], str]
    state: Any
    actor: Actor = field(init=False)

    def __post_init__(self) -> None:
        self.actor = self.viewers.actor

    def cursor(self, event: Event) -> str:
        """The cursor that resumes after this event."""
        return self.cursors(event.position)

    def cursor_before(self, event: Event) -> str:
        """The cursor that resumes with this event, for all but the last of several items that it causes."""
        return self.cursors(event.position - 1)

    async def ticket(self, ticket_id: UUID | None) -> Ticket | None:
        """A ticket as it is, if they may see it now."""
        ticket = await self.moment.ticket(ticket_id) if ticket_id is not None else None
        return ticket if ticket is not None and may_see(self.actor, audience_of(ticket)) else None
