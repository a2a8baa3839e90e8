"""Tickets: creating them, changing their fields, reopening."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from domain.actors import Actor
from domain.errors import Forbidden, InvalidInput, NotFound, StaleVersion, TicketClosed
from domain.idempotency import once
from domain.locks import confirm_actor, find_ticket, lock_session, lock_ticket, take_ticket_number
from domain.settings import plain
from domain.transactions import Call, Transaction
from models import (
    Channel,
    EventType,
    Group,
    InactiveReason,
    MessagingSession,
    Permission,
    SessionState,
    Ticket,
    TicketStatus,
    User,
    UserKind,
    new_id,
)

WAITING = (TicketStatus.PENDING, TicketStatus.ON_HOLD, TicketStatus.SOLVED)
MOST_TAGS = 50
LONGEST_TAG = 64
# Not the subject: it is personal text, which an append-only history could never give up again (R49).
EDITABLE = ("status", "assignee_id", "group_id", "tags", "priority", "type")


@dataclass(frozen=True, slots=True)
class UpdatedTicket:
    """The verdict of an update."""

    ticket_id: UUID


async def update_ticket(
    call: Call, ticket_id: UUID, values: dict[str, Any], *, expected_version: int | None = None
) -> UpdatedTicket:
    """Change fields of a ticket: one event for each that changed, in one audit (R51).

    `values` maps names of EDITABLE to new values. Raises NotFound, Forbidden, TicketClosed, StaleVersion, InvalidInput.
    """
    check_values(values)

    async def work(tx: Transaction) -> UpdatedTicket:
        actor = await confirm_actor(tx)
        seen = await find_ticket(tx, ticket_id)
        session = await lock_session(tx, seen.conversation_id)
        ticket = await lock_ticket(tx, ticket_id)
        check_can_edit(actor, ticket)
        if expected_version is not None and expected_version != ticket.version:
            raise StaleVersion(ticket.version, ticket_id=ticket.id)
        await change_ticket(tx, ticket, session, values)
        return UpdatedTicket(ticket.id)

    inputs = {
        "ticket_id": str(ticket_id),
        "values": {name: plain(value) for name, value in values.items()},
        "expected_version": expected_version,
    }
    return await once(call, "updateTicket", inputs, UpdatedTicket, work)


def check_can_edit(actor: Actor, ticket: Ticket) -> None:
    """Raises unless this actor may change the fields of this ticket, which he may see."""
    if actor.is_customer or not actor.may(Permission.EDIT_TICKETS):
        raise Forbidden
    if ticket.status is TicketStatus.CLOSED:
        raise TicketClosed


def check_values(values: dict[str, Any]) -> None:
    """Raises InvalidInput for values that no ticket can have."""
    for name in ("status", "tags"):
        if name in values and values[name] is None:
            raise InvalidInput("This field always has a value; leave it out to keep it.", field=(name,))
    if values.get("status") is TicketStatus.CLOSED:
        raise InvalidInput("Tickets are solved by hand; closing them is not for agents.", field=("status",))
    tags = values.get("tags", ())
    if len(tags) > MOST_TAGS or not all(0 < len(tag.strip()) <= LONGEST_TAG for tag in tags):
        raise InvalidInput(f"At most {MOST_TAGS} tags, each of 1 to {LONGEST_TAG} characters.", field=("tags",))


async def change_ticket(
    tx: Transaction, ticket: Ticket, session: MessagingSession | None, values: dict[str, Any]
) -> None:
    """Set fields of a locked ticket; its session is locked too, because a status can make it inactive (R106)."""
    await _check_references(tx, values)
    status = values.get("status")
    if status is TicketStatus.NEW and ticket.status is not TicketStatus.NEW:
        raise InvalidInput("A ticket that was worked on is not new again.", field=("status",))
    if values.get("assignee_id") and ticket.status is TicketStatus.NEW and status is None:
        values = {**values, "status": TicketStatus.OPEN}  # somebody has it now: it is no longer new
    for name in EDITABLE:
        if name in values:
            set_field(tx, ticket, name, _clean(name, values[name]))
    if session is not None and ticket.status in WAITING and session.state is SessionState.ACTIVE:
        await make_inactive(tx, session, ticket, InactiveReason.TICKET_STATUS)


def _clean(name: str, value: Any) -> Any:
    return sorted({tag.strip() for tag in value}) if name == "tags" else value


async def _check_references(tx: Transaction, values: dict[str, Any]) -> None:
    assignee, group = values.get("assignee_id"), values.get("group_id")
    if assignee is not None and not await is_assignable(tx, assignee):
        raise NotFound("There is no such agent.", field=("assigneeId",))
    if group is not None and not await Group.exists(id=group, account_id=tx.account_id):
        raise NotFound("There is no such group.", field=("groupId",))


async def is_assignable(tx: Transaction, user_id: UUID) -> bool:
    """Whether tickets can be given to this user: an active agent or admin of the account."""
    staff = User.filter(id=user_id, account_id=tx.account_id, active=True)
    return await staff.filter(kind__in=[UserKind.AGENT, UserKind.ADMIN]).exists()


def set_field(tx: Transaction, ticket: Ticket, name: str, value: Any) -> None:
    """Set one field of a locked ticket, with its event; the same value again is no change."""
    before = getattr(ticket, name)
    if before == value:
        return
    setattr(ticket, name, value)
    if name == "status":
        ticket.status_changed_at = tx.now
        if value is not TicketStatus.CLOSED:  # a closed ticket stays solved when it was solved (R107)
            ticket.solved_at = tx.now if value is TicketStatus.SOLVED else None
    shown = name.removesuffix("_id")
    tx.record(EventType.TICKET_FIELD_CHANGED, ticket=ticket, field=shown, **{"from": plain(before), "to": plain(value)})


def reopen(tx: Transaction, ticket: Ticket) -> None:
    """The customer wrote: a ticket that waits or is solved is open again (R82)."""
    if ticket.status in WAITING:
        set_field(tx, ticket, "status", TicketStatus.OPEN)


async def make_inactive(
    tx: Transaction, session: MessagingSession, ticket: Ticket | None, reason: InactiveReason
) -> None:
    """ACTIVE → INACTIVE on a locked session."""
    await _change_state(tx, session, ticket, SessionState.INACTIVE, reason)


async def make_active(tx: Transaction, session: MessagingSession, ticket: Ticket | None) -> None:
    """INACTIVE → ACTIVE on a locked session: the customer wrote."""
    await _change_state(tx, session, ticket, SessionState.ACTIVE, None)


async def _change_state(
    tx: Transaction,
    session: MessagingSession,
    ticket: Ticket | None,
    state: SessionState,
    reason: InactiveReason | None,
) -> None:
    previous = session.state
    session.state, session.inactive_reason = state, reason
    await session.save(update_fields=["state", "inactive_reason"])
    tx.record(
        EventType.MESSAGING_SESSION_STATE_CHANGED,
        ticket=ticket,
        conversation_id=session.conversation_id,
        session_id=session.id,
        previous_state=previous.value,
        state=state.value,
        reason=reason.value if reason else None,
    )


async def create_ticket(
    tx: Transaction,
    *,
    conversation_id: UUID,
    requester: User,
    channel: Channel,
    subject: str,
    continues: Ticket | None = None,
) -> Ticket:
    """A new ticket for a conversation. Nothing but requester, organisation and channel comes from an old one (R71)."""
    ticket = Ticket(
        id=new_id(),
        account_id=tx.account_id,
        number=await take_ticket_number(tx),
        conversation_id=conversation_id,
        requester_id=requester.id,
        organization_id=continues.organization_id if continues else requester.organization_id,
        group_id=None,
        assignee_id=None,
        subject=subject,
        status=TicketStatus.NEW,
        channel=channel,
        routing_channel=channel,
        tags=[],
        custom_fields={},
        cc_ids=[],
        follower_ids=[],
        continuation_of_id=continues.id if continues else None,
        created_at=tx.now,
        status_changed_at=tx.now,
    )
    tx.follow(ticket, created=True)
    tx.record(EventType.TICKET_CREATED, ticket=ticket, continuation_of=str(continues.id) if continues else None)
    return ticket
