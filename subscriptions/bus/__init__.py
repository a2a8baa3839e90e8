"""The broadcaster between processes, on back ends of ours that outlive their brokers."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

from broadcaster import Broadcast
from broadcaster._backends.base import BroadcastBackend
from broadcaster._backends.memory import MemoryBackend

from models.database import is_sqlite
from subscriptions.bus.faulty import Faults, Faulty
from subscriptions.bus.postgres import PostgresBroker
from subscriptions.bus.redis import RedisBroker
from subscriptions.bus.supervised import Supervised


class BadBroadcastUrl(ValueError):
    """The URL names no broker that Deskwire can use. Says what to set instead."""


class Bus(Broadcast):
    """broadcaster's, except that who disconnects is disconnected.

    broadcaster raises there what its listener died of, and then leaves the back end as it is.
    """

    # Where connecting failed, there is none.
    _listener_task: asyncio.Task[None] | None = None  # type: ignore[assignment]

    async def disconnect(self) -> None:
        listener, self._listener_task = self._listener_task, None
        if listener is not None:
            listener.cancel()
            await asyncio.gather(listener, return_exceptions=True)
        await self._backend.disconnect()


def broadcast_at(url: str, database_url: str, faults: str = "") -> Broadcast:
    """The broadcaster at a URL; nothing is connected yet. Raises BadBroadcastUrl.

    `memory://`      within this process
    `redis://…`, `rediss://…`
    `postgres://…`   LISTEN and NOTIFY on a server
    `database://`    the same, on the database that is there anyway

    `faults` is for tests: see `subscriptions.bus.faulty`.
    """
    try:
        back_end = _back_end(url, database_url)
    except BadBroadcastUrl:
        raise
    except ValueError as error:
        raise BadBroadcastUrl(f"The URL of the broadcaster cannot be used: {error}.") from None
    return Bus(backend=Faulty(back_end, Faults.parse(faults)) if faults else back_end)


def _back_end(url: str, database_url: str) -> BroadcastBackend:
    scheme = urlsplit(url).scheme
    if scheme == "database":
        return _on_database(database_url)
    if scheme in ("redis", "rediss"):
        return Supervised(RedisBroker(url))
    if scheme in ("postgres", "postgresql"):
        return Supervised(PostgresBroker(url))
    if scheme == "memory":
        return MemoryBackend(url)
    raise BadBroadcastUrl(f"{scheme!r} is no broadcaster that Deskwire knows; use memory://, redis:// or postgres://.")


def _on_database(database_url: str) -> BroadcastBackend:
    if is_sqlite(database_url):
        raise BadBroadcastUrl("SQLite rings no bell: database:// needs PostgreSQL. One process needs only memory://.")
    return Supervised(PostgresBroker(database_url))
