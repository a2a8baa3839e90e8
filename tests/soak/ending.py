"""The end of a soak: the log is read, and says what everybody was owed."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

import httpx

from models import Event, EventType
from models.database import opened, sqlite_file
from schema.ids import encode_id
from tests.client import OPERATIONS
from tests.history.checkers import Place
from tests.history.records import Fact
from tests.soak.desk import Desk, Listener

PAGE = 100

Row = dict[str, Any]


async def logs_of(url: str, desks: Sequence[Desk]) -> dict[str, list[Event]]:
    """The whole log of each account."""
    async with opened(url):
        return {desk.account: await Event.filter(account_id=desk.account_id).order_by("position") for desk in desks}


def facts_of(logs: dict[str, list[Event]]) -> list[Fact]:
    return [
        Fact(
            account,
            event.position,
            event.type.value,
            str(event.audit_id),
            str(encode_id("Ticket", event.ticket_id)) if event.ticket_id else None,
            event.client_id,
        )
        for account, events in logs.items()
        for event in events
    ]


def owed_to(desk: Desk, listener: Listener, events: Sequence[Event], start: int) -> list[Place]:
    """The places that a listener must have been told of, if he began behind `start`."""
    return [
        (desk.account, event.position) for event in events if event.position > start and _wants(desk, listener, event)
    ]


def _wants(desk: Desk, listener: Listener, event: Event) -> bool:
    match listener.kind:
        case "Inbox":
            return event.ticket_id is not None
        case "grouped":
            return event.ticket_id in desk.fixed
        case "SessionEnded":
            return event.type is EventType.MESSAGING_SESSION_ENDED
        case "TicketActivity":
            return event.ticket_id == desk.fixed[0]
        case "MessageReceived":
            written = event.type is EventType.TICKET_COMMENT_ADDED
            return written and event.payload.get("customer") == str(listener.person.id)
        case _:
            return False  # what reaches the leaver depends on when he is there to hear it


def revocation(desk: Desk, events: Sequence[Event]) -> int | None:
    """Where the leaver lost his access."""
    lost = [e.position for e in events if e.type is EventType.AGENT_ACCESS_CHANGED and _is_leaver(desk, e)]
    return min(lost, default=None)


def _is_leaver(desk: Desk, event: Event) -> bool:
    return bool(event.payload["user"] == str(desk.leaver.id))


async def fetched(http: httpx.AsyncClient, address: str, listener: Listener) -> tuple[dict[str, Row], str]:
    """The whole list that somebody would load now, and its cursor."""
    rows: dict[str, Row] = {}
    cursor, after = "", None
    while True:
        page = await _page(http, address, listener, after)
        cursor = cursor or page["syncCursor"]
        rows |= {edge["node"]["id"]: edge["node"] for edge in page["edges"]}
        after = page["pageInfo"]["endCursor"]
        if not page["pageInfo"]["hasNextPage"]:
            return rows, cursor


async def _page(http: httpx.AsyncClient, address: str, listener: Listener, after: str | None) -> Row:
    body = {"query": OPERATIONS["TicketList"], "variables": {"first": PAGE, "after": after}}
    headers = {"Authorization": f"Bearer {listener.person.token}"}
    answer = (await http.post(f"{address}/graphql", json=body, headers=headers, timeout=10)).json()
    page: Row = answer["data"]["tickets"]
    return page


def integrity(url: str) -> list[str]:
    """What SQLite finds wrong with its file; nothing for another database."""
    if not url.startswith("sqlite:"):
        return []
    connection = sqlite3.connect(sqlite_file(url))
    try:
        found = [str(row[0]) for row in connection.execute("PRAGMA integrity_check")]
    finally:
        connection.close()
    return [] if found == ["ok"] else found
