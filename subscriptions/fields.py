"""The root Subscription. Permission is asked again at every delivery, of the actor as he stands then."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any, cast

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
from schema.context import Context, Info
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
    # Loaded here and not taken from the socket, whose actor may be hours old.
    actor = await _reloaded(context.actor)
    followed = context.feeds.follow(actor, after, types, wants)
    async with aclosing(cast(AsyncGenerator[Event, None], followed)) as events:
        async for event in events:
            if event.type is EventType.AGENT_ACCESS_CHANGED:
                actor = await _reloaded(actor)
            yield actor, event


async def _reloaded(actor: Actor) -> Actor:
    assert actor.id is not None
    current = await load_actor(actor.account_id, actor.id)
    if current is None:
        raise AccessRevoked
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
    if not await visible_tickets(await _reloaded(_staff(info.context))).filter(id=identifier).exists():
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
            if event.type is not EventType.AGENT_ACCESS_CHANGED:
                yield TicketActivity(
                    cursor=info.context.feeds.cursor(event),
                    client_id=event.client_id,
                    event=event_of(event),
                    ticket=TicketType.of(ticket),
                )


async def inbox(
    info: Info, filter: TicketFilterInput | None = None, after: str | None = None
) -> AsyncGenerator[InboxItem, None]:
    actor = await _reloaded(_staff(info.context))
    view = (filter or TicketFilterInput()).view()
    # All accesses that the actor had since the cursor: with one of them he may have been shown the row that he loses.
    changes = await info.context.feeds.between(actor, after, {EventType.AGENT_ACCESS_CHANGED})
    accesses = [actor.access, *(access_from_json(change.payload["before"]) for change in changes)]
    async with aclosing(_events(info.context, after, TICKET_EVENTS)) as events:
        async for current, event in events:
            cursor = info.context.feeds.cursor(event)
            if event.type is EventType.AGENT_ACCESS_CHANGED:
                before = access_from_json(event.payload["before"])
                accesses += [before, current.access]
                for item in await _moved(current, before, view, cursor):
                    yield item
            else:
                found = await _inbox_item(current, accesses, view, event, cursor)
                if found is not None:
                    yield found


async def _moved(actor: Actor, before: Access, view: TicketFilter, cursor: str) -> list[InboxItem]:
    """What a change of the actor's own access does to his list. Raises CursorExpired when that is too much."""
    gained, lost = await moved_by_access(actor, before, view)
    if len(gained) > MOST_MOVED or len(lost) > MOST_MOVED:
        raise CursorExpired
    added = [_row(cursor, None, InboxChange.ADDED, ticket) for ticket in gained]
    return added + [_removal(cursor, None, encode_id("Ticket", identifier)) for identifier in lost]


async def _inbox_item(
    actor: Actor, accesses: list[Access], view: TicketFilter, event: Event, cursor: str
) -> InboxItem | None:
    """What an event does to the list: by the ticket as it is now, and as it was just before the event."""
    assert event.ticket_id is not None
    session = await _session_state(event)
    was_shown = event.ticket_before is not None and shows(
        actor, accesses, view, event.ticket_before, _state_before(event, session)
    )
    ticket = await _visible(actor, event)
    if ticket is not None and holds(view, attributes_of(ticket), session):
        return _row(cursor, event.client_id, InboxChange.UPDATED if was_shown else InboxChange.ADDED, ticket)
    if was_shown:
        return _removal(cursor, event.client_id, encode_id("Ticket", event.ticket_id))
    return None


async def _session_state(event: Event) -> SessionState | None:
    session = await MessagingSession.get_or_none(conversation_id=event.conversation_id)
    return session.state if session else None


def _state_before(event: Event, now: SessionState | None) -> SessionState | None:
    previous = event.payload.get("previous_state")
    return SessionState(previous) if previous else now


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
    actor = await _reloaded(info.context.actor)
    conversation = await _conversation(actor, ticket_id, conversation_id)
    signals = info.context.feeds.signals(actor.account_id, conversation.id)
    async with aclosing(cast(AsyncGenerator[Any, None], signals)) as heard:
        async for signal in heard:
            if signal.user_id == actor.id:
                continue
            actor = await _reloaded(actor)
            await _conversation(actor, ticket_id, conversation_id)
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
