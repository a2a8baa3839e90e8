"""What live transports are given."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

from domain.actors import Actor
from execution.engine import Engine
from schema.context import Context
from subscriptions.connections import Connections
from subscriptions.hub import Hub
from subscriptions.questions import Questions

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


@dataclass(frozen=True, slots=True)
class Live:
    """One for the process. `present` notes that somebody is here, for the life of his connection."""

    engine: Engine
    hub: Hub
    questions: Questions
    connections: Connections
    context_for: Callable[[Actor], Context]
    present: Callable[[Actor], AbstractAsyncContextManager[None]]
