"""HTTP requests, counted by what became of them."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from subscriptions.counts import Distribution

UNANSWERED = "none"


@dataclass(slots=True, eq=False)
class Traffic:
    """The requests of one process."""

    under_way: int = 0
    answered: Counter[str] = field(default_factory=Counter)
    seconds: Distribution = field(
        default_factory=lambda: Distribution((0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0))
    )


class Counted:
    """ASGI middleware that counts HTTP requests; sockets pass it untouched."""

    def __init__(self, app: ASGIApp, traffic: Traffic) -> None:
        self._app = app
        self._traffic = traffic

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._count(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _count(self, scope: Scope, receive: Receive, send: Send) -> None:
        traffic, begun, status = self._traffic, time.perf_counter(), UNANSWERED

        async def counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = f"{message['status'] // 100}xx"
                # To the beginning of the answer: a stream, or a client who reads slowly, would say nothing about us.
                traffic.seconds.note(time.perf_counter() - begun)
            await send(message)

        traffic.under_way += 1
        try:
            await self._app(scope, receive, counted)
        finally:
            traffic.under_way -= 1
            traffic.answered[status] += 1
