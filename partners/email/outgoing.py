"""A claimed mail as MIME, ready to be sent. Names and subjects are texts of people: none of them can add a header."""

from __future__ import annotations

import re
from dataclasses import dataclass
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from uuid import UUID

from domain.outbox import ClaimedMail, Quotation
from partners.email.addresses import Addresses

LONGEST_NAME = 100
# Not every server takes bytes above 127.
_POLICY = SMTP.clone(cte_type="7bit")
_UNFIT = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")
_MESSAGE_ID = re.compile(r"<[!-;=?-~]{1,250}>")


class Unsendable(Exception):
    """This mail can never be sent, whoever tries."""


@dataclass(frozen=True, slots=True)
class Letter:
    """A mail and its envelope. Mails that cannot be delivered come back to `sender`, which names the comment."""

    sender: str
    recipient: str
    content: bytes
    name: str


def composed(mail: ClaimedMail, addresses: Addresses) -> Letter:
    """The letter of a claimed mail; the same one each time. Raises Unsendable."""
    slug = mail.account_slug
    message = EmailMessage(policy=_POLICY)
    try:
        recipient = Address(addr_spec=_ascii(mail.to_address))
        author = f"{_line(mail.author)[:LONGEST_NAME]} ({_line(mail.account_name)[:LONGEST_NAME]})"
        message["From"] = Address(author, addr_spec=addresses.support(slug))
        message["To"] = recipient
        message["Reply-To"] = addresses.reply_to(slug, mail.ticket_id)
        message["Subject"] = f"Re: {_line(mail.subject)} [#{mail.ticket_number}]"
        message["Date"] = format_datetime(mail.written_at)
        message["Message-ID"] = addresses.message_id(slug, mail.comment_id)
        message.set_content(_text(mail))
        content = _threading(mail, addresses) + message.as_bytes()
    except (MessageError, ValueError, IndexError) as error:
        raise Unsendable(f"No mail can be made of this: {error}") from error
    return Letter(addresses.bounces(slug, mail.comment_id), recipient.addr_spec, content, mail.comment_id.hex)


def _ascii(address: str) -> str:
    """The address as every server takes it: a domain of other letters in its ASCII form."""
    local, _, domain = address.rpartition("@")
    if not local.isascii() or _UNFIT.search(address):
        raise Unsendable("The address before the @ has characters that few servers accept.")
    return f"{local}@{domain if domain.isascii() else domain.encode('idna').decode()}"


def _line(text: str) -> str:
    return " ".join(_UNFIT.sub(" ", text).split())


def _threading(mail: ClaimedMail, addresses: Addresses) -> bytes:
    """In-Reply-To and References, written by hand: the library encodes long Message-IDs, and nobody would know them."""
    slug = mail.account_slug
    names = [addresses.message_id(slug, each) if isinstance(each, UUID) else each for each in mail.thread]
    thread = [name for name in names if _MESSAGE_ID.fullmatch(name)]
    if not thread:
        return b""
    return ("In-Reply-To: " + thread[-1] + "\r\nReferences: " + "\r\n ".join(thread) + "\r\n").encode("ascii")


def _text(mail: ClaimedMail) -> str:
    return mail.body.rstrip() + "\n" + (_quoted(mail.quotation) if mail.quotation else "")


def _quoted(quotation: Quotation) -> str:
    lines = "\n".join(f"> {line}".rstrip() for line in quotation.body.splitlines())
    return f"\nOn {quotation.written_at:%Y-%m-%d at %H:%M} UTC, {_line(quotation.author)} wrote:\n\n{lines}\n"
