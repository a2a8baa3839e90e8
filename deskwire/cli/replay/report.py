"""What the history says, and what arrived live, against what was sent and what the event log holds."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections import Counter
from typing import Any
from uuid import UUID

from deskwire.cli.replay.listening import Heard, Listeners, Stream
from deskwire.cli.replay.playing import Tally
from deskwire.cli.replay.routing import routing_faults, routing_lines
from models import Account, Channel, Comment, Conversation, Event, EventType
from schema.ids import encode_id
from subscriptions.resume import position_in

# How long the listeners may need at the end.
DRAIN_SECONDS = 60.0
# Whatever comes too much, comes within this time.
SURPLUS_SECONDS = 0.5


async def made_report(tally: Tally, account: Account, cursor: str, listeners: Listeners) -> dict[str, Any]:
    """Wait for the listeners, and compare. `cursor` is where they began."""
    start = position_in(cursor)
    events = await _log(account, start)
    expected = {stream: expected_of(stream, events) for stream, _ in listeners}
    await _drained(listeners, expected)
    known = await _log(account, start)
    return {
        "conversations": tally.conversations,
        "messages": tally.messages,
        "sessions_ended": tally.sessions_ended,
        "follow_up_tickets": sum(1 for event in events if event.payload.get("continuation_of")),
        "history": await history(tally),
        "listeners": [
            compared(heard, expected[stream], known=expected_of(stream, known)) for stream, heard in listeners
        ],
    }


async def _log(account: Account, start: int) -> list[Event]:
    return await Event.filter(account_id=account.id, position__gt=start).order_by("position")


def expected_of(stream: Stream, events: list[Event]) -> list[str]:
    """The keys that a stream must have delivered, in order; for the inbox the position of each event of a ticket."""
    match stream.kind:
        case "ended":
            kept = [event for event in events if event.type is EventType.MESSAGING_SESSION_ENDED]
            return [str(encode_id("TicketEvent", event.id)) for event in kept]
        case "created":
            created = [event for event in events if event.type is EventType.TICKET_CREATED]
            return [str(encode_id("Ticket", event.ticket_id)) for event in created if event.ticket_id]
        case "received":
            mine = [event for event in events if event.payload.get("customer") == str(stream.someone.id)]
            return [str(encode_id("Message", event.comment_id)) for event in mine if event.comment_id]
        case _:
            return [str(event.position) for event in events if event.ticket_id is not None]


async def _drained(listeners: Listeners, expected: dict[Stream, list[str]]) -> None:
    deadline = time.monotonic() + DRAIN_SECONDS
    while time.monotonic() < deadline:
        if all(set(expected[stream]) <= set(heard.keys) for stream, heard in listeners):
            break
        await asyncio.sleep(0.1)
    await asyncio.sleep(SURPLUS_SECONDS)


def compared(heard: Heard, expected: list[str], *, known: list[str]) -> dict[str, Any]:
    """What one listener received against what he must have received; `known` is what he may have.

    They differ where others work in the account while the replay ends.
    """
    places = {key: place for place, key in enumerate(known)}
    order = [places[key] for key in heard.keys if key in places]
    return {
        "who": heard.who,
        "received": len(heard.keys),
        "lost": len(set(expected) - set(heard.keys)),
        "repeated": len(heard.keys) - len(set(heard.keys)),
        "out_of_order": sum(1 for earlier, later in itertools.pairwise(order) if later < earlier),
        "unexpected": len(set(heard.keys) - set(known)),
        "reconnects": heard.reconnects,
    }


async def history(tally: Tally) -> dict[str, int]:
    """The texts of each customer's conversations in the database against what was sent, character by character."""
    missing = unexpected = 0
    for customer, sent in tally.sent.items():
        held = await _held(customer)
        missing += (Counter(sent) - Counter(held)).total()
        unexpected += (Counter(held) - Counter(sent)).total()
        if Counter(held) == Counter(sent) and held != sent:
            unexpected += 1  # everything is there, in another order
    return {"missing": missing, "unexpected": unexpected}


async def _held(customer: UUID) -> list[tuple[bool, str]]:
    conversations = await Conversation.filter(end_user_id=customer).order_by("started_at", "id")
    held = []
    for conversation in conversations:
        spoken = Comment.filter(conversation_id=conversation.id, channel=Channel.MESSAGING)
        comments = await spoken.filter(author_kind__in=["END_USER", "AGENT"]).order_by("sequence")
        held += [(comment.author_kind == "END_USER", comment.body) for comment in comments]
    return held


def faults(report: dict[str, Any]) -> int:
    """How much is wrong. Nothing may be."""
    found = report["history"]["missing"] + report["history"]["unexpected"]
    kinds = ("lost", "repeated", "out_of_order", "unexpected")
    found += routing_faults(report["routing"]) if "routing" in report else 0
    return int(found + sum(each[kind] for each in report["listeners"] for kind in kinds))


def tell(report: dict[str, Any], *, as_json: bool) -> int:
    """Print the report. Returns the exit status."""
    if as_json:
        print(json.dumps(report))
    else:
        _print(report)
    return 1 if faults(report) else 0


def _print(report: dict[str, Any]) -> None:
    print(
        f"{report['conversations']} conversations, {report['messages']} messages, {report['sessions_ended']} sessions "
        f"ended, {report['follow_up_tickets']} follow-up tickets"
    )
    print(f"history: missing {report['history']['missing']}, unexpected {report['history']['unexpected']}")
    for each in report["listeners"]:
        print(
            f"{each['who']:<32} received {each['received']:>6}, lost {each['lost']}, repeated {each['repeated']}, "
            f"out of order {each['out_of_order']}, unexpected {each['unexpected']}"
            + (f" ({each['reconnects']} reconnects)" if each["reconnects"] else "")
        )
    for line in routing_lines(report["routing"]) if "routing" in report else ():
        print(line)
    print("FAILED" if faults(report) else "PASSED")
