"""Sending when things go wrong: each mail leaves once, is tried again, or fails where staff see it (R60)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from domain.outbox import CLAIMED_FOR, MOST_ATTEMPTS, WAITS, claim_mail, record_failure, record_sent, waiting_mails
from domain.revisions import redact_comment
from domain.transactions import Call
from models import Channel, Event, EventType, OutboundEmail, Ticket, utc_now
from partners.email.outgoing import Letter, composed
from partners.email.sending import send_due_emails
from partners.email.transports import Away, BadEmailUrl, Files, Permanent, Smtp, Temporary, open_transport
from tests.factories import World
from tests.invariants import assert_consistent
from tests.partners.mails import ADDRESSES, MailServer, claimed, raw_server, read, the_mail

NOWHERE = Smtp("127.0.0.1", 1, seconds=1)
LETTER = Letter("bounce@acme.example", "cleo@customer.example", b"Subject: Hi\r\n\r\nHello\r\n", "letter")


async def replied(world: World, count: int = 1) -> Ticket:
    ticket = await world.ended_ticket()
    for number in range(count):
        await world.comment(ticket, world.admin, f"Reply {number}", Channel.EMAIL)
    return ticket


def at(moment: datetime) -> Callable[[], datetime]:
    return lambda: moment


async def test_a_mail_leaves_once(world: World) -> None:
    """R60: the next pass finds nothing to do, and nothing is written into the ticket's history."""
    ticket = await replied(world)
    before = await world.history(ticket)
    async with MailServer().running() as server:
        assert [await send_due_emails(server.transport, ADDRESSES) for _ in range(3)] == [1, 0, 0]
        assert len(server.letters) == 1
    row = await the_mail()
    assert (row.attempts, row.failed_at, row.error) == (1, None, None)
    assert row.sent_at is not None
    assert await world.history(ticket) == before


async def test_many_senders_at_the_same_moment_send_each_mail_once(world: World) -> None:
    """R60: as two processes do."""
    await replied(world, 12)
    async with MailServer().running() as server:
        sent = await asyncio.gather(*(send_due_emails(server.transport, ADDRESSES) for _ in range(4)))
        bodies = sorted(letter.get_content().split("\r\n")[0] for letter in server.letters)
    assert sum(sent) == 12
    assert bodies == sorted(f"Reply {number}" for number in range(12))


async def test_a_refusal_that_may_pass_is_tried_again_later(world: World) -> None:
    """R60: 451 now, taken after the wait, under the same Message-ID."""
    ticket = await replied(world)
    before, now = await world.history(ticket), utc_now()
    async with MailServer(at_data=lambda address: "451 Greylisted").running() as server:
        assert await send_due_emails(server.transport, ADDRESSES, at(now)) == 0
    row = await the_mail()
    assert (row.attempts, row.error, row.failed_at, row.sent_at) == (1, "451 Greylisted", None, None)
    assert row.next_attempt_at == now + WAITS[0]
    async with MailServer().running() as server:
        assert await send_due_emails(server.transport, ADDRESSES, at(now + WAITS[0] - timedelta(seconds=1))) == 0
        assert server.letters == []
        assert await send_due_emails(server.transport, ADDRESSES, at(now + WAITS[0])) == 1
    row = await the_mail()
    assert (row.attempts, row.error) == (2, None)
    assert await world.history(ticket) == before


async def test_a_refusal_for_good_is_a_fact_of_the_ticket(world: World) -> None:
    """R60: 550 is final at once. What the server said is beside the mail, and not in the log."""
    ticket = await replied(world)
    async with MailServer(at_recipient=lambda address: f"550 {address} is unknown").running() as server:
        assert [await send_due_emails(server.transport, ADDRESSES) for _ in range(2)] == [0, 0]
    row = await the_mail()
    assert (row.attempts, row.sent_at, row.error) == (1, None, f"550 {row.to_address} is unknown")
    event = (await world.events(ticket))[-1]
    assert (event.type, event.comment_id, event.payload) == (EventType.EMAIL_FAILED, row.comment_id, {"attempts": 1})
    assert (event.actor_kind, event.actor_id) == ("SYSTEM", None)
    await assert_consistent(world)


async def test_a_mail_fails_in_the_end(world: World) -> None:
    """R60: after the last wait there is one event, and no more tries."""
    ticket, now = await replied(world), utc_now()
    for wait in (*WAITS, timedelta(days=30)):
        assert await send_due_emails(NOWHERE, ADDRESSES, at(now)) == 0
        now += wait
    assert await send_due_emails(NOWHERE, ADDRESSES, at(now)) == 0
    row = await the_mail()
    assert row.attempts == MOST_ATTEMPTS == 9
    assert row.failed_at is not None
    assert (await world.history(ticket)).count("EMAIL_FAILED") == 1
    assert sum(WAITS, timedelta()) > timedelta(days=2)
    await assert_consistent(world)


async def _drops(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"220 mx.example\r\n")
    await reader.readline()
    writer.close()


async def _hangs(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
    writer.close()


async def _babbles(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    await reader.readline()
    writer.close()


@pytest.mark.parametrize("serve", [_drops, _hangs, _babbles])
async def test_a_server_that_fails_us_costs_one_time_out(world: World, serve: Any) -> None:
    """R60: a server that hangs up, hangs or talks nonsense; those behind the first ones wait without being tried."""
    await replied(world, 20)
    started = asyncio.get_running_loop().time()
    async with raw_server(serve) as transport:
        assert await send_due_emails(transport, ADDRESSES) == 0
    assert asyncio.get_running_loop().time() - started < 10
    rows = await OutboundEmail.all()
    assert {row.failed_at for row in rows} == {None}
    assert 1 <= sum(row.attempts for row in rows) <= 4
    assert all(row.error for row in rows if row.attempts)


async def test_one_bad_mail_does_not_stop_the_others(world: World) -> None:
    """R60: an address that no header can hold."""
    await replied(world, 3)
    first = await OutboundEmail.all().order_by("created_at").first()
    assert first is not None
    await OutboundEmail.filter(id=first.id).update(to_address="cleo@customer.example\r\nBcc: all@customer.example")
    async with MailServer().running() as server:
        assert await send_due_emails(server.transport, ADDRESSES) == 2
        assert [letter["Bcc"] for letter in server.letters] == [None, None]
    assert (await OutboundEmail.get(id=first.id)).failed_at is not None


async def test_who_dies_between_sending_and_recording_sends_it_again_under_the_same_name(world: World) -> None:
    """R60: at least once. The claim runs out; until then nobody else takes the mail."""
    await replied(world)
    now = utc_now()
    async with MailServer().running() as server:
        mail = await claimed()
        await server.transport.send(composed(mail, ADDRESSES))
        assert await send_due_emails(server.transport, ADDRESSES, at(now + CLAIMED_FOR / 2)) == 0
        assert await send_due_emails(server.transport, ADDRESSES, at(now + CLAIMED_FOR * 2)) == 1
        first, second = server.letters
    assert first["Message-ID"] == second["Message-ID"]
    assert first.as_bytes() == second.as_bytes()


async def test_who_comes_late_changes_nothing_any_more(world: World) -> None:
    """R60: his claim ran out, and somebody else sent the mail: his failure is not the mail's."""
    ticket = await replied(world)
    late = await claimed()
    (again,) = await waiting_mails(utc_now() + CLAIMED_FOR * 2)
    mine = await claim_mail(again, at(utc_now() + CLAIMED_FOR * 2))
    assert mine is not None
    await record_failure(late, "too late", final=True, clock=utc_now)
    assert (await the_mail()).failed_at is None
    await record_sent(mine, utc_now)
    await record_failure(mine, "after all", final=True, clock=utc_now)
    row = await the_mail()
    assert (row.failed_at, row.error) == (None, None)
    assert row.sent_at is not None
    assert "EMAIL_FAILED" not in await world.history(ticket)


async def test_whose_senders_die_too_often_has_failed(world: World) -> None:
    """R60: a mail that ends every process which sends it does not do so for ever."""
    ticket, now = await replied(world), utc_now()
    for _ in range(MOST_ATTEMPTS):
        (waiting,) = await waiting_mails(now)
        assert await claim_mail(waiting, at(now)) is not None
        now += CLAIMED_FOR
    assert await send_due_emails(NOWHERE, ADDRESSES, at(now)) == 0
    assert (await world.history(ticket))[-1] == "EMAIL_FAILED"
    assert await waiting_mails(now + timedelta(days=9)) == []


async def test_what_was_redacted_in_time_is_never_sent(world: World) -> None:
    """R49, R60."""
    ticket = await replied(world)
    await redact_comment(Call(world.admin), (await the_mail()).comment_id)
    async with MailServer().running() as server:
        assert await send_due_emails(server.transport, ADDRESSES) == 0
        assert server.letters == []
    assert (await the_mail()).error == "The text was redacted before it was sent."
    assert (await world.history(ticket))[-1] == "EMAIL_FAILED"


async def test_a_redacted_text_is_not_quoted(world: World) -> None:
    """R49, R60."""
    ticket = await world.live_ticket()
    first = await Event.get(ticket_id=ticket.id, type=EventType.TICKET_COMMENT_ADDED)
    assert first.comment_id is not None
    await redact_comment(Call(world.admin), first.comment_id)
    await world.comment(ticket, world.admin, "Hello", Channel.EMAIL)
    assert (await claimed()).quotation is None


@pytest.mark.parametrize(
    "text", ["Hi\r\nBcc: all@x.example", "Hi\nX: 1\n\nbody", "a\x00b\x85c\u2028Bcc: d", "=?utf-8?q?x?="]
)
async def test_names_and_subjects_add_no_header(world: World, text: str) -> None:
    """R60: header injection."""
    await replied(world)
    mail = replace(await claimed(), author=text, account_name=text, subject=text)
    letter = read(composed(mail, ADDRESSES).content)
    names = ["From", "To", "Reply-To", "Subject", "Date", "Message-ID", "Content-Type", "Content-Transfer-Encoding"]
    assert sorted(letter.keys()) == sorted([*names, "MIME-Version"])
    assert letter.get_content().startswith("Reply 0")
    assert [each.addr_spec for each in letter["From"].addresses] == ["support@acme.mail.deskwire.example"]


async def test_ids_of_others_cannot_break_the_thread(world: World) -> None:
    """R60: only what looks like a Message-ID is referred to."""
    await replied(world)
    thread = ("<a@b.example>", "sha256:00", "<x y@z>", "<a>\r\nBcc: c@d", f"<{'x' * 200}@c.example>")
    letter = composed(replace(await claimed(), thread=thread), ADDRESSES).content
    assert f"References: <a@b.example>\r\n <{'x' * 200}@c.example>\r\n".encode() in letter
    assert b"Bcc" not in letter


async def test_a_password_never_goes_over_an_open_line() -> None:
    async with MailServer().running() as server:
        # 0.0.0.0 leads here, and is no loopback address.
        with pytest.raises(Away):
            await Smtp("0.0.0.0", server.port, "me", "hidden", seconds=2).send(LETTER)
        assert server.letters == []


@pytest.mark.parametrize(
    ("said", "failure"),
    [("421 Busy", Temporary), ("452 Full", Temporary), ("550 No", Permanent), ("554 No", Permanent)],
)
async def test_the_first_digit_decides(said: str, failure: type[Exception]) -> None:
    async with MailServer(at_recipient=lambda address: said).running() as server:
        with pytest.raises(failure) as caught:
            await server.transport.send(LETTER)
    assert (caught.type, str(caught.value)) == (failure, said)


async def test_for_development_letters_are_files(tmp_path: Path) -> None:
    transport = open_transport(f"files://{tmp_path / 'mail'}")
    await asyncio.gather(transport.send(LETTER), transport.send(LETTER))
    assert [path.name for path in (tmp_path / "mail").iterdir()] == ["letter.eml"]
    assert (tmp_path / "mail" / "letter.eml").read_bytes() == LETTER.content
    (tmp_path / "file").touch()
    with pytest.raises(Away):
        await Files(tmp_path / "file").send(LETTER)


def test_a_url_names_a_transport() -> None:
    assert open_transport("smtp://mx.example") == Smtp("mx.example", 25)
    assert open_transport("smtps://me:p%40ss@mx.example") == Smtp("mx.example", 465, "me", "p@ss", tls=True)
    assert open_transport("files://var/mail") == Files(Path("var/mail"))
    for url in ("", "files://", "http://mx.example", "smtp://", "smtp://mx.example:99999"):
        with pytest.raises(BadEmailUrl):
            open_transport(url)
