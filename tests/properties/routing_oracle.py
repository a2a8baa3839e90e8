"""What must hold of a pass of the router: nobody gets too much, nothing waits in vain, the oldest comes first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from models import Event, Ticket
from tests.properties.rows import Load, Rows


@dataclass(frozen=True)
class Gift:
    """A ticket that the router assigned or offered."""

    ticket: Ticket
    agent_id: UUID
    channel: str
    is_offer: bool


def findings_of_pass(before: Rows, after: Rows, now: datetime) -> list[str]:
    """Everything that is wrong with what the router did between two readings."""
    given = list(gifts(before, after))
    replay = Replay(before, now)
    found = [finding for gift in given for finding in replay.add(gift)]
    if replay.load != after.work() + after.reserved() and after.omnichannel:
        found.append(f"the replay of the pass ends with {replay.load}, the account with {after.work()}")
    return found + list(left_waiting(after, now)) + list(_overtaken(before, after, given, now))


def gifts(before: Rows, after: Rows) -> Iterator[Gift]:
    """What the router gave, in the order of the log."""
    tickets = {ticket.id: ticket for ticket in before.tickets}
    seen = len(before.facts)
    for fact in after.facts[seen:]:
        ticket = tickets.get(fact.ticket_id)  # type: ignore[arg-type]
        if ticket is None or fact.actor_kind != "SYSTEM":
            continue
        channel = before.waits_on(ticket) or "NONE"
        if fact.type == "TICKET_OFFERED":
            yield from (Gift(ticket, UUID(agent), channel, True) for agent in fact.payload["agents"])
        elif assigns(fact):
            yield Gift(ticket, UUID(fact.payload["to"]), channel, False)


def assigns(fact: Event) -> bool:
    return fact.type == "TICKET_FIELD_CHANGED" and fact.payload["field"] == "assignee" and bool(fact.payload["to"])


@dataclass
class Replay:
    """The load of everybody, while the gifts of a pass are replayed one after the other."""

    rows: Rows
    now: datetime
    load: Load = field(init=False)
    last: dict[UUID, datetime | None] = field(init=False)

    def __post_init__(self) -> None:
        rows = self.rows
        self.load = rows.work() + rows.reserved() if rows.omnichannel else Load()
        if not rows.omnichannel:
            self.load.update({(agent_id, "MESSAGING"): count for agent_id, count in rows.chats().items()})
        self.last = {agent_id: row.last_assigned_at for agent_id, row in rows.availabilities.items()}

    def room(self, agent_id: UUID, channel: str) -> float:
        """R94, R95: what is left of the limit. Open offers take room, too, but not where all are asked at once."""
        limit = self.rows.limit(agent_id, channel) if self.rows.omnichannel else self.rows.settings.chat_limit
        return float("inf") if limit is None else limit - self.load[agent_id, channel]

    def can_have(self, agent_id: UUID, ticket: Ticket, channel: str) -> bool:
        rows = self.rows
        return (
            rows.takes(agent_id, channel)
            and rows.may_have(agent_id, ticket, channel)
            and not rows.was_asked(agent_id, ticket, self.now)
        )

    def add(self, gift: Gift) -> Iterator[str]:
        """The next gift; says what is wrong with it."""
        name = f"ticket {gift.ticket.number} for {gift.agent_id} on {gift.channel}"
        if gift.is_offer != self.rows.asks_first:
            yield f"{name} is given in the wrong way"
        if self.room(gift.agent_id, gift.channel) <= 0:
            yield f"{name} is more than he takes"
        if not self.can_have(gift.agent_id, gift.ticket, gift.channel):
            yield f"{name} is not for him"
        yield from (f"{name} was the turn of {other}" for other in self._earlier_in_turn(gift))
        self._count(gift)

    def _earlier_in_turn(self, gift: Gift) -> Iterator[UUID]:
        """R92: with the most room, or the longest without a ticket."""
        if self.rows.broadcasts:
            return
        by_room = self.rows.omnichannel and self.rows.settings.routing_method == "HIGHEST_SPARE_CAPACITY"
        his = self.room(gift.agent_id, gift.channel)
        for other in self.rows.availabilities:
            room = self.room(other, gift.channel)
            if room <= 0 or not self.can_have(other, gift.ticket, gift.channel):
                continue
            if room > his if by_room else self._had_later(gift.agent_id, other):
                yield other

    def _had_later(self, agent_id: UUID, other: UUID) -> bool:
        his, others = self.last.get(agent_id), self.last.get(other)
        return his is not None and (others is None or others < his)

    def _count(self, gift: Gift) -> None:
        if not self.rows.broadcasts:
            self.last[gift.agent_id] = self.now
        if self.rows.omnichannel:
            for offer in self.rows.open_offers(gift.ticket) if not gift.is_offer else ():
                self.load[offer.agent_id, offer.channel.value] -= 1
        if gift.is_offer or not self.rows.omnichannel:
            self.load[gift.agent_id, gift.channel] += not self.rows.broadcasts
        elif (slot := self._slot(gift)) is not None:
            self.load[slot] += 1

    def _slot(self, gift: Gift) -> tuple[UUID, str] | None:
        owner, gift.ticket.assignee_id = gift.ticket.assignee_id, gift.agent_id
        try:
            return self.rows.slot(gift.ticket)
        finally:
            gift.ticket.assignee_id = owner


def left_waiting(rows: Rows, now: datetime) -> Iterator[str]:
    """R92: what waits although somebody could have it. Who was asked one by one is waited for."""
    replay = Replay(rows, now)
    for ticket in rows.tickets:
        channel = rows.waits_on(ticket)
        if channel is None or (rows.asks_first and not rows.broadcasts and rows.open_offers(ticket)):
            continue
        for agent_id in rows.availabilities:
            if replay.can_have(agent_id, ticket, channel) and replay.room(agent_id, channel) > 0:
                yield f"ticket {ticket.number} waits, and {agent_id} could have it on {channel}"


def _overtaken(before: Rows, after: Rows, given: list[Gift], now: datetime) -> Iterator[str]:
    """R92: a newer ticket that went to somebody who could have had an older one, which still waits."""
    served = {gift.ticket.id for gift in given}
    replay = Replay(before, now)
    for gift in given:
        for ticket in before.tickets:
            older = ticket.number < gift.ticket.number and ticket.id not in served
            waits = after.waits_on(ticket) == gift.channel and not after.open_offers(ticket)
            if older and waits and replay.can_have(gift.agent_id, ticket, gift.channel):
                yield f"ticket {gift.ticket.number} went to {gift.agent_id} before the older {ticket.number}"
