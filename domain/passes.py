"""Passes: background work that does all that is due, each thing in a unit of work of its own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from logging import Logger
from typing import TypeVar

T = TypeVar("T")


async def each(log: Logger, items: Iterable[T], act: Callable[[T], Awaitable[bool]]) -> int:
    """Do it for every item, in order. Returns how many times something was done; what fails is logged and left."""
    done = 0
    for item in items:
        try:
            done += await act(item)
        except Exception:
            log.exception("%s failed; it is tried again", item)
    return done
