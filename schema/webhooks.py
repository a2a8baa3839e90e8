"""Webhooks."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import strawberry

import models
from models import DeliveryState, EventType
from schema.context import Info
from schema.ids import encode_id
from schema.paging import Connection, Edge, PageInfo, check_first, encode_cursor
from schema.payloads import Payload
from schema.people import Node


@strawberry.type(description="One thing that a webhook is told, and how that goes.")
class Delivery(Node):
    event_id: strawberry.ID = strawberry.field(description="As in the header Deskwire-Event-Id.")
    attempt: int = strawberry.field(description="How often it was tried.")
    status: DeliveryState
    response_code: int | None = strawberry.field(description="Of the last attempt; null without an answer.")
    at: datetime = strawberry.field(description="When it was queued.")
    next_attempt_at: datetime | None = strawberry.field(description="Null when nothing more is tried.")

    @classmethod
    def of(cls, row: models.OutboundCall) -> Delivery:
        waits = row.state is DeliveryState.PENDING
        return cls(
            id=encode_id("Delivery", row.id),
            event_id=encode_id("TicketEvent", UUID(row.body["eventId"])),
            attempt=row.attempts,
            status=row.state,
            response_code=row.response_code,
            at=row.created_at,
            next_attempt_at=row.next_attempt_at if waits else None,
        )


@strawberry.type(description="An address that triggers can notify.")
class Webhook(Node):
    row: strawberry.Private[models.Webhook]
    url: str
    event_types: list[EventType] = strawberry.field(description="The facts that it is told of; none means all.")
    active: bool

    @classmethod
    def of(cls, row: models.Webhook) -> Webhook:
        types = [EventType(each) for each in row.event_types]
        return cls(id=encode_id("Webhook", row.id), row=row, url=row.url, event_types=types, active=row.active)

    @strawberry.field(description="The last deliveries, in the order of time.")
    async def deliveries(self, info: Info, last: int) -> Connection[Delivery]:
        rows = await info.context.loaders.deliveries.load((self.row.id, check_first(last, name="last") + 1))
        shown = rows[-last:]
        edges = [Edge(cursor=encode_cursor(row.created_at, row.id), node=Delivery.of(row)) for row in shown]
        page = PageInfo(
            has_next_page=False,
            has_previous_page=len(rows) > last,
            start_cursor=edges[0].cursor if edges else None,
            end_cursor=edges[-1].cursor if edges else None,
        )
        return Connection(edges=edges, page_info=page)


@strawberry.input(description="Register an address.")
class CreateWebhookInput:
    url: str = strawberry.field(description="http or https.")
    event_types: list[EventType] = strawberry.field(
        default_factory=list, description="The facts that it is told of; none means all."
    )
    client_mutation_id: str | None = None


@strawberry.type(description="The webhook, and the secret that signs its deliveries.")
class CreateWebhookPayload(Payload):
    webhook: Webhook | None = None
    signing_secret: str | None = strawberry.field(default=None, description="Shown this once.")
