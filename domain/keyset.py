"""Paging by keyset: what comes after a row, in an order that the id makes total."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from tortoise.expressions import Q


def beyond(column: str, after: tuple[Any, UUID] | None, *, descending: bool) -> Q:
    """The rows after the one with this (column, id); all rows without one."""
    if after is None:
        return Q()
    value, identifier = after
    comparison = "lt" if descending else "gt"
    further: dict[str, Any] = {f"{column}__{comparison}": value}
    tied: dict[str, Any] = {column: value, f"id__{comparison}": identifier}
    return Q(**further) | Q(**tied)
