"""The live side as resolvers see it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import UUID

from domain.actors import Actor
from schema.context import Signal
from subscriptions.hub import Hub


class LiveFeeds:
    """`schema.context.Feeds` on a hub."""

    def __init__(self) -> None:
        self.hub: Hub | None = None
        """Filled in by who makes both: a hub answers with contexts that hold these feeds."""

    @property
    def _hub(self) -> Hub:
        assert self.hub is not None
        return self.hub

    async def sync_cursor(self, actor: Actor) -> str:
        return await self._hub.sync_cursor(actor)

    def signals(self, account_id: UUID, conversation_id: UUID) -> AsyncIterator[Signal]:
        return self._hub.signals(account_id, conversation_id)

    async def signal(self, signal: Signal) -> None:
        await self._hub.signal(signal)
