"""`replay`: real conversations through the public API, as customers and agents send them, with live workspaces.

What was sent is compared with what the database holds, text by text, and what arrived live with the event log.
A server that is killed and started again meanwhile costs time: calls are repeated with the same keys, and listeners
resume from their cursors.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import itertools
import json
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import orjson
import websockets
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from deskwire.cli.store import CannotDo, account_named, ready_database
from domain.people import issue_token
from models import (
    Account,
    Channel,
    Comment,
    Conversation,
    Event,
    EventType,
    Permission,
    Role,
    TicketAccess,
    User,
    UserKind,
    new_id,
    utc_now,
)
from schema.ids import encode_id
from subscriptions.resume import position_in

AGENTS = 4
LISTENING_CUSTOMERS = 3
# How long one call is repeated while the server does not answer, and how long the listeners may need at the end.
PATIENCE_SECONDS = 120.0
DRAIN_SECONDS = 60.0

SEND = """mutation Send($input: SendMessageInput!) {
  sendMessage(input: $input) { message { id } conversation { id } userErrors { code message } } }"""
POST = """mutation Post($input: PostCommentInput!) {
  postComment(input: $input) { comment { id } userErrors { code message } } }"""
END = """mutation End($input: EndSessionInput!) {
  endSession(input: $input) { outcome event { id } userErrors { code message } } }"""
FIND = """query Find($filter: TicketFilter) { tickets(filter: $filter, first: 1,
  orderBy: {field: NUMBER, direction: DESC}) { edges { node { id } } } }"""
SYNC = "query Sync { tickets(first: 1) { syncCursor } }"

ENDED = (
    "subscription Ended($after: String) { sessionEnded(after: $after) { cursor event { id sequence } ticket { id } } }"
)
CREATED = "subscription Created($after: String) { ticketCreated(after: $after) { cursor ticket { id number } } }"
INBOX = """subscription Inbox($after: String) { inbox(after: $after) {
  cursor change ticketId ticket { id version status session { state } } } }"""
RECEIVED = "subscription Received($after: String) { messageReceived(after: $after) { cursor message { id body } } }"


@dataclass(frozen=True, slots=True)
class Line:
    """One message of a conversation."""

    by_customer: bool
    body: str


@dataclass(frozen=True, slots=True)
class Someone:
    """A user with his token."""

    id: UUID
    name: str
    token: str


@dataclass(slots=True)
class Tally:
    """What was sent."""

    conversations: int = 0
    messages: int = 0
    sessions_ended: int = 0
    written_again: int = 0
    sent: dict[UUID, list[tuple[bool, str]]] = field(default_factory=dict)


@dataclass(slots=True)
class Heard:
    """What one listener received, in the order of its arrival."""

    who: str
    keys: list[str] = field(default_factory=list)
    reconnects: int = 0


def read(path: Path, count: int) -> Iterator[list[Line]]:
    """The first conversations of a file. Raises CannotDo."""
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8") as file:
            for text in itertools.islice(file, count):
                yield [Line(each["from"] == "customer", each["body"]) for each in json.loads(text)["messages"]]
    except (OSError, EOFError) as error:
        raise CannotDo(f"{path} cannot be read: {error}") from None
    except (ValueError, KeyError, TypeError):
        raise CannotDo(
            f'{path} does not hold lines like {{"messages": [{{"from": "customer", "body": "…"}}]}}'
        ) from None


async def run(arguments: argparse.Namespace) -> int:
    conversations = [lines for lines in read(arguments.file, arguments.conversations) if lines]
    async with ready_database():
        account = await account_named(arguments.account)
        agents, customers = await _people(account, len(conversations))
        start = (await Account.get(id=account.id)).last_position
        async with httpx.AsyncClient(base_url=arguments.url, timeout=30) as http:
            api = Api(http)
            await _check_reachable(api, arguments.url, agents[0])
            replay = Replay(api, agents, rate=arguments.rate, quiet=arguments.json)
            async with _listening(arguments.url, api, agents, customers) as listeners:
                await replay.play(conversations, customers, at_once=arguments.at_once)
                report = await _report(replay.tally, account, start, listeners, agents, customers)
    return _told(report, as_json=arguments.json)


async def _check_reachable(api: Api, url: str, agent: Someone) -> None:
    try:
        await api.once(agent.token, SYNC, {})
    except (httpx.HTTPError, Unavailable):
        raise CannotDo(f"No Deskwire answers at {url}. Start one with: python -m deskwire serve") from None
    except Rejected as error:
        raise CannotDo(f"{url} does not know the token that was made for it: {error}. Same database?") from None


async def _people(account: Account, count: int) -> tuple[list[Someone], list[Someone]]:
    now, mark = utc_now(), uuid4().hex[:8]
    role = await Role.get_or_none(account_id=account.id, name="Replay agent") or await Role.create(
        account_id=account.id,
        name="Replay agent",
        ticket_access=TicketAccess.ALL,
        permissions=sorted(Permission),
    )

    async def made(kind: UserKind, name: str, role_id: UUID | None) -> Someone:
        email = f"{name.lower().replace(' ', '.')}.{mark}@replay.example"
        user = await User.create(
            id=new_id(),
            account_id=account.id,
            kind=kind,
            name=name,
            email=email,
            email_verified=True,
            role_id=role_id,
            created_at=now,
        )
        return Someone(user.id, name, (await issue_token(user, "replay", now)).secret)

    agents = [await made(UserKind.AGENT, f"Replay agent {number}", role.id) for number in range(1, AGENTS + 1)]
    customers = [await made(UserKind.END_USER, f"Replay customer {number}", None) for number in range(1, count + 1)]
    return agents, customers


class Unavailable(Exception):
    """The server does not answer, or says that it cannot now: the call may be repeated."""


class Rejected(Exception):
    """The server refused; repeating does not help."""


class Api:
    """The public API over HTTP. Every call can be repeated: it carries a key of its own."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def call(self, token: str, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        """The one field of data; the call is repeated until the server answers. Raises Rejected, CannotDo."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        for attempt in itertools.count():
            try:
                return await self.once(token, query, variables)
            except (Unavailable, httpx.HTTPError) as error:
                if time.monotonic() > deadline:
                    raise CannotDo(f"The server did not answer for {PATIENCE_SECONDS:.0f} s: {error!r}") from None
                await asyncio.sleep(min(0.05 * 2**attempt, 1.0))
        raise AssertionError("unreachable")

    async def once(self, token: str, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        body = orjson.dumps({"query": query, "variables": variables})
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        response = await self._http.post("/graphql", content=body, headers=headers)
        if response.status_code >= 500:
            raise Unavailable(f"status {response.status_code}")
        answer = response.json()
        if "errors" in answer:
            raise Rejected(answer["errors"][0]["message"])
        (payload,) = answer["data"].values()
        refusals = payload.get("userErrors") or []
        if refusals and refusals[0]["code"] == "BUSY_RETRY":
            raise Unavailable("busy")
        if refusals:
            raise Rejected(f"{refusals[0]['code']}: {refusals[0]['message']}")
        result: dict[str, Any] = payload
        return result


class Replay:
    """Plays conversations, several at once."""

    def __init__(self, api: Api, agents: list[Someone], *, rate: float | None, quiet: bool) -> None:
        self.tally = Tally()
        self._api = api
        self._agents = agents
        self._gap = 1 / rate if rate else 0.0
        self._next = time.monotonic()
        self._quiet = quiet
        self._told = 0.0

    async def play(self, conversations: list[list[Line]], customers: list[Someone], *, at_once: int) -> None:
        places = asyncio.Semaphore(at_once)

        async def one(number: int) -> None:
            async with places:
                await self._conversation(number, conversations[number], customers[number])
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
        # Three sessions of four are ended, and of those customers every second one writes again.
        if number % 4 != 3:
            await self._end(agent, ticket or await self._ticket_of(agent, customer))
            if number % 2 == 0:
                await self._customer_writes(customer, lines[0].body)
                self.tally.written_again += 1

    async def _ticket_of(self, agent: Someone, customer: Someone) -> str:
        filter = {"requesterId": encode_id("User", customer.id)}
        found = await self._api.call(agent.token, FIND, {"filter": filter})
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


@dataclass(frozen=True, slots=True)
class Stream:
    """One subscription of a live workspace. `key` tells its items apart."""

    who: str
    someone: Someone
    query: str
    kind: str

    def key(self, item: dict[str, Any]) -> str:
        match self.kind:
            case "ended":
                return str(item["event"]["id"])
            case "created":
                return str(item["ticket"]["id"])
            case "received":
                return str(item["message"]["id"])
            case _:
                return str(position_in(item["cursor"]))


@asynccontextmanager
async def _listening(
    url: str, api: Api, agents: list[Someone], customers: list[Someone]
) -> AsyncIterator[list[tuple[Stream, Heard]]]:
    """Live workspaces: two agents with three streams each, and a few customers' widgets, from before the first call."""
    streams = [
        Stream(f"{agent.name}: {kind}", agent, query, kind)
        for agent in agents[:2]
        for kind, query in (("ended", ENDED), ("created", CREATED), ("inbox", INBOX))
    ]
    streams += [
        Stream(f"{each.name}: received", each, RECEIVED, "received") for each in customers[:LISTENING_CUSTOMERS]
    ]
    # The cursor of an agent's snapshot joins every stream of the account: nothing is missed, whenever it connects.
    cursor = (await api.call(agents[0].token, SYNC, {}))["syncCursor"]
    listeners = [(stream, Heard(stream.who)) for stream in streams]
    address = url.replace("http", "ws", 1).rstrip("/") + "/graphql"
    tasks = [asyncio.create_task(_listen(address, stream, heard, cursor)) for stream, heard in listeners]
    try:
        yield listeners
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _listen(address: str, stream: Stream, heard: Heard, cursor: str) -> None:
    while True:
        try:
            async with connect(address, subprotocols=[Subprotocol("graphql-transport-ws")], max_size=None) as socket:
                await _say(socket, {"type": "connection_init", "payload": _authorization(stream.someone)})
                payload = {"query": stream.query, "variables": {"after": cursor}}
                await _say(socket, {"type": "subscribe", "id": "1", "payload": payload})
                async for text in socket:
                    message = orjson.loads(text)
                    if message["type"] == "ping":
                        await _say(socket, {"type": "pong"})
                    elif message["type"] == "next":
                        (item,) = message["payload"]["data"].values()
                        cursor = item["cursor"]
                        heard.keys.append(stream.key(item))
                    elif message["type"] == "error":
                        cursor = message["payload"][0]["extensions"].get("cursor", cursor)
                        break
        except (OSError, websockets.WebSocketException):
            pass
        heard.reconnects += 1
        await asyncio.sleep(0.2)


async def _say(socket: Any, message: dict[str, Any]) -> None:
    await socket.send(orjson.dumps(message).decode())


def _authorization(someone: Someone) -> dict[str, str]:
    return {"authorization": f"Bearer {someone.token}"}


async def _report(
    tally: Tally,
    account: Account,
    start: int,
    listeners: list[tuple[Stream, Heard]],
    agents: list[Someone],
    customers: list[Someone],
) -> dict[str, Any]:
    events = await Event.filter(account_id=account.id, position__gt=start).order_by("position")
    expected = {id(heard): await _expected(stream, events) for stream, heard in listeners}
    await _drained(listeners, expected)
    return {
        "conversations": tally.conversations,
        "messages": tally.messages,
        "sessions_ended": tally.sessions_ended,
        "follow_up_tickets": sum(1 for event in events if event.payload.get("continuation_of")),
        "history": await _history(tally),
        "listeners": [_compared(stream, heard, expected[id(heard)]) for stream, heard in listeners],
    }


async def _expected(stream: Stream, events: list[Event]) -> list[str]:
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


async def _drained(listeners: list[tuple[Stream, Heard]], expected: dict[int, list[str]]) -> None:
    deadline = time.monotonic() + DRAIN_SECONDS
    while time.monotonic() < deadline:
        if all(len(set(heard.keys)) >= len(expected[id(heard)]) for _, heard in listeners):
            break
        await asyncio.sleep(0.1)
    await asyncio.sleep(0.5)  # whatever comes too much, comes now


def _compared(stream: Stream, heard: Heard, expected: list[str]) -> dict[str, Any]:
    repeated = len(heard.keys) - len(set(heard.keys))
    told = {"who": heard.who, "received": len(heard.keys), "reconnects": heard.reconnects, "repeated": repeated}
    places = {key: place for place, key in enumerate(expected)}
    order = [places[key] for key in heard.keys if key in places]
    return told | {"lost": len(set(expected) - set(heard.keys)), "out_of_order": _descents(order)}


def _descents(values: list[int]) -> int:
    return sum(1 for earlier, later in itertools.pairwise(values) if later < earlier)


async def _history(tally: Tally) -> dict[str, int]:
    """The texts of each customer's conversations in the database against what was sent, character by character."""
    missing = unexpected = 0
    for customer, sent in tally.sent.items():
        held = Counter(await _held(customer))
        wanted = Counter(sent)
        missing += (wanted - held).total()
        unexpected += (held - wanted).total()
        if held == wanted and await _held(customer) != sent:
            unexpected += 1
    return {"missing": missing, "unexpected": unexpected}


async def _held(customer: UUID) -> list[tuple[bool, str]]:
    conversations = await Conversation.filter(end_user_id=customer).order_by("started_at", "id")
    held = []
    for conversation in conversations:
        comments = await Comment.filter(conversation_id=conversation.id, channel=Channel.MESSAGING).order_by("sequence")
        held += [(comment.author_kind == "END_USER", comment.body) for comment in comments]
    return held


def _told(report: dict[str, Any], *, as_json: bool) -> int:
    history = report["history"]
    bad = history["missing"] + history["unexpected"]
    bad += sum(each["lost"] + each["repeated"] + each["out_of_order"] for each in report["listeners"])
    if as_json:
        print(json.dumps(report))
        return 1 if bad else 0
    print(
        f"{report['conversations']} conversations, {report['messages']} messages, {report['sessions_ended']} sessions "
        f"ended, {report['follow_up_tickets']} follow-up tickets"
    )
    print(f"history: missing {history['missing']}, unexpected {history['unexpected']}")
    for each in report["listeners"]:
        print(
            f"{each['who']:<32} received {each['received']:>6}, lost {each['lost']}, repeated {each['repeated']}, "
            f"out of order {each['out_of_order']}"
            + (f" ({each['reconnects']} reconnects)" if each["reconnects"] else "")
        )
    print("PASSED" if not bad else "FAILED")
    return 1 if bad else 0
