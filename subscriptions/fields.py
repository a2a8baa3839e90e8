"""The root Subscription. Permission is asked again at every delivery, of the actor as he stands then."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from contextlib import aclosing
from typing import Any, cast
from uuid import UUID

import strawberry
from strawberry import ID

from domain.actors import Access, Actor, access_from_json, load_actor
from domain.errors import AccessRevoked, CursorExpired, Forbidden, NotFound
from domain.transactions import attributes_of
from domain.views import MOST_MOVED, TicketFilter, holds, moved_by_access, shows
from domain.visibility import visible_tickets
from models import (
    ActorKind,
    Channel,
    Comment,
    Conversation,
    Event,
    EventType,
    MessagingSession,
    SessionState,
    Ticket,
    Visibility,
    utc_now,
)
from schema import customers as customer_types
from schema.context import Context, Feeds, Info
from schema.customers import MessageAuthorKind
from schema.events import event_of
from schema.ids import decode_id, encode_id
from schema.live import (
    ConversationSignal,
    InboxChange,
    InboxItem,
    MessageReceived,
    SessionEnded,
    SignalKind,
    TicketActivity,
    TicketCreated,
)
from schema.tickets import Ticket as TicketType
from schema.tickets import TicketFilter as TicketFilterInput

TICKET_EVENTS = frozenset(EventType) - {
    EventType.MESSAGING_SETTINGS_CHANGED,
    EventType.ROUTING_SETTINGS_CHANGED,
    EventType.AGENT_ACCESS_CHANGED,
    EventType.TOKEN_REVOKED,
}

SESSION_CHANGES = (EventType.MESSAGING_SESSION_STATE_CHANGED, EventType.MESSAGING_SESSION_ENDED)
Events = AsyncGenerator[tuple[Actor, Event], None]


def _staff(context: Context) -> Actor:
    if not context.actor.is_staff:
        raise Forbidden("This is for the people who answer.")
    return context.actor


async def _events(
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
    actor = await _reloaded(context)
    followed = context.feeds.follow(actor, after, types, wants)
    async with aclosing(cast(AsyncGenerator[Event, None], followed)) as events:
        async for event in events:
            if event.type is EventType.AGENT_ACCESS_CHANGED:
                actor = await _reloaded(context)
            yield actor, event


async def _reloaded(context: Context) -> Actor:
    """The actor as he stands now; the socket's may be hours old. What is selected of an event is his, too.

    Raises AccessRevoked.
    """
    assert context.actor.id is not None
    current = await load_actor(context.actor.account_id, context.actor.id)
    if current is None:
        raise AccessRevoked
    context.actor = current
    return current


async def _visible(actor: Actor, event: Event) -> Ticket | None:
    return await visible_tickets(actor).get_or_none(id=event.ticket_id) if event.ticket_id else None


async def session_ended(info: Info, after: str | None = None) -> AsyncGenerator[SessionEnded, None]:
    _staff(info.context)
    async with aclosing(_events(info.context, after, frozenset({EventType.MESSAGING_SESSION_ENDED}))) as events:
        async for actor, event in events:
            ticket = await _visible(actor, event)
            if ticket is not None:
                yield SessionEnded(
                    cursor=info.context.feeds.cursor(event),
                    client_id=event.client_id,
                    event=event_of(event),
                    ticket=TicketType.of(ticket),
                )


async def ticket_created(info: Info, after: str | None = None) -> AsyncGenerator[TicketCreated, None]:
    _staff(info.context)
    async with aclosing(_events(info.context, after, frozenset({EventType.TICKET_CREATED}))) as events:
        async for actor, event in events:
            ticket = await _visible(actor, event)
            if ticket is not None:
                yield TicketCreated(
                    cursor=info.context.feeds.cursor(event), client_id=event.client_id, ticket=TicketType.of(ticket)
                )


async def ticket_activity(info: Info, ticket_id: ID, after: str | None = None) -> AsyncGenerator[TicketActivity, None]:
    identifier = decode_id("Ticket", ticket_id, field="ticketId")
    _staff(info.context)
    if not await visible_tickets(await _reloaded(info.context)).filter(id=identifier).exists():
        raise NotFound
    # A changed setting changes what the composer offers, on every ticket (R12).
    types = TICKET_EVENTS | {EventType.MESSAGING_SETTINGS_CHANGED}

    def wants(event: Event) -> bool:
        return event.ticket_id == identifier or event.type is EventType.MESSAGING_SETTINGS_CHANGED

    async with aclosing(_events(info.context, after, types, wants)) as events:
        async for actor, event in events:
            ticket = await visible_tickets(actor).get_or_none(id=identifier)
            if ticket is None:
                raise AccessRevoked
            # A change of his own access is among them: with it, his composer offers something else.
            yield TicketActivity(
                cursor=info.context.feeds.cursor(event),
                client_id=event.client_id,
                event=event_of(event),
                ticket=TicketType.of(ticket),
            )


async def inbox(
    info: Info, filter: TicketFilterInput | None = None, after: str | None = None
) -> AsyncGenerator[InboxItem, None]:
    _staff(info.context)
    view = (filter or TicketFilterInput()).view()
    feeds = info.context.feeds
    after = after or await feeds.sync_cursor(info.context.actor)
    actor = await _reloaded(info.context)
    former = _FormerAccesses()
    for change in await feeds.between(actor, after, {EventType.AGENT_ACCESS_CHANGED}):
        former.note(access_from_json(change.payload["before"]))
    used = actor.access
    removed: tuple[UUID, UUID | None] | None = None
    # A conversation that a bot has alone has no ticket yet, and no row.
    async with aclosing(
        _events(info.context, after, TICKET_EVENTS, lambda event: event.ticket_id is not None)
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
    session, session_before = await _session_states(view, event)
    was_shown = event.ticket_before is not None and shows(
        actor, [actor.access, *former], view, event.ticket_before, session_before
    )
    ticket = await _visible(actor, event)
    if ticket is not None and holds(view, attributes_of(ticket), session):
        return [_row(cursor, event.client_id, InboxChange.UPDATED if was_shown else InboxChange.ADDED, ticket)]
    if was_shown:
        return [_removal(cursor, event.client_id, encode_id("Ticket", event.ticket_id))]
    return []


async def _session_states(view: TicketFilter, event: Event) -> tuple[SessionState | None, SessionState | None]:
    """The state of the ticket's session now, and just before the event. For views that ask for it."""
    if view.session_states is None:
        return None, None
    session = await MessagingSession.get_or_none(conversation_id=event.conversation_id)
    if session is None:
        return None, None
    # The session is read first. If it has changed since the event, the first change says what it was until then.
    later = Event.filter(ticket_id=event.ticket_id, ticket_sequence__gte=event.ticket_sequence)
    change = await later.filter(type__in=SESSION_CHANGES).order_by("ticket_sequence").first()
    return session.state, SessionState(change.payload["previous_state"]) if change else session.state


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


async def message_received(info: Info, after: str | None = None) -> AsyncGenerator[MessageReceived, None]:
    if not info.context.actor.is_customer:
        raise Forbidden("This is for customers.")
    me = str(info.context.actor.id)

    def wants(event: Event) -> bool:
        # Only what was written over messaging, to or by this very customer (R53, R109).
        return event.payload.get("customer") == me

    async with aclosing(_events(info.context, after, frozenset({EventType.TICKET_COMMENT_ADDED}), wants)) as events:
        async for actor, event in events:
            message = await Comment.get_or_none(
                id=event.comment_id, channel=Channel.MESSAGING, visibility=Visibility.PUBLIC
            )
            conversation = await Conversation.get_or_none(id=event.conversation_id, end_user_id=actor.id)
            if message is not None and conversation is not None:
                yield MessageReceived(
                    cursor=info.context.feeds.cursor(event),
                    conversation=customer_types.Conversation.of(conversation),
                    message=customer_types.Message.of(message),
                    survey=None,
                )


async def conversation_signals(
    info: Info, ticket_id: ID | None = None, conversation_id: ID | None = None
) -> AsyncGenerator[ConversationSignal, None]:
    actor = await _reloaded(info.context)
    conversation = await _conversation(actor, ticket_id, conversation_id)
    signals = info.context.feeds.signals(actor.account_id, conversation.id)
    async with aclosing(cast(AsyncGenerator[Any, None], signals)) as heard:
        async for signal in heard:
            if signal.user_id == actor.id:
                continue
            await _conversation(await _reloaded(info.context), ticket_id, conversation_id)
            side = MessageAuthorKind.END_USER if signal.user_kind == ActorKind.END_USER else MessageAuthorKind.AGENT
            yield ConversationSignal(kind=SignalKind(signal.kind), side=side, at=utc_now())


async def _conversation(actor: Actor, ticket_id: str | None, conversation_id: str | None) -> Conversation:
    """The conversation, by its ticket (agents) or by itself (its customer). Raises NotFound."""
    found: Conversation | None = None
    if actor.is_customer and conversation_id is not None:
        identifier = decode_id("Conversation", conversation_id, field="conversationId")
        found = await Conversation.get_or_none(id=identifier, end_user_id=actor.id, account_id=actor.account_id)
    elif actor.is_staff and ticket_id is not None:
        ticket = await visible_tickets(actor).get_or_none(id=decode_id("Ticket", ticket_id, field="ticketId"))
        found = await Conversation.get(id=ticket.conversation_id) if ticket else None
    if found is None:
        raise NotFound
    return found


live = strawberry.subscription


@strawberry.type(description="What happens, as it happens. `after` resumes after a cursor, without gap or repeat.")
class Subscription:
    session_ended = live(session_ended, description="Sessions that ended, on tickets that the caller may see.")
    ticket_created = live(ticket_created, description="New tickets that the caller may see.")
    ticket_activity = live(ticket_activity, description="Everything on one ticket.")
    inbox = live(inbox, description="The rows of a list of tickets, as they enter, change and leave.")
    message_received = live(message_received, description="The messages of the customer's conversations.")
    conversation_signals = live(conversation_signals, description="Typing and read marks of the other side.")
