"""Our PostgreSQL engine for Tortoise: time limits on every connection, and a pool that can only read.

A task that is cancelled just when the pool gives it a connection, or takes one back, loses that connection for ever;
the streams of a workspace are cancelled all day. So both happen in tasks of their own, which nobody cancels.

That, and the pool's question whether a connection is still good, take as long as reading a row. So those that read keep
a connection at hand for the next statement, for a moment, unless somebody waits for one.
"""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus
from tortoise.backends.base.client import PoolConnectionWrapper
from tortoise.backends.psycopg.client import PsycopgClient

# A lock is waited for at most this long; the caller is then told to try again (R131).
LOCK_TIMEOUT = "2s"
STATEMENT_TIMEOUT = "10s"
IDLE_TIMEOUT = "15s"

AT_HAND_SECONDS = 1.0
"""After at most this time a connection goes back to its pool, which looks whether it is good, old, or one too many."""


class BorrowedConnection(PoolConnectionWrapper[psycopg.AsyncConnection[Any]]):
    """A connection for one statement, which goes back to its pool whatever becomes of the borrower."""

    def __init__(self, client: PostgresDatabase, pool_init_lock: asyncio.Lock) -> None:
        super().__init__(client, pool_init_lock)
        self._at_hand = client.at_hand

    async def __aenter__(self) -> psycopg.AsyncConnection[Any]:
        await self.ensure_connection()
        self._pool = self.client._pool  # to which it goes back, even when it is closed meanwhile
        connection = self._at_hand.take(self._pool)
        if connection is None:
            borrowing: asyncio.Future[psycopg.AsyncConnection[Any]] = asyncio.ensure_future(self._pool.acquire())
            self._at_hand.wait_for(borrowing)
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
        return returned(self._pool, connection)

    async def __aexit__(self, *_: object) -> None:
        assert self.connection is not None
        is_closed = self._pool is not self.client._pool
        if is_closed or not self._at_hand.keep(self._pool, self.connection):
            await asyncio.shield(self._return(self.connection))


def returned(pool: Any, connection: psycopg.AsyncConnection[Any]) -> asyncio.Future[None]:
    """Give a connection back to its pool, whoever waits for that."""
    returning: asyncio.Future[None] = asyncio.ensure_future(pool.release(connection))
    _returning.add(returning)  # asyncio itself holds tasks but weakly
    returning.add_done_callback(_returning.discard)
    return returning


_returning: set[asyncio.Future[None]] = set()


class AtHand:
    """Connections for the next statements. Taking and keeping one has no await: nobody can be cancelled in between."""

    def __init__(self) -> None:
        self.most = 0
        self._kept: list[tuple[Any, psycopg.AsyncConnection[Any]]] = []
        self._waiting = 0
        self._tidying: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._kept)

    def take(self, pool: Any) -> psycopg.AsyncConnection[Any] | None:
        """The one of this pool that was used last."""
        return self._kept.pop()[1] if self._kept and self._kept[-1][0] is pool else None

    def wait_for(self, borrowing: asyncio.Future[psycopg.AsyncConnection[Any]]) -> None:
        """The pool is asked for one. Until it has given it, none is kept from it."""
        self._waiting += 1
        borrowing.add_done_callback(self._has_come)

    def _has_come(self, _: asyncio.Future[psycopg.AsyncConnection[Any]]) -> None:
        self._waiting -= 1

    def keep(self, pool: Any, connection: psycopg.AsyncConnection[Any]) -> bool:
        """Whether it is kept. Not when somebody waits for one, nor when it is broken or in the middle of something."""
        if self._waiting or len(self) >= self.most or connection.pgconn.transaction_status != TransactionStatus.IDLE:
            return False
        self._kept.append((pool, connection))
        if self._tidying is None:
            self._tidying = asyncio.get_running_loop().call_later(AT_HAND_SECONDS, self.tidy)
        return True

    def tidy(self) -> list[asyncio.Future[None]]:
        """Give all of them back."""
        if self._tidying is not None:
            self._tidying.cancel()
            self._tidying = None
        kept, self._kept = self._kept, []
        return [returned(pool, connection) for pool, connection in kept]


class PostgresDatabase(PsycopgClient):
    """A pool of connections. `read_only` refuses every write."""

    def __init__(self, read_only: bool = False, **credentials: Any) -> None:
        super().__init__(**credentials)
        self.extra.setdefault("timeout", 5.0)
        self.extra["configure"] = self._configure
        self.read_only = read_only
        self.at_hand = AtHand()

    async def create_connection(self, with_db: bool) -> None:
        await super().create_connection(with_db)
        # From now on: who opens a pool waits until it is full. And not for those that write: transactions take theirs
        # from the pool itself, and would wait for what is kept.
        self.at_hand.most = self.pool_maxsize if self.read_only else 0

    async def _close(self) -> None:
        self.at_hand.most = 0
        await asyncio.gather(*self.at_hand.tidy(), return_exceptions=True)
        await super()._close()

    def acquire_connection(self) -> BorrowedConnection:
        return BorrowedConnection(self, self._pool_init_lock)

    async def _configure(self, connection: psycopg.AsyncConnection[Any]) -> None:
        await connection.execute(f"SET lock_timeout = '{LOCK_TIMEOUT}'")
        await connection.execute(f"SET statement_timeout = '{STATEMENT_TIMEOUT}'")
        await connection.execute(f"SET idle_in_transaction_session_timeout = '{IDLE_TIMEOUT}'")
        if self.read_only:
            await connection.execute("SET default_transaction_read_only = on")


client_class = PostgresDatabase
