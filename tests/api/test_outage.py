"""A database that does not answer is said so, with a code that clients may repeat after."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import psycopg
import pytest
from starlette.applications import Starlette
from tortoise.exceptions import DBConnectionError, OperationalError

from models import Event, EventType, MessagingSession, SessionState
from schema.ids import encode_id
from tests.client import OPERATIONS, Client
from tests.conftest import SignIn
from tests.factories import World

WORDS = "connection to server at 10.1.2.3 failed"
OUTAGES = [psycopg.OperationalError(WORDS), DBConnectionError(WORDS), OperationalError(f"disk I/O error: {WORDS}")]


def codes(answer: dict[str, Any]) -> set[str]:
    return {error["extensions"]["code"] for error in answer["errors"]}


async def test_without_a_database_the_answer_is_503(app: Starlette, monkeypatch: pytest.MonkeyPatch) -> None:
    async def out_of_reach(tokens: list[str], now: object) -> None:
        raise psycopg.OperationalError(WORDS)

    monkeypatch.setattr("deskwire.app.authenticate_all", out_of_reach)
    response = await Client(app, "dw_any").post("{ viewer { user { id } } }")
    assert response.status_code == 503
    assert codes(response.json()) == {"SERVICE_UNAVAILABLE"}
    assert "10.1.2.3" not in response.text


@pytest.mark.parametrize("outage", OUTAGES, ids=lambda error: type(error).__name__)
async def test_a_change_whose_answer_cannot_be_read_may_be_asked_for_again(
    world: World,
    sign_in: SignIn,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    outage: Exception,
) -> None:
    """R37: it is done; with the same key it is answered, and not done twice. No defect is reported."""
    agent = await world.agent()
    ticket = await world.live_ticket()
    client = await sign_in(agent)

    async def out_of_reach(*_: object) -> list[Any]:
        raise outage

    variables = {"input": {"ticketId": encode_id("Ticket", ticket.id), "idempotencyKey": "once"}}
    with monkeypatch.context() as patch:
        patch.setattr("resolvers.loaders.rows_by", out_of_reach)
        response = await client.post(OPERATIONS["EndSession"], variables)
    assert codes(response.json()) == {"SERVICE_UNAVAILABLE"}
    assert "10.1.2.3" not in response.text
    assert await MessagingSession.filter(state=SessionState.ENDED).count() == 1
    assert await Event.filter(type=EventType.MESSAGING_SESSION_ENDED).count() == 1
    (record,) = [each for each in caplog.records if each.name == "deskwire"]
    assert (record.levelno, record.exc_info) == (logging.WARNING, None)

    again = (await client.ask(OPERATIONS["EndSession"], variables))["data"]["endSession"]
    assert (again["outcome"], again["userErrors"]) == ("ENDED", [])
    assert again["ticket"]["session"]["state"] == "ENDED"
    assert await Event.filter(type=EventType.MESSAGING_SESSION_ENDED).count() == 1


async def test_requests_of_the_same_moment_are_answered_each_for_its_own(
    app: Starlette, world: World, other_world: World, sign_in: SignIn
) -> None:
    """R27: they sign in together, and a wrong token spoils nobody's request."""
    clients = [await sign_in(world.admin), Client(app, "dw_none"), await sign_in(other_world.admin), Client(app, "")]
    answers = await asyncio.gather(*[client.post("{ viewer { account { id } } }") for client in 3 * clients])
    assert [answer.status_code for answer in answers] == 3 * [200, 401, 200, 401]
    seen = [answer.json()["data"]["viewer"]["account"]["id"] for answer in answers[::2]]
    assert seen == 3 * [encode_id("Account", world.id), encode_id("Account", other_world.id)]
