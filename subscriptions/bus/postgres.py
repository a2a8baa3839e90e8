"""PostgreSQL's LISTEN and NOTIFY: a bell for an installation that has no other broker.

Both need a connection of their own to the server itself: a pooler that hands connections on between transactions
(PgBouncer's transaction mode) forgets who listens.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, TypeAlias

import psycopg
from broadcaster import Event
from psycopg import sql

from models.database import postgres_parameters

# A NOTIFY carries less than 8,000 bytes.
MOST_BYTES = 7999

Connection: TypeAlias = "psycopg.AsyncConnection[Any]"


class PostgresBroker:
    """A `Broker` at a `postgres://` URL, as the database's own. Raises ValueError."""

    def __init__(self, url: str) -> None:
        self._parameters = postgres_parameters(url) | {"application_name": "deskwire bell"}
        self._mouth: Connection | None = None

    async def hear(self, channels: frozenset[str]) -> AsyncGenerator[Event | None, None]:
        connection = await self._connected()
        try:
            for channel in channels:
                await _execute(connection, sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
            yield None
            async with aclosing(connection.notifies()) as notifications:
                async for each in notifications:
                    yield Event(each.channel, each.payload)
        finally:
            await connection.close()

    async def say(self, channel: str, message: str) -> None:
        if len(message.encode()) > MOST_BYTES:
            raise ValueError(f"PostgreSQL carries at most {MOST_BYTES} bytes at once")
        try:
            if self._mouth is None:
                self._mouth = await self._connected()
                # A bell that a crash of the server forgets costs a poll. Waiting for the disk would cost each bell.
                await _execute(self._mouth, sql.SQL("SET synchronous_commit = off"))
            await _execute(self._mouth, sql.SQL("SELECT pg_notify(%s, %s)"), channel, message)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        mouth, self._mouth = self._mouth, None
        if mouth is not None:
            await mouth.close()

    async def _connected(self) -> Connection:
        return await psycopg.AsyncConnection.connect(autocommit=True, **self._parameters)


async def _execute(connection: Connection, statement: sql.SQL | sql.Composed, *values: str) -> None:
    """Execute; when cancelled, hang up.

    psycopg would ask the server to cancel the statement first, and wait up to ten seconds for one that hangs.
    """
    executing = asyncio.ensure_future(connection.execute(statement, values or None))
    try:
        await asyncio.shield(executing)
    except asyncio.CancelledError:
        _hang_up(connection)
        await asyncio.gather(executing, return_exceptions=True)
        raise


def _hang_up(connection: Connection) -> None:
    """Both directions end here and now. psycopg, which waits for an answer, sees a broken connection."""
    if not connection.closed:
        with socket.socket(fileno=os.dup(connection.fileno())) as wire:
            wire.shutdown(socket.SHUT_RDWR)
