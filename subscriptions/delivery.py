"""What every stream of events shares: the log, followed by an actor whose permission is asked anew."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import cast

from domain.actors import Actor, load_actor
from domain.errors import AccessRevoked, Forbidden
from domain.visibility import visible_tickets
from models import Event, EventType, Ticket
from schema.context import Context

TICKET_EVENTS = frozenset(EventType) - {
    EventType.MESSAGING_SETTINGS_CHANGED,
    EventType.ROUTING_SETTINGS_CHANGED,
    EventType.AGENT_ACCESS_CHANGED,
    EventType.TOKEN_REVOKED,
}

Events = AsyncGenerator[tuple[Actor, Event], None]


def staff(context: Context) -> Actor:
    """The actor, if he works in the account. Raises Forbidden."""
    if not context.actor.is_staff:
        raise Forbidden("This is for the people who answer.")
    return context.actor


async def followed(
    context: Context,
    after: str | None,
    types: frozenset[EventType],
    wants: Callable[[Event], bool] = lambda event: True,
) -> Events:
    """The wanted events, each with the actor as he stands at that point of the log.

    A change of the actor's own access comes through as an event too. Raises AccessRevoked when he is gone.
    """
    # First where the log stands, then who he is: a change of his access in between is met as an event.
    after = after or await context.feeds.sync_cursor(context.actor)
    actor = await reloaded(context)
    log = context.feeds.follow(actor, after, types, wants)
    async with aclosing(cast(AsyncGenerator[Event, None], log)) as events:
        async for event in events:
            if event.type is EventType.AGENT_ACCESS_CHANGED:
                actor = await reloaded(context)
            yield actor, event


async def reloaded(context: Context) -> Actor:
    """The actor as he stands now; the socket's may be hours old. What is selected of an event is his, too.

    Raises AccessRevoked.
    """
    assert context.actor.id is not None
    current = await load_actor(context.actor.account_id, context.actor.id)
    if current is None:
        raise AccessRevoked
    context.actor = current
    return current


async def visible(actor: Actor, event: Event) -> Ticket | None:
    """The ticket of an event as it is now, if the actor may see it."""
    return await visible_tickets(actor).get_or_none(id=event.ticket_id) if event.ticket_id else None
