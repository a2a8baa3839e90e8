"""What a customer may read of his own: his conversations and requests, for ever (R77)."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from domain.actors import Actor
from domain.keyset import beyond
from domain.visibility import visible_tickets
from models import Channel, Conversation, Ticket

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
