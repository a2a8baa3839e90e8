"""Lost rights end delivery: R154 and R156, with the change made in another process.

Within 2 seconds where the bell rings, within 10 where it does not; and nothing that was committed afterwards comes,
however late it is noticed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar
from uuid import UUID

import httpx
import pytest

from domain.actors import Actor
from domain.people import IssuedToken
from models import TicketAccess, new_id
from schema.ids import encode_id
from tests.brokers import Redis
from tests.databases import Postgres
from tests.server.conftest import Start
from tests.server.desk import Desk
from tests.server.process import PATIENCE, Server
from tests.server.readers import Response, WebSocket
from tests.streams import SENT_EVENTS

LIMITS = {"rings": 2.0, "drops everything": 10.0, "is dead": 10.0}
# Of the token that expires: enough of them to be told something with it before, on a slow machine.
LIFE_SECONDS = 8

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Pair:
    """Two processes: people listen at the one, and the other changes what they may see."""

    url: str
    here: Server
    there: Server
    limit: float


@pytest.fixture(scope="module", params=LIMITS)
def pair(request: pytest.FixtureRequest, postgres: Postgres, start: Start) -> Iterator[Pair]:
    """With a bell that rings, nobody looks by himself: what is noticed, the bell has told."""
    with ExitStack() as stack:
        url = stack.enter_context(postgres.fresh())
        redis = stack.enter_context(Redis.started())
        settings = {"broadcast_url": redis.url, "jobs": "false"}
        settings |= {"poll_seconds": "60"} if request.param == "rings" else {}
        settings |= {"bus_faults": "drop=1.0"} if request.param == "drops everything" else {}
        here, there = start(url, **settings), start(url, **settings)
        if request.param == "is dead":
            redis.down()
        yield Pair(url, here, there, LIMITS[request.param])
        for server in (here, there):
            server.close()


@pytest.fixture
async def desk(pair: Pair) -> AsyncIterator[Desk]:
    async with Desk.opened(pair.url, new_id().hex) as desk:
        yield desk


SAVE_AGENT = "mutation ($input: SaveAgentInput!) { saveAgent(input: $input) { userErrors { code } } }"
DEACTIVATE = "mutation ($input: DeactivateAgentInput!) { deactivateAgent(input: $input) { userErrors { code } } }"
REVOKE = "mutation ($input: RevokeApiTokenInput!) { revokeApiToken(input: $input) { userErrors { code } } }"
COMMENT = "mutation ($input: PostCommentInput!) { postComment(input: $input) { userErrors { code } } }"
MOVE = "mutation ($input: UpdateTicketInput!) { updateTicket(input: $input) { userErrors { code } } }"


@dataclass(frozen=True, slots=True)
class Loss:
    """Somebody who may follow the ticket, and the mutation by which he loses that."""

    agent: Actor
    mutation: str
    input: dict[str, Any]


def identifier(kind: str, of: UUID | None) -> str:
    assert of is not None
    return encode_id(kind, of)


async def by_role(desk: Desk) -> Loss:
    agent = await desk.world.agent()
    role = await desk.world.role(TicketAccess.ASSIGNED)
    return Loss(agent, SAVE_AGENT, {"agentId": identifier("Agent", agent.id), "roleId": identifier("Role", role.id)})


async def by_groups(desk: Desk) -> Loss:
    group = await desk.world.group()
    await desk.put(group_id=group.id)
    agent = await desk.world.agent(access=TicketAccess.GROUPS, groups=(group,))
    return Loss(agent, SAVE_AGENT, {"agentId": identifier("Agent", agent.id), "groupIds": []})


async def by_organizations(desk: Desk) -> Loss:
    organization = await desk.world.organization()
    await desk.put(organization_id=organization.id)
    agent = await desk.world.agent(access=TicketAccess.ORGANIZATIONS, organizations=(organization,))
    return Loss(agent, SAVE_AGENT, {"agentId": identifier("Agent", agent.id), "organizationIds": []})


async def by_a_move(desk: Desk) -> Loss:
    group, other = await desk.world.group(), await desk.world.group("Second line")
    await desk.put(group_id=group.id)
    agent = await desk.world.agent(access=TicketAccess.GROUPS, groups=(group,))
    return Loss(agent, MOVE, {"ticketId": desk.ticket_id, "groupId": identifier("Group", other.id)})


@pytest.mark.parametrize("lose", [by_role, by_groups, by_organizations, by_a_move])
async def test_who_loses_a_ticket_is_told_nothing_more_of_it(
    pair: Pair, desk: Desk, lose: Callable[[Desk], Awaitable[Loss]]
) -> None:
    """R154: one refusal without content ends the stream. The socket stays."""
    loss = await lose(desk)
    async with listening(pair, desk, (await desk.token(loss.agent)).secret) as (socket, response):
        ends = asyncio.gather(timed(numbers_until_refused(socket)), timed(response.end()))
        await change(pair, desk, loss)
        changed = time.monotonic()
        await desk.burst(5)
        await comment(pair, desk)
        (told, refused_at), (streamed, ended_at) = await ends
        assert told == ([], "ACCESS_REVOKED")
        assert streamed == ([], "ACCESS_REVOKED")
        assert max(refused_at, ended_at) - changed < pair.limit
        await socket.settle()


async def by_revoking(desk: Desk, agent: Actor, token: IssuedToken) -> Loss:
    return Loss(agent, REVOKE, {"tokenId": encode_id("Token", token.token_id)})


async def by_deactivating(desk: Desk, agent: Actor, token: IssuedToken) -> Loss:
    return Loss(agent, DEACTIVATE, {"agentId": identifier("Agent", agent.id)})


@pytest.mark.parametrize("lose", [by_revoking, by_deactivating])
async def test_who_is_known_no_longer_is_out(
    pair: Pair, desk: Desk, lose: Callable[[Desk, Actor, IssuedToken], Awaitable[Loss]]
) -> None:
    """R156: 4403, and no later event."""
    agent = await desk.world.agent()
    token = await desk.token(agent)
    loss = await lose(desk, agent, token)
    async with listening(pair, desk, token.secret) as (socket, response):
        ends = asyncio.gather(timed(socket.end()), timed(response.end()))
        await change(pair, desk, loss)
        changed = time.monotonic()
        await desk.burst(5)
        await comment(pair, desk)
        (closed, closed_at), (streamed, ended_at) = await ends
        assert closed == ([], 4403)
        assert streamed == ([], "UNAUTHENTICATED")
        assert max(closed_at, ended_at) - changed < pair.limit


async def test_an_expired_token_is_out(pair: Pair, desk: Desk) -> None:
    """R156: 4401, whatever the bell does."""
    token = await desk.token(desk.world.admin, timedelta(seconds=LIFE_SECONDS))
    begun = time.monotonic()
    async with listening(pair, desk, token.secret) as (socket, response):
        assert await socket.end() == ([], 4401)
        assert await response.end() == ([], "UNAUTHENTICATED")
        assert LIFE_SECONDS - 1 < time.monotonic() - begun < LIFE_SECONDS + 2


async def timed(end: Awaitable[T]) -> tuple[T, float]:
    """What comes of it, and when: what the test itself still does meanwhile takes time, too."""
    return await end, time.monotonic()


@asynccontextmanager
async def listening(pair: Pair, desk: Desk, token: str) -> AsyncIterator[tuple[WebSocket, Response]]:
    """Two streams of the ticket, which have been told of all that happened so far."""
    follow: dict[str, Any] = {"ticketId": desk.ticket_id, "after": await desk.cursor()}
    async with (
        WebSocket.following(pair.here.port, token, "TicketActivity", **follow) as socket,
        Response.following(pair.here.port, token, SENT_EVENTS, "TicketActivity", **follow) as response,
    ):
        numbers = await desk.burst(3)
        await comment(pair, desk)
        numbers.append(numbers[-1] + 1)
        for reader in (socket, response):
            assert [await reader.number() for _ in numbers] == numbers
        yield socket, response


async def numbers_until_refused(socket: WebSocket) -> tuple[list[int], str]:
    numbers: list[int] = []
    while (message := await socket.message())["type"] != "error":
        if message["type"] == "next":
            numbers.append(message["payload"]["data"]["ticketActivity"]["event"]["sequence"])
    return numbers, message["payload"][0]["extensions"]["code"]


async def change(pair: Pair, desk: Desk, loss: Loss) -> None:
    """The admin does it, at the other process."""
    payload = await asked(pair, desk, loss.mutation, loss.input)
    assert payload["userErrors"] == []


async def comment(pair: Pair, desk: Desk) -> None:
    """At the other process, so that the bell tells of all that this one has written."""
    note = {"ticketId": desk.ticket_id, "body": "…", "channel": "INTERNAL_NOTE"}
    assert (await asked(pair, desk, COMMENT, note))["userErrors"] == []


async def asked(pair: Pair, desk: Desk, mutation: str, input: dict[str, Any]) -> dict[str, Any]:
    """The payload of a mutation of the admin at the other process."""
    headers = {"Authorization": f"Bearer {(await desk.token(desk.world.admin)).secret}"}
    async with httpx.AsyncClient(base_url=pair.there.address, headers=headers, timeout=PATIENCE) as client:
        answer = (await client.post("/graphql", json={"query": mutation, "variables": {"input": input}})).json()
    assert "errors" not in answer, answer
    (payload,) = answer["data"].values()
    found: dict[str, Any] = payload
    return found
