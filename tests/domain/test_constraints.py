"""What the database refuses by itself, whatever the code above believes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import psycopg
import pytest
from tortoise.connection import get_connection
from tortoise.exceptions import BaseORMException, IntegrityError
from tortoise.models import Model

from models import (
    Account,
    Audit,
    AuditLogEntry,
    Channel,
    Comment,
    Conversation,
    EndReason,
    Event,
    EventType,
    IdempotencyRecord,
    MessagingSession,
    SessionState,
    Ticket,
    TicketStatus,
    Visibility,
    new_id,
    utc_now,
)
from models.database import WRITER
from tests.factories import World, columns
from tests.invariants import assert_consistent

REFUSED = (IntegrityError, psycopg.errors.IntegrityError)


async def again(row: Model, **changes: Any) -> None:
    """Store a copy of a row, under another id and with these changes."""
    await type(row).create(**{**columns(row), "id": new_id(), **changes})


async def conversation(world: World, customer_id: UUID) -> UUID:
    made = await Conversation.create(
        account_id=world.id, end_user_id=customer_id, channel=Channel.MESSAGING, started_at=utc_now()
    )
    return made.id


async def test_a_customer_has_one_live_session_in_a_channel(world: World) -> None:
    """R74: a second one is refused while the first lives, also an inactive one; an ended one is in nobody's way."""
    ticket = await world.live_ticket()
    session = await world.session(ticket)
    for state in (SessionState.ACTIVE, SessionState.INACTIVE):
        with pytest.raises(REFUSED):
            await again(session, conversation_id=await conversation(world, session.end_user_id), state=state)
    await again(session, conversation_id=await conversation(world, session.end_user_id), channel=Channel.EMAIL)
    await world.end(ticket, world.admin)
    await again(session, conversation_id=await conversation(world, session.end_user_id))
    assert await MessagingSession.all().count() == 3


async def test_a_conversation_has_one_session_and_one_ticket(world: World) -> None:
    """R73, R74."""
    ticket = await world.ended_ticket()
    for row in (await world.session(ticket), ticket):
        with pytest.raises(REFUSED):
            await again(row, **({"number": 99} if row is ticket else {}))


async def test_a_ticket_is_continued_once(world: World) -> None:
    """R72, R73."""
    old = await world.ended_ticket()
    new = await world.message((await _requester(world, old)), "One more thing")
    with pytest.raises(REFUSED):
        await again(new, number=99, conversation_id=await conversation(world, new.requester_id))


async def _requester(world: World, ticket: Ticket) -> Any:
    from domain.actors import load_actor

    return await load_actor(world.id, ticket.requester_id)


@pytest.mark.parametrize("missing", ["ended_at", "end_reason", "ended_by_kind"])
async def test_an_ended_session_says_when_why_and_by_whom(world: World, missing: str) -> None:
    """R32: and a live one says nothing of the kind."""
    session = await world.session(await world.live_ticket())
    complete = {"ended_at": utc_now(), "end_reason": EndReason.AGENT, "ended_by_kind": "AGENT"}
    mine = MessagingSession.filter(id=session.id)
    with pytest.raises(REFUSED):
        await mine.update(**{**complete, "state": SessionState.ENDED, missing: None})
    with pytest.raises(REFUSED):
        await mine.update(**{missing: complete[missing]})
    assert columns(await world.session(await Ticket.get(conversation_id=session.conversation_id))) == columns(session)


async def test_a_session_has_one_end_event(world: World) -> None:
    """R35: other events of the session may be many."""
    ticket = await world.ended_ticket()
    event = (await world.events(ticket))[-1]
    assert event.type is EventType.MESSAGING_SESSION_ENDED
    place = {"position": event.position + 1, "ticket_sequence": (event.ticket_sequence or 0) + 1}
    with pytest.raises(REFUSED):
        await again(event, **place)
    await again(event, **place, type=EventType.MESSAGING_SESSION_STATE_CHANGED)


async def test_each_position_and_each_number_is_taken_once(world: World, other_world: World) -> None:
    """R50: in an account, and in a ticket; another account counts for itself."""
    ticket = await world.live_ticket()
    event = (await world.events(ticket))[-1]
    with pytest.raises(REFUSED):
        await again(event, ticket_sequence=99)
    with pytest.raises(REFUSED):
        await again(event, position=99)
    foreign = await other_world.live_ticket()
    assert (await other_world.events(foreign))[-1].position == event.position


@pytest.mark.parametrize("nothing", ["ticket_id", "ticket_sequence"])
async def test_an_event_has_a_ticket_and_a_number_or_neither(world: World, nothing: str) -> None:
    """R50."""
    event = (await world.events(await world.live_ticket()))[-1]
    with pytest.raises(REFUSED):
        await again(event, **{"position": 99, "ticket_sequence": 99, nothing: None})


LOGS: list[type[Model]] = [Event, Audit, AuditLogEntry]


@pytest.mark.parametrize("log", LOGS, ids=lambda log: log.__name__)
async def test_what_is_logged_is_never_changed_and_never_deleted(world: World, log: type[Model]) -> None:
    """R49: neither by the ORM nor by hand."""
    await world.ended_ticket()
    await AuditLogEntry.create(
        account_id=world.id, at=utc_now(), actor_kind="ADMIN", actor_id=None, action="A", target="B", changes=[]
    )
    before = [columns(row) for row in await log.all()]
    table = log._meta.db_table
    attempts: list[Callable[[], Awaitable[object]]] = [
        lambda: log.filter(account_id=world.id).update(actor_id=new_id()),
        lambda: log.filter(account_id=world.id).delete(),
        lambda: get_connection(WRITER).execute_query(f"UPDATE {table} SET actor_kind = 'SYSTEM'"),
        lambda: get_connection(WRITER).execute_query(f"DELETE FROM {table}"),
    ]
    for attempt in attempts:
        with pytest.raises(REFUSED, match="append-only"):
            await attempt()
    assert [columns(row) for row in await log.all()] == before != []


async def test_ended_is_for_ever(world: World) -> None:
    """R39: no state, no reason, no time and no actor of an ended session can be changed."""
    ticket = await world.ended_ticket()
    session = await world.session(ticket)
    for changes in (
        {"state": SessionState.ACTIVE, "ended_at": None, "end_reason": None, "ended_by_kind": None},
        {"end_reason": EndReason.BOT},
        {"ended_at": utc_now()},
        {"ended_by_id": new_id()},
    ):
        with pytest.raises(REFUSED, match="R39"):
            await MessagingSession.filter(id=session.id).update(**changes)
    assert columns(await world.session(ticket)) == columns(session)


async def test_a_session_with_a_history_is_not_deleted(world: World) -> None:
    """R39, R49: nor its ticket, its messages or its conversation."""
    ticket = await world.ended_ticket()
    rows: list[Any] = [
        await world.session(ticket),
        ticket,
        await Comment.get(conversation_id=ticket.conversation_id),
        await Conversation.get(id=ticket.conversation_id),
    ]
    for row in rows:
        with pytest.raises(REFUSED):
            await row.delete()
    await assert_consistent(world)


async def test_an_ended_conversation_takes_no_message(world: World) -> None:
    """R58, R68: from nobody; notes, e-mails and the help centre go on."""
    ticket = await world.live_ticket()
    comment = await Comment.get(conversation_id=ticket.conversation_id)
    await again(comment, sequence=2)
    await world.end(ticket, world.admin)
    with pytest.raises(REFUSED, match="R58"):
        await again(comment, sequence=3)
    note: dict[str, Any] = {"channel": Channel.INTERNAL_NOTE, "visibility": Visibility.INTERNAL}
    for sequence, changes in enumerate([note, {"channel": Channel.EMAIL}, {"channel": Channel.HELP_CENTER}], start=3):
        await again(comment, sequence=sequence, **changes)
    assert len(await world.thread(ticket)) == 5


async def test_notes_and_only_notes_are_internal(world: World) -> None:
    """R59."""
    comment = await Comment.get(conversation_id=(await world.live_ticket()).conversation_id)
    for channel, visibility in (
        (Channel.INTERNAL_NOTE, Visibility.PUBLIC),
        (Channel.MESSAGING, Visibility.INTERNAL),
        (Channel.EMAIL, Visibility.INTERNAL),
    ):
        with pytest.raises(REFUSED):
            await again(comment, sequence=2, channel=channel, visibility=visibility)


async def test_a_thread_has_one_order_and_each_client_message_once(world: World) -> None:
    """R73, R75: a message without a client's id is nobody's double."""
    ticket = await world.live_ticket()
    comment = await Comment.get(conversation_id=ticket.conversation_id)
    with pytest.raises(REFUSED):
        await again(comment)
    await again(comment, sequence=2, client_message_id="m1")
    with pytest.raises(REFUSED):
        await again(comment, sequence=3, client_message_id="m1")
    await again(comment, sequence=3)
    assert len(await world.thread(ticket)) == 3


async def test_an_idempotency_key_has_one_record(world: World) -> None:
    """R37."""
    record = await IdempotencyRecord.create(
        account_id=world.id,
        actor_id=world.admin.id,
        key="k",
        operation="o",
        input_sha256="",
        result={},
        created_at=utc_now(),
    )
    with pytest.raises(REFUSED):
        await again(record, operation="another")
    await again(record, actor_id=new_id())


async def test_numbers_of_tickets_and_counts_of_positions_are_kept(world: World) -> None:
    """R50."""
    ticket = await world.live_ticket()
    with pytest.raises(REFUSED):
        await again(ticket, conversation_id=await conversation(world, ticket.requester_id))
    with pytest.raises(REFUSED):
        await Account.filter(id=world.id).update(last_position=-1)


async def test_rows_of_nothing_are_refused(world: World) -> None:
    """Foreign keys are on, in SQLite too."""
    comment = await Comment.get(conversation_id=(await world.live_ticket()).conversation_id)
    with pytest.raises((*REFUSED, BaseORMException)):
        await again(comment, conversation_id=new_id())
    assert await Ticket.filter(status=TicketStatus.NEW).count() == 1
