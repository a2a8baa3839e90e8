"""What a customer may read of his own: his conversations and requests, for ever (R77)."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from domain.actors import Actor
from domain.errors import NotFound
from domain.keyset import beyond
from domain.suspended_messages import was_told_of
from domain.visibility import visible_tickets
from models import Channel, Comment, Conversation, Event, Ticket, Visibility

After = tuple[datetime, UUID] | None


async def conversations_page(customer: Actor, first: int, after: After) -> list[Conversation]:
    """Up to first + 1 of his conversations over messaging, the newest first."""
    mine = Conversation.filter(
        account_id=customer.account_id, end_user_id=customer.id, channel=Channel.MESSAGING
    ).filter(beyond("started_at", after, descending=True))
    return await mine.order_by("-started_at", "-id").limit(first + 1)


async def requests_page(customer: Actor, first: int, after: After) -> list[Ticket]:
    """Up to first + 1 of his tickets, the newest first."""
    mine = visible_tickets(customer).filter(beyond("created_at", after, descending=True))
    return await mine.order_by("-created_at", "-id").limit(first + 1)


async def message_of(customer: Actor, event: Event) -> tuple[Comment, Conversation] | None:
    """The message that an event tells of, with its conversation, if it is for this customer; never a note."""
    message = await Comment.get_or_none(id=event.comment_id, channel=Channel.MESSAGING, visibility=Visibility.PUBLIC)
    conversation = await Conversation.get_or_none(id=event.conversation_id, end_user_id=customer.id)
    return (message, conversation) if message is not None and conversation is not None else None


async def conversation_of(actor: Actor, *, ticket_id: UUID | None, conversation_id: UUID | None) -> UUID:
    """The conversation that staff name by its ticket, and its customer by itself. Raises NotFound."""
    if actor.is_staff and ticket_id is not None:
        ticket = await visible_tickets(actor).get_or_none(id=ticket_id)
        if ticket is not None:
            return ticket.conversation_id
    if actor.is_customer and conversation_id is not None:
        mine = Conversation.filter(id=conversation_id, account_id=actor.account_id, end_user_id=actor.id)
        if await mine.exists() or await was_told_of(actor, conversation_id):
            return conversation_id
    raise NotFound
