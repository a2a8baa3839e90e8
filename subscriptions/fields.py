"""The root Subscription: each field says which topic it follows. How it is followed, the hub knows."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, cast
from uuid import UUID

import strawberry
from strawberry import ID

from domain.actors import Actor, load_actor
from domain.customers import conversation_of
from domain.errors import AccessRevoked
from models import ActorKind, utc_now
from schema.context import Context, Info
from schema.customers import MessageAuthorKind
from schema.ids import decode_id, decode_optional
from schema.live import (
    ConversationSignal,
    InboxItem,
    MessageReceived,
    SessionEnded,
    SignalKind,
    TicketActivity,
    TicketCreated,
)
from schema.tickets import TicketFilter
from subscriptions.inbox import Inbox
from subscriptions.questions import follow
from subscriptions.topics import Activity, Messages, NewTickets, SessionEnds, check_is_staff


def session_ended(after: str | None = None) -> AsyncGenerator[SessionEnded, None]:
    return follow(SessionEnds(), after)


def ticket_created(after: str | None = None) -> AsyncGenerator[TicketCreated, None]:
    return follow(NewTickets(), after)


def ticket_activity(ticket_id: ID, after: str | None = None) -> AsyncGenerator[TicketActivity, None]:
    return follow(Activity(decode_id("Ticket", ticket_id, field="ticketId")), after)


def inbox(info: Info, filter: TicketFilter | None = None, after: str | None = None) -> AsyncGenerator[InboxItem, None]:
    check_is_staff(info.context.actor)  # before what a customer's filter may mean
    return follow(Inbox((filter or TicketFilter()).view()), after)


def message_received(after: str | None = None) -> AsyncGenerator[MessageReceived, None]:
    return follow(Messages(), after)


async def conversation_signals(
    info: Info, ticket_id: ID | None = None, conversation_id: ID | None = None
) -> AsyncGenerator[ConversationSignal, None]:
    """Of no log: nothing of it is kept, so each subscriber listens by himself."""
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
