"""Capacity: which slot a ticket takes of whom, the counts, and the ledger of their changes (rules, 3.7).

The rule is one formula over a ticket, its session and the settings. Whoever changes any of them does so in a
transaction that compares the slot which the ticket had with the slot that it takes now, and books the difference.
So no verb counts by hand, and counts can be recounted from tickets and sessions at any time (R96).

Locks: the settings are held before (a change of them recounts everything), then the agents' rows, by their ids.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from models import (
    AccountSettings,
    AgentAvailability,
    CapacityRule,
    Channel,
    Event,
    EventType,
    LedgerEntry,
    LedgerReason,
    MessagingSession,
    RoutingMode,
    SessionState,
    Ticket,
    TicketStatus,
    new_id,
)

BUSY = (TicketStatus.NEW, TicketStatus.OPEN)


@dataclass(frozen=True, slots=True)
class Slot:
    """One unit of an agent's capacity on a channel."""

    agent_id: UUID
    channel: Channel


@dataclass(frozen=True, slots=True)
class Booking:
    """Under which update a change of a count is booked."""

    account_id: UUID
    audit_id: UUID
    at: datetime


class Rules:
    """The capacity rules of an account, and which agent has which."""

    def __init__(self, rules: Iterable[CapacityRule], chosen: dict[UUID, UUID | None]) -> None:
        self._rules = {rule.id: rule for rule in rules}
        self._default = next((rule for rule in self._rules.values() if rule.is_default), None)
        self._chosen = chosen

    @classmethod
    async def load(cls, account_id: UUID, agents: Collection[UUID] | None = None) -> Rules:
        """With the choices of these agents, or of all."""
        rows = AgentAvailability.filter(account_id=account_id)
        if agents is not None:
            rows = rows.filter(agent_id__in=list(agents))
        chosen = {row.agent_id: row.capacity_rule_id for row in await rows}
        return cls(await CapacityRule.filter(account_id=account_id), chosen)

    def limit(self, agent_id: UUID, channel: Channel) -> int | None:
        """The most work that this agent gets by himself on a channel. None: no rule says, so nobody counts (R91)."""
        own = self._chosen.get(agent_id)
        rule = self._rules.get(own) if own is not None else self._default
        return rule.limit(channel) if rule is not None else None


def channel_taken(settings: AccountSettings, ticket: Ticket, session: MessagingSession | None) -> Channel | None:
    """On which channel a ticket takes a slot of its assignee, as far as ticket, session and settings decide."""
    if settings.routing_mode is RoutingMode.STANDARD or ticket.assignee_id is None or ticket.deleted_at is not None:
        return None
    if ticket.status not in BUSY:
        return None
    if ticket.routing_channel is Channel.EMAIL:
        return Channel.EMAIL
    if ticket.routing_channel is not Channel.MESSAGING or session is None:
        return None
    return Channel.MESSAGING if session_counts(settings, session) else None


def session_counts(settings: AccountSettings, session: MessagingSession) -> bool:
    """Whether a session takes a slot of messaging, of whoever has its ticket."""
    match session.state:
        case SessionState.ACTIVE:
            return True
        case SessionState.INACTIVE:
            return settings.count_inactive_toward_capacity
        case SessionState.ENDED:
            return session.slot_kept  # as the settings were then (R98)


def slot_taken(
    settings: AccountSettings, rules: Rules, ticket: Ticket, session: MessagingSession | None
) -> Slot | None:
    """The slot that a ticket takes now."""
    channel = channel_taken(settings, ticket, session)
    if channel is None or ticket.assignee_id is None or rules.limit(ticket.assignee_id, channel) is None:
        return None
    return Slot(ticket.assignee_id, channel)


def slot_booked(ticket: Ticket) -> Slot | None:
    """The slot that the counts and the ledger have for it."""
    return Slot(ticket.slot_agent_id, ticket.slot_channel) if ticket.slot_agent_id is not None else None


def may_take_slots(tickets: Iterable[Ticket]) -> list[Ticket]:
    """Those of the tickets that take a slot or might: with an assignee, or with a slot in the books."""
    return [ticket for ticket in tickets if ticket.assignee_id is not None or ticket.slot_agent_id is not None]


async def settle(
    booking: Booking, settings: AccountSettings, tickets: Collection[Ticket], reasons: dict[UUID, LedgerReason]
) -> None:
    """Book what changed for these locked tickets. `reasons` says why, by ticket. The caller saves the tickets."""
    if settings.routing_mode is RoutingMode.STANDARD and not any(ticket.slot_agent_id for ticket in tickets):
        return
    agents = {each for ticket in tickets for each in (ticket.assignee_id, ticket.slot_agent_id) if each is not None}
    rules = await Rules.load(booking.account_id, agents)
    sessions = await _sessions_of(tickets)
    moves = []
    for ticket in tickets:
        taken = slot_taken(settings, rules, ticket, sessions.get(ticket.conversation_id))
        if taken != slot_booked(ticket):
            moves.append((ticket, taken))
    if moves:
        await _book(booking, moves, reasons)


async def _sessions_of(tickets: Collection[Ticket]) -> dict[UUID, MessagingSession]:
    conversations = [ticket.conversation_id for ticket in tickets]
    return {row.conversation_id: row for row in await MessagingSession.filter(conversation_id__in=conversations)}


async def _book(booking: Booking, moves: list[tuple[Ticket, Slot | None]], reasons: dict[UUID, LedgerReason]) -> None:
    slots = [slot for ticket, taken in moves for slot in (slot_booked(ticket), taken) if slot is not None]
    rows = await lock_availabilities(booking.account_id, {slot.agent_id for slot in slots}, booking.at)
    entries = []
    for ticket, taken in moves:
        for slot, change in ((slot_booked(ticket), -1), (taken, +1)):
            if slot is not None:
                row = rows[slot.agent_id]
                entries.append(_entry(booking, row, slot.channel, change, ticket, reasons[ticket.id]))
        ticket.slot_agent_id = taken.agent_id if taken else None
        ticket.slot_channel = taken.channel if taken else None
    await LedgerEntry.bulk_create(entries)
    for row in rows.values():
        await row.save(update_fields=["messaging_work", "email_work", "last_entry"])


def _entry(
    booking: Booking, row: AgentAvailability, channel: Channel, change: int, ticket: Ticket, reason: LedgerReason
) -> LedgerEntry:
    count = (row.work(channel) or 0) + change
    row.set_work(channel, count)
    row.last_entry += 1
    return LedgerEntry(
        id=new_id(),
        account_id=booking.account_id,
        agent_id=row.agent_id,
        sequence=row.last_entry,
        channel=channel,
        change=change,
        count_after=count,
        reason=reason,
        ticket_id=ticket.id,
        audit_id=booking.audit_id,
        at=booking.at,
    )


async def lock_availabilities(
    account_id: UUID, agents: Collection[UUID], now: datetime
) -> dict[UUID, AgentAvailability]:
    """The rows of these agents, locked in the order of their ids; made where they are missing."""
    wanted = AgentAvailability.filter(account_id=account_id, agent_id__in=list(agents))
    rows = {row.agent_id: row for row in await wanted.order_by("agent_id").select_for_update()}
    for agent_id in sorted(set(agents) - set(rows)):
        # Two that make it at once: the unique key refuses one, which is tried again and finds it.
        rows[agent_id] = await AgentAvailability.create(account_id=account_id, agent_id=agent_id, changed_at=now)
    return rows


async def recount(
    booking: Booking, settings: AccountSettings, reason: LedgerReason, *, agents: Collection[UUID] | None = None
) -> int:
    """Book anew what all tickets take, after settings or rules changed. The settings are locked by the caller.

    Returns how many tickets changed. Limited to the tickets of `agents`, if they are named.
    """
    assigned = Ticket.filter(account_id=booking.account_id, assignee_id__isnull=False, status__in=BUSY)
    booked = Ticket.filter(account_id=booking.account_id, slot_agent_id__isnull=False)
    if agents is not None:
        assigned = assigned.filter(assignee_id__in=list(agents))
        booked = booked.filter(slot_agent_id__in=list(agents))
    rows = [*await assigned.order_by("id").select_for_update(), *await booked.order_by("id").select_for_update()]
    found = {ticket.id: ticket for ticket in rows}
    before = {ticket.id: slot_booked(ticket) for ticket in found.values()}
    await settle(booking, settings, list(found.values()), dict.fromkeys(found, reason))
    changed = [ticket for ticket in found.values() if slot_booked(ticket) != before[ticket.id]]
    for ticket in changed:
        await ticket.save(update_fields=["slot_agent_id", "slot_channel"])
    return len(changed)


# What an update's facts say about why a slot moved: the first that applies.
_REASONS: tuple[tuple[EventType, str | None, LedgerReason], ...] = (
    (EventType.TICKET_DELETED, None, LedgerReason.TICKET_DELETED),
    (EventType.TICKET_RESTORED, None, LedgerReason.TICKET_RESTORED),
    (EventType.TICKET_MERGED, None, LedgerReason.TICKET_MERGED),
    (EventType.MESSAGING_SESSION_ENDED, None, LedgerReason.SESSION_ENDED),
    (EventType.TICKET_FIELD_CHANGED, "assignee", LedgerReason.ASSIGNMENT_CHANGED),
    (EventType.ROUTING_CHANNEL_CHANGED, None, LedgerReason.ROUTING_CHANNEL_CHANGED),
    (EventType.TICKET_FIELD_CHANGED, "status", LedgerReason.STATUS_CHANGED),
    (EventType.MESSAGING_SESSION_STATE_CHANGED, "ACTIVE", LedgerReason.SESSION_BECAME_ACTIVE),
    (EventType.MESSAGING_SESSION_STATE_CHANGED, "INACTIVE", LedgerReason.SESSION_BECAME_INACTIVE),
)


def reason_from(events: Iterable[Event]) -> LedgerReason:
    """Why the facts of one update about one ticket moved its slot."""
    facts: set[tuple[EventType, str | None]] = set()
    for event in events:
        facts |= {(event.type, None), (event.type, event.payload.get("field") or event.payload.get("state"))}
    return next((reason for type, what, reason in _REASONS if (type, what) in facts), LedgerReason.SETTINGS_CHANGED)


@dataclass(frozen=True, slots=True)
class Difference:
    """A count that a recount does not confirm. There is none, or something is broken."""

    agent_id: UUID
    channel: Channel
    stored: int
    recounted: int
    ledger: int


async def check_counts(account_id: UUID) -> list[Difference]:
    """Compare all stored counts with a recount from tickets and sessions, and with the sums of the ledger (R96)."""
    settings = await AccountSettings.get(account_id=account_id)
    rules = await Rules.load(account_id)
    tickets = await Ticket.filter(account_id=account_id, assignee_id__isnull=False, status__in=BUSY)
    sessions = await _sessions_of(tickets)
    recounted: dict[Slot, int] = {}
    for ticket in tickets:
        slot = slot_taken(settings, rules, ticket, sessions.get(ticket.conversation_id))
        if slot is not None:
            recounted[slot] = recounted.get(slot, 0) + 1
    ledger: dict[Slot, int] = {}
    for entry in await LedgerEntry.filter(account_id=account_id).only("agent_id", "channel", "change"):
        slot = Slot(entry.agent_id, entry.channel)
        ledger[slot] = ledger.get(slot, 0) + entry.change
    stored = {
        Slot(row.agent_id, channel): row.work(channel) or 0
        for row in await AgentAvailability.filter(account_id=account_id)
        for channel in (Channel.MESSAGING, Channel.EMAIL)
    }
    slots = sorted(stored.keys() | recounted.keys() | ledger.keys(), key=lambda slot: (slot.agent_id, slot.channel))
    found = (
        Difference(slot.agent_id, slot.channel, stored.get(slot, 0), recounted.get(slot, 0), ledger.get(slot, 0))
        for slot in slots
    )
    return [each for each in found if not each.stored == each.recounted == each.ledger]
