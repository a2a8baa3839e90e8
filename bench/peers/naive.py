"""The peer: strawberry and broadcaster as one first writes it, a generator for each subscriber.

It serves the contract's `SessionEnded` with the same amount of data, from memory: no database, no permission, no
cursor, no bound on any queue. Whoever posts `endSession(item)` says what the subscribers receive.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import strawberry
from broadcaster import Broadcast
from starlette.applications import Starlette
from starlette.routing import Route, WebSocketRoute
from strawberry.asgi import GraphQL
from strawberry.scalars import JSON
from strawberry.subscriptions import GRAPHQL_TRANSPORT_WS_PROTOCOL

from bench.peers.serving import serve

broadcast = Broadcast("memory://")
CHANNEL = "sessions"


@strawberry.type
class Person:
    id: strawberry.ID
    name: str


@strawberry.type
class Actor:
    id: strawberry.ID
    name: str
    kind: str


@strawberry.type
class Session:
    id: strawberry.ID
    state: str
    started_at: str | None = None
    ended_at: str | None = None
    end_reason: str | None = None
    ended_by: Person | None = None


@strawberry.interface
class TicketEvent:
    id: strawberry.ID
    type: str
    sequence: int
    audit_id: strawberry.ID
    occurred_at: str
    actor: Actor


@strawberry.type
class MessagingSessionEnded(TicketEvent):
    reason: str
    previous_state: str
    routing_outcome: str
    session: Session


@strawberry.type
class Comment:
    id: strawberry.ID
    body: str
    channel: str
    visibility: str


@strawberry.type
class TicketCommentAdded(TicketEvent):
    comment: Comment


@strawberry.type
class TicketFieldChanged(TicketEvent):
    field: str
    from_: str = strawberry.field(name="from")
    to: str


@strawberry.type
class Ticket:
    id: strawberry.ID
    number: int
    subject: str
    status: str
    channel: str
    version: int
    created_at: str
    updated_at: str
    requester: Person
    assignee: Person | None
    group: Person | None
    session: Session | None


@strawberry.type
class SessionEnded:
    cursor: str
    client_id: str | None
    event: TicketEvent
    ticket: Ticket


def _person(data: dict[str, Any] | None) -> Person | None:
    return Person(id=data["id"], name=data["name"]) if data else None


def _session(data: dict[str, Any] | None) -> Session | None:
    if data is None:
        return None
    return Session(
        id=data["id"],
        state=data["state"],
        started_at=data.get("startedAt"),
        ended_at=data.get("endedAt"),
        end_reason=data.get("endReason"),
        ended_by=_person(data.get("endedBy")),
    )


def _event(data: dict[str, Any]) -> MessagingSessionEnded:
    session = _session(data["session"])
    assert session is not None
    return MessagingSessionEnded(
        id=data["id"],
        type=data["type"],
        sequence=data["sequence"],
        audit_id=data["auditId"],
        occurred_at=data["occurredAt"],
        actor=Actor(**data["actor"]),
        reason=data["reason"],
        previous_state=data["previousState"],
        routing_outcome=data["routingOutcome"],
        session=session,
    )


def _ticket(data: dict[str, Any]) -> Ticket:
    requester = _person(data["requester"])
    assert requester is not None
    return Ticket(
        id=data["id"],
        number=data["number"],
        subject=data["subject"],
        status=data["status"],
        channel=data["channel"],
        version=data["version"],
        created_at=data["createdAt"],
        updated_at=data["updatedAt"],
        requester=requester,
        assignee=_person(data["assignee"]),
        group=_person(data["group"]),
        session=_session(data["session"]),
    )


@strawberry.type
class Query:
    nothing: str = ""


@strawberry.type
class Mutation:
    @strawberry.mutation
    async def end_session(self, item: JSON) -> bool:
        await broadcast.publish(CHANNEL, json.dumps(item))
        return True


@strawberry.type
class Subscription:
    @strawberry.subscription
    async def session_ended(self, after: str | None = None) -> AsyncGenerator[SessionEnded, None]:
        async with broadcast.subscribe(CHANNEL) as subscriber:
            async for message in subscriber:  # type: ignore[union-attr]  # broadcaster's own types
                item = json.loads(message.message)  # type: ignore[union-attr]
                yield SessionEnded(
                    cursor=item["cursor"],
                    client_id=item["clientId"],
                    event=_event(item["event"]),
                    ticket=_ticket(item["ticket"]),
                )


@asynccontextmanager
async def _connected(app: Starlette) -> AsyncIterator[None]:
    async with broadcast:
        yield


def application() -> Starlette:
    """One endpoint, /graphql, over HTTP and WebSocket."""
    schema = strawberry.Schema(
        query=Query,
        mutation=Mutation,
        subscription=Subscription,
        types=[MessagingSessionEnded, TicketCommentAdded, TicketFieldChanged],
    )
    graphql = GraphQL[None, None](schema, subscription_protocols=[GRAPHQL_TRANSPORT_WS_PROTOCOL])
    return Starlette(routes=[Route("/graphql", graphql), WebSocketRoute("/graphql", graphql)], lifespan=_connected)


if __name__ == "__main__":
    serve(application())
