"""A whole list of tickets from one stream: the rows that enter it, change, or leave it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import aclosing
from uuid import UUID

from strawberry import ID

from domain.actors import Access, Actor, access_from_json
from domain.errors import CursorExpired
from domain.transactions import attributes_of
from domain.views import MOST_MOVED, TicketFilter, holds, moved_by_access, session_states, shows
from models import Event, EventType, Ticket
from schema.context import Feeds, Info
from schema.ids import encode_id
from schema.live import InboxChange, InboxItem
from schema.tickets import Ticket as TicketType
from schema.tickets import TicketFilter as TicketFilterInput
from subscriptions.delivery import TICKET_EVENTS, followed, reloaded, staff, visible


async def inbox(
    info: Info, filter: TicketFilterInput | None = None, after: str | None = None
) -> AsyncGenerator[InboxItem, None]:
    staff(info.context)
    view = (filter or TicketFilterInput()).view()
    feeds = info.context.feeds
    after = after or await feeds.sync_cursor(info.context.actor)
    actor = await reloaded(info.context)
    former = _FormerAccesses()
    for change in await feeds.between(actor, after, {EventType.AGENT_ACCESS_CHANGED}):
        former.note(access_from_json(change.payload["before"]))
    used = actor.access
    removed: tuple[UUID, UUID | None] | None = None
    # A conversation that a bot has alone has no ticket yet, and no row.
    async with aclosing(
        followed(info.context, after, TICKET_EVENTS, lambda event: event.ticket_id is not None)
    ) as events:
        async for current, event in events:
            if event.type is EventType.AGENT_ACCESS_CHANGED:
                lost = {used, access_from_json(event.payload["before"])} - {current.access}
                items = [item for access in lost for item in await _moved(feeds, current, access, view, event)]
                former.end(lost, await feeds.head(current))
                used = current.access
            else:
                former.pass_by(event.position)
                items = await _inbox_items(current, former, view, event, feeds.cursor(event))
                removal = (event.audit_id, event.ticket_id) if items and items[0].ticket is None else None
                if removal is not None and removal == removed:
                    items = []  # several events of one update took the row away once
                removed = removal or (removed if not items else None)
            for item in _resumable(items, feeds.cursor_before(event)):
                yield item


class _FormerAccesses:
    """By which accesses, beside his present one, a list may have shown the actor a row.

    A row is shown as it stands when its event is delivered, so an access that is lost by now may have shown it. That
    can be so for what happened until the loss was delivered, and the rows that it moved were told; of what happens
    to a lost ticket later he must not learn (R154).
    """

    def __init__(self) -> None:
        self._until: dict[Access, int | None] = {}

    def __iter__(self) -> Iterator[Access]:
        return iter(self._until)

    def note(self, access: Access) -> None:
        """He had it; how it ended is yet to be delivered."""
        self._until[access] = None

    def end(self, accesses: Iterable[Access], head: int) -> None:
        """Their end was delivered when the log stood at `head`."""
        self._until |= dict.fromkeys(accesses, head)

    def pass_by(self, position: int) -> None:
        """Forget those that can have shown nothing that an event at this position changes."""
        self._until = {access: until for access, until in self._until.items() if until is None or position <= until}


def _resumable(items: list[InboxItem], before: str) -> list[InboxItem]:
    """Who has seen but some of an event's items resumes before it: a repeated row does no harm, a lost one does."""
    for item in items[:-1]:
        item.cursor = before
    return items


async def _moved(feeds: Feeds, actor: Actor, before: Access, view: TicketFilter, event: Event) -> list[InboxItem]:
    """What a change of the actor's own access does to his list. Raises CursorExpired when that is too much."""
    cursor = feeds.cursor(event)
    gained, lost = await moved_by_access(actor, before, view)
    if len(gained) > MOST_MOVED or len(lost) > MOST_MOVED:
        raise CursorExpired
    added = [_row(cursor, None, InboxChange.ADDED, ticket) for ticket in gained]
    return added + [_removal(cursor, None, encode_id("Ticket", identifier)) for identifier in lost]


async def _inbox_items(
    actor: Actor, former: Iterable[Access], view: TicketFilter, event: Event, cursor: str
) -> list[InboxItem]:
    """What an event does to the list: by the ticket as it is now, and as it was just before the event."""
    assert event.ticket_id is not None
    session, session_before = await session_states(view, event)
    was_shown = event.ticket_before is not None and shows(
        actor, [actor.access, *former], view, event.ticket_before, session_before
    )
    ticket = await visible(actor, event)
    if ticket is not None and holds(view, attributes_of(ticket), session):
        return [_row(cursor, event.client_id, InboxChange.UPDATED if was_shown else InboxChange.ADDED, ticket)]
    if was_shown:
        return [_removal(cursor, event.client_id, encode_id("Ticket", event.ticket_id))]
    return []


def _row(cursor: str, client_id: str | None, change: InboxChange, ticket: Ticket) -> InboxItem:
    return InboxItem(
        cursor=cursor,
        client_id=client_id,
        change=change,
        ticket_id=encode_id("Ticket", ticket.id),
        ticket=TicketType.of(ticket),
    )


def _removal(cursor: str, client_id: str | None, ticket_id: ID) -> InboxItem:
    """Content-free: who lost a row learns only that he did."""
    return InboxItem(cursor=cursor, client_id=client_id, change=InboxChange.REMOVED, ticket_id=ticket_id, ticket=None)
