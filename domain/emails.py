"""E-mail: what a customer writes by mail, once it has come in."""

from __future__ import annotations

from uuid import UUID

from domain.comments import PostedComment, add_comment, check_body, comment_as_requester, subject_of
from domain.errors import Forbidden
from domain.locks import confirm_actor, lock_user
from domain.tickets import create_ticket
from domain.transactions import Call, Transaction, unit_of_work
from models import Channel, Conversation, new_id


async def receive_email(call: Call, *, body: str, ticket_id: UUID | None = None) -> PostedComment:
    """A mail of a customer: an answer on one of his tickets, or a new ticket. It revives no session (R79)."""
    check_body(body)

    async def work(tx: Transaction) -> PostedComment:
        actor = await confirm_actor(tx)
        if not actor.is_customer or actor.id is None:
            raise Forbidden
        if ticket_id is not None:
            return await comment_as_requester(tx, ticket_id, body=body, channel=Channel.EMAIL)
        customer = await lock_user(tx, actor.id)
        conversation = await Conversation.create(
            id=new_id(), account_id=tx.account_id, end_user_id=customer.id, channel=Channel.EMAIL, started_at=tx.now
        )
        ticket = await create_ticket(
            tx, conversation_id=conversation.id, requester=customer, channel=Channel.EMAIL, subject=subject_of(body)
        )
        comment = await add_comment(tx, conversation.id, ticket, body=body, channel=Channel.EMAIL)
        return PostedComment(comment.id, ticket.id)

    return await unit_of_work(call, work)
