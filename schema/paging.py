"""Connections by keyset: cursors name the last row seen, so that inserts never make a page skip or repeat a row."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar
from uuid import UUID

import orjson
import strawberry

from domain.errors import InvalidCursor, InvalidInput

MOST = 100
LARGEST = 2**31 - 1

NodeT = TypeVar("NodeT")
RowT = TypeVar("RowT")


@strawberry.type(description="Where a page lies in the whole.")
class PageInfo:
    has_next_page: bool
    has_previous_page: bool
    start_cursor: str | None
    end_cursor: str | None


@strawberry.type(description="One row of a page.")
class Edge(Generic[NodeT]):
    cursor: str
    node: NodeT


@strawberry.type(description="A page of rows.")
class Connection(Generic[NodeT]):
    edges: list[Edge[NodeT]]
    page_info: PageInfo


@dataclass(frozen=True, slots=True)
class Window:
    """Which piece of a sequence 1 … total somebody asked for: from `first` to `last`, both included."""

    first: int
    last: int
    total: int


def check_first(first: int, *, name: str = "first") -> int:
    """Raises InvalidInput unless 1 ≤ first ≤ 100."""
    if not 1 <= first <= MOST:
        raise InvalidInput(f"'{name}' lies between 1 and {MOST}.", field=(name,))
    return first


def encode_cursor(*key: Any) -> str:
    return urlsafe_b64encode(orjson.dumps(key)).decode().rstrip("=")


def decode_cursor(cursor: str, length: int) -> list[Any]:
    """The key in a cursor. Raises InvalidCursor."""
    try:
        key = orjson.loads(urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4)))
    except ValueError:
        raise InvalidCursor from None
    if not isinstance(key, list) or len(key) != length:
        raise InvalidCursor
    return key


def decode_sequence(cursor: str | None) -> int | None:
    """The place in a gap-free sequence. Raises InvalidCursor."""
    return None if cursor is None else as_number(decode_cursor(cursor, 1)[0])


def decode_moment(cursor: str | None) -> tuple[datetime, UUID] | None:
    """The (moment, id) of a list in the order of time. Raises InvalidCursor."""
    if cursor is None:
        return None
    moment, identifier = decode_cursor(cursor, 2)
    return as_moment(moment), as_identifier(identifier)


def decode_name(cursor: str | None) -> tuple[str, UUID] | None:
    """The (name, id) of a list in the order of names. Raises InvalidCursor."""
    if cursor is None:
        return None
    name, identifier = decode_cursor(cursor, 2)
    # PostgreSQL takes no U+0000, not even to compare with.
    if not isinstance(name, str) or "\0" in name:
        raise InvalidCursor
    return name, as_identifier(identifier)


def as_number(value: Any) -> int:
    """A number that a column can hold. Raises InvalidCursor."""
    if type(value) is not int or not 1 <= value <= LARGEST:
        raise InvalidCursor
    return value


def as_moment(value: Any) -> datetime:
    """A moment in UTC. Raises InvalidCursor."""
    try:
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is None:
            raise InvalidCursor
        return moment.astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        raise InvalidCursor from None


def as_identifier(value: Any) -> UUID:
    """Raises InvalidCursor."""
    try:
        return UUID(value)
    except (TypeError, ValueError, AttributeError):
        raise InvalidCursor from None


def window(total: int, first: int | None, after: str | None, last: int | None, before: str | None) -> Window:
    """The piece of a gap-free sequence that Relay's four arguments name. Raises InvalidInput, InvalidCursor."""
    if (first is None) == (last is None):
        raise InvalidInput("Say either 'first' or 'last'.", field=("first",))
    low, high = (decode_sequence(after) or 0) + 1, (decode_sequence(before) or total + 1) - 1
    if first is not None:
        high = min(high, low + check_first(first) - 1)
    elif last is not None:
        low = max(low, high - check_first(last, name="last") + 1)
    return Window(max(low, 1), min(high, total), total)


def sequence_page(
    rows: Sequence[RowT], piece: Window, sequence: Callable[[RowT], int], node: Callable[[RowT], NodeT]
) -> Connection[NodeT]:
    """The page of a gap-free sequence."""
    edges = [Edge(cursor=encode_cursor(sequence(row)), node=node(row)) for row in rows]
    info = PageInfo(
        has_next_page=piece.last < piece.total,
        has_previous_page=piece.first > 1,
        start_cursor=edges[0].cursor if edges else None,
        end_cursor=edges[-1].cursor if edges else None,
    )
    return Connection(edges=edges, page_info=info)


def keyset_page(
    rows: Sequence[RowT],
    first: int,
    *,
    after: bool,
    key: Callable[[RowT], Sequence[Any]],
    node: Callable[[RowT], NodeT],
) -> Connection[NodeT]:
    """The page made of up to first + 1 rows: the one too many says that there is a next page."""
    edges = [Edge(cursor=encode_cursor(*key(row)), node=node(row)) for row in rows[:first]]
    info = PageInfo(
        has_next_page=len(rows) > first,
        has_previous_page=after,
        start_cursor=edges[0].cursor if edges else None,
        end_cursor=edges[-1].cursor if edges else None,
    )
    return Connection(edges=edges, page_info=info)
