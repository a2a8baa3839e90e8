"""Our PostgreSQL engine for Tortoise: time limits on every connection, and a pool that can only read."""

from __future__ import annotations

from typing import Any

import psycopg
from tortoise.backends.psycopg.client import PsycopgClient

# A lock is waited for at most this long; the caller is then told to try again (R131).
LOCK_TIMEOUT = "2s"
STATEMENT_TIMEOUT = "10s"
IDLE_TIMEOUT = "15s"


class PostgresDatabase(PsycopgClient):
    """A pool of connections. `read_only` refuses every write."""

    def __init__(self, read_only: bool = False, **credentials: Any) -> None:
        super().__init__(**credentials)
        self.extra.setdefault("timeout", 5.0)
        self.extra["configure"] = self._configure
        self.read_only = read_only

    async def _configure(self, connection: psycopg.AsyncConnection[Any]) -> None:
        await connection.execute(f"SET lock_timeout = '{LOCK_TIMEOUT}'")
        await connection.execute(f"SET statement_timeout = '{STATEMENT_TIMEOUT}'")
        await connection.execute(f"SET idle_in_transaction_session_timeout = '{IDLE_TIMEOUT}'")
        if self.read_only:
            await connection.execute("SET default_transaction_read_only = on")


client_class = PostgresDatabase
