"""Questions of the same moment, answered together: as many at once as came while the last ones were answered."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")

MOST = 500


class Batches(Generic[K, V]):
    """`answer` is given up to MOST keys and returns as many values. Every answer was begun after its question came."""

    def __init__(self, answer: Callable[[list[K]], Awaitable[list[V]]]) -> None:
        self._answer = answer
        self._waiting: list[tuple[K, asyncio.Future[V]]] = []
        self._working: asyncio.Task[None] | None = None

    async def ask(self, key: K) -> V:
        """The answer. Raises what answering it raised."""
        future: asyncio.Future[V] = asyncio.get_running_loop().create_future()
        self._waiting.append((key, future))
        if self._working is None or self._working.done():
            self._working = asyncio.create_task(self._work())
        return await future

    async def _work(self) -> None:
        while self._waiting:
            some, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
            try:
                values = await self._answer([key for key, _ in some])
            except Exception as error:
                for _, future in some:
                    if not future.done():
                        future.set_exception(error)
                continue
            for (_, future), value in zip(some, values, strict=True):
                if not future.done():
                    future.set_result(value)
