"""Anything by its global id, for those who may see it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from uuid import UUID

from strawberry import ID

from domain.errors import InvalidInput
from resolvers.answers import staff
from schema.attachments import Attachment
from schema.comments import Comment
from schema.context import Info
from schema.events import event_of
from schema.ids import decode_any
from schema.people import Group, Node, User
from schema.sessions import MessagingSession
from schema.tickets import Ticket

MOST_NODES = 100


async def _ticket(info: Info, identifier: UUID) -> Node | None:
    row = await info.context.loaders.tickets.load(identifier)
    return Ticket.of(row) if row else None


async def _event(info: Info, identifier: UUID) -> Node | None:
    row = await info.context.loaders.events.load(identifier)
    if row is None or row.ticket_id is None or await info.context.loaders.tickets.load(row.ticket_id) is None:
        return None
    return event_of(row)


async def _comment(info: Info, identifier: UUID) -> Node | None:
    row = await info.context.loaders.comments.load(identifier)
    if row is None or await info.context.loaders.tickets_of.load(row.conversation_id) is None:
        return None
    return Comment.of(row)


async def _session(info: Info, identifier: UUID) -> Node | None:
    row = await info.context.loaders.sessions_by_id.load(identifier)
    if row is None or await info.context.loaders.tickets_of.load(row.conversation_id) is None:
        return None
    return MessagingSession.of(row)


async def _user(info: Info, identifier: UUID) -> Node | None:
    row = await info.context.loaders.people.load(identifier)
    return User.of(row) if row else None


async def _group(info: Info, identifier: UUID) -> Node | None:
    row = await info.context.loaders.groups.load(identifier)
    return Group.of(row) if row else None


async def _attachment(info: Info, identifier: UUID) -> Node | None:
    row = await info.context.loaders.attachments.load(identifier)
    return Attachment.of(row) if row else None


FETCH: dict[str, Callable[[Info, UUID], Awaitable[Node | None]]] = {
    "Ticket": _ticket,
    "TicketEvent": _event,
    "Comment": _comment,
    "MessagingSession": _session,
    "User": _user,
    "Group": _group,
    "Attachment": _attachment,
}


async def node(info: Info, id: ID) -> Node | None:
    staff(info)
    return await _fetched(info, *decode_any(id))


async def nodes(info: Info, ids: list[ID]) -> list[Node | None]:
    staff(info)
    if len(ids) > MOST_NODES:
        raise InvalidInput(f"At most {MOST_NODES} ids.", field=("ids",))
    # Together, so that loaders batch them; decoded before, so that one that is no id leaves nothing running.
    decoded = [decode_any(each) for each in ids]
    return await asyncio.gather(*(_fetched(info, kind, identifier) for kind, identifier in decoded))


async def _fetched(info: Info, kind: str, identifier: UUID) -> Node | None:
    fetch = FETCH.get(kind)
    return await fetch(info, identifier) if fetch else None
