"""A raw mail as what it says: who wrote what, what it answers, and whether anybody wrote it at all."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from email.utils import getaddresses
from uuid import UUID

from domain.comments import LONGEST_BODY
from domain.emails import IncomingMail, MailKind
from partners.email.addresses import Addresses
from partners.email.mime import LONGEST_VALUE, Mail, Part, headers_of, taken_apart, unencoded
from partners.email.texts import text_of_html, without_quotes

LONGEST_MESSAGE_ID = 250
MOST_REFERENCES = 50
MOST_TEXTS = 10
NO_TEXT = "[This e-mail has no text.]"
LEFT_OUT = f"\n\n[The rest of this e-mail was left out: it is longer than {LONGEST_BODY:,} characters.]"

_ADDRESS = re.compile(r"[^\s@<>()\[\],;:\"\\]{1,64}@[^\s@<>()\[\],;:\"\\]{1,255}")
_MESSAGE_ID = re.compile(rf"<[^<>\s]{{1,{LONGEST_MESSAGE_ID}}}>")
_STATUS = re.compile(r"[245]\.\d{1,3}\.\d{1,3}")
_BULK = frozenset({"bulk", "list", "junk"})
_RECIPIENTS = ("to", "cc", "delivered-to", "x-original-to", "envelope-to", "x-envelope-to")
_INSIDE = frozenset({"message/rfc822", "message/global", "text/rfc822-headers", "message/rfc822-headers"})


@dataclass(frozen=True, slots=True)
class MailAttachment:
    """A file that came with a mail."""

    file_name: str | None
    content_type: str
    content: bytes


@dataclass(frozen=True, slots=True)
class DeliveryReport:
    """What a mail server says about a mail of ours: RFC 3464. `action` is failed, delayed, delivered, …"""

    action: str
    status: str | None
    said: str


@dataclass(frozen=True, slots=True)
class ParsedMail:
    """What a mail says, as text that can be stored. `message_id` is never empty; `sender` is when nobody is named.

    `enclosed` are the Message-IDs of mails inside of it, as bounces bring them back. `automatic` says by which sign
    a machine wrote it.
    """

    message_id: str
    sender: str
    name: str
    subject: str
    body: str
    recipients: tuple[str, ...]
    references: tuple[str, ...]
    enclosed: tuple[str, ...]
    automatic: str | None
    has_null_path: bool
    report: DeliveryReport | None
    attachments: tuple[MailAttachment, ...]


def parsed(raw: bytes) -> ParsedMail:
    """Read a mail. Never raises, and takes no longer for a mail that was made to hurt."""
    mail = taken_apart(raw)
    headers = mail.headers
    name, sender = _sender(mail)
    return ParsedMail(
        message_id=_message_id(mail),
        sender=sender,
        name=name,
        subject=unencoded(headers.first("subject"))[:500],
        body=_body(mail),
        recipients=_recipients(mail),
        references=_references(mail),
        enclosed=_enclosed(mail),
        automatic=_automatic(mail),
        has_null_path=headers.first("return-path").replace(" ", "") == "<>",
        report=_report(mail),
        attachments=tuple(map(_attachment, filter(lambda part: part.is_attachment, mail.leaves))),
    )


def incoming(mail: ParsedMail, addresses: Addresses, slug: str) -> IncomingMail:
    """What the domain is told about a mail to this account: of all that it refers to, only what we signed."""
    kind, reason = _kind(mail, addresses, slug)
    bounced = (*mail.enclosed, *mail.references) if kind is MailKind.BOUNCE else mail.references
    answers = [addresses.comment_of_message(slug, each) for each in bounced]
    if kind is MailKind.BOUNCE:
        answers = [addresses.comment_of_bounce(slug, each) for each in mail.recipients] + answers
    return IncomingMail(
        message_id=mail.message_id,
        sender=mail.sender,
        name=mail.name,
        subject=mail.subject,
        body=mail.body,
        kind=kind,
        reason=reason,
        status=mail.report.status if mail.report else None,
        answers=_known(answers),
        ticket_id=next(iter(_known([addresses.ticket_of(slug, each) for each in mail.recipients])), None),
    )


def _known(identifiers: list[UUID | None]) -> tuple[UUID, ...]:
    return tuple(dict.fromkeys(each for each in identifiers if each is not None))


def _kind(mail: ParsedMail, addresses: Addresses, slug: str) -> tuple[MailKind, str | None]:
    if mail.report is not None:
        if mail.report.action == "failed":
            return MailKind.BOUNCE, mail.report.said
        return MailKind.AUTO_REPLY, f"a report that a mail is {mail.report.action}"
    if mail.has_null_path and mail.automatic is None and _brings_back(mail, addresses, slug):
        return MailKind.BOUNCE, "The mail came back, without a report that says why."
    if addresses.comment_of_message(slug, mail.message_id) or addresses.is_own(slug, mail.sender):
        return MailKind.LOOP, "our own mail"
    if mail.automatic is not None:
        return MailKind.AUTO_REPLY, mail.automatic
    if mail.has_null_path:
        return MailKind.AUTO_REPLY, "a mail without a return path"
    if not mail.sender:
        return MailKind.REJECTED, "not exactly one sender"
    return MailKind.LETTER, None


def _brings_back(mail: ParsedMail, addresses: Addresses, slug: str) -> bool:
    return any(addresses.comment_of_message(slug, each) for each in mail.enclosed)


def _message_id(mail: Mail) -> str:
    """What tells mails apart: the Message-ID, or a hash where it is missing or longer than can be kept."""
    value = mail.headers.first("message-id")
    if match := _MESSAGE_ID.search(value):
        return match[0]
    return "sha256:" + (hashlib.sha256(value.encode()).hexdigest() if value else mail.digest)


def _sender(mail: Mail) -> tuple[str, str]:
    """Name and address of the one who wrote it; empty unless it is exactly one."""
    values = mail.headers.every("from")
    # The library reads nested comments recursively. Nobody has that many.
    if len(values) != 1 or len(values[0]) > 2_000 or values[0].count("(") > 20:
        return "", ""
    found = [(name, address.lower()) for name, address in getaddresses(values) if "@" in address]
    if len(found) != 1 or not _ADDRESS.fullmatch(found[0][1]):
        return "", ""
    return unencoded(found[0][0])[:200], found[0][1]


def _recipients(mail: Mail) -> tuple[str, ...]:
    values = [value for name in _RECIPIENTS for value in mail.headers.every(name)[:10]]
    found = _ADDRESS.findall(" ".join(values)[:LONGEST_VALUE].lower())
    return tuple(dict.fromkeys(found[:MOST_REFERENCES]))


def _references(mail: Mail) -> tuple[str, ...]:
    """The mails that it answers, the nearest first."""
    answered = _MESSAGE_ID.findall(mail.headers.first("in-reply-to"))[:MOST_REFERENCES]
    thread = _MESSAGE_ID.findall(mail.headers.first("references"))[-MOST_REFERENCES:]
    return tuple(dict.fromkeys([*answered, *reversed(thread)]))


def _enclosed(mail: Mail) -> tuple[str, ...]:
    inside = [headers_of(part.content[:LONGEST_VALUE]) for part in mail.leaves if part.content_type in _INSIDE]
    found = [name for headers in inside for name in _MESSAGE_ID.findall(headers.first("message-id"))]
    # Servers of old bring the mail back as plain text.
    written = [name for part in _texts(mail, "text/plain") for name in _MESSAGE_ID.findall(part.text[:LONGEST_VALUE])]
    return tuple(dict.fromkeys([*found, *written]))[:MOST_REFERENCES]


def _automatic(mail: Mail) -> str | None:
    headers = mail.headers
    submitted = headers.first("auto-submitted").partition(";")[0].strip().lower()
    if submitted not in ("", "no"):
        return f"Auto-Submitted: {submitted[:50]}"
    precedence = headers.first("precedence").lower()
    if precedence in _BULK:
        return f"Precedence: {precedence}"
    for name in ("X-Auto-Response-Suppress", "X-Autoreply", "X-Autorespond"):
        if headers.first(name.lower()):
            return name
    # Of reading, say. Reports of delivery are read by themselves.
    return "a report" if mail.content_type == "multipart/report" else None


def _report(mail: Mail) -> DeliveryReport | None:
    if mail.content_type != "multipart/report" or mail.report_type != "delivery-status":
        return None
    types = ("message/delivery-status", "message/global-delivery-status")
    part = next((part for part in mail.leaves if part.content_type in types), None)
    lines = part.text[:LONGEST_VALUE].split("\n") if part else []
    fields = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    status = _STATUS.match(fields.get("status", ""))
    said = fields.get("diagnostic-code") or fields.get("status") or "The mail came back."
    return DeliveryReport(fields.get("action", "failed").lower()[:20], status[0] if status else None, said[:200])


def _texts(mail: Mail, content_type: str) -> list[Part]:
    found = [part for part in mail.leaves if part.content_type == content_type and not part.is_attachment]
    return found[:MOST_TEXTS]


def _body(mail: Mail) -> str:
    """What was written: the plain text, or else the HTML as text; without quotes; never empty, never too long."""
    text = "\n\n".join(part.text.strip() for part in _texts(mail, "text/plain")).strip()
    if not text:
        text = "\n\n".join(text_of_html(part.text) for part in _texts(mail, "text/html")).strip()
    body = without_quotes(text) or NO_TEXT
    return body if len(body) <= LONGEST_BODY else body[: LONGEST_BODY - len(LEFT_OUT)].rstrip() + LEFT_OUT


def _attachment(part: Part) -> MailAttachment:
    return MailAttachment(part.file_name, part.content_type, part.content)
