"""The live side as resolvers see it: the events of an actor's account, with his permission as of each event."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection
from uuid import UUID

from domain.actors import Actor
from models import Event, EventType
from schema.context import Signal
from subscriptions.hub import Hub


def _concerns(actor: Actor, event: Event) -> bool:
    return event.type is EventType.AGENT_ACCESS_CHANGED and event.payload["user"] == str(actor.id)


class LiveFeeds:
    """`schema.context.Feeds` on a hub."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    async def sync_cursor(self, actor: Actor) -> str:
        return await self._hub.sync_cursor(actor.account_id)

    def cursor(self, event: Event) -> str:
        return self._hub.cursor(event)

    def cursor_before(self, event: Event) -> str:
        return self._hub.cursor_before(event)

    async def head(self, actor: Actor) -> int:
        return await self._hub.head(actor.account_id)

    def follow(
        self, actor: Actor, after: str | None, types: Collection[EventType], wants: Callable[[Event], bool]
    ) -> AsyncIterator[Event]:
        kinds = frozenset(types)

        def wanted(event: Event) -> bool:
            return (event.type in kinds and wants(event)) or _concerns(actor, event)

        return self._hub.follow(actor.account_id, after, wanted)

    async def between(self, actor: Actor, after: str | None, types: Collection[EventType]) -> list[Event]:
        found = await self._hub.since(actor.account_id, after, types) if after is not None else []
        return [event for event in found if _concerns(actor, event)]

    def signals(self, account_id: UUID, conversation_id: UUID) -> AsyncIterator[Signal]:
        return self._hub.signals(conversation_id)

    async def signal(self, signal: Signal) -> None:
        await self._hub.signal(signal)
