"""Subscriptions over HTTP: framing to the byte, who gets which format, how each stream ends (R152, R156, R157)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
import pytest

from deskwire.http import streamed
from domain.actors import Actor
from domain.people import revoke_token
from domain.transactions import Call
from models import TicketAccess, Token
from schema.ids import encode_id
from subscriptions.streaming import MULTIPART as AS_PARTS
from subscriptions.streaming import SENT_EVENTS as AS_EVENTS
from subscriptions.streaming import Format
from tests.delivery.stage import SIGNALS, TYPE, Stage, ticket_id, until
from tests.delivery.streaming import FORMATS, activity, connections, hearing, is_released
from tests.streams import MULTIPART, SENT_EVENTS, Completed, Streamed

SHORT = "subscription ($id: ID!) { ticketActivity(ticketId: $id) { event { sequence } } }"


@pytest.fixture(params=FORMATS)
def accept(request: pytest.FixtureRequest) -> str:
    return FORMATS[request.param]


# To the byte


async def test_events_are_framed_as_the_protocol_wants_them(stage: Stage) -> None:
    """GraphQL over SSE, distinct connections: a comment at once, `next` and `complete`, line feeds alone."""
    ticket = await stage.world.live_ticket()
    async with hearing(stage, stage.world.admin, SENT_EVENTS, SHORT, id=ticket_id(ticket)) as stream:
        assert stream.headers == {
            "content-type": "text/event-stream; charset=utf-8",
            "cache-control": "no-store",
            "x-content-type-options": "nosniff",
            "x-accel-buffering": "no",
        }
        assert await stream.piece() == b":\n\n"
        await stage.world.comment(ticket, stage.world.admin)
        result = b'{"data":{"ticketActivity":{"event":{"sequence":4}}}}'
        assert await stream.piece() == b"event: next\ndata: " + result + b"\n\n"
        await revoke(stage)
        rest = await stream.body()
    assert rest.startswith(b'event: next\ndata: {"errors":[{')
    assert rest.endswith(b'"code":"UNAUTHENTICATED"}}]}\n\nevent: complete\ndata:\n\n')
    assert rest.count(b"\n") == 6


async def test_parts_are_framed_as_apollo_reads_them(stage: Stage) -> None:
    """The delimiter follows its part at once: a client looks at a part when it has seen where it ends."""
    ticket = await stage.world.live_ticket()
    async with hearing(stage, stage.world.admin, MULTIPART, SHORT, id=ticket_id(ticket)) as stream:
        assert stream.headers["content-type"] == 'multipart/mixed;boundary="graphql";subscriptionSpec=1.0'
        assert await stream.piece() == b"\r\n--graphql"
        await stage.world.comment(ticket, stage.world.admin)
        head = b"\r\nContent-Type: application/json\r\n\r\n"
        result = b'{"payload":{"data":{"ticketActivity":{"event":{"sequence":4}}}}}'
        assert await stream.piece() == head + result + b"\r\n--graphql"
        await revoke(stage)
        rest = await stream.body()
    assert rest.startswith(head + b'{"payload":{"errors":[{')
    assert rest.endswith(b'"code":"UNAUTHENTICATED"}}]}}\r\n--graphql--\r\n')


async def revoke(stage: Stage) -> None:
    token = await Token.filter(user_id=stage.world.admin.id).get()
    await revoke_token(Call(stage.world.admin), token.id)


async def test_texts_with_line_breaks_stay_on_their_line(stage: Stage, accept: str) -> None:
    """What somebody writes cannot end an event, nor a part."""
    ticket = await stage.world.live_ticket()
    body = "one\ntwo\r\n--graphql\r\n\n\nevent: complete\ndata:\n\n\u2028three"
    async with activity(stage, accept, ticket) as stream:
        await stage.world.comment(ticket, stage.world.admin, body)
        assert (await stream.item())["event"]["comment"]["body"] == body
        await stage.world.comment(ticket, stage.world.admin, "next")
        assert (await stream.item())["event"]["comment"]["body"] == "next"


# Who gets which format

URQL = (
    "application/graphql-response+json, application/graphql+json, application/json, text/event-stream, multipart/mixed"
)


@pytest.mark.parametrize(
    ("accept", "format"),
    [
        (["text/event-stream"], AS_EVENTS),
        (["Text/Event-Stream"], AS_EVENTS),
        (["application/json", "text/event-stream"], AS_EVENTS),
        ([URQL], AS_EVENTS),
        (['multipart/mixed;boundary="graphql";subscriptionSpec=1.0,application/json'], AS_PARTS),
        (["multipart/mixed; boundary=graphql; subscriptionspec=1.0"], AS_PARTS),
        (['multipart/mixed;subscriptionSpec="1.0"'], AS_PARTS),
        (["text/event-stream, multipart/mixed;subscriptionSpec=1.0"], AS_EVENTS),
        (["text/event-stream;q=0.5, multipart/mixed;subscriptionSpec=1.0;q=0.4"], AS_EVENTS),
        (["text/event-stream;q=0.5, multipart/mixed;subscriptionSpec=1.0;q=0.6"], AS_PARTS),
        (["text/event-stream;q=0, multipart/mixed;subscriptionSpec=1.0"], AS_PARTS),
        (["text/event-stream;q=0"], None),
        (["text/event-stream;q=nonsense"], None),
        (["multipart/mixed"], None),
        (["multipart/mixed;deferSpec=20220824"], None),
        (["*/*"], None),
        (["text/*"], None),
        ([""], None),
        ([], None),
    ],
)
def test_a_stream_comes_in_the_format_that_the_client_names(accept: Sequence[str], format: Format | None) -> None:
    """By quality; server-sent events where he likes both alike; none where he only takes anything."""
    assert streamed(accept) is format


@pytest.mark.parametrize("accept", ["*/*", "application/json", "multipart/mixed, application/json"])
async def test_who_names_no_format_is_told_how_to_subscribe(stage: Stage, accept: str) -> None:
    client = await stage.client(stage.world.admin)
    async with Streamed(stage.app, client.token, accept).asking("SessionEnded") as answer:
        assert answer.status == 400
        (error,) = orjson.loads(await answer.piece())["errors"]
    assert error["extensions"]["code"] == "SUBSCRIPTION_NEEDS_WEBSOCKET"


async def test_a_query_and_a_mutation_are_one_result_and_the_end(stage: Stage, accept: str) -> None:
    """To a client that takes nothing else; one that takes JSON as well gets JSON."""
    ticket = await stage.world.live_ticket()
    client = await stage.client(stage.world.admin)
    streams = accept == SENT_EVENTS
    async with Streamed(stage.app, client.token, accept).asking("{ viewer { user { name } } }") as answer:
        assert answer.status == 200
        if streams:
            assert answer.headers["content-type"] == AS_EVENTS.content_type
            assert await answer.next() == {"data": {"viewer": {"user": {"name": "Ada Admin"}}}}
            with pytest.raises(Completed):
                await answer.next()
        else:
            assert answer.headers["content-type"].startswith("application/json")
    variables = {"input": {"ticketId": ticket_id(ticket)}}
    async with Streamed(stage.app, client.token, accept).asking("EndSession", variables) as answer:
        if streams:
            assert (await answer.next())["data"]["endSession"]["userErrors"] == []
    assert (await stage.world.session(ticket)).ended_at is not None


# What is refused


async def test_a_request_that_is_none_gets_a_status_and_json(stage: Stage, accept: str) -> None:
    client = await stage.client(stage.world.admin)
    refused = {
        "subscription {": (client.token, 400, "GRAPHQL_PARSE_FAILED"),
        "subscription { nothing }": (client.token, 400, "GRAPHQL_VALIDATION_FAILED"),
        "SessionEnded": ("nonsense", 401, "UNAUTHENTICATED"),
    }
    for query, (token, status, code) in refused.items():
        async with Streamed(stage.app, token, accept).asking(query) as answer:
            if status == 400 and accept == SENT_EVENTS:
                # GraphQL over SSE: who accepts nothing but events is told of a bad document in one.
                assert (answer.status, (await answer.next())["errors"][0]["extensions"]["code"]) == (200, code)
                continue
            # Apollo's client names plain JSON, and clients that name it read a body only beside a 200.
            assert answer.status == (200 if status == 400 and accept == MULTIPART else status)
            assert answer.headers["content-type"].startswith("application/json")
            assert orjson.loads(await answer.piece())["errors"][0]["extensions"]["code"] == code
    assert is_released(stage)


async def test_a_refused_subscription_ends_with_its_reason(stage: Stage, accept: str) -> None:
    """R153: an invisible ticket, a cursor of nobody, a variable that does not fit."""
    stranger = await stage.world.agent("Stranger", access=TicketAccess.ASSIGNED)
    ticket = await stage.world.live_ticket()
    mine = {"ticketId": ticket_id(ticket)}
    cases: list[tuple[Actor, dict[str, Any], str]] = [
        (stranger, mine, "NOT_FOUND"),
        (stage.world.admin, {"ticketId": "nonsense"}, "INVALID_ID"),
        (stage.world.admin, mine | {"after": "nonsense"}, "INVALID_CURSOR"),
        (stage.world.admin, {"ticketId": None}, "BAD_USER_INPUT"),
    ]
    for actor, variables, code in cases:
        client = await stage.client(actor)
        async with Streamed(stage.app, client.token, accept).asking("TicketActivity", variables) as stream:
            assert stream.status == 200
            assert (await stream.end())["extensions"]["code"] == code
    await until(lambda: is_released(stage))


# Following


async def test_a_stream_resumes_after_its_cursor(stage: Stage, accept: str) -> None:
    """R157: all later events in order, none twice, then live ones."""
    ticket = await stage.world.live_ticket()
    async with activity(stage, accept, ticket) as stream:
        await stage.burst(ticket, 3)
        cursor = [await stream.item() for _ in range(3)][1]["cursor"]
    missed = await stage.burst(ticket, 50)
    client = await stage.client(stage.world.admin)
    again = Streamed(stage.app, client.token, accept)
    async with again.asking("TicketActivity", {"ticketId": ticket_id(ticket), "after": cursor}) as stream:
        found = [(await stream.item())["event"]["sequence"] for _ in range(51)]
        assert found == [missed[0] - 1, *missed]
        (live,) = await stage.burst(ticket, 1)
        assert (await stream.item())["event"]["sequence"] == live
        await stage.settled()
        assert stream.is_silent


async def test_an_idle_stream_gives_signs_of_life(stage: Stage, accept: str) -> None:
    """And they are no results."""
    ticket = await stage.world.live_ticket()
    async with activity(stage, accept, ticket) as stream:
        for _ in range(2):
            for connection in connections(stage):
                connection.ping()
            await stream.beat()
        await stage.burst(ticket, 1)
        assert (await stream.item())["event"]["sequence"] == 4


async def test_signals_come_over_http_as_well(stage: Stage, accept: str) -> None:
    customer = await stage.world.customer()
    ticket = await stage.world.live_ticket(customer=customer)
    async with hearing(stage, stage.world.admin, accept, SIGNALS, ticketId=ticket_id(ticket)) as stream:
        await stage.do(customer, TYPE, conversationId=encode_id("Conversation", ticket.conversation_id))
        assert (await stream.item())["kind"] == "TYPING"
