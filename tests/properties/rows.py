"""An account as its tables have it, read anew by the words of the rules and by nothing of the domain's code.

Every number here is counted by the text of rules 2.5 and 3.7, so that a mistake in the domain is not made twice.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from models import (
    AccountSettings,
    AgentAvailability,
    CapacityRule,
    Event,
    EventType,
    GroupMembership,
    LedgerEntry,
    MessagingSession,
    Offer,
    Role,
    RoutingQueue,
    Ticket,
    User,
)

AUTO_ROUTING = "auto-routing"
ASKED_AGAIN = timedelta(minutes=5)
Load = Counter[tuple[UUID, str]]
FACTS = (
    EventType.ROUTING_SETTINGS_CHANGED,
    EventType.MESSAGING_SESSION_ENDED,
    EventType.TICKET_OFFERED,
    EventType.TICKET_FIELD_CHANGED,
    EventType.AGENT_ACCESS_CHANGED,
)


@dataclass
class Rows:
    """One reading of an account. What is not stored is derived below."""

    settings: AccountSettings
    tickets: list[Ticket]
    sessions: dict[UUID, MessagingSession]
    availabilities: dict[UUID, AgentAvailability]
    rules: dict[UUID, CapacityRule]
    offers: list[Offer]
    ledger: list[LedgerEntry]
    users: dict[UUID, User]
    roles: dict[UUID, Role]
    memberships: dict[UUID, set[UUID]]
    queues: list[RoutingQueue]
    facts: list[Event]

    @classmethod
    async def read(cls, account_id: UUID) -> Rows:
        memberships: dict[UUID, set[UUID]] = {}
        for each in await GroupMembership.filter(account_id=account_id):
            memberships.setdefault(each.user_id, set()).add(each.group_id)
        return cls(
            await AccountSettings.get(account_id=account_id),
            await Ticket.filter(account_id=account_id).order_by("number"),
            {each.conversation_id: each for each in await MessagingSession.filter(account_id=account_id)},
            {each.agent_id: each for each in await AgentAvailability.filter(account_id=account_id)},
            {each.id: each for each in await CapacityRule.filter(account_id=account_id)},
            # Not by their ids alone: those of one broadcast are in no order, and examples are to be the same each time.
            await Offer.filter(account_id=account_id).order_by("created_at", "ticket_id", "agent_id", "id"),
            await LedgerEntry.filter(account_id=account_id).order_by("agent_id", "sequence"),
            {each.id: each for each in await User.filter(account_id=account_id)},
            {each.id: each for each in await Role.filter(account_id=account_id)},
            memberships,
            await RoutingQueue.filter(account_id=account_id, active=True).order_by("place", "name"),
            await Event.filter(account_id=account_id, type__in=FACTS).order_by("position"),
        )

    @property
    def omnichannel(self) -> bool:
        return self.settings.routing_mode == "OMNICHANNEL"

    @property
    def broadcasts(self) -> bool:
        return not self.omnichannel and self.settings.standard_distribution == "BROADCAST"

    @property
    def asks_first(self) -> bool:
        """Whether routing offers a ticket instead of assigning it."""
        return self.broadcasts or (self.omnichannel and not self.settings.auto_accept)

    def session(self, ticket: Ticket) -> MessagingSession | None:
        return self.sessions.get(ticket.conversation_id)

    def is_live(self, ticket: Ticket) -> bool:
        session = self.session(ticket)
        return session is not None and session.state != "ENDED"

    def limit(self, agent_id: UUID, channel: str) -> int | None:
        """His own rule's, or the default rule's. Without a rule or a number nobody counts (R91)."""
        row = self.availabilities.get(agent_id)
        own = self.rules.get(row.capacity_rule_id) if row and row.capacity_rule_id else None
        rule = own or next((each for each in self.rules.values() if each.is_default), None)
        if rule is None:
            return None
        return rule.messaging_limit if channel == "MESSAGING" else rule.email_limit

    def slot(self, ticket: Ticket) -> tuple[UUID, str] | None:
        """Whose capacity a ticket takes, and on which channel: the table of rules 2.5."""
        if not self.omnichannel or ticket.assignee_id is None or ticket.status not in ("NEW", "OPEN"):
            return None
        channel = ticket.routing_channel.value
        if channel == "MESSAGING" and not self._counts_as_messaging(ticket):
            return None
        return None if self.limit(ticket.assignee_id, channel) is None else (ticket.assignee_id, channel)

    def _counts_as_messaging(self, ticket: Ticket) -> bool:
        session = self.session(ticket)
        if session is None:
            return False
        if session.state == "ENDED":
            return self._inactive_counted_at_the_end_of(session)
        return session.state == "ACTIVE" or self.settings.count_inactive_toward_capacity

    def _inactive_counted_at_the_end_of(self, session: MessagingSession) -> bool:
        """R98: what the log says of the settings when the session ended, not what the session keeps of them."""
        mode, counted = "STANDARD", False
        for fact in self.facts:
            if fact.type == "MESSAGING_SESSION_ENDED" and fact.session_id == session.id:
                break
            if fact.type == "ROUTING_SETTINGS_CHANGED":
                to = {change["field"]: change["to"] for change in fact.payload["changes"]}
                mode = to.get("mode", mode)
                counted = to.get("countInactiveTowardCapacity", counted)
        return mode == "OMNICHANNEL" and counted

    def work(self) -> Load:
        """Everybody's work on each channel, recounted."""
        return Counter(slot for ticket in self.tickets if (slot := self.slot(ticket)) is not None)

    def chats(self) -> Counter[UUID]:
        """Standard routing: how many sessions that have not ended everybody has (R88)."""
        return Counter(each.assignee_id for each in self.tickets if each.assignee_id and self.is_live(each))

    def open_offers(self, ticket: Ticket | None = None) -> list[Offer]:
        return [each for each in self.offers if each.state == "OPEN" and (not ticket or each.ticket_id == ticket.id)]

    def reserved(self) -> Load:
        return Counter((each.agent_id, each.channel.value) for each in self.open_offers())

    def waits_on(self, ticket: Ticket) -> str | None:
        """On which channel a ticket waits for an agent; None when it does not (rules 2.5, R43)."""
        if ticket.assignee_id is not None or ticket.status not in ("NEW", "OPEN"):
            return None
        if self.session(ticket) is not None:
            channel = ticket.routing_channel.value if self.omnichannel else "MESSAGING"
            return channel if self.is_live(ticket) else None
        return "EMAIL" if self.omnichannel and AUTO_ROUTING in ticket.tags else None

    def takes(self, agent_id: UUID, channel: str) -> bool:
        """R93: whether an agent is there and takes work on a channel. Away is e-mail only; off is off."""
        row, user = self.availabilities.get(agent_id), self.users[agent_id]
        if row is None or not user.active or row.status == "OFFLINE":
            return False
        own = row.messaging_status if channel == "MESSAGING" else row.email_status
        if own is not None:
            return bool(own == "ONLINE")
        return row.status == "ONLINE" or (row.status == "AWAY" and channel == "EMAIL")

    def may_have(self, agent_id: UUID, ticket: Ticket, channel: str) -> bool:
        """S1: his role lets him answer there, he would see it, and he is in the groups that it is for."""
        user, groups = self.users[agent_id], self.memberships.get(agent_id, set())
        wanted = self.groups_of(ticket)
        if not user.active or (wanted is not None and not wanted & groups):
            return False
        if user.kind == "ADMIN":
            return True
        role = self.roles[user.role_id]  # type: ignore[index]  # every agent of these tests has one
        needed = {"EDIT_TICKETS", "PUBLIC_COMMENTS"} | ({"MESSAGING"} if channel == "MESSAGING" else set())
        reach = role.ticket_access in ("ALL", "ASSIGNED") or (
            role.ticket_access == "GROUPS" and ticket.group_id in groups
        )
        return reach and needed <= set(role.permissions)

    def groups_of(self, ticket: Ticket) -> set[UUID] | None:
        """The groups of the first queue (those of these tests take everything), else the ticket's own, else anybody."""
        if self.queues:
            return {UUID(each) for each in self.queues[0].group_ids}
        return {ticket.group_id} if ticket.group_id else None

    def was_asked(self, agent_id: UUID, ticket: Ticket, now: datetime) -> bool:
        """Whether an offer to him is open, or he let one pass in the last minutes."""
        return any(
            each.state == "OPEN" or (each.state in ("DECLINED", "EXPIRED") and _lately(each, now))
            for each in self.offers
            if each.agent_id == agent_id and each.ticket_id == ticket.id
        )


def _lately(offer: Offer, now: datetime) -> bool:
    return offer.decided_at is not None and offer.decided_at > now - ASKED_AGAIN
