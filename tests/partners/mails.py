"""Mails, a server that takes them, and the door through which they come in."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

import httpx
from aiosmtpd.smtp import SMTP, Envelope, Session

from deskwire.config import Config
from domain.outbox import ClaimedMail, claim_mail, waiting_mails
from models import OutboundEmail, User, new_id, utc_now
from partners.email.addresses import Addresses
from partners.email.inbound import signature
from partners.email.transports import Smtp

CONFIG = Config()
KEY = CONFIG.email_inbound_key
ADDRESSES = Addresses(CONFIG.email_domain, CONFIG.secret_key)
SLUG = "acme"


def raw_mail(
    sender: str = "Cleo Customer <cleo@customer.example>",
    body: str = "It arrived broken.",
    *,
    subject: str = "My order",
    to: str = ADDRESSES.support(SLUG),
    message_id: str | None = None,
    **headers: str,
) -> bytes:
    """A mail of somebody. Further headers have underscores for hyphens."""
    named = {
        "From": sender,
        "To": to,
        "Subject": subject,
        "Message-ID": message_id or f"<{new_id().hex}@customer.example>",
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in named.items())
    return f"{head}Content-Type: text/plain; charset=utf-8\r\n\r\n{body}\r\n".encode()


def answer_to(letter: EmailMessage, body: str, *, sender: str | None = None, **headers: str) -> bytes:
    """What the customer's mail program makes of a letter that he answers."""
    references = f"{letter['References'] or ''} {letter['Message-ID']}".strip()
    return raw_mail(
        sender or str(letter["To"]),
        body,
        subject=str(letter["Subject"]),
        to=str(letter["Reply-To"]),
        In_Reply_To=str(letter["Message-ID"]),
        References=references,
        **headers,
    )


async def deliver(
    app: Any, raw: bytes, *, slug: str = SLUG, key: str = KEY, age: float = 0, **headers: str | bytes
) -> httpx.Response:
    """Hand a mail over, signed. Further headers replace the right ones."""
    timestamp = str(int(time.time() - age))
    sent: dict[str, str | bytes] = {
        "Content-Type": "message/rfc822",
        "Deskwire-Timestamp": timestamp,
        "Deskwire-Signature": signature(key, timestamp, slug, raw),
    }
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    fields = {name.encode(): value.encode() if isinstance(value, str) else value for name, value in sent.items()}
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://deskwire.example") as http:
        return await http.post(f"/email/inbound/{slug}", content=raw, headers=fields)


async def delivered(app: Any, raw: bytes, **more: Any) -> dict[str, Any]:
    """What became of a mail that was handed over."""
    response = await deliver(app, raw, **more)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


async def address_of(user_id: object) -> str:
    email = (await User.get(id=user_id)).email
    assert email is not None
    return email


async def claimed() -> ClaimedMail:
    """The one mail that waits, taken for sending."""
    (waiting,) = await waiting_mails(utc_now())
    mail = await claim_mail(waiting, utc_now)
    assert mail is not None
    return mail


async def the_mail() -> OutboundEmail:
    """The one mail that was ever queued."""
    (row,) = await OutboundEmail.all()
    return row


def read(content: bytes) -> EmailMessage:
    """A letter as another program reads it."""
    return message_from_bytes(content, _class=EmailMessage, policy=policy.default)


Reply = Callable[[str], str | None]


@dataclass
class MailServer:
    """Takes mails, and may refuse: `at_recipient` and `at_data` give the answer to an address, or None to take it."""

    at_recipient: Reply = lambda address: None
    at_data: Reply = lambda address: None
    envelopes: list[Envelope] = field(default_factory=list)
    port: int = 0

    @property
    def letters(self) -> list[EmailMessage]:
        return [read(envelope.content or b"") for envelope in self.envelopes]  # type: ignore[arg-type]  # bytes here

    @property
    def transport(self) -> Smtp:
        return Smtp("127.0.0.1", self.port, seconds=10)

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        refusal = self.at_recipient(address)
        if refusal is None:
            envelope.rcpt_tos.append(address)
        return refusal or "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        refusal = self.at_data(envelope.rcpt_tos[0])
        if refusal is None:
            self.envelopes.append(envelope)
        return refusal or "250 OK"

    @asynccontextmanager
    async def running(self) -> AsyncIterator[MailServer]:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: SMTP(self, hostname="mx.example", loop=loop), "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            await server.wait_closed()


@asynccontextmanager
async def raw_server(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any],
) -> AsyncIterator[Smtp]:
    """A server that does as it likes, and the transport to it."""
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield Smtp("127.0.0.1", server.sockets[0].getsockname()[1], seconds=0.3)
    finally:
        server.close()
        await server.wait_closed()
