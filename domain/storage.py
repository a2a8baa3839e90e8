"""Where the content of attachments is: what any storage must do. `deskwire.storage` has the storages that there are."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


class ContentMissing(Exception):
    """Nothing is stored under this key."""


class StorageUnavailable(Exception):
    """The storage does not answer, is full, or refuses us. Trying again later may help."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What a storage tells of one content. `modified_at` is by the storage's own clock."""

    key: str
    modified_at: datetime


class Storage(Protocol):
    """Keeps contents under keys. One conformance suite holds every implementation to this.

    A key is one or more words of letters, digits, `-` and `_`, joined by `/`. Any other is a ValueError, so that no
    key leads out of the storage. Every method may raise StorageUnavailable.
    """

    async def put(self, key: str, chunks: AsyncIterable[bytes]) -> None:
        """Store a content as a whole, safe from a crash once this returns.

        What `chunks` raises is passed on, and then nothing is stored: nobody ever sees half a content.
        """

    def reading(
        self, key: str, start: int = 0, length: int | None = None
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """The content, or `length` (at least 1) bytes of it from `start` on. Raises ContentMissing on entering."""

    async def delete(self, key: str) -> None:
        """Forget a content. One that is not there is forgotten already."""

    def listed(self) -> AsyncIterator[Stored]:
        """Every content, in no order. What comes or goes meanwhile may or may not be among them."""

    async def abandon(self, before: datetime) -> int:
        """Remove what was begun before this moment and never finished, as a crash leaves it. Returns how many."""

    async def close(self) -> None:
        """Let go of threads and connections."""
