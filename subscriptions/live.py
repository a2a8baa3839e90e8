"""What live transports are given."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from domain.actors import Actor
from execution.engine import Engine
from models.database import is_passing
from schema.context import Context
from subscriptions.callers import Caller, Gone
from subscriptions.connections import Connections
from subscriptions.hub import Hub
from subscriptions.questions import Questions

log = logging.getLogger("deskwire.transport")

ADMIT_SECONDS = 10.0

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


class Unavailable(Exception):
    """The database does not answer now. Nothing is lost by asking again."""

    code = "SERVICE_UNAVAILABLE"


@contextmanager
def answering() -> Iterator[None]:
    """Raises Unavailable where the database is away: it is no defect, and no traceback for each who asks."""
    try:
        yield
    except Exception as error:
        if not (is_passing(error) or isinstance(error, TimeoutError)):
            raise
        log.warning("the database does not answer: %s", error)
        raise Unavailable("The database does not answer. Try again in a moment.") from error


class Presence(Protocol):
    """Notes who is here."""

    async def arrive(self, actor: Actor) -> None:
        """He has one more connection; returns when that is noted."""

    async def depart(self, actor: Actor) -> None:
        """He has one less."""


@dataclass(frozen=True, slots=True)
class Live:
    """One for the process.

    What a connection takes for its life, it takes and gives back by calls, and not in `with` blocks: the generators
    of five of them would be a quarter of its memory.
    """

    engine: Engine
    hub: Hub
    questions: Questions
    connections: Connections
    context_for: Callable[[Actor], Context]
    presence: Presence

    async def admit(self, token: str, gone: Gone) -> Caller:
        """The caller of a connection; to be dismissed. Raises Unauthenticated, TooManyConnections, Unavailable."""
        with answering():
            async with asyncio.timeout(ADMIT_SECONDS):
                caller = await self.hub.admit(token, gone)
        try:
            self.connections.occupy(caller.actor)
        except BaseException:
            self.hub.dismiss(caller)
            raise
        try:
            await self.presence.arrive(caller.actor)
        except BaseException:
            await self.dismiss(caller)
            raise
        return caller

    async def dismiss(self, caller: Caller) -> None:
        """His connection has ended."""
        self.hub.dismiss(caller)
        self.connections.vacate(caller.actor)
        await self.presence.depart(caller.actor)
