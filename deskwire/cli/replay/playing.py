"""The conversations, several at once, as their customers and agents have them."""

from __future__ import annotations

import asyncio
import sys
import time
from dataclasses import dataclass, field
from uuid import UUID, uuid4

from deskwire.cli.replay.api import END, FIND, POST, SEND, Api, Rejected
from deskwire.cli.replay.conversations import Line
from deskwire.cli.replay.people import Someone
from deskwire.cli.replay.routing import owned
from schema.ids import encode_id


@dataclass(slots=True)
class Tally:
    """What was sent."""

    conversations: int = 0
    messages: int = 0
    sessions_ended: int = 0
    written_again: int = 0
    sent: dict[UUID, list[tuple[bool, str]]] = field(default_factory=dict)


class Replay:
    """Plays conversations, several at once."""

    def __init__(
        self, api: Api, agents: list[Someone], *, rate: float | None, quiet: bool, routed: bool = False
    ) -> None:
        self.tally = Tally()
        self._api = api
        self._agents = agents
        self._gap = 1 / rate if rate else 0.0
        self._next = time.monotonic()
        self._quiet = quiet
        self._routed = routed
        self._told = 0.0

    async def play(self, conversations: list[list[Line]], customers: list[Someone], *, at_once: int) -> None:
        places = asyncio.Semaphore(at_once)

        async def one(number: int) -> None:
            async with places:
                play = self._routed_conversation if self._routed else self._conversation
                await play(number, conversations[number], customers[number])
                self.tally.conversations += 1
                self._progress(len(conversations))

        async with asyncio.TaskGroup() as group:
            for number in range(len(conversations)):
                group.create_task(one(number))

    def _progress(self, total: int) -> None:
        tally = self.tally
        if self._quiet or (time.monotonic() - self._told < 1 and tally.conversations < total):
            return
        self._told = time.monotonic()
        counts = f"{tally.messages} messages, {tally.sessions_ended} ended, {tally.written_again} wrote again"
        print(f"replayed {tally.conversations} of {total} conversations: {counts}", file=sys.stderr)

    async def _conversation(self, number: int, lines: list[Line], customer: Someone) -> None:
        agent = self._agents[number % len(self._agents)]
        self.tally.sent[customer.id] = []
        ticket: str | None = None
        for line in lines:
            if line.by_customer:
                await self._customer_writes(customer, line.body)
            else:
                ticket = ticket or await self._ticket_of(agent, customer)
                await self._agent_writes(agent, customer, ticket, line.body)
        # Three sessions of four are ended, and two of those three customers write again.
        if number % 4 != 3:
            await self._end(agent, ticket or await self._ticket_of(agent, customer))
            if number % 2 == 0:
                await self._customer_writes(customer, lines[0].body)
                self.tally.written_again += 1

    async def _routed_conversation(self, number: int, lines: list[Line], customer: Someone) -> None:
        """Whoever was given the ticket answers and ends. One customer of four writes again."""
        self.tally.sent[customer.id] = []
        owner: tuple[Someone, str] | None = None
        for line in lines:
            if line.by_customer:
                await self._customer_writes(customer, line.body)
            else:
                owner = owner or await owned(self._api, self._agents, customer)
                await self._agent_writes(owner[0], customer, owner[1], line.body)
        await self._end(*(owner or await owned(self._api, self._agents, customer)))
        if number % 4 == 0:
            await self._customer_writes(customer, lines[0].body)
            self.tally.written_again += 1
            await self._end(*await owned(self._api, self._agents, customer))

    async def _ticket_of(self, agent: Someone, customer: Someone) -> str:
        filter = {"requesterId": encode_id("User", customer.id)}
        found = await self._api.call(agent.token, FIND, {"filter": filter})
        if not found["edges"]:
            raise Rejected("a customer wrote, and there is no ticket. Does the account hand over to agents at once?")
        return str(found["edges"][0]["node"]["id"])

    async def _paced(self) -> None:
        self._next = max(self._next + self._gap, time.monotonic())
        await asyncio.sleep(max(0.0, self._next - time.monotonic()))

    async def _customer_writes(self, customer: Someone, body: str) -> None:
        await self._paced()
        message = {"body": body, "clientMessageId": uuid4().hex}
        await self._api.call(customer.token, SEND, {"input": message})
        self._sent(customer, True, body)

    async def _agent_writes(self, agent: Someone, customer: Someone, ticket: str, body: str) -> None:
        await self._paced()
        comment = {"ticketId": ticket, "body": body, "channel": "MESSAGING", "idempotencyKey": uuid4().hex}
        await self._api.call(agent.token, POST, {"input": comment})
        self._sent(customer, False, body)

    def _sent(self, customer: Someone, by_customer: bool, body: str) -> None:
        self.tally.sent[customer.id].append((by_customer, body))
        self.tally.messages += 1

    async def _end(self, agent: Someone, ticket: str) -> None:
        end = {"ticketId": ticket, "idempotencyKey": uuid4().hex}
        payload = await self._api.call(agent.token, END, {"input": end})
        if payload["outcome"] != "ENDED":
            raise Rejected(f"a session that nobody else ends was {payload['outcome']}")
        self.tally.sessions_ended += 1
