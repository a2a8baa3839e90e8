"""E-mails that wait to be sent: claiming them, and what came of it.

A mail is claimed in a transaction, sent outside of any, and recorded in another one. Two processes never claim the
same mail. Whoever dies between sending and recording leaves a claim that runs out, and the mail goes out again under
the same Message-ID, which mail programs show once: at least once is what e-mail can do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from tortoise.expressions import Q, Subquery

from domain.actors import system
from domain.locks import lock_ticket_of
from domain.transactions import Call, Transaction, unit_of_work
from models import (
    Account,
    ActorKind,
    Comment,
    EventType,
    InboundEmail,
    OutboundEmail,
    Ticket,
    User,
    Visibility,
)

Clock = Callable[[], datetime]

# Longer than any transport takes: until then the mail is its sender's alone.
CLAIMED_FOR = timedelta(minutes=10)
WAITS = tuple(timedelta(minutes=minutes) for minutes in (1, 5, 15, 60, 240, 480, 720, 1440))
"""How long to wait after each failure that may pass. After the last one the mail has failed: some two days."""
MOST_ATTEMPTS = len(WAITS) + 1
MOST_AT_ONCE = 100
MOST_REFERENCES = 20
LONGEST_ERROR = 500


@dataclass(frozen=True, slots=True)
class Waiting:
    """A mail that is due, not claimed yet."""

    account_id: UUID
    mail_id: UUID


@dataclass(frozen=True, slots=True)
class Quotation:
    """What the customer wrote before."""

    author: str
    written_at: datetime
    body: str


@dataclass(frozen=True, slots=True)
class ClaimedMail:
    """A mail to send now, by whoever claimed it.

    `thread` holds the mails before it, oldest first: Message-IDs of others as text, our own as the comment's id.
    """

    account_id: UUID
    mail_id: UUID
    attempt: int
    account_slug: str
    account_name: str
    author: str
    to_address: str
    ticket_id: UUID
    ticket_number: int
    subject: str
    comment_id: UUID
    body: str
    written_at: datetime
    thread: tuple[str | UUID, ...]
    quotation: Quotation | None


async def waiting_mails(now: datetime) -> list[Waiting]:
    """The mails of all accounts that are due, at most MOST_AT_ONCE, oldest first."""
    due = OutboundEmail.filter(_due(now)).order_by("created_at", "id").limit(MOST_AT_ONCE)
    return [Waiting(mail.account_id, mail.id) for mail in await due]


def _due(now: datetime) -> Q:
    at_once_or_again = Q(next_attempt_at__isnull=True) | Q(next_attempt_at__lte=now)
    return Q(sent_at__isnull=True, failed_at__isnull=True) & at_once_or_again


async def claim_mail(waiting: Waiting, clock: Clock) -> ClaimedMail | None:
    """Take a mail for sending. None when somebody else has it, or when it must not go out any more.

    A text that was redacted while it waited is never sent; nor is a mail whose senders died too often.
    """

    async def work(tx: Transaction) -> ClaimedMail | None:
        row, ticket = await _locked(tx, waiting.mail_id)
        if not await OutboundEmail.filter(_due(tx.now), id=row.id).exists():
            return None
        comment = await Comment.get(id=row.comment_id)
        if comment.redacted_at is not None:
            await _fail(tx, row, ticket, "The text was redacted before it was sent.")
            return None
        if row.attempts >= MOST_ATTEMPTS:
            await _fail(tx, row, ticket, row.error or "The mail could not be sent.")
            return None
        row.attempts += 1
        row.next_attempt_at = tx.now + CLAIMED_FOR
        await row.save(update_fields=["attempts", "next_attempt_at"])
        return await _claimed(row, comment, ticket)

    return await unit_of_work(_call(waiting.account_id, clock), work)


async def record_sent(mail: ClaimedMail, clock: Clock) -> None:
    """It is on its way."""

    async def work(tx: Transaction) -> None:
        row, _ = await _locked(tx, mail.mail_id)
        if row.sent_at is None:
            row.sent_at, row.failed_at, row.error = tx.now, None, None
            await row.save(update_fields=["sent_at", "failed_at", "error"])

    await unit_of_work(_call(mail.account_id, clock), work)


async def record_failure(mail: ClaimedMail, error: str, *, final: bool, clock: Clock) -> None:
    """It could not be sent: try again later, or, when `final` or tried too often, give up and say so on the ticket."""

    async def work(tx: Transaction) -> None:
        await tx.hold_settings()
        row, ticket = await _locked(tx, mail.mail_id)
        if row.sent_at is not None or row.failed_at is not None or row.attempts != mail.attempt:
            return  # our claim ran out, and somebody else tried since
        if final or row.attempts >= MOST_ATTEMPTS:
            await _fail(tx, row, ticket, error)
            return
        row.error = error[:LONGEST_ERROR]
        row.next_attempt_at = tx.now + WAITS[row.attempts - 1]
        await row.save(update_fields=["error", "next_attempt_at"])

    await unit_of_work(_call(mail.account_id, clock), work)


def _call(account_id: UUID, clock: Clock) -> Call:
    return Call(system(account_id), clock=clock)


async def _locked(tx: Transaction, mail_id: UUID) -> tuple[OutboundEmail, Ticket]:
    """The mail behind its ticket: the order in which bounces lock them, too."""
    found = await OutboundEmail.get(id=mail_id, account_id=tx.account_id)
    comment = await Comment.get(id=found.comment_id)
    ticket = await lock_ticket_of(tx, comment.conversation_id)
    assert ticket is not None, "agents reply on tickets"
    return await OutboundEmail.filter(id=mail_id).select_for_update().get(), ticket


async def _fail(tx: Transaction, row: OutboundEmail, ticket: Ticket, error: str) -> None:
    row.failed_at, row.error = tx.now, error[:LONGEST_ERROR]
    await row.save(update_fields=["failed_at", "error"])
    # What the server said may name people: it stays in the row, which can be changed, and out of the log.
    tx.record(EventType.EMAIL_FAILED, ticket=ticket, comment_id=row.comment_id, attempts=row.attempts)


async def _claimed(row: OutboundEmail, comment: Comment, ticket: Ticket) -> ClaimedMail:
    account = await Account.get(id=row.account_id)
    author = await User.get_or_none(id=comment.author_id) if comment.author_id else None
    return ClaimedMail(
        account_id=row.account_id,
        mail_id=row.id,
        attempt=row.attempts,
        account_slug=account.slug,
        account_name=account.name,
        author=author.name if author else "Support",
        to_address=row.to_address,
        ticket_id=ticket.id,
        ticket_number=ticket.number,
        subject=ticket.subject,
        comment_id=comment.id,
        body=comment.body,
        written_at=comment.created_at,
        thread=await _thread(ticket, comment),
        quotation=await _quotation(comment),
    )


async def _thread(ticket: Ticket, comment: Comment) -> tuple[str | UUID, ...]:
    came = InboundEmail.filter(ticket_id=ticket.id, comment_id__isnull=False).order_by("-received_at", "-id")
    earlier = Comment.filter(conversation_id=comment.conversation_id, sequence__lt=comment.sequence)
    went = OutboundEmail.filter(comment_id__in=Subquery(earlier.values("id")), sent_at__isnull=False)
    mails: list[tuple[datetime, str | UUID]] = []
    mails += [(mail.received_at, mail.message_id) for mail in await came.limit(MOST_REFERENCES)]
    mails += [(mail.created_at, mail.comment_id) for mail in await went.order_by("-created_at").limit(MOST_REFERENCES)]
    return tuple(name for _, name in sorted(mails, key=lambda mail: mail[0])[-MOST_REFERENCES:])


async def _quotation(comment: Comment) -> Quotation | None:
    public = Comment.filter(conversation_id=comment.conversation_id, visibility=Visibility.PUBLIC)
    of_customer = public.filter(author_kind=ActorKind.END_USER.value, deleted_at__isnull=True, redacted_at__isnull=True)
    last = await of_customer.filter(sequence__lt=comment.sequence).order_by("-sequence").first()
    if last is None:
        return None
    author = await User.get_or_none(id=last.author_id) if last.author_id else None
    return Quotation(author.name if author else "You", last.created_at, last.body)
