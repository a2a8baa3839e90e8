"""The whole schema, joined."""

from __future__ import annotations

import strawberry
from strawberry.schema.config import StrawberryConfig

from execution.leaves import LeafExecutor
from resolvers import Mutation, Query
from schema.events import (
    EmailUndelivered,
    MessagingSessionEnded,
    MessagingSessionStateChanged,
    OfferClosed,
    OtherTicketEvent,
    RequesterSuspensionChanged,
    RoutingChannelChanged,
    SurveyAnswered,
    SurveyOffered,
    SurveySkipped,
    TicketCommentAdded,
    TicketCommentChanged,
    TicketFieldChanged,
    TicketMerged,
    TicketOffered,
    TriggerFailed,
)
from subscriptions.fields import Subscription

EVENTS = [
    EmailUndelivered,
    MessagingSessionEnded,
    MessagingSessionStateChanged,
    OtherTicketEvent,
    RequesterSuspensionChanged,
    TicketCommentAdded,
    TicketCommentChanged,
    TicketFieldChanged,
    TicketMerged,
    RoutingChannelChanged,
    TicketOffered,
    OfferClosed,
    SurveyOffered,
    SurveySkipped,
    SurveyAnswered,
    TriggerFailed,
]


def sdl() -> str:
    """The text of the schema, sorted: what schema/schema.graphql holds."""
    return build_schema(sort=True).as_str() + "\n"


def build_schema(*, sort: bool = False) -> strawberry.Schema:
    """The schema that is served.

    Sorting is for printing only: it rebuilds strawberry's enum types as plain ones, and resolvers would then be given
    strings where they ask for enums (found by a note that was refused, strawberry 0.341.2).
    """
    return strawberry.Schema(
        query=Query,
        mutation=Mutation,
        subscription=Subscription,
        types=EVENTS,
        execution_context_class=LeafExecutor,
        config=StrawberryConfig(sort_schema=sort),
    )
