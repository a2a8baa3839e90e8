"""The whole schema, joined."""

from __future__ import annotations

import strawberry
from strawberry.schema.config import StrawberryConfig

from resolvers import Mutation, Query
from schema.events import (
    MessagingSessionEnded,
    MessagingSessionStateChanged,
    OtherTicketEvent,
    TicketCommentAdded,
    TicketCommentChanged,
    TicketFieldChanged,
)
from subscriptions.fields import Subscription

EVENTS = [
    MessagingSessionEnded,
    MessagingSessionStateChanged,
    OtherTicketEvent,
    TicketCommentAdded,
    TicketCommentChanged,
    TicketFieldChanged,
]


def build_schema() -> strawberry.Schema:
    """The schema that is served, and whose text is schema/schema.graphql."""
    return strawberry.Schema(
        query=Query,
        mutation=Mutation,
        subscription=Subscription,
        types=EVENTS,
        config=StrawberryConfig(sort_schema=True),
    )
