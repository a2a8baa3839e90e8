"""Our SQLite engine for Tortoise: transactions that begin IMMEDIATE, and a connection that can only read.

Tortoise begins deferred transactions, which fail at once beside another writer whatever the busy time-out says,
and keeps its lock for ever when BEGIN fails.

Its statements run in a thread. To hand one over and to be woken when it is done takes longer than to read a row by its
key, so those reads have a connection in the event loop's own thread (`AtOnce`). In WAL mode they wait for no writer.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from typing import Any, cast

import aiosqlite
from tortoise.backends.base.client import TransactionalDBClient, TransactionContext
from tortoise.backends.sqlite.client import SqliteClient, SqliteTransactionContext, SqliteTransactionWrapper
from tortoise.connection import get_connections
from tortoise.exceptions import BaseORMException, IntegrityError, OperationalError, TransactionManagementError

# How long a transaction waits for its turn before the caller is told to try again, in seconds.
WAIT_SECONDS = 5.0


class ImmediateTransaction(SqliteTransactionWrapper):
    """Takes the write lock when it begins: no upgrade of a lock can fail half-way."""

    async def begin(self) -> None:
        try:
            await self._connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            raise TransactionManagementError(error) from error

    async def commit(self) -> None:
        try:
            await super().commit()
        except sqlite3.Error as error:
            # A COMMIT that fails leaves its transaction open; every later one would fail to begin inside it.
            await self._connection.rollback()
            raise _translated(error) from error


def _translated(error: sqlite3.Error) -> BaseORMException:
    """As Tortoise translates the errors of a statement; it forgets those of a commit."""
    return IntegrityError(error) if isinstance(error, sqlite3.IntegrityError) else OperationalError(error)


class QueuedTransaction(SqliteTransactionContext):
    """Waits for its turn for a limited time, so that a leaked lock would become an error and not a silence."""

    async def __aenter__(self) -> TransactionalDBClient:
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await self._trxlock.acquire()
        except TimeoutError:
            raise TransactionManagementError("database is locked: no turn within the time limit") from None
        try:
            await self.ensure_connection()
            await self.connection.begin()
        except BaseException:
            self._trxlock.release()
            raise
        self.token = get_connections().set(self.connection_name, self.connection)
        client: TransactionalDBClient = self.connection
        return client


class AtOnce:
    """Reads a few rows by their keys, here and now. What scans or sorts many rows goes through the thread."""

    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database
        self._connection: sqlite3.Connection | None = None

    async def execute_query(self, query: str, values: list[Any] | None = None) -> tuple[int, Sequence[sqlite3.Row]]:
        """As Tortoise's clients have it. Raises OperationalError."""
        self._database.log.debug("%s: %s", query, values)
        await asyncio.sleep(0)  # others have their turn, as they would while a thread reads
        try:
            rows = self._opened().execute(query, values or ()).fetchall()
        except sqlite3.OperationalError:
            # Somebody holds the whole file, which is over in a moment, or there is none: the thread may wait for it.
            found: tuple[int, Sequence[sqlite3.Row]] = await self._database.execute_query(query, values)
            return found
        return len(rows), rows

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            connection = sqlite3.connect(self._database.filename, isolation_level=None, timeout=0)
            try:
                connection.row_factory = sqlite3.Row
                connection.execute(f"PRAGMA cache_size={self._database.pragmas['cache_size']}")
                connection.execute("PRAGMA query_only=ON")
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class SqliteDatabase(SqliteClient):
    """One connection to one file. `read_only` refuses every write, and has a second one for reads by key."""

    def __init__(self, file_path: str, read_only: bool = False, **pragmas: Any) -> None:
        super().__init__(file_path, **pragmas)
        self.read_only = read_only
        self.at_once = AtOnce(self) if read_only else None

    async def create_connection(self, with_db: bool) -> None:
        if self._connection is not None:
            return
        await super().create_connection(with_db)
        if self.read_only:
            # After the other pragmas: a connection that may not write cannot switch to WAL.
            # Not through execute_query, which would wait for the lock that this runs under.
            connection = cast(aiosqlite.Connection, self._connection)
            await connection.execute("PRAGMA query_only = ON")

    async def close(self) -> None:
        if self.at_once is not None:
            self.at_once.close()
        await super().close()

    def _in_transaction(self) -> TransactionContext:
        return QueuedTransaction(ImmediateTransaction(self), self._lock)


client_class = SqliteDatabase
