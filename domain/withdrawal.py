"""Taking back what was offered, where it makes no sense any more. The router offers anew what still waits."""

from __future__ import annotations

from datetime import datetime

from tortoise.queryset import QuerySet

from models import Offer, OfferState


async def withdraw(offers: QuerySet[Offer], now: datetime) -> int:
    """Withdraw those of the offers that are open. Returns how many."""
    return await offers.filter(state=OfferState.OPEN).update(state=OfferState.WITHDRAWN, decided_at=now)
