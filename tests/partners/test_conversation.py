"""E-mail from end to end: a reply goes out over SMTP, its answer comes in over HTTP, and is on the ticket."""

from __future__ import annotations

from typing import Any

from starlette.applications import Starlette

from models import Channel, Comment, MessagingSession, SessionState, Ticket, TicketStatus
from partners.email.sending import send_due_emails
from tests.api.stage import gid
from tests.conftest import SignIn
from tests.factories import World
from tests.invariants import assert_consistent
from tests.partners.mails import ADDRESSES, MailServer, address_of, answer_to, delivered, raw_mail

DELIVERY = """query ($id: ID!) { ticket(id: $id) { comments(last: 1) { edges { node {
    channel emailDelivery { state sentAt attempts error } } } } } }"""


async def test_an_agent_writes_and_the_customer_answers(world: World, app: Starlette, sign_in: SignIn) -> None:
    """R60, R79: after the end of the session the ticket goes on by mail; the session stays ended."""
    ticket = await world.ended_ticket(status=TicketStatus.PENDING)
    client = await sign_in(world.admin)
    posted = await client.send(
        "PostComment",
        input={"ticketId": gid("Ticket", ticket.id), "body": "A new one is on its way.", "channel": "EMAIL"},
    )
    assert posted["postComment"]["userErrors"] == []
    async with MailServer().running() as server:
        assert await send_due_emails(server.transport, ADDRESSES) == 1
        (letter,) = server.letters
    assert letter["To"] == await address_of(ticket.requester_id)
    assert letter["From"] == '"Ada Admin (Acme)" <support@acme.mail.deskwire.example>'
    assert letter["Subject"] == "Re: Hello, my order is late. [#1]"
    assert letter["Auto-Submitted"] is None
    text = letter.get_content().replace("\r\n", "\n")
    assert text.startswith("A new one is on its way.\n\nOn 20")
    assert text.endswith("Cleo Customer wrote:\n\n> Hello, my order is late.\n")

    quoted = "\r\n".join(f"> {line}" for line in letter.get_content().splitlines())
    answer = answer_to(letter, f"Thank you!\r\n\r\nOn Monday, Ada Admin wrote:\r\n{quoted}")
    assert await delivered(app, answer) == {"outcome": "COMMENT", "ticket": 1}
    assert await world.thread(ticket) == ["Hello, my order is late.", "A new one is on its way.", "Thank you!"]
    comment = await Comment.get(conversation_id=ticket.conversation_id, sequence=3)
    assert (comment.channel, comment.author_id) == (Channel.EMAIL, ticket.requester_id)
    assert (await Ticket.get(id=ticket.id)).status is TicketStatus.OPEN
    assert (await world.session(ticket)).state is SessionState.ENDED
    assert await MessagingSession.all().count() == await Ticket.all().count() == 1
    assert (await world.history(ticket))[-2:] == ["TICKET_COMMENT_ADDED", "TICKET_FIELD_CHANGED"]
    await assert_consistent(world)


async def test_each_mail_continues_the_thread_of_the_last(world: World, app: Starlette) -> None:
    """R60: the customer's mail program shows one conversation."""
    first = raw_mail(message_id="<first@customer.example>")
    assert await delivered(app, first) == {"outcome": "TICKET", "ticket": 1}
    ticket = await Ticket.get(number=1)
    async with MailServer().running() as server:
        for body in ("One", "Two"):
            await world.comment(ticket, world.admin, body, Channel.EMAIL)
            assert await send_due_emails(server.transport, ADDRESSES) == 1
        one, two = server.letters
        assert (one["In-Reply-To"], one["References"]) == ("<first@customer.example>", "<first@customer.example>")
        assert two["In-Reply-To"] == one["Message-ID"]
        assert str(two["References"]).split() == ["<first@customer.example>", one["Message-ID"]]
        answer = answer_to(two, "Three", sender="cleo@customer.example")
        assert (await delivered(app, answer))["outcome"] == "COMMENT"
        await world.comment(ticket, world.admin, "Four", Channel.EMAIL)
        await send_due_emails(server.transport, ADDRESSES)
        last = server.letters[-1]
    assert last["In-Reply-To"] not in (one["Message-ID"], two["Message-ID"])
    assert str(last["References"]).split()[:3] == ["<first@customer.example>", one["Message-ID"], two["Message-ID"]]
    assert len(str(last["References"]).split()) == 4


async def test_an_answer_without_references_finds_its_ticket_by_the_address(world: World, app: Starlette) -> None:
    """R79: some mail programs drop References; the Reply-To is signed, too."""
    ticket = await world.ended_ticket()
    await world.comment(ticket, world.admin, "Hello", Channel.EMAIL)
    async with MailServer().running() as server:
        await send_due_emails(server.transport, ADDRESSES)
        (letter,) = server.letters
    bare = raw_mail(await address_of(ticket.requester_id), "Me again", to=str(letter["Reply-To"]).upper())
    assert await delivered(app, bare) == {"outcome": "COMMENT", "ticket": 1}
    assert (await world.thread(ticket))[-1] == "Me again"


async def test_a_letter_is_plain_ascii_on_the_wire_and_names_its_comment(world: World) -> None:
    """R60: any server takes it, and what comes back names the comment."""
    customer = await world.customer("Zoë")
    ticket = await world.message(customer, "Größe\n> alt\nfrom here\n.\n")
    comment_id = await world.comment(ticket, await world.agent("Jürgen"), ".\nGrüße aus Köln\n", Channel.EMAIL)
    async with MailServer().running() as server:
        await send_due_emails(server.transport, ADDRESSES)
        (envelope,), (letter,) = server.envelopes, server.letters
    assert isinstance(envelope.content, bytes)
    assert envelope.content.isascii()
    assert ADDRESSES.comment_of_bounce("acme", envelope.mail_from or "") == comment_id
    assert ADDRESSES.comment_of_message("acme", letter["Message-ID"]) == comment_id
    assert letter["From"].addresses[0].display_name == "Jürgen (Acme)"
    text = letter.get_content().replace("\r\n", "\n")
    assert text.startswith(".\nGrüße aus Köln\n\nOn ")
    assert text.endswith("Zoë wrote:\n\n> Größe\n> > alt\n> from here\n> .\n")


async def test_staff_see_what_became_of_a_reply(world: World, app: Starlette, sign_in: SignIn) -> None:
    """R60: waiting, sent, failed; a message has none."""
    ticket, client = await world.live_ticket(), await sign_in(world.admin)

    async def delivery() -> dict[str, Any]:
        answer = await client.ask(DELIVERY, {"id": gid("Ticket", ticket.id)})
        node: dict[str, Any] = answer["data"]["ticket"]["comments"]["edges"][0]["node"]
        return node

    assert await delivery() == {"channel": "MESSAGING", "emailDelivery": None}
    await world.comment(ticket, world.admin, "Hello", Channel.EMAIL)
    waiting = {"state": "WAITING", "sentAt": None, "attempts": 0, "error": None}
    assert await delivery() == {"channel": "EMAIL", "emailDelivery": waiting}
    async with MailServer().running() as server:
        await send_due_emails(server.transport, ADDRESSES)
    sent = (await delivery())["emailDelivery"]
    assert (sent["state"], sent["attempts"], sent["error"]) == ("SENT", 1, None)
    assert sent["sentAt"] is not None
    await world.comment(ticket, world.admin, "Hello?", Channel.EMAIL)
    async with MailServer(at_recipient=lambda address: "550 No such user").running() as server:
        assert await send_due_emails(server.transport, ADDRESSES) == 0
    failed = {"state": "FAILED", "sentAt": None, "attempts": 1, "error": "550 No such user"}
    assert (await delivery())["emailDelivery"] == failed


async def test_a_mail_of_a_customer_has_no_delivery(world: World, app: Starlette, sign_in: SignIn) -> None:
    await delivered(app, raw_mail())
    client, ticket = await sign_in(world.admin), await Ticket.get(number=1)
    answer = await client.ask(DELIVERY, {"id": gid("Ticket", ticket.id)})
    (edge,) = answer["data"]["ticket"]["comments"]["edges"]
    assert edge["node"] == {"channel": "EMAIL", "emailDelivery": None}
