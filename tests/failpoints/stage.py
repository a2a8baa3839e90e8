"""What happens to a server that dies: six changes, each in an account of its own, and somebody who listens to it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from domain.actors import Actor
from domain.macros import MacroAction, MacroActionKind, save_macro
from domain.people import issue_token
from domain.transactions import Call
from models import Account, Audit, Event, EventType, Ticket, User, new_id, utc_now
from models.database import opened
from schema.ids import encode_id
from tests.client import OPERATIONS
from tests.factories import World

SUSPEND = """mutation Suspend($input: SuspendUserInput!) {
  suspendUser(input: $input) { userErrors { code message field } } }"""


@dataclass(frozen=True, slots=True)
class Change:
    """A mutation, by whom, with what, and the facts that it records."""

    account_id: UUID
    document: str
    token: str
    input: dict[str, Any]
    facts: tuple[EventType, ...]
    listener: str


@dataclass(frozen=True, slots=True)
class Cast:
    world: World
    ticket: Ticket
    customer: Actor

    @property
    def ticket_id(self) -> str:
        return encode_id("Ticket", self.ticket.id)


Planned = tuple[str, dict[str, Any], tuple[EventType, ...]]


async def ends(cast: Cast) -> Planned:
    facts = (EventType.TICKET_COMMENT_ADDED, EventType.MESSAGING_SESSION_ENDED)
    return "EndSession", {"ticketId": cast.ticket_id, "closingMessage": "Good bye"}, facts


async def posts(cast: Cast) -> Planned:
    note = {"ticketId": cast.ticket_id, "channel": "INTERNAL_NOTE", "body": "Once"}
    return "PostComment", note, (EventType.TICKET_COMMENT_ADDED,)


async def writes(cast: Cast) -> Planned:
    return "SendMessage", {"body": "Once"}, (EventType.TICKET_COMMENT_ADDED,)


async def updates(cast: Cast) -> Planned:
    changed = {"ticketId": cast.ticket_id, "status": "PENDING", "tags": ["once"]}
    facts = (*(EventType.TICKET_FIELD_CHANGED,) * 2, EventType.MESSAGING_SESSION_STATE_CHANGED)
    return "UpdateTicket", changed, facts


async def applies(cast: Cast) -> Planned:
    actions = [
        MacroAction(MacroActionKind.INTERNAL_NOTE, "Once"),
        MacroAction(MacroActionKind.ADD_TAGS, "once"),
        MacroAction(MacroActionKind.END_SESSION),
    ]
    macro = await save_macro(Call(cast.world.admin), title="All of it", actions=actions, shared=True)
    facts = (
        EventType.MACRO_APPLIED,
        EventType.TICKET_COMMENT_ADDED,
        EventType.TICKET_FIELD_CHANGED,
        EventType.MESSAGING_SESSION_ENDED,
    )
    return "ApplyMacro", {"ticketId": cast.ticket_id, "macroId": encode_id("Macro", macro.macro_id)}, facts


async def suspends(cast: Cast) -> Planned:
    assert cast.customer.id is not None
    suspended = {"userId": encode_id("User", cast.customer.id), "scope": "MESSAGING"}
    # Of the customer, and on his ticket.
    return SUSPEND, suspended, (*(EventType.USER_SUSPENDED,) * 2, EventType.MESSAGING_SESSION_ENDED)


CHANGES: dict[str, Callable[[Cast], Awaitable[Planned]]] = {
    "endSession": ends,
    "postComment": posts,
    "sendMessage": writes,
    "updateTicket": updates,
    "applyMacro": applies,
    "suspendUser": suspends,
}


def planned(url: str, name: str) -> Change:
    """Put an account with a conversation there, and say how it will be changed. Called outside of any event loop."""
    return asyncio.run(_planned(url, name))


async def _planned(url: str, name: str) -> Change:
    async with opened(url):
        world = await World.create(f"w{new_id().hex}")
        customer = await world.customer()
        cast = Cast(world, await world.live_ticket(customer=customer), customer)
        operation, input, facts = await CHANGES[name](cast)
        key = new_id().hex
        marks = {"clientMessageId" if name == "sendMessage" else "idempotencyKey": key, "clientId": key}
        admin = await _token(world.admin)
        token = await _token(customer) if name == "sendMessage" else admin
        return Change(world.id, OPERATIONS.get(operation, operation), token, input | marks, facts, admin)


async def _token(actor: Actor) -> str:
    return (await issue_token(await User.get(id=actor.id), "test", utc_now())).secret


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an account's log holds."""

    last_position: int
    events: list[Event]
    audits: int


def outcome(url: str, change: Change) -> Outcome:
    """Read the log, with a connection of its own."""
    return asyncio.run(_outcome(url, change))


async def _outcome(url: str, change: Change) -> Outcome:
    async with opened(url):
        account = await Account.get(id=change.account_id)
        events = await Event.filter(account_id=account.id).order_by("position")
        return Outcome(account.last_position, events, await Audit.filter(account_id=account.id).count())
