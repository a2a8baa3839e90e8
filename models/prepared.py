"""Queries whose SQL is built once, and which SQLite answers without a thread.

Tortoise builds the SQL of a query each time it runs: more than half the CPU of reading a row by its key. What every
event and every page reads has always the same shape, so its SQL is kept, and only the values change.

They are for reads that find their rows by an index: those of SQLite hold up the event loop for as long as they take.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Generic, TypeVar
from uuid import UUID, uuid4

from tortoise.connection import get_connection
from tortoise.models import Model
from tortoise.queryset import QuerySet

from models.database import ReadsBesideWrites

ModelT = TypeVar("ModelT", bound=Model)
Value = UUID | int

MOST_KEYS = 256
"""Of one kept statement. For more, one is built: that is rare, and their rows cost more than its SQL."""


@dataclass(frozen=True, slots=True)
class _Statement:
    sql: str
    parameters: Sequence[Callable[[Sequence[Value]], object]]
    """Each parameter of the SQL, from the values."""


class Prepared(Generic[ModelT]):
    """The shape of a query, as `build` makes it from values of these kinds.

    A value is something that columns are compared with. (Limits are part of the SQL: they belong to the shape.)
    """

    def __init__(
        self, model: type[ModelT], kinds: Sequence[type[Value]], build: Callable[..., QuerySet[ModelT]]
    ) -> None:
        self._model = model
        self._build = build
        self._kinds = kinds
        self._statements: dict[str, _Statement] = {}

    async def rows(self, *values: Value) -> list[ModelT]:
        """What the query finds for these values, through the connection that it would go through."""
        connection = get_connection(ReadsBesideWrites().db_for_read(self._model))
        dialect = connection.capabilities.dialect
        if dialect not in self._statements:
            self._statements[dialect] = self._statement()
        statement = self._statements[dialect]
        executor = connection.executor_class(model=self._model, db=connection)
        executor.db = getattr(connection, "at_once", None) or connection  # it asks only for execute_query
        found: list[ModelT] = await executor.execute_select(
            statement.sql, [parameter(values) for parameter in statement.parameters]
        )
        return found

    async def first(self, *values: Value) -> ModelT | None:
        """The first of them, for queries that find one or none."""
        found = await self.rows(*values)
        return found[0] if found else None

    def _statement(self) -> _Statement:
        """Built with stand-ins, which are then looked for among the parameters."""
        stand_ins = [uuid4() if kind is UUID else uuid4().int >> 70 for kind in self._kinds]
        query = self._build(*stand_ins)
        query.sql()  # makes it
        sql, parameters = query.query.get_parameterized_sql()
        places = {str(stand_in): place for place, stand_in in enumerate(stand_ins)}
        found = [(places.get(str(each)), each) for each in parameters]
        if {place for place, _ in found if place is not None} != set(places.values()):
            raise ValueError("A value does not stand in the query as a parameter.")
        return _Statement(sql, [_parameter(place, each) for place, each in found])


def _parameter(place: int | None, sample: Any) -> Callable[[Sequence[Value]], object]:
    if place is None:
        return lambda values: sample
    # SQLite knows no UUIDs.
    return (lambda values: str(values[place])) if isinstance(sample, str) else (lambda values: values[place])


@cache
def _by_keys(model: type[ModelT], column: str, keys: int) -> Prepared[ModelT]:
    def build(*values: Value) -> QuerySet[ModelT]:
        return model.filter(**{f"{column}__in": values})

    return Prepared(model, [UUID] * keys, build)


@cache
def _of_account_by_keys(model: type[ModelT], column: str, keys: int) -> Prepared[ModelT]:
    def build(account: Value, *values: Value) -> QuerySet[ModelT]:
        return model.filter(account_id=account).filter(**{f"{column}__in": values})

    return Prepared(model, [UUID] * (1 + keys), build)


async def rows_by(model: type[ModelT], account: UUID, keys: Sequence[UUID], column: str = "id") -> list[ModelT]:
    """The rows of an account in which the column has one of these values."""
    if not keys or len(keys) > MOST_KEYS:
        return await model.filter(account_id=account).filter(**{f"{column}__in": keys})
    filled = _filled(keys)
    return await _of_account_by_keys(model, column, len(filled)).rows(account, *filled)


async def rows_anywhere_by(model: type[ModelT], keys: Sequence[UUID], column: str = "id") -> list[ModelT]:
    """The same whatever the account: for keys that say themselves whose they are, as a token does."""
    if not keys or len(keys) > MOST_KEYS:
        return await model.filter(**{f"{column}__in": keys})
    filled = _filled(keys)
    return await _by_keys(model, column, len(filled)).rows(*filled)


def _filled(keys: Sequence[UUID]) -> list[UUID]:
    """As many keys as the next power of two, so that few statements do for all numbers of them."""
    more = (1 << (len(keys) - 1).bit_length()) - len(keys)
    return [*keys, *[keys[-1]] * more]
