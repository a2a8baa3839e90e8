"""What becomes of mails that come in (R79, R145), through the real endpoint."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from domain.emails import MOST_IN_AN_HOUR
from domain.errors import ChannelUnavailable
from domain.lifecycle import close_ticket
from domain.transactions import Call
from models import (
    Channel,
    Comment,
    Conversation,
    Event,
    EventType,
    InboundEmail,
    InboundOutcome,
    MessagingSession,
    OutboundEmail,
    SuspendedMessage,
    Suspension,
    Ticket,
    TicketAccess,
    TicketStatus,
    User,
    UserKind,
    utc_now,
)
from partners.email.inbound import signature
from partners.email.outgoing import composed
from tests.api.stage import gid
from tests.conftest import SignIn
from tests.factories import World
from tests.invariants import assert_consistent
from tests.partners.mails import (
    ADDRESSES,
    KEY,
    address_of,
    answer_to,
    claimed,
    deliver,
    delivered,
    raw_mail,
    read,
)

LINKS = "query ($id: ID!) { ticket(id: $id) { followUpOf { id number } followUps { id number } } }"


async def counted() -> list[int]:
    """How many there are of everything that a mail could make."""
    return [await table.all().count() for table in (Ticket, Comment, Conversation, MessagingSession, User, Event)]


async def letter_on(world: World, ticket: Ticket) -> Any:
    """What the customer has in his inbox, after an agent's reply."""
    await world.comment(ticket, world.admin, "We look into it.", Channel.EMAIL)
    return read(composed(await claimed(), ADDRESSES).content)


async def noted() -> InboundEmail:
    (row,) = await InboundEmail.all()
    return row


async def test_a_mail_of_nobody_we_know_makes_a_customer_and_a_ticket(world: World, app: Starlette) -> None:
    """R79: and answers go to the address that it came from."""
    raw = raw_mail(
        "=?utf-8?q?Zo=C3=AB?= <Zoe@Customer.Example>", "Hello,\r\n\r\nit broke.\r\n-- \r\nZoë", subject="Help"
    )
    assert await delivered(app, raw) == {"outcome": "TICKET", "ticket": 1}
    ticket = await Ticket.get(number=1)
    zoe = await User.get(id=ticket.requester_id)
    assert (zoe.name, zoe.email, zoe.kind, zoe.email_verified) == (
        "Zoë",
        "zoe@customer.example",
        UserKind.END_USER,
        True,
    )
    assert (ticket.channel, ticket.routing_channel, ticket.subject) == (Channel.EMAIL, Channel.EMAIL, "Help")
    assert await world.thread(ticket) == ["Hello,\n\nit broke."]
    created, added = await world.events(ticket)
    assert [created.type, added.type] == [EventType.TICKET_CREATED, EventType.TICKET_COMMENT_ADDED]
    assert (created.actor_kind, created.actor_id, added.payload["customer"]) == ("END_USER", zoe.id, None)
    row = await noted()
    assert (row.outcome, row.ticket_id, row.comment_id) == (InboundOutcome.TICKET, ticket.id, added.comment_id)
    assert await delivered(app, raw_mail("zoe@customer.example")) == {"outcome": "TICKET", "ticket": 2}
    assert (await Ticket.get(number=2)).requester_id == zoe.id
    await assert_consistent(world)


@pytest.mark.parametrize("status", [TicketStatus.PENDING, TicketStatus.ON_HOLD, TicketStatus.SOLVED])
async def test_an_answer_opens_the_ticket_and_not_the_session(
    world: World, app: Starlette, status: TicketStatus
) -> None:
    """R79."""
    ticket = await world.ended_ticket(status=status)
    session = await world.session(ticket)
    answer = answer_to(await letter_on(world, ticket), "Still broken.")
    assert await delivered(app, answer) == {"outcome": "COMMENT", "ticket": 1}
    assert (await Ticket.get(id=ticket.id)).status is TicketStatus.OPEN
    after = await world.session(ticket)
    assert (after.state, after.ended_at) == (session.state, session.ended_at)
    assert await MessagingSession.all().count() == await Ticket.all().count() == 1


async def test_an_answer_while_the_session_lives_joins_the_ticket(world: World, app: Starlette) -> None:
    """R79: and the session goes on."""
    ticket = await world.live_ticket()
    answer = answer_to(await letter_on(world, ticket), "By mail now.")
    assert (await delivered(app, answer))["outcome"] == "COMMENT"
    assert (await world.session(ticket)).state == "ACTIVE"
    assert (await Comment.get(body="By mail now.")).channel is Channel.EMAIL


async def test_an_answer_on_a_closed_ticket_begins_a_follow_up(world: World, app: Starlette, sign_in: SignIn) -> None:
    """R145: linked, for those who may see both; same requester and organisation, over e-mail, and nothing else."""
    organization = await world.organization()
    old = await world.live_ticket(
        assignee=await world.agent(), group=await world.group(), tags=["vip"], organization_id=organization.id
    )
    letter = await letter_on(world, old)
    await close_ticket(Call(world.system), old.id)
    before = await Ticket.get(id=old.id)
    assert await delivered(app, answer_to(letter, "It broke again.")) == {"outcome": "FOLLOW_UP", "ticket": 2}
    new = await Ticket.get(number=2)
    assert (new.follow_up_of_id, new.continuation_of_id) == (old.id, None)
    assert (new.requester_id, new.organization_id, new.channel) == (old.requester_id, organization.id, Channel.EMAIL)
    assert (new.status, new.group_id, new.assignee_id, new.tags) == (TicketStatus.NEW, None, None, [])
    assert (await Ticket.get(id=old.id)).version == before.version
    assert await world.thread(new) == ["It broke again."]

    client = await sign_in(world.admin)
    parts = [{"id": gid("Ticket", each.id), "number": each.number} for each in (old, new)]
    seen = [(await client.ask(LINKS, {"id": part["id"]}))["data"]["ticket"] for part in parts]
    assert seen == [{"followUpOf": None, "followUps": [parts[1]]}, {"followUpOf": parts[0], "followUps": []}]
    await assert_consistent(world)


async def test_links_show_no_ticket_that_the_viewer_may_not_see(world: World, app: Starlette, sign_in: SignIn) -> None:
    """R145, R26."""
    agent = await world.agent(access=TicketAccess.ASSIGNED)
    old = await world.live_ticket()
    letter = await letter_on(world, old)
    await close_ticket(Call(world.system), old.id)
    await delivered(app, answer_to(letter, "Again."))
    new = await Ticket.get(number=2)
    client = await sign_in(agent)
    for mine, other, field, nothing in ((old, new, "followUps", []), (new, old, "followUpOf", None)):
        await Ticket.filter(id=mine.id).update(assignee_id=agent.id)
        await Ticket.filter(id=other.id).update(assignee_id=None)
        answer = await client.ask(LINKS, {"id": gid("Ticket", mine.id)})
        assert answer["data"]["ticket"][field] == nothing


async def test_a_stranger_cannot_write_into_a_thread(world: World, app: Starlette) -> None:
    """R79: who got a copy has all our signatures, and still not the customer's address."""
    ticket = await world.ended_ticket()
    letter = await letter_on(world, ticket)
    before = await world.thread(ticket)
    for number, sender in enumerate(("eve@evil.example", await address_of(world.admin.id)), start=2):
        assert await delivered(app, answer_to(letter, "Send it to me.", sender=sender)) == {
            "outcome": "TICKET",
            "ticket": number,
        }
        new = await Ticket.get(number=number)
        assert (new.follow_up_of_id, new.requester_id == ticket.requester_id) == (None, False)
    assert await world.thread(ticket) == before
    # Not even who is an agent writes as one by mail.
    assert {comment.author_kind for comment in await Comment.filter(body="Send it to me.")} == {"END_USER"}
    await assert_consistent(world)


async def test_what_we_did_not_sign_names_nothing(world: World, app: Starlette) -> None:
    """R79: neither a made-up Message-ID nor one of another account finds a ticket."""
    ticket = await world.ended_ticket()
    letter = await letter_on(world, ticket)
    right = str(letter["Message-ID"])
    wrong = f"<{right[1:34]}{'0' * 20}{right[54:]}"
    assert (len(wrong), wrong != right) == (len(right), True)
    address = await address_of(ticket.requester_id)
    reply_to = str(letter["Reply-To"]).replace("acme", "globex")
    for reference in (wrong, right.replace("acme", "globex"), "<x@y>", ""):
        raw = raw_mail(address, to=reply_to, In_Reply_To=reference)
        assert (await delivered(app, raw))["outcome"] == "TICKET"
    assert len(await world.thread(ticket)) == 2


async def test_the_same_mail_again_is_one_comment(world: World, app: Starlette) -> None:
    """R79: one after the other, and at the same moment; also of somebody who is new."""
    ticket = await world.ended_ticket()
    answer = answer_to(await letter_on(world, ticket), "Thanks!")
    answers = await asyncio.gather(*(delivered(app, answer) for _ in range(5)))
    answers += [await delivered(app, answer)]
    assert answers == [{"outcome": "COMMENT", "ticket": 1}] * 6
    assert (await world.thread(ticket)).count("Thanks!") == 1
    raw = raw_mail("new@customer.example")
    assert await asyncio.gather(*(delivered(app, raw) for _ in range(5))) == [{"outcome": "TICKET", "ticket": 2}] * 5
    assert await User.filter(email="new@customer.example").count() == 1
    assert await InboundEmail.all().count() == await Ticket.all().count() == 2
    await assert_consistent(world)


async def test_a_mail_without_a_name_is_known_by_its_content(world: World, app: Starlette) -> None:
    raw = b"From: cleo@customer.example\r\nSubject: Hi\r\n\r\nHello\r\n"
    assert [await delivered(app, raw) for _ in range(2)] == [{"outcome": "TICKET", "ticket": 1}] * 2
    assert await delivered(app, raw.replace(b"Hello", b"Hullo")) == {"outcome": "TICKET", "ticket": 2}
    long = raw.replace(b"Subject", b"Message-ID: <" + b"x" * 2_000 + b"@y>\r\nSubject")
    assert [await delivered(app, long) for _ in range(2)] == [{"outcome": "TICKET", "ticket": 3}] * 2


async def test_two_mails_at_the_same_moment_are_two_comments(world: World, app: Starlette) -> None:
    """R79, R50: in one order, without gaps."""
    ticket = await world.ended_ticket()
    letter = await letter_on(world, ticket)
    await asyncio.gather(*(delivered(app, answer_to(letter, f"Part {number}")) for number in range(4)))
    assert sorted((await world.thread(ticket))[2:]) == [f"Part {number}" for number in range(4)]
    await assert_consistent(world)


MACHINES = [
    {"Auto_Submitted": "auto-replied"},
    {"Auto_Submitted": "auto-generated (vacation)"},
    {"Precedence": "bulk"},
    {"Precedence": "List"},
    {"X_Auto_Response_Suppress": "All"},
    {"Return_Path": "<>"},
]


@pytest.mark.parametrize("headers", MACHINES)
async def test_machines_are_not_listened_to(world: World, app: Starlette, headers: dict[str, str]) -> None:
    """R79: the mail is noted with its reason; no ticket, no comment, no customer."""
    ticket = await world.ended_ticket(status=TicketStatus.PENDING)
    letter = await letter_on(world, ticket)
    before = await counted()
    assert await delivered(app, answer_to(letter, "I am on holiday.", **headers)) == {"outcome": "AUTO_REPLY"}
    assert await delivered(app, raw_mail("new@customer.example", **headers)) == {"outcome": "AUTO_REPLY"}
    assert await counted() == before
    assert None not in [row.reason for row in await InboundEmail.all()]


async def test_a_person_may_say_that_he_is_none(world: World, app: Starlette) -> None:
    raw = raw_mail(Auto_Submitted="no", Precedence="normal", Return_Path="<cleo@customer.example>")
    assert (await delivered(app, raw))["outcome"] == "TICKET"


async def test_our_own_mail_does_not_come_in(world: World, app: Starlette) -> None:
    """R79: neither under our Message-ID nor from our address."""
    ticket = await world.ended_ticket()
    letter = await letter_on(world, ticket)
    before = await counted()
    assert await delivered(app, letter.as_bytes()) == {"outcome": "LOOP"}
    assert await delivered(app, raw_mail(ADDRESSES.support("acme").upper())) == {"outcome": "LOOP"}
    assert await delivered(app, raw_mail(message_id=str(letter["Message-ID"]))) == {"outcome": "LOOP"}
    assert await counted() == before


async def test_a_machine_that_says_nothing_is_known_by_its_haste(world: World, app: Starlette) -> None:
    """R79: so many mails of one address within an hour, also at the same moment; others are heard, and he is later."""
    await world.customer()
    many = [raw_mail("bot@machine.example", f"Answer {number}") for number in range(MOST_IN_AN_HOUR + 2)]
    outcomes = [(await delivered(app, raw))["outcome"] for raw in many[:-3]]
    outcomes += [each["outcome"] for each in await asyncio.gather(*(delivered(app, raw) for raw in many[-3:]))]
    assert sorted(outcomes) == ["LOOP"] * 2 + ["TICKET"] * MOST_IN_AN_HOUR
    assert (await delivered(app, raw_mail()))["outcome"] == "TICKET"
    hour_ago = utc_now() - timedelta(hours=1, minutes=1)
    await InboundEmail.filter(from_address="bot@machine.example").update(received_at=hour_ago)
    assert (await delivered(app, raw_mail("bot@machine.example")))["outcome"] == "TICKET"


@pytest.mark.parametrize("sender", ["", "nobody", "a@x.example, b@y.example", "<>", "a b@@c", "((((((((" * 999])
async def test_a_mail_of_nobody_is_noted(world: World, app: Starlette, sender: str) -> None:
    before = await counted()
    assert await delivered(app, raw_mail(sender)) == {"outcome": "REJECTED"}
    assert await counted() == before
    assert (await noted()).from_address == ""


async def test_a_mail_of_a_suspended_customer_is_kept_aside(world: World, app: Starlette) -> None:
    """R140: suspended from all, not from messaging alone."""
    customer = await world.customer()
    ticket = await world.ended_ticket(customer=customer)
    letter = await letter_on(world, ticket)
    await User.filter(id=customer.id).update(suspension=Suspension.MESSAGING)
    assert (await delivered(app, answer_to(letter, "One")))["outcome"] == "COMMENT"
    await User.filter(id=customer.id).update(suspension=Suspension.ALL)
    before = await counted()
    assert await delivered(app, answer_to(letter, "Two")) == {"outcome": "SUSPENDED"}
    assert await counted() == before
    (kept,) = await SuspendedMessage.all()
    assert (kept.end_user_id, kept.channel, kept.body) == (customer.id, Channel.EMAIL, "Two")


async def test_who_was_deactivated_is_not_heard(world: World, app: Starlette) -> None:
    customer = await world.customer()
    await User.filter(id=customer.id).update(active=False)
    before = await counted()
    assert await delivered(app, raw_mail(await address_of(customer.id))) == {"outcome": "REJECTED"}
    assert await counted() == before


async def test_a_mail_does_not_prove_an_address_that_somebody_claimed(world: World, app: Starlette) -> None:
    """R61: he stays unverified. Addresses are found however they are spelt."""
    customer = await world.customer()
    await User.filter(id=customer.id).update(email="Cleo@Customer.example", email_verified=False)
    assert (await delivered(app, raw_mail("CLEO@customer.example")))["outcome"] == "TICKET"
    user = await User.get(id=customer.id)
    assert (user.email_verified, (await Ticket.get(number=1)).requester_id) == (False, customer.id)
    composer = await world.composer(await Ticket.get(number=1), world.admin)
    email = next(each for each in composer.channels if each.channel is Channel.EMAIL)
    assert (email.enabled, email.reason) == (False, "CHANNEL_UNAVAILABLE")


async def test_without_an_address_nothing_is_queued(world: World) -> None:
    """R61: refused, and the composer says why."""
    ticket = await world.ended_ticket(customer=await world.customer(email=False))
    async with world.refuses(ChannelUnavailable):
        await world.comment(ticket, world.admin, "Hello", Channel.EMAIL)
    assert await OutboundEmail.all().count() == 0
    email = next(each for each in (await world.composer(ticket, world.admin)).channels if each.channel is Channel.EMAIL)
    assert (email.enabled, email.reason) == (False, "CHANNEL_UNAVAILABLE")


async def test_an_answer_on_a_merged_ticket_joins_the_one_that_took_it_in(world: World, app: Starlette) -> None:
    """R79, R147."""
    customer = await world.customer()
    source = await world.ended_ticket(customer=customer)
    letter = await letter_on(world, source)
    target = await world.message(customer, "Again")
    await Ticket.filter(id=source.id).update(status=TicketStatus.CLOSED, merged_into_id=target.id)
    assert await delivered(app, answer_to(letter, "Thanks")) == {"outcome": "COMMENT", "ticket": 2}
    assert await world.thread(target) == ["Again", "Thanks"]


async def test_an_answer_on_a_deleted_ticket_is_a_new_one(world: World, app: Starlette) -> None:
    """R148: nobody would see it there."""
    ticket = await world.ended_ticket()
    letter = await letter_on(world, ticket)
    await Ticket.filter(id=ticket.id).update(deleted_at=utc_now())
    assert await delivered(app, answer_to(letter, "Hello?")) == {"outcome": "TICKET", "ticket": 2}
    assert (await Ticket.get(number=2)).follow_up_of_id is None


def bounce_of(letter: Any, *, action: str = "failed", to: str = "mailer-daemon@acme.mail.deskwire.example") -> bytes:
    head = (
        "From: MAILER-DAEMON@mx.example\r\n"
        f"To: {to}\r\nSubject: Undeliverable\r\nMessage-ID: <{action}@mx.example>\r\nAuto-Submitted: auto-replied\r\n"
        'Content-Type: multipart/report; report-type=delivery-status; boundary="=b"\r\n\r\n--=b\r\n\r\nSorry.\r\n'
    )
    status = (
        "--=b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.example\r\n\r\n"
        f"Action: {action}\r\nStatus: 5.1.1\r\nDiagnostic-Code: smtp; 550 No such user\r\n"
    )
    original = f"--=b\r\nContent-Type: text/rfc822-headers\r\n\r\nMessage-ID: {letter['Message-ID']}\r\n\r\n--=b--\r\n"
    return (head + status + original).encode()


async def test_a_mail_that_came_back_is_a_fact_for_staff(world: World, app: Starlette, sign_in: SignIn) -> None:
    """R60: once, however often it comes back; not for a delay, nor for what we did not send."""
    ticket = await world.ended_ticket()
    letter = await letter_on(world, ticket)
    assert await delivered(app, bounce_of(letter, action="delayed")) == {"outcome": "AUTO_REPLY"}
    assert await delivered(app, bounce_of({"Message-ID": "<x@y>"}, action="FAILED")) == {"outcome": "BOUNCE"}
    bounce = bounce_of(letter)
    assert await delivered(app, bounce) == {"outcome": "BOUNCE", "ticket": 1}
    assert await delivered(app, bounce.replace(b"<failed@", b"<again@")) == {"outcome": "BOUNCE", "ticket": 1}
    (row,) = await OutboundEmail.all()
    assert row.bounced_at is not None
    event = (await world.events(ticket))[-1]
    assert (event.type, event.payload, event.actor_kind) == (EventType.EMAIL_BOUNCED, {"status": "5.1.1"}, "SYSTEM")
    assert (await world.history(ticket)).count("EMAIL_BOUNCED") == 1
    shown = await (await sign_in(world.admin)).ask(
        "query ($id: ID!) { ticket(id: $id) { events(last: 1) { edges { node { type ... on EmailUndelivered {"
        " comment { body emailDelivery { state error } } } } } } } }",
        {"id": gid("Ticket", ticket.id)},
    )
    assert shown["data"]["ticket"]["events"]["edges"][0]["node"] == {
        "type": "EMAIL_BOUNCED",
        "comment": {
            "body": "We look into it.",
            "emailDelivery": {"state": "BOUNCED", "error": "smtp; 550 No such user"},
        },
    }
    assert await Ticket.all().count() == 1
    await assert_consistent(world)


async def test_a_bounce_names_its_mail_by_the_address_it_comes_to(world: World, app: Starlette) -> None:
    """R60: servers that bring back nothing of the mail send to the envelope's sender."""
    ticket = await world.ended_ticket()
    await letter_on(world, ticket)
    (row,) = await OutboundEmail.all()
    raw = bounce_of({"Message-ID": "<x@y>"}, to=ADDRESSES.bounces("acme", row.comment_id))
    assert await delivered(app, raw) == {"outcome": "BOUNCE", "ticket": 1}


async def test_a_bounce_of_old_brings_the_mail_back_as_text(world: World, app: Starlette) -> None:
    """R60."""
    letter = await letter_on(world, await world.ended_ticket())
    body = f"Sorry, it didn't work out.\r\n\r\nMessage-ID: {letter['Message-ID']}\r\n"
    raw = raw_mail("MAILER-DAEMON@mx.example", body, Return_Path="<>")
    assert await delivered(app, raw) == {"outcome": "BOUNCE", "ticket": 1}


async def test_a_forged_stale_or_misdirected_mail_is_not_taken(
    world: World, other_world: World, app: Starlette
) -> None:
    """The signature holds for one account, one body and five minutes."""
    raw, before = raw_mail(), await counted()
    refused: dict[str, tuple[dict[str, Any], int, str]] = {
        "another key": ({"key": "x" * 40}, 401, "BAD_SIGNATURE"),
        "no signature": ({"Deskwire_Signature": ""}, 401, "BAD_SIGNATURE"),
        "not ASCII": ({"Deskwire_Signature": b"\xb2"}, 401, "BAD_SIGNATURE"),
        "no timestamp": ({"Deskwire_Timestamp": ""}, 401, "BAD_SIGNATURE"),
        "odd timestamp": ({"Deskwire_Timestamp": "1e9"}, 401, "BAD_SIGNATURE"),
        "too old": ({"age": 301}, 401, "STALE_SIGNATURE"),
        "of tomorrow": ({"age": -310}, 401, "STALE_SIGNATURE"),
        "no account": ({"slug": "nobody"}, 404, "NOT_FOUND"),
        "JSON": ({"Content_Type": "application/json"}, 415, "UNSUPPORTED_MEDIA_TYPE"),
    }
    for name, (how, status, code) in refused.items():
        answer = await deliver(app, raw, **how)
        assert (name, answer.status_code, answer.json()["code"]) == (name, status, code)
    assert await counted() == before
    assert await InboundEmail.all().count() == 0


async def test_what_was_signed_for_one_account_is_refused_by_another(
    world: World, other_world: World, app: Starlette
) -> None:
    raw, timestamp = raw_mail(), str(int(time.time()))
    answer = await deliver(
        app, raw, slug="globex", Deskwire_Timestamp=timestamp, Deskwire_Signature=signature(KEY, timestamp, "acme", raw)
    )
    assert (answer.status_code, answer.json()["code"]) == (401, "BAD_SIGNATURE")


async def test_a_mail_that_is_too_large_is_not_read_to_its_end(world: World, app: Starlette) -> None:
    """30 MB are refused by what they declare; what declares nothing, once it is too much."""
    raw = raw_mail(body="x" * 30 * 1024 * 1024)
    answer = await deliver(app, raw)
    assert (answer.status_code, answer.json()["code"]) == (413, "BODY_TOO_LARGE")
    read = 0

    async def endless() -> Any:
        nonlocal read
        while True:
            read += 1
            yield b"x" * 1024 * 1024

    timestamp = str(int(utc_now().timestamp()))
    headers = {"Content-Type": "message/rfc822", "Deskwire-Timestamp": timestamp, "Deskwire-Signature": "00"}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://deskwire.example") as http:
        answer = await http.post("/email/inbound/acme", content=endless(), headers=headers)
    assert (answer.status_code, answer.headers["connection"]) == (413, "close")
    assert read <= 27


async def test_a_large_mail_comes_in_while_others_are_served(world: World, app: Starlette) -> None:
    """A file that is a little larger than is kept: its text comes in, and says so."""
    body = "--b\r\n\r\nSee the picture.\r\n--b\r\nContent-Type: image/png; name=a.png\r\n\r\n" + "x" * 20 * 1024 * 1024
    raw = raw_mail(body=body).replace(b"text/plain; charset=utf-8", b"multipart/mixed; boundary=b")
    assert (await delivered(app, raw))["outcome"] == "TICKET"
    assert await world.thread(await Ticket.get(number=1)) == ["See the picture.\n\n[Not kept: a.png]"]
