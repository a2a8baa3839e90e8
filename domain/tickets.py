"""Tickets: creating them, changing their fields, reopening."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from domain.actors import Actor
from domain.control import HandOffReason, take_from_bot
from domain.errors import Forbidden, InvalidInput, NotFound, SessionLive, StaleVersion, TicketClosed
from domain.idempotency import once
from domain.inactivity import move_timer, restart_timer
from domain.locks import confirm_actor, find_ticket, hold_user, lock_session, lock_ticket, take_ticket_number
from domain.settings import plain
from domain.transactions import Call, Transaction
from domain.visibility import customers_within_reach
from models import (
    AccountSettings,
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
EDITABLE = ("status", "assignee_id", "group_id", "tags", "priority", "type", "requester_id")


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
        await tx.hold_settings()
        actor = await confirm_actor(tx)
        seen = await find_ticket(tx, ticket_id)
        await hold_people(tx, values)
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


async def hold_people(tx: Transaction, values: dict[str, Any]) -> None:
    """Hold whom new values name, so that nobody is deactivated or suspended beside the change (R149)."""
    for user_id in sorted({values[name] for name in ("assignee_id", "requester_id") if values.get(name)}):
        await hold_user(tx, user_id)


def check_can_edit(actor: Actor, ticket: Ticket) -> None:
    """Raises unless this actor may change the fields of this ticket, which he may see."""
    if actor.is_customer or not actor.may(Permission.EDIT_TICKETS):
        raise Forbidden
    if ticket.status is TicketStatus.CLOSED:
        raise TicketClosed


def check_values(values: dict[str, Any]) -> None:
    """Raises InvalidInput for values that no ticket can have."""
    for name, field in (("status", "status"), ("tags", "tags"), ("requester_id", "requesterId")):
        if name in values and values[name] is None:
            raise InvalidInput("This field always has a value; leave it out to keep it.", field=(field,))
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
    values = await _with_organization(tx, ticket, session, values)
    if values.get("assignee_id") and ticket.status is TicketStatus.NEW and status is None:
        values = {**values, "status": TicketStatus.OPEN}  # somebody has it now: it is no longer new
    assignee = ticket.assignee_id
    for name in (*EDITABLE, "organization_id"):
        if name in values:
            set_field(tx, ticket, name, _clean(name, values[name]))
    if session is not None and assignee != ticket.assignee_id:
        await follow_assignee(tx, session, ticket)
    if session is not None and ticket.status in WAITING and session.state is SessionState.ACTIVE:
        await make_inactive(tx, session, ticket, InactiveReason.TICKET_STATUS)


async def follow_assignee(tx: Transaction, session: MessagingSession, ticket: Ticket) -> None:
    """A locked session whose ticket went to somebody else: its timer may be another, and a bot has to let go."""
    await move_timer(session, ticket)
    if ticket.assignee_id is not None:
        await take_from_bot(tx, session, ticket, HandOffReason.AGENT)


async def _with_organization(
    tx: Transaction, ticket: Ticket, session: MessagingSession | None, values: dict[str, Any]
) -> dict[str, Any]:
    """A new requester brings his organisation. Whoever is in a live session with somebody else is none (R151)."""
    if "requester_id" not in values:
        return values
    customers = customers_within_reach(tx.actor).filter(active=True)
    requester = await customers.get_or_none(id=values["requester_id"])
    if requester is None and values["requester_id"] != ticket.requester_id:
        raise NotFound("There is no such customer.", field=("requesterId",))
    if requester is None or requester.id == ticket.requester_id:
        return {name: value for name, value in values.items() if name != "requester_id"}
    if session is not None and session.state is not SessionState.ENDED:
        raise SessionLive(field=("requesterId",))
    return {**values, "organization_id": requester.organization_id}


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


def set_routing_channel(tx: Transaction, ticket: Ticket, channel: Channel) -> None:
    """Let routing treat a locked ticket as one of another channel (R86, R102). What can be written on it stays."""
    before = ticket.routing_channel
    if before is not channel:
        ticket.routing_channel = channel
        change: dict[str, Any] = {"from": before.value, "to": channel.value}
        tx.record(EventType.ROUTING_CHANNEL_CHANGED, ticket=ticket, **change)


def reopen(tx: Transaction, ticket: Ticket) -> None:
    """The customer wrote: a ticket that waits or is solved is open again (R82)."""
    if ticket.status in WAITING:
        set_field(tx, ticket, "status", TicketStatus.OPEN)


async def make_inactive(
    tx: Transaction, session: MessagingSession, ticket: Ticket | None, reason: InactiveReason
) -> None:
    """ACTIVE → INACTIVE on a locked session."""
    await _change_state(tx, session, ticket, SessionState.INACTIVE, reason)


async def make_active(
    tx: Transaction, settings: AccountSettings, session: MessagingSession, ticket: Ticket | None
) -> None:
    """INACTIVE → ACTIVE on a locked session: the customer wrote (R133)."""
    await _change_state(tx, session, ticket, SessionState.ACTIVE, None)
    await restart_timer(tx, settings, session, ticket)


async def _change_state(
    tx: Transaction,
    session: MessagingSession,
    ticket: Ticket | None,
    state: SessionState,
    reason: InactiveReason | None,
) -> None:
    previous = session.state
    session.state, session.inactive_reason, session.due_at = state, reason, None
    await session.save(update_fields=["state", "inactive_reason", "due_at"])
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
    follow_up_of: Ticket | None = None,
) -> Ticket:
    """A new ticket for a conversation. Nothing but requester, organisation and channel comes from an old one (R71).

    `continues` is the ticket of the session before (R72), `follow_up_of` a closed one that was answered (R145).
    """
    ticket = Ticket(
        id=new_id(),
        account_id=tx.account_id,
        number=await take_ticket_number(tx),
        conversation_id=conversation_id,
        requester_id=requester.id,
        organization_id=_organization(requester, continues or follow_up_of),
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
        follow_up_of_id=follow_up_of.id if follow_up_of else None,
        created_at=tx.now,
        status_changed_at=tx.now,
    )
    tx.follow(ticket, created=True)
    tx.record(
        EventType.TICKET_CREATED,
        ticket=ticket,
        continuation_of=str(continues.id) if continues else None,
        follow_up_of=str(follow_up_of.id) if follow_up_of else None,
    )
    return ticket


def _organization(requester: User, continues: Ticket | None) -> UUID | None:
    """That of the ticket before (R71), unless that one was given to another requester (R151)."""
    if continues is not None and continues.requester_id == requester.id:
        return continues.organization_id
    return requester.organization_id
