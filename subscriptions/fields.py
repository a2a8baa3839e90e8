"""The root Subscription. Permission is asked again at every delivery, of the actor as he stands then."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, cast
from uuid import UUID

import strawberry
from strawberry import ID

from domain.actors import Actor
from domain.customers import conversation_of, message_of
from domain.errors import AccessRevoked, Forbidden, NotFound
from domain.surveys import survey_of
from domain.visibility import visible_tickets
from models import ActorKind, Event, EventType, utc_now
from schema.context import Info
from schema.customers import Conversation, Message, MessageAuthorKind, Survey
from schema.events import event_of
from schema.ids import decode_id, decode_optional
from schema.live import (
    ConversationSignal,
    MessageReceived,
    SessionEnded,
    SignalKind,
    TicketActivity,
    TicketCreated,
)
from schema.tickets import Ticket
from subscriptions.delivery import TICKET_EVENTS, followed, reloaded, staff, visible
from subscriptions.inbox import inbox


async def session_ended(info: Info, after: str | None = None) -> AsyncGenerator[SessionEnded, None]:
    staff(info.context)
    async with aclosing(followed(info.context, after, frozenset({EventType.MESSAGING_SESSION_ENDED}))) as events:
        async for actor, event in events:
            ticket = await visible(actor, event)
            if ticket is not None:
                yield SessionEnded(
                    cursor=info.context.feeds.cursor(event),
                    client_id=event.client_id,
                    event=event_of(event),
                    ticket=Ticket.of(ticket),
                )


async def ticket_created(info: Info, after: str | None = None) -> AsyncGenerator[TicketCreated, None]:
    staff(info.context)
    async with aclosing(followed(info.context, after, frozenset({EventType.TICKET_CREATED}))) as events:
        async for actor, event in events:
            ticket = await visible(actor, event)
            if ticket is not None:
                yield TicketCreated(
                    cursor=info.context.feeds.cursor(event), client_id=event.client_id, ticket=Ticket.of(ticket)
                )


async def ticket_activity(info: Info, ticket_id: ID, after: str | None = None) -> AsyncGenerator[TicketActivity, None]:
    identifier = decode_id("Ticket", ticket_id, field="ticketId")
    staff(info.context)
    if not await visible_tickets(await reloaded(info.context)).filter(id=identifier).exists():
        raise NotFound
    # A changed setting changes what the composer offers, on every ticket (R12).
    types = TICKET_EVENTS | {EventType.MESSAGING_SETTINGS_CHANGED}

    def wants(event: Event) -> bool:
        return event.ticket_id == identifier or event.type is EventType.MESSAGING_SETTINGS_CHANGED

    async with aclosing(followed(info.context, after, types, wants)) as events:
        async for actor, event in events:
            ticket = await visible_tickets(actor).get_or_none(id=identifier)
            if ticket is None:
                raise AccessRevoked
            # A change of his own access is among them: with it, his composer offers something else.
            yield TicketActivity(
                cursor=info.context.feeds.cursor(event),
                client_id=event.client_id,
                event=event_of(event),
                ticket=Ticket.of(ticket),
            )


async def message_received(info: Info, after: str | None = None) -> AsyncGenerator[MessageReceived, None]:
    if not info.context.actor.is_customer:
        raise Forbidden("This is for customers.")
    me = str(info.context.actor.id)

    def wants(event: Event) -> bool:
        # Only what was written over messaging, to or by this very customer (R53, R109).
        return event.payload.get("customer") == me

    # A survey is the one thing after an end that he is asked; that and how it ended, he is not told.
    types = frozenset({EventType.TICKET_COMMENT_ADDED, EventType.SURVEY_OFFERED})
    async with aclosing(followed(info.context, after, types, wants)) as events:
        async for actor, event in events:
            item = await (_offered if event.type is EventType.SURVEY_OFFERED else _written)(info, actor, event)
            if item is not None:
                yield item


async def _written(info: Info, actor: Actor, event: Event) -> MessageReceived | None:
    received = await message_of(actor, event)
    if received is None:
        return None
    message, conversation = received
    return MessageReceived(
        cursor=info.context.feeds.cursor(event),
        conversation=Conversation.of(conversation),
        message=Message.of(message),
        survey=None,
    )


async def _offered(info: Info, actor: Actor, event: Event) -> MessageReceived | None:
    offered = await survey_of(actor, event)
    if offered is None:
        return None
    survey, conversation = offered
    return MessageReceived(
        cursor=info.context.feeds.cursor(event),
        conversation=Conversation.of(conversation),
        message=None,
        survey=Survey.of(survey),
    )


async def conversation_signals(
    info: Info, ticket_id: ID | None = None, conversation_id: ID | None = None
) -> AsyncGenerator[ConversationSignal, None]:
    actor = await reloaded(info.context)
    conversation = await _conversation(actor, ticket_id, conversation_id)
    signals = info.context.feeds.signals(actor.account_id, conversation)
    async with aclosing(cast(AsyncGenerator[Any, None], signals)) as heard:
        async for signal in heard:
            if signal.user_id == actor.id:
                continue
            await _conversation(await reloaded(info.context), ticket_id, conversation_id)
            side = MessageAuthorKind.END_USER if signal.user_kind == ActorKind.END_USER else MessageAuthorKind.AGENT
            yield ConversationSignal(kind=SignalKind(signal.kind), side=side, at=utc_now())


async def _conversation(actor: Actor, ticket_id: str | None, conversation_id: str | None) -> UUID:
    """The conversation, by its ticket (agents) or by itself (its customer). Raises NotFound."""
    return await conversation_of(
        actor,
        ticket_id=decode_optional("Ticket", ticket_id, field="ticketId"),
        conversation_id=decode_optional("Conversation", conversation_id, field="conversationId"),
    )


live = strawberry.subscription


@strawberry.type(description="What happens, as it happens. `after` resumes after a cursor, without gap or repeat.")
class Subscription:
    session_ended = live(session_ended, description="Sessions that ended, on tickets that the caller may see.")
    ticket_created = live(ticket_created, description="New tickets that the caller may see.")
    ticket_activity = live(ticket_activity, description="Everything on one ticket.")
    inbox = live(inbox, description="The rows of a list of tickets, as they enter, change and leave.")
    message_received = live(message_received, description="The messages of the customer's conversations.")
    conversation_signals = live(conversation_signals, description="Typing and read marks of the other side.")
