"""Our PostgreSQL engine for Tortoise: time limits on every connection, and a pool that can only read.

A task that is cancelled just when the pool gives it a connection, or takes one back, loses that connection for ever;
the streams of a workspace are cancelled all day. So both happen in tasks of their own, which nobody cancels.
"""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg
from tortoise.backends.base.client import PoolConnectionWrapper
from tortoise.backends.psycopg.client import PsycopgClient

# A lock is waited for at most this long; the caller is then told to try again (R131).
LOCK_TIMEOUT = "2s"
STATEMENT_TIMEOUT = "10s"
IDLE_TIMEOUT = "15s"


class BorrowedConnection(PoolConnectionWrapper[psycopg.AsyncConnection[Any]]):
    """A connection for one statement, which goes back to its pool whatever becomes of the borrower."""

    async def __aenter__(self) -> psycopg.AsyncConnection[Any]:
        await self.ensure_connection()
        self._pool = self.client._pool  # to which it goes back, even when it is closed meanwhile
        borrowing: asyncio.Future[psycopg.AsyncConnection[Any]] = asyncio.ensure_future(self._pool.acquire())
        try:
            connection = await asyncio.shield(borrowing)
        except asyncio.CancelledError:
            borrowing.add_done_callback(self._give_back)
            raise
        self.connection = connection
        return connection

    def _give_back(self, borrowing: asyncio.Future[Any]) -> None:
        if not borrowing.cancelled() and borrowing.exception() is None:
            self._return(borrowing.result())

    def _return(self, connection: psycopg.AsyncConnection[Any]) -> asyncio.Future[None]:
        returning: asyncio.Future[None] = asyncio.ensure_future(self._pool.release(connection))
        _returning.add(returning)  # asyncio itself holds tasks but weakly
        returning.add_done_callback(_returning.discard)
        return returning

    async def __aexit__(self, *_: object) -> None:
        assert self.connection is not None
        await asyncio.shield(self._return(self.connection))


_returning: set[asyncio.Future[None]] = set()


class PostgresDatabase(PsycopgClient):
    """A pool of connections. `read_only` refuses every write."""

    def __init__(self, read_only: bool = False, **credentials: Any) -> None:
        super().__init__(**credentials)
        self.extra.setdefault("timeout", 5.0)
        self.extra["configure"] = self._configure
        self.read_only = read_only

    def acquire_connection(self) -> BorrowedConnection:
        return BorrowedConnection(self, self._pool_init_lock)

    async def _configure(self, connection: psycopg.AsyncConnection[Any]) -> None:
        await connection.execute(f"SET lock_timeout = '{LOCK_TIMEOUT}'")
        await connection.execute(f"SET statement_timeout = '{STATEMENT_TIMEOUT}'")
        await connection.execute(f"SET idle_in_transaction_session_timeout = '{IDLE_TIMEOUT}'")
        if self.read_only:
            await connection.execute("SET default_transaction_read_only = on")


client_class = PostgresDatabase
