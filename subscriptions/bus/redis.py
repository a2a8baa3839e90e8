"""Redis's publish and subscribe, on bare connections of redis-py.

Its client and its `PubSub` connect again on their own, without telling what was missed meanwhile; a bare connection
fails and stays failed. One hears, another one speaks: a subscribed connection takes no other command.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from broadcaster import Event
from redis.asyncio.connection import AbstractConnection, ConnectionPool

# What the URL cannot change: we read the plain answers of the second protocol, and the deadlines are the supervisor's.
ALWAYS: dict[str, Any] = {"protocol": 2, "decode_responses": False, "socket_timeout": None, "health_check_interval": 0}


class RedisBroker:
    """A `Broker` at `redis://[[user]:[password]@]host[:port][/db]`, or `rediss://` with TLS. Raises ValueError."""

    def __init__(self, url: str) -> None:
        # The pool only reads the URL and knows which class of connection it asks for.
        self._pool = ConnectionPool.from_url(url, socket_keepalive=True)
        self._pool.connection_kwargs.update(ALWAYS)
        self._mouth: AbstractConnection | None = None

    async def hear(self, channels: frozenset[str]) -> AsyncGenerator[Event | None, None]:
        connection = self._connection()
        try:
            await connection.send_command("SUBSCRIBE", *channels)
            for _ in channels:
                await connection.read_response()
            yield None
            while True:
                kind, channel, message = await connection.read_response()
                if kind == b"message":
                    yield Event(channel.decode(), message.decode())
        finally:
            await connection.disconnect(nowait=True)

    async def say(self, channel: str, message: str) -> None:
        if self._mouth is None:
            self._mouth = self._connection()
        try:
            await self._mouth.send_command("PUBLISH", channel, message)
            await self._mouth.read_response()
        except BaseException:
            # Its answer may still come, and would be taken for that of the next command.
            await self.close()
            raise

    async def close(self) -> None:
        mouth, self._mouth = self._mouth, None
        if mouth is not None:
            await mouth.disconnect(nowait=True)

    def _connection(self) -> AbstractConnection:
        """Connects with its first command."""
        connection: AbstractConnection = self._pool.make_connection()  # type: ignore[no-untyped-call]  # redis-py's
        return connection
