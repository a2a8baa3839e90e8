"""What must hold of capacity and offers at any moment. Each finding is a sentence; none is what we want."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import groupby
from uuid import UUID

from models import Audit, Offer, Ticket
from tests.properties.rows import Load, Rows

CHANNELS = ("MESSAGING", "EMAIL")


async def findings(rows: Rows) -> list[str]:
    """Everything that is wrong in an account."""
    audits = set(await Audit.filter(account_id=rows.settings.account_id).values_list("id", flat=True))
    return [*_counts(rows), *_slots(rows), *_ledger(rows), *_reasons(rows, audits), *_offers(rows)]  # type: ignore[arg-type]


def _counts(rows: Rows) -> Iterator[str]:
    """R96: stored, recounted, and summed up from the ledger."""
    recounted, ledger = rows.work(), Load()
    for entry in rows.ledger:
        ledger[entry.agent_id, entry.channel.value] += entry.change
    stored = {
        (agent_id, channel): (row.messaging_work if channel == "MESSAGING" else row.email_work) or 0
        for agent_id, row in rows.availabilities.items()
        for channel in CHANNELS
    }
    for key in sorted(stored.keys() | recounted.keys() | ledger.keys(), key=str):
        counts = stored.get(key, 0), recounted[key], ledger[key]
        if len(set(counts)) > 1:
            yield "{} of {}: stored {}, recounted {}, ledger {}".format(key[1], key[0], *counts)
        if min(counts) < 0:
            yield f"{key[1]} of {key[0]} is negative"


def _slots(rows: Rows) -> Iterator[str]:
    """The slot that a ticket has in the books is the one that it takes."""
    for ticket in rows.tickets:
        booked = (ticket.slot_agent_id, ticket.slot_channel.value) if ticket.slot_agent_id else None
        if booked != rows.slot(ticket):
            yield f"ticket {ticket.number} has slot {booked}, and takes {rows.slot(ticket)}"


def _ledger(rows: Rows) -> Iterator[str]:
    """R99: the lines of an agent are numbered without a gap, and each says what it leads to."""
    for agent_id, lines in groupby(rows.ledger, key=lambda entry: entry.agent_id):
        counts: Counter[str] = Counter()
        for number, entry in enumerate(lines, start=1):
            counts[entry.channel.value] += entry.change
            if entry.sequence != number:
                yield f"the ledger of {agent_id} has no line {number}"
                break
            if entry.count_after != counts[entry.channel.value]:
                yield f"line {number} of {agent_id} says {entry.count_after}, not {counts[entry.channel.value]}"
        row = rows.availabilities.get(agent_id)
        if row is None or row.last_entry != number:
            yield f"the ledger of {agent_id} ends with line {number}, which his row does not know"


def _reasons(rows: Rows, audits: set[UUID]) -> Iterator[str]:
    """R97, R99: an update that is named exists, and gives or takes one slot of a ticket once."""
    booked = Counter((entry.audit_id, entry.ticket_id, entry.change) for entry in rows.ledger)
    yield from (f"update {key[0]} books {key[2]:+} of ticket {key[1]} twice" for key, n in booked.items() if n > 1)
    for entry in rows.ledger:
        # A change of a rule is told in the account's own log, which has no audits.
        if entry.audit_id not in audits and entry.reason != "CAPACITY_RULE_CHANGED":
            yield f"line {entry.sequence} of {entry.agent_id} names an update that is not there"


def _offers(rows: Rows) -> Iterator[str]:
    """R43, R44, R93: only what waits is offered, in the way in which the account routes, to whom it can be given."""
    tickets = {ticket.id: ticket for ticket in rows.tickets}
    for ticket_id, count in Counter(offer.ticket_id for offer in rows.open_offers()).items():
        if count > 1 and not rows.broadcasts:
            yield f"ticket {tickets[ticket_id].number} is offered to {count} at once"
    for offer in rows.open_offers():
        ticket = tickets[offer.ticket_id]
        yield from (f"ticket {ticket.number} is offered, but {why}" for why in _why_not(rows, offer, ticket))


def _why_not(rows: Rows, offer: Offer, ticket: Ticket) -> Iterator[str]:
    if ticket.assignee_id is not None:
        yield "has an owner"
    elif rows.waits_on(ticket) is None:
        yield "does not wait"
    elif rows.waits_on(ticket) != offer.channel:
        yield "waits on another channel"
    if not rows.asks_first:
        yield "nobody is asked now"
    if not rows.takes(offer.agent_id, offer.channel.value):
        yield "to somebody who takes nothing there"
    if not rows.may_have(offer.agent_id, ticket, offer.channel.value):
        yield "to somebody who may not have it"
