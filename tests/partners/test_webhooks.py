"""Rule R164: what triggers tell webhooks; signed, tried again, never to our own network."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest

from domain.errors import Forbidden, InvalidInput
from domain.transactions import Call
from domain.triggers import TriggerAction
from domain.webhooks import LEASE, MOST_ATTEMPTS, claim_due_calls, create_webhook, pause_after, webhooks_page
from models import (
    Bot,
    BotKind,
    DeliveryState,
    Event,
    EventType,
    OutboundCall,
    Permission,
    Ticket,
    Webhook,
    new_id,
    utc_now,
)
from partners.addresses import ForbiddenAddress, is_public, resolved
from partners.webhooks import send_due_calls, webhook_client
from tests.api.stage import gid
from tests.automation import ENDED_BY_AGENT, Kind, every, rule, settle, trigger
from tests.factories import AGENT, World
from tests.partners.receiver import DROP, HANG, Receiver


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with webhook_client() as client:
        yield client


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver.started() as receiver:
        yield receiver


async def told(world: World, receiver: Receiver, **more: Any) -> tuple[Webhook, Ticket]:
    """A webhook, and a ticket whose end it is to be told of."""
    created = await create_webhook(Call(world.admin), url=receiver.url, **more)
    await trigger(world, every(ENDED_BY_AGENT), TriggerAction(Kind.NOTIFY_WEBHOOK, str(created.webhook_id)))
    ticket = await world.live_ticket()
    await world.end(ticket, world.admin, closing_message="Goodbye")
    await settle()
    return await Webhook.get(id=created.webhook_id), ticket


async def send(client: httpx.AsyncClient, after: timedelta = timedelta(), **more: Any) -> int:
    return await send_due_calls(client, lambda: utc_now() + after, allow_private_urls=True, **more)


async def test_a_webhook_is_told_ids_and_facts_and_can_check_who_tells(
    world: World, receiver: Receiver, client: httpx.AsyncClient
) -> None:
    """R164."""
    webhook, ticket = await told(world, receiver)
    assert await send(client) == 1
    (request,) = receiver.received
    end = await Event.get(type=EventType.MESSAGING_SESSION_ENDED)
    events = await Event.filter(audit_id=end.audit_id).order_by("position")
    first = gid("TicketEvent", events[0].id)
    assert request.json == {
        "eventId": first,
        "auditId": gid("Audit", end.audit_id),
        "ticket": {"id": gid("Ticket", ticket.id), "number": ticket.number, "status": "NEW"},
        "events": [
            {
                "id": gid("TicketEvent", event.id),
                "type": event.type.value,
                "sequence": event.ticket_sequence,
                "occurredAt": event.occurred_at.isoformat(),
                "actorKind": "ADMIN",
            }
            for event in events
        ],
    }
    assert [event["type"] for event in request.json["events"]] == ["TICKET_COMMENT_ADDED", "MESSAGING_SESSION_ENDED"]
    headers = request.headers
    assert (headers["deskwire-event-id"], headers["deskwire-attempt"]) == (first, "1")
    assert (headers["host"], request.path) == (f"127.0.0.1:{receiver.port}", "/hook?x=1")
    stamped = headers["deskwire-timestamp"].encode() + b"." + request.body
    signature = hmac.new(webhook.secret.encode(), stamped, hashlib.sha256).hexdigest()
    assert headers["deskwire-signature"] == f"v1={signature}"
    assert abs(int(headers["deskwire-timestamp"]) - utc_now().timestamp()) < 5
    call = await OutboundCall.get()
    assert (call.state, call.attempts, call.response_code) == (DeliveryState.SENT, 1, 200)
    assert call.finished_at is not None
    assert await send(client, timedelta(days=1)) == 0
    assert len(receiver.received) == 1


async def test_notes_are_not_told_and_only_the_wanted_facts_are(
    world: World, receiver: Receiver, client: httpx.AsyncClient
) -> None:
    """R164: an internal note leaves no trace; an update without a wanted fact is no delivery."""
    created = await create_webhook(Call(world.admin), url=receiver.url, event_types=[EventType.TICKET_FIELD_CHANGED])
    notify = TriggerAction(Kind.NOTIFY_WEBHOOK, str(created.webhook_id))
    await trigger(world, every(rule("EVENT", "IS_NOT", "TICKET_CREATED")), notify)
    everything = await create_webhook(Call(world.admin), url=receiver.url)
    note = every(rule("EVENT", "IS", "TICKET_COMMENT_ADDED"), rule("EVENT", "IS_NOT", "TICKET_CREATED"))
    await trigger(world, note, TriggerAction(Kind.NOTIFY_WEBHOOK, str(everything.webhook_id)))
    ticket = await world.live_ticket()
    await world.comment(ticket, world.admin, "A secret")
    await settle()
    assert await OutboundCall.all().count() == 0
    await trigger(world, note, TriggerAction(Kind.SET_STATUS, "OPEN"))
    await world.comment(ticket, world.admin, "Another secret")
    await settle()
    assert await send(client) == 1
    (request,) = receiver.received
    assert [event["type"] for event in request.json["events"]] == ["TICKET_FIELD_CHANGED"]
    assert request.json["events"][0]["actorKind"] == "TRIGGER"
    assert b"secret" not in request.body


async def test_two_triggers_tell_a_webhook_of_an_update_once(world: World, receiver: Receiver) -> None:
    webhook, _ = await told(world, receiver)
    await trigger(world, every(ENDED_BY_AGENT), TriggerAction(Kind.NOTIFY_WEBHOOK, str(webhook.id)))
    await trigger(world, every(ENDED_BY_AGENT), TriggerAction(Kind.NOTIFY_WEBHOOK, str(webhook.id)))
    await world.ended_ticket()
    await settle()
    assert await OutboundCall.all().count() == 2


@pytest.mark.parametrize(("answer", "code"), [(500, 500), (404, 404), (302, 302), (DROP, None), (HANG, None)])
async def test_what_is_not_taken_is_sent_again(
    world: World, client: httpx.AsyncClient, answer: int | str, code: int | None
) -> None:
    """R164: the same event id, the next attempt, and a signature of its own."""
    async with Receiver.started(answer, 204) as receiver:
        receiver.headers = f"Location: http://127.0.0.1:{receiver.port}/elsewhere\r\n" if answer == 302 else ""
        await told(world, receiver)
        begun = utc_now()
        assert await send(client, timeout=0.5 if answer == HANG else 10) == 0
        call, ended = await OutboundCall.get(), utc_now()
        assert (call.state, call.attempts, call.response_code) == (DeliveryState.PENDING, 1, code)
        assert begun + timedelta(seconds=4) <= call.next_attempt_at <= ended + timedelta(seconds=6)
        assert await send(client) == 0  # its time has not come
        assert await send(client, timedelta(seconds=7)) == 1
        first, second = receiver.received
        assert [each.headers["deskwire-attempt"] for each in (first, second)] == ["1", "2"]
        assert first.headers["deskwire-event-id"] == second.headers["deskwire-event-id"]
        assert first.body == second.body
        assert first.path == second.path
        call = await OutboundCall.get()
        assert (call.state, call.attempts, call.response_code) == (DeliveryState.SENT, 2, 204)


async def test_after_eight_attempts_it_is_given_up(world: World, client: httpx.AsyncClient) -> None:
    """R164: about an hour and a half after the first."""
    async with Receiver.started(503) as receiver:
        await told(world, receiver)
        for attempt in range(MOST_ATTEMPTS):
            assert [call.attempts for call in await OutboundCall.all()] == [attempt]
            await send(client, timedelta(days=attempt))
        call = await OutboundCall.get()
        assert (call.state, call.attempts, call.response_code) == (DeliveryState.FAILED, 8, 503)
        await send(client, timedelta(days=100))
        assert len(receiver.received) == 8


def test_pauses_grow_and_differ() -> None:
    pauses = [pause_after(attempt).total_seconds() for attempt in range(1, MOST_ATTEMPTS)]
    for attempt, pause in enumerate(pauses):
        assert 0.8 * 5 * 3**attempt <= pause <= 1.2 * 5 * 3**attempt
    assert len({pause_after(1) for _ in range(20)}) > 1


async def test_two_processes_send_once(world: World, receiver: Receiver, client: httpx.AsyncClient) -> None:
    """R164: each call is claimed by one of them."""
    await told(world, receiver)
    for _ in range(4):
        await world.ended_ticket()
    await settle()
    assert sum(await asyncio.gather(*(send(client) for _ in range(4)))) == 5
    assert len(receiver.received) == 5
    assert len({request.headers["deskwire-event-id"] for request in receiver.received}) == 5


async def test_a_process_that_dies_over_a_call_leaves_it_to_another(
    world: World, receiver: Receiver, client: httpx.AsyncClient
) -> None:
    """R34 in spirit: at least once. What was claimed and never finished is due again when the lease is over."""
    await told(world, receiver)
    (claimed,) = await claim_due_calls(utc_now, 10)
    assert claimed.attempt == 1
    assert await send(client) == 0
    assert await send(client, LEASE + timedelta(seconds=1)) == 1
    assert [request.headers["deskwire-attempt"] for request in receiver.received] == ["2"]


async def test_a_webhook_that_hangs_does_not_hold_up_the_others(world: World, client: httpx.AsyncClient) -> None:
    async with Receiver.started(HANG) as hanging, Receiver.started() as quick:
        await told(world, hanging)
        await told(world, quick)
        loop = asyncio.get_running_loop()
        begun = loop.time()
        # The second end is told to both. The two that hang do so at once, and not one after the other.
        assert await send(client, timeout=2.0) == 1
        assert loop.time() - begun < 4
        assert (len(hanging.received), len(quick.received)) == (2, 1)


async def test_nobody_reaches_our_network_through_us(
    world: World, receiver: Receiver, client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    """A webhook to a private address is not called, and not tried again."""
    await told(world, receiver)
    assert await send_due_calls(client) == 0
    assert receiver.received == []
    call = await OutboundCall.get()
    assert (call.state, call.attempts, call.response_code) == (DeliveryState.FAILED, 1, None)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "http://localhost/",
        "http://[::1]:8000/",
        "http://2130706433/",
        "http://0x7f.1/",
        "http://0/",
    ],
)
async def test_an_address_is_judged_by_where_it_leads(url: str) -> None:
    """Whatever it is written like."""
    with pytest.raises((ForbiddenAddress, OSError)):
        await resolved(url)


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("2606:4700:4700::1111", True),
        ("10.0.0.1", False),
        ("172.16.9.9", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::", False),
        ("fe80::1%eth0", False),
        ("fc00::1", False),
        ("ff02::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:8.8.8.8", True),
        ("64:ff9b::7f00:1", False),
        ("2002:7f00:1::", False),
    ],
)
def test_public_addresses(address: str, public: bool) -> None:
    assert is_public(address) is public


async def test_a_webhook_that_is_gone_is_not_called(
    world: World, receiver: Receiver, client: httpx.AsyncClient
) -> None:
    webhook, _ = await told(world, receiver)
    await Webhook.filter(id=webhook.id).update(active=False)
    assert await send(client) == 0
    assert receiver.received == []
    assert (await OutboundCall.get()).state is DeliveryState.FAILED


async def test_a_call_to_a_bot_goes_as_it_was_queued(
    world: World, receiver: Receiver, client: httpx.AsyncClient
) -> None:
    """The same sender, with the bot's address and secret."""
    bot = await Bot.create(
        account_id=world.id,
        name="Robo",
        kind=BotKind.HTTP,
        answers=[],
        handoff_keywords=[],
        url=receiver.url,
        secret="of the bot",
        created_at=utc_now(),
    )
    await OutboundCall.create(
        account_id=world.id,
        bot_id=bot.id,
        key="message:1",
        body={"hello": "bot"},
        next_attempt_at=utc_now(),
        created_at=utc_now(),
    )
    assert await send(client) == 1
    (request,) = receiver.received
    assert (request.json, request.headers["deskwire-event-id"]) == ({"hello": "bot"}, "message:1")
    stamped = request.headers["deskwire-timestamp"].encode() + b"." + request.body
    assert request.headers["deskwire-signature"] == f"v1={hmac.new(b'of the bot', stamped, 'sha256').hexdigest()}"


async def test_who_may_create_webhooks(world: World, other_world: World) -> None:
    """With the right to manage triggers; the secret is told once and kept out of the log, like the path."""
    for actor in (await world.agent(), await world.customer()):
        async with world.refuses(Forbidden):
            await create_webhook(Call(actor), url="https://hooks.example/x")
        with pytest.raises(Forbidden):
            await webhooks_page(actor, 9, None)
    manager = await world.agent(permissions=AGENT | {Permission.MANAGE_TRIGGERS})
    created = await create_webhook(Call(manager), url="https://hooks.example/in?key=1")
    (webhook,) = await webhooks_page(world.admin, 9, None)
    assert (webhook.id, webhook.secret, webhook.active) == (created.webhook_id, created.secret, True)
    assert created.secret.startswith("whsec_")
    assert await webhooks_page(other_world.admin, 9, None) == []
    line = (await world.log())[-1]
    assert (line.action, line.target) == ("WEBHOOK_CREATED", f"Webhook {webhook.id}")
    assert line.changes == [{"field": "host", "from": None, "to": "hooks.example"}]


@pytest.mark.parametrize(
    "url",
    [
        "",
        "hooks.example/x",
        "ftp://hooks.example/x",
        "file:///etc/passwd",
        "http://",
        "https://user:password@hooks.example/",
        "https://hooks.example/a b",
        "https://hooks.example/\r\nX: y",
        "https://hooks.example:99999/",
        "https://[::1/",
        "https://hooks.example/" + "x" * 2000,
    ],
)
async def test_an_address_that_is_none_is_refused(world: World, url: str) -> None:
    async with world.refuses(InvalidInput) as refusal:
        await create_webhook(Call(world.admin), url=url)
    assert refusal.value.field == ("url",)


async def test_one_bad_call_stops_no_other(
    world: World, receiver: Receiver, client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    """A body that is not what we write, and a name that no resolver knows."""
    webhook, _ = await told(world, receiver)
    nowhere = await create_webhook(Call(world.admin), url="http://nowhere.invalid/")
    for identifier, body in ((webhook.id, {"eventId": "no id"}), (nowhere.webhook_id, {"eventId": str(new_id())})):
        await OutboundCall.create(
            account_id=world.id,
            webhook_id=identifier,
            key=str(new_id()),
            body=body,
            next_attempt_at=datetime.fromtimestamp(0, utc_now().tzinfo),
            created_at=utc_now(),
        )
    assert await send(client) == 1
    assert len(receiver.received) == 1
    waiting = await OutboundCall.filter(state=DeliveryState.PENDING)
    assert [(call.attempts, call.response_code) for call in waiting] == [(1, None), (1, None)]
    errors = [record for record in caplog.records if record.levelname == "ERROR"]
    assert len([record for record in errors if record.name == "deskwire.webhooks"]) == 1
