"""Which operations of the contract are tested, and what their common fragments hold."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from domain.actors import Actor
from domain.lifecycle import close_ticket
from domain.transactions import Call
from models import Event, Group, MessagingSession, Ticket, User
from tests.api.stage import gid
from tests.factories import World

COVERED: set[str] = set()

TestT = TypeVar("TestT", bound=Callable[..., Any])


def covers(*operations: str) -> Callable[[TestT], TestT]:
    """Say which operations of the contract a test executes as they stand."""

    def noted(test: TestT) -> TestT:
        COVERED.update(operations)
        return test

    return noted


def moment(value: datetime | None) -> str | None:
    return value.isoformat() if value else None


async def _named(kind: str, table: type[User | Group], identifier: UUID | None) -> dict[str, Any] | None:
    row = await table.get_or_none(id=identifier) if identifier else None
    return {"id": gid(kind, row.id), "name": row.name} if row else None


async def ticket_row(ticket_id: UUID) -> dict[str, Any]:
    """The fragment TicketRow of a ticket as it is stored now."""
    ticket = await Ticket.get(id=ticket_id)
    session = await MessagingSession.get_or_none(conversation_id=ticket.conversation_id)
    return {
        "id": gid("Ticket", ticket.id),
        "number": ticket.number,
        "subject": ticket.subject,
        "status": ticket.status.value,
        "channel": ticket.channel.value,
        "version": ticket.version,
        "createdAt": moment(ticket.created_at),
        "updatedAt": moment(ticket.updated_at),
        "requester": await _named("User", User, ticket.requester_id),
        "assignee": await _named("User", User, ticket.assignee_id),
        "group": await _named("Group", Group, ticket.group_id),
        "session": await session_row(session) if session else None,
    }


async def session_row(session: MessagingSession) -> dict[str, Any]:
    return {
        "id": gid("MessagingSession", session.id),
        "state": session.state.value,
        "startedAt": moment(session.started_at),
        "endedAt": moment(session.ended_at),
        "endReason": session.end_reason.value if session.end_reason else None,
        "endedBy": await _named("User", User, session.ended_by_id),
    }


async def envelope(event: Event) -> dict[str, Any]:
    """What the fragment EventParts holds of every event (R56)."""
    actor = await _named("User", User, event.actor_id)
    assert actor is not None
    return {
        "id": gid("TicketEvent", event.id),
        "type": event.type.value,
        "sequence": event.ticket_sequence,
        "auditId": gid("Audit", event.audit_id),
        "occurredAt": moment(event.occurred_at),
        "actor": {"kind": event.actor_kind.value, **actor},
    }


async def all_events(world: World, ticket: Ticket) -> list[dict[str, Any]]:
    return [await envelope(event) for event in await world.events(ticket)]


def user_id(actor: Actor) -> str:
    return gid("User", actor.id)


def codes(payload: dict[str, Any]) -> list[tuple[str, list[str]]]:
    """The refusals of a payload: code and field of each."""
    return [(error["code"], error["field"]) for error in payload["userErrors"]]


async def closed_ticket(world: World) -> Ticket:
    ticket = await world.live_ticket()
    await close_ticket(Call(world.system), ticket.id)
    return ticket
