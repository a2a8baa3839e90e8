"""Our SQLite engine for Tortoise: transactions that begin IMMEDIATE, and a connection that can only read.

Tortoise begins deferred transactions, which fail at once beside another writer whatever the busy time-out says,
and keeps its lock for ever when BEGIN fails.
"""

from __future__ import annotations

import asyncio
import sqlite3
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


class SqliteDatabase(SqliteClient):
    """One connection to one file. `read_only` refuses every write."""

    def __init__(self, file_path: str, read_only: bool = False, **pragmas: Any) -> None:
        super().__init__(file_path, **pragmas)
        self.read_only = read_only

    async def create_connection(self, with_db: bool) -> None:
        if self._connection is not None:
            return
        await super().create_connection(with_db)
        if self.read_only:
            # After the other pragmas: a connection that may not write cannot switch to WAL.
            # Not through execute_query, which would wait for the lock that this runs under.
            connection = cast(aiosqlite.Connection, self._connection)
            await connection.execute("PRAGMA query_only = ON")

    def _in_transaction(self) -> TransactionContext:
        return QueuedTransaction(ImmediateTransaction(self), self._lock)


client_class = SqliteDatabase
