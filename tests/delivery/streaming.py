"""Streams over HTTP of people on the stage, and whether anything is left of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from domain.actors import Actor
from models import Ticket
from subscriptions.connections import Connections
from tests.delivery.stage import Stage, ticket_id
from tests.streams import MULTIPART, SENT_EVENTS, Streamed

FORMATS = {"events": SENT_EVENTS, "parts": MULTIPART}


@asynccontextmanager
async def hearing(
    stage: Stage, actor: Actor, accept: str, query: str, *, room: int = 0, **variables: Any
) -> AsyncIterator[Streamed]:
    """A stream that has begun to listen."""
    client = await stage.client(actor)
    before = stage.listeners()
    async with Streamed(stage.app, client.token, accept, room=room).asking(query, variables) as stream:
        assert stream.status == 200
        await stage.until_attached(before)
        yield stream


def activity(stage: Stage, accept: str, ticket: Ticket, **more: Any) -> AbstractAsyncContextManager[Streamed]:
    """The admin's stream of a ticket."""
    return hearing(stage, stage.world.admin, accept, "TicketActivity", ticketId=ticket_id(ticket), **more)


def connections(stage: Stage) -> Connections:
    found: Connections = stage.app.state.deskwire.connections
    return found


def is_released(stage: Stage) -> bool:
    """Whether no trace is left of any connection."""
    held = connections(stage)
    return not (stage.hub._tails or stage.hub._signals or len(held) or held._people or held._accounts)
