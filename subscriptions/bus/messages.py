"""What is said on the bell: where an account's log stands, that somebody types, and that we are there."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import orjson

from schema.context import Signal

log = logging.getLogger("deskwire.bell")


def encode_beat() -> str:
    """The beat of one bell, which no other one has."""
    return orjson.dumps({"beat": uuid4().hex}).decode()


def encode_position(account_id: UUID, position: int) -> str:
    """Never content: whoever hears it reads the log, with the permission of whom he reads for."""
    return orjson.dumps({"account": str(account_id), "position": position}).decode()


def encode_signal(signal: Signal) -> str:
    told = {
        "account": str(signal.account_id),
        "conversation": str(signal.conversation_id),
        "signal": signal.kind,
        "user": str(signal.user_id),
        "side": signal.user_kind,
    }
    return orjson.dumps(told).decode()


@dataclass(frozen=True, slots=True)
class Ears:
    """Who is told."""

    heard: Callable[[UUID, int], None]
    signalled: Callable[[Signal], None]
    resync: Callable[[], None]

    def hear(self, message: str) -> None:
        """Pass on a message of another process, or of ours."""
        try:
            told = _decoded(message)
        except (ValueError, KeyError, TypeError, AttributeError):
            log.warning("an unreadable message on the bell was ignored")
            return
        if isinstance(told, Signal):
            self.signalled(told)
        elif told is not None:
            self.heard(*told)


def _decoded(message: str) -> Signal | tuple[UUID, int] | None:
    """None for what says nothing to us, such as the beat of another."""
    told: dict[str, Any] = orjson.loads(message)
    if "signal" in told:
        account, conversation, user = (UUID(told[name]) for name in ("account", "conversation", "user"))
        return Signal(account, conversation, told["signal"], user, told["side"])
    return (UUID(told["account"]), int(told["position"])) if "position" in told else None
