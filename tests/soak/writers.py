"""Clients that write: what they ask carries a key, and what nobody answered is asked again, or left unknown."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import httpx
import orjson

from tests.client import OPERATIONS
from tests.history.records import Recorder, Stage
from tests.soak.desk import Desk, Person

SAVE_AGENT = """mutation SaveAgent($input: SaveAgentInput!) {
  saveAgent(input: $input) { userErrors { code message field } } }"""
DOCUMENTS = OPERATIONS | {"SaveAgent": SAVE_AGENT}
CALL_SECONDS = 5.0
# What becomes of an operation that nobody answered: mostly it is asked again with its key.
ASKED_AGAIN = 0.8
MOST_TRIES = 8

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Wish:
    """An operation, and who asks for it."""

    who: Person
    operation: str
    input: dict[str, Any]
    ticket: str | None = None


@dataclass
class Writer:
    """One client that writes. It knows the tickets that its workspace shows."""

    name: str
    desk: Desk
    rows: Callable[[], dict[str, Row]]
    addresses: Callable[[], list[str]]
    http: httpx.AsyncClient
    recorder: Recorder
    chance: random.Random
    pause: float
    oddities: list[str] = field(default_factory=list)
    refusals: Counter[str] = field(default_factory=Counter)

    async def run(self, stopping: asyncio.Event) -> None:
        """Write until told to stop; the last operation is finished."""
        while not stopping.is_set():
            await self.do(self._wish())
            await asyncio.sleep(self.chance.uniform(0, 2 * self.pause))

    def _wish(self) -> Wish:
        kind = self.chance.choices(("message", "note", "reply", "update", "move", "end"), (30, 20, 15, 20, 5, 10))[0]
        if kind == "message":
            return self._message()
        ticket = self._ticket()
        if ticket is None:
            return self._message()
        by = self.chance.choice(self.desk.agents)
        match kind:
            case "note" | "reply":
                channel = "INTERNAL_NOTE" if kind == "note" else "MESSAGING"
                return Wish(by, "PostComment", {"ticketId": ticket, "body": self._text(), "channel": channel}, ticket)
            case "update":
                changed = {"status": self.chance.choice(("OPEN", "PENDING")), "tags": [uuid4().hex[:12]]}
                return Wish(by, "UpdateTicket", {"ticketId": ticket} | changed, ticket)
            case "move":
                group = self.chance.choice((None, self.desk.group))
                moved = {"ticketId": self.desk.moving, "groupId": group, "tags": [uuid4().hex[:12]]}
                return Wish(by, "UpdateTicket", moved, self.desk.moving)
            case _:
                return Wish(by, "EndSession", {"ticketId": ticket, "closingMessage": self._text()}, ticket)

    def _message(self) -> Wish:
        return Wish(self.chance.choice(self.desk.customers), "SendMessage", {"body": self._text()})

    def _ticket(self) -> str | None:
        """One whose session lives, if one is shown."""
        rows = self.rows()
        live = sorted(key for key, row in rows.items() if row["session"] and row["session"]["state"] != "ENDED")
        return self.chance.choice(live) if live else None

    def _text(self) -> str:
        return f"{self.desk.mark} {uuid4().hex}"

    async def do(self, wish: Wish, *, insist: bool = False) -> Stage:
        """Ask, and where nobody answers ask again with the same key, or leave it. What became of it."""
        key = uuid4().hex
        marks = {"clientId": key, "clientMessageId" if wish.operation == "SendMessage" else "idempotencyKey": key}
        variables = {"input": wish.input | marks}
        outcome = Stage.INFO
        for _ in range(10 * MOST_TRIES if insist else MOST_TRIES):
            self._note(wish, Stage.INVOKE, key)
            outcome = await self._asked(wish, variables)
            self._note(wish, outcome, key)
            if outcome is not Stage.INFO or not (insist or self.chance.random() < ASKED_AGAIN):
                break
            await asyncio.sleep(self.chance.uniform(0.1, 1.0))
        return outcome

    def _note(self, wish: Wish, stage: Stage, key: str) -> None:
        self.recorder.note(wish.operation, self.name, stage, self.desk.account, ticket=wish.ticket, key=key)

    async def _asked(self, wish: Wish, variables: dict[str, Any]) -> Stage:
        body = orjson.dumps({"query": DOCUMENTS[wish.operation], "variables": variables})
        headers = {"Authorization": f"Bearer {wish.who.token}", "Content-Type": "application/json"}
        address = f"{self.chance.choice(self.addresses())}/graphql"
        try:
            response = await self.http.post(address, content=body, headers=headers, timeout=CALL_SECONDS)
            answer = response.json()
        except (httpx.HTTPError, ValueError):
            return Stage.INFO
        if response.status_code >= 500:
            return Stage.INFO
        if "errors" in answer:
            codes = [error["extensions"].get("code") for error in answer["errors"]]
            if set(codes) <= {"INTERNAL_SERVER_ERROR", "SERVICE_UNAVAILABLE"}:
                return Stage.INFO
            self.oddities.append(f"{self.name}: {wish.operation} was answered with {codes}")
            return Stage.FAIL
        (payload,) = answer["data"].values()
        refusals = [error["code"] for error in payload["userErrors"]] or [payload.get("outcome")]
        if refusals not in ([None], ["ENDED"]):
            self.refusals.update(map(str, refusals))
            return Stage.FAIL
        return Stage.OK
