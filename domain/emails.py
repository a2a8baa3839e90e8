"""E-mail that comes in: what becomes of it.

A mail speaks for the address in its From. That is no proof, so it decides little: a mail joins a ticket only when it
names something that we signed and sent to that ticket's requester, *and* comes from his address. All others begin
tickets of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from uuid import UUID

from domain.actors import Actor
from domain.attachments import StoredFile, attach_stored
from domain.comments import PostedComment, add_comment, check_body, comment_as_requester, subject_of
from domain.errors import Forbidden
from domain.locks import confirm_actor, lock_ticket_of, lock_user
from domain.tickets import create_ticket, reopen
from domain.transactions import Call, Transaction, unit_of_work
from models import (
    Account,
    ActorKind,
    Channel,
    Comment,
    Conversation,
    EventType,
    InboundEmail,
    InboundOutcome,
    OutboundEmail,
    SuspendedMessage,
    Suspension,
    Ticket,
    TicketStatus,
    User,
    UserKind,
    new_id,
)

MOST_IN_AN_HOUR = 30
"""Mails of one address that take effect. A machine that answers us answers more often; people write less."""
LONGEST_SUBJECT = 200
LONGEST_NAME = 200
MOST_MERGES = 20


class MailKind(StrEnum):
    """What a mail is by its form. Only a LETTER was written by somebody for us."""

    LETTER = "LETTER"
    AUTO_REPLY = "AUTO_REPLY"
    LOOP = "LOOP"
    BOUNCE = "BOUNCE"
    REJECTED = "REJECTED"


@dataclass(frozen=True, slots=True)
class IncomingMail:
    """A mail that was read.

    `message_id` (at most 255 characters) tells mails apart; `sender` is an address in lower case, empty when REJECTED.
    `answers` are comments that went out by mail, and `ticket_id` a ticket: both were signed by us. Of a BOUNCE,
    `answers` are the mails that could not be delivered, `status` the code of RFC 3463 and `reason` what was said.
    """

    message_id: str
    sender: str
    name: str
    subject: str
    body: str
    kind: MailKind = MailKind.LETTER
    reason: str | None = None
    status: str | None = None
    answers: tuple[UUID, ...] = ()
    ticket_id: UUID | None = None
    files: tuple[StoredFile, ...] = ()


@dataclass(frozen=True, slots=True)
class ReceivedMail:
    """The verdict of `receive_mail`."""

    outcome: InboundOutcome
    ticket_id: UUID | None = None
    comment_id: UUID | None = None
    ticket_number: int | None = None


async def account_of(slug: str) -> Account | None:
    """The account of this name, as its addresses spell it."""
    return await Account.get_or_none(slug=slug)


async def receive_email(call: Call, *, body: str, ticket_id: UUID | None = None) -> PostedComment:
    """A customer who is known writes by mail: on one of his tickets, or a new one. It revives no session (R79)."""
    check_body(body)

    async def work(tx: Transaction) -> PostedComment:
        await tx.hold_settings()
        actor = await confirm_actor(tx)
        if not actor.is_customer or actor.id is None:
            raise Forbidden
        if ticket_id is not None:
            return await comment_as_requester(tx, ticket_id, body=body, channel=Channel.EMAIL)
        customer = await lock_user(tx, actor.id)
        ticket, comment = await _begin(tx, customer, subject_of(body), body)
        return PostedComment(comment.id, ticket.id)

    return await unit_of_work(call, work)


async def receive_mail(call: Call, mail: IncomingMail) -> ReceivedMail:
    """Take in a mail, once: the same Message-ID again answers what became of it the first time.

    `call.actor` is the system of the account. A letter becomes a comment on the ticket that it answers (R79), a
    follow-up of one that is closed (R145), or a new ticket; one of a suspended sender is kept aside. Everything else
    is noted and never answered.
    """

    async def work(tx: Transaction) -> ReceivedMail:
        await tx.hold_settings()
        earlier = await InboundEmail.get_or_none(account_id=tx.account_id, message_id=mail.message_id)
        if earlier is not None:
            return await _as_before(earlier)
        if mail.kind is MailKind.LETTER:
            return await _take_letter(tx, mail)
        if mail.kind is MailKind.BOUNCE:
            return await _take_bounce(tx, mail)
        return await _note(tx, mail, InboundOutcome(mail.kind.value), reason=mail.reason)

    if mail.kind is MailKind.LETTER:
        check_body(mail.body)
    return await unit_of_work(call, work)


async def _as_before(earlier: InboundEmail) -> ReceivedMail:
    ticket = await Ticket.get(id=earlier.ticket_id) if earlier.ticket_id else None
    return ReceivedMail(earlier.outcome, earlier.ticket_id, earlier.comment_id, ticket.number if ticket else None)


async def _take_letter(tx: Transaction, mail: IncomingMail) -> ReceivedMail:
    sender = await _sender(tx, mail)
    if not sender.active:
        return await _note(tx, mail, InboundOutcome.REJECTED, reason="the sender was deactivated")
    # Behind the lock of the sender, so that mails which come at the same moment are counted, too.
    if await _mails_of_late(tx, mail) >= MOST_IN_AN_HOUR:
        return await _note(tx, mail, InboundOutcome.LOOP, reason=f"more than {MOST_IN_AN_HOUR} mails in an hour")
    if sender.suspension is Suspension.ALL:
        return await _set_aside(tx, mail, sender)
    # As a customer, whoever he is: an agent's address in a From must not make an agent's comment.
    tx.actor = Actor(account_id=tx.account_id, kind=ActorKind.END_USER, id=sender.id)
    answered = await _answered(tx, sender, mail)
    if answered is not None and answered.status is not TicketStatus.CLOSED:
        comment = await add_comment(tx, answered.conversation_id, answered, body=mail.body, channel=Channel.EMAIL)
        await attach_stored(tx, comment, mail.files)
        reopen(tx, answered)
        return await _note(tx, mail, InboundOutcome.COMMENT, ticket=answered, comment=comment)
    ticket, comment = await _begin(tx, sender, _subject(mail), mail.body, follow_up_of=answered)
    await attach_stored(tx, comment, mail.files)
    outcome = InboundOutcome.FOLLOW_UP if answered is not None else InboundOutcome.TICKET
    return await _note(tx, mail, outcome, ticket=ticket, comment=comment)


async def _sender(tx: Transaction, mail: IncomingMail) -> User:
    """The user of the address, locked; a new end user when nobody has it.

    A new one counts as verified: answers go to the address that the mail came from, as everywhere in e-mail. One who
    is there with an unverified address stays so, because somebody else may have claimed it.
    """
    users = User.filter(account_id=tx.account_id)
    found = await users.get_or_none(email=mail.sender) or await users.filter(email__iexact=mail.sender).first()
    if found is not None:
        return await lock_user(tx, found.id)
    return await User.create(
        id=new_id(),
        account_id=tx.account_id,
        kind=UserKind.END_USER,
        name=(mail.name or mail.sender.partition("@")[0])[:LONGEST_NAME],
        email=mail.sender,
        email_verified=True,
        created_at=tx.now,
    )


async def _mails_of_late(tx: Transaction, mail: IncomingMail) -> int:
    effective = (InboundOutcome.COMMENT, InboundOutcome.TICKET, InboundOutcome.FOLLOW_UP)
    return await InboundEmail.filter(
        account_id=tx.account_id,
        from_address=mail.sender,
        received_at__gt=tx.now - timedelta(hours=1),
        outcome__in=effective,
    ).count()


async def _answered(tx: Transaction, sender: User, mail: IncomingMail) -> Ticket | None:
    """The ticket that the mail answers, locked. None unless the sender is its requester."""
    found = await _named(tx, mail)
    for _ in range(MOST_MERGES):
        if found is None or found.deleted_at is not None:
            return None
        if found.merged_into_id is None:
            if found.requester_id != sender.id:
                return None
            found = await lock_ticket_of(tx, found.conversation_id)
            if found is None or (found.merged_into_id is None and found.deleted_at is None):
                return found
        else:  # what is answered on a merged ticket belongs to the one that took it in
            found = await Ticket.get(id=found.merged_into_id, account_id=tx.account_id)
    return None


async def _named(tx: Transaction, mail: IncomingMail) -> Ticket | None:
    """The ticket that the mail names: by the nearest mail of ours that it refers to, or by the address it went to."""
    tickets = Ticket.filter(account_id=tx.account_id)
    comments = {row.id: row for row in await Comment.filter(account_id=tx.account_id, id__in=list(mail.answers))}
    for comment_id in mail.answers:
        if comment_id in comments:
            return await tickets.get_or_none(conversation_id=comments[comment_id].conversation_id)
    return await tickets.get_or_none(id=mail.ticket_id) if mail.ticket_id else None


async def _begin(
    tx: Transaction, customer: User, subject: str, body: str, *, follow_up_of: Ticket | None = None
) -> tuple[Ticket, Comment]:
    """A new ticket of a locked customer, with its first comment."""
    conversation = await Conversation.create(
        id=new_id(), account_id=tx.account_id, end_user_id=customer.id, channel=Channel.EMAIL, started_at=tx.now
    )
    ticket = await create_ticket(
        tx,
        conversation_id=conversation.id,
        requester=customer,
        channel=Channel.EMAIL,
        subject=subject,
        follow_up_of=follow_up_of,
    )
    # Tickets are stored when the transaction commits; the note about the mail refers to this one before.
    ticket.updated_at = tx.now
    await ticket.save()
    return ticket, await add_comment(tx, conversation.id, ticket, body=body, channel=Channel.EMAIL)


def _subject(mail: IncomingMail) -> str:
    subject = " ".join(mail.subject.split()) or subject_of(mail.body)
    return subject if len(subject) <= LONGEST_SUBJECT else subject[: LONGEST_SUBJECT - 1].rstrip() + "…"


async def _set_aside(tx: Transaction, mail: IncomingMail, sender: User) -> ReceivedMail:
    await SuspendedMessage.create(
        id=new_id(),
        account_id=tx.account_id,
        end_user_id=sender.id,
        channel=Channel.EMAIL,
        conversation_id=new_id(),
        body=mail.body,
        received_at=tx.now,
    )
    return await _note(tx, mail, InboundOutcome.SUSPENDED)


async def _take_bounce(tx: Transaction, mail: IncomingMail) -> ReceivedMail:
    sent = await OutboundEmail.filter(account_id=tx.account_id, comment_id__in=list(mail.answers)).first()
    if sent is None:
        return await _note(tx, mail, InboundOutcome.BOUNCE, reason="of a mail that is not ours")
    comment = await Comment.get(id=sent.comment_id)
    ticket = await lock_ticket_of(tx, comment.conversation_id)
    row = await OutboundEmail.filter(id=sent.id).select_for_update().get()
    if row.bounced_at is None:
        row.bounced_at, row.error = tx.now, (mail.reason or "The mail came back.")[:500]
        await row.save(update_fields=["bounced_at", "error"])
        tx.record(EventType.EMAIL_BOUNCED, ticket=ticket, comment_id=comment.id, status=mail.status)
    return await _note(tx, mail, InboundOutcome.BOUNCE, ticket=ticket, comment=comment)


async def _note(
    tx: Transaction,
    mail: IncomingMail,
    outcome: InboundOutcome,
    *,
    ticket: Ticket | None = None,
    comment: Comment | None = None,
    reason: str | None = None,
) -> ReceivedMail:
    # Of two that come at the same moment the slower breaks the constraint here, is tried again, and finds this row.
    await InboundEmail.create(
        id=new_id(),
        account_id=tx.account_id,
        message_id=mail.message_id,
        from_address=mail.sender[:320],
        subject=mail.subject[:500],
        outcome=outcome,
        reason=reason[:200] if reason else None,
        ticket_id=ticket.id if ticket else None,
        comment_id=comment.id if comment else None,
        received_at=tx.now,
    )
    return ReceivedMail(
        outcome, ticket.id if ticket else None, comment.id if comment else None, ticket.number if ticket else None
    )
