"""A fresh token on a living socket, in the payload of a ping (R156)."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Any

import pytest

from domain.people import IssuedToken, issue_token, revoke_token
from domain.transactions import Call
from models import Ticket, Token, User, utc_now
from tests.client import OPERATIONS, Client, Closed, Socket
from tests.delivery.stage import Stage, ticket_id, until

LIFE = timedelta(days=90)


async def issued(stage: Stage, life: timedelta = LIFE) -> IssuedToken:
    """A token of the admin."""
    return await issue_token(await User.get(id=stage.world.admin.id), "test", utc_now(), life=life)


async def refresh(socket: Socket, token: str) -> dict[str, Any]:
    """What the server says to a token. Items that come in between are left out."""
    await socket.say({"type": "ping", "payload": {"authorization": f"Bearer {token}"}})
    while (message := await socket.hear())["type"] != "pong":
        pass
    payload: dict[str, Any] = message["payload"]
    return payload


async def close_code(socket: Socket) -> int:
    while True:
        try:
            await socket.hear()
        except Closed as close:
            return close.code


async def is_alive(socket: Socket) -> bool:
    await socket.say({"type": "ping"})
    return await socket.hear() == {"type": "pong"}


async def revoke(stage: Stage, token: IssuedToken) -> None:
    await revoke_token(Call(stage.world.admin), token.token_id)
    await stage.settled()


async def test_a_socket_outlives_the_token_that_it_began_with(stage: Stage) -> None:
    """And its streams go on, without a gap."""
    ticket = await stage.world.live_ticket()
    old, new = await issued(stage, timedelta(seconds=3)), await issued(stage)
    listening = Client(stage.app, old.secret).listening("TicketActivity", ticketId=ticket_id(ticket))
    async with listening as stream:
        await until(lambda: stage.feeds() == 1)
        answer = await refresh(stream.socket, new.secret)
        assert answer["authorized"] is True
        kept = await Token.get(id=new.token_id)
        assert datetime.fromisoformat(answer["expiresAt"]) == kept.expires_at
        await asyncio.sleep(3.2)
        numbers = await stage.burst(ticket, 3)
        assert [(await stream.next())["event"]["sequence"] for _ in numbers] == numbers


async def test_the_newest_token_is_the_one_that_counts(stage: Stage) -> None:
    """The old one may be revoked; with the new one the socket closes."""
    old, new = await issued(stage), await issued(stage)
    async with Client(stage.app, old.secret).connected() as socket:
        assert (await refresh(socket, new.secret))["authorized"]
        await revoke(stage, old)
        assert await is_alive(socket)
        await revoke(stage, new)
        assert await close_code(socket) == 4403


async def test_a_fresh_token_that_expires_ends_it(stage: Stage) -> None:
    """Also a shorter one than the first."""
    old = await issued(stage)
    async with Client(stage.app, old.secret).connected() as socket:
        new = await issued(stage, timedelta(seconds=2))
        assert (await refresh(socket, new.secret))["authorized"]
        assert await close_code(socket) == 4401


async def test_a_token_that_is_not_good_changes_nothing(stage: Stage) -> None:
    """Unknown, expired, revoked, or another person's: the old one still counts."""
    world = stage.world
    own, expired, revoked = await issued(stage), await issued(stage, timedelta(seconds=0)), await issued(stage)
    await revoke(stage, revoked)
    stranger = (await stage.client(await world.agent())).token
    async with Client(stage.app, own.secret).connected() as socket:
        expires_at = (await Token.get(id=own.token_id)).expires_at
        for bad in ("nonsense", "", own.secret[:-1], expired.secret, revoked.secret, stranger):
            answer = await refresh(socket, bad)
            assert answer["authorized"] is False
            assert datetime.fromisoformat(answer["expiresAt"]) == expires_at
        await revoke(stage, own)
        assert await close_code(socket) == 4403


@pytest.mark.parametrize("payload", [None, {}, [], "x", {"authorization": 1}, {"authorization": "Basic x"}])
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_another_payload_is_just_a_ping(stage: Stage, payload: Any) -> None:
    async with (await stage.client(stage.world.admin)).connected() as socket:
        await socket.say({"type": "ping", "payload": payload})
        assert await socket.hear() == {"type": "pong"}


async def test_refreshing_while_much_happens_loses_nothing(stage: Stage) -> None:
    """Twenty times, each time with another token, under a stream of events."""
    ticket = await stage.world.live_ticket()
    tokens = [await issued(stage) for _ in range(20)]
    async with Client(stage.app, tokens[0].secret).connected() as socket:
        await socket.subscribe(OPERATIONS["TicketActivity"], {"ticketId": ticket_id(ticket)})
        await until(lambda: stage.feeds() == 1)
        writing = asyncio.create_task(bursts(stage, ticket))
        for token in tokens:
            await socket.say({"type": "ping", "payload": {"authorization": f"Bearer {token.secret}"}})
            await asyncio.sleep(0.01)
        numbers = await writing
        messages = [await socket.hear() for _ in range(len(numbers) + len(tokens))]
        pongs = [message["payload"]["authorized"] for message in messages if message["type"] == "pong"]
        items = [each["payload"]["data"]["ticketActivity"] for each in messages if each["type"] == "next"]
        assert pongs == [True] * len(tokens)
        assert [item["event"]["sequence"] for item in items] == numbers
        for token in tokens[:-1]:
            await revoke(stage, token)
        assert await is_alive(socket)


async def bursts(stage: Stage, ticket: Ticket) -> list[int]:
    return [number for _ in range(10) for number in await stage.burst(ticket, 5)]


async def test_a_token_revoked_while_it_is_shown_is_noticed(stage: Stage) -> None:
    """Between asking whose it is and minding it, nothing slips through."""
    old, new = await issued(stage), await issued(stage)
    async with Client(stage.app, old.secret).connected() as socket:
        ask = stage.hub.authenticate
        asked: list[str] = []

        async def authenticate(bearer: str) -> Any:
            actor = await ask(bearer)
            if not asked:
                await revoke(stage, new)  # and the log has passed it on
            asked.append(bearer)
            return actor

        stage.hub.authenticate = authenticate
        assert (await refresh(socket, new.secret))["authorized"] is False
        assert asked == [new.secret] * 2
        await revoke(stage, old)
        assert await close_code(socket) == 4403
