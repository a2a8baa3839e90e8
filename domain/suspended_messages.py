"""What suspended customers write: kept aside, where no agent's screen shows it, while they are told nothing (R140)."""

from __future__ import annotations

from uuid import UUID

from tortoise.queryset import QuerySet

from domain.actors import Actor
from domain.transactions import Transaction
from models import Channel, Comment, Conversation, SuspendedMessage, Suspension, User, Visibility, new_id

Customer = Actor | User


async def suspension_of(tx: Transaction) -> Suspension | None:
    """Whether the customer who acts is suspended. Held until the commit, once he is confirmed or locked."""
    return (await User.get(id=tx.actor.id)).suspension  # type: ignore[no-any-return]


async def keep_message(
    tx: Transaction,
    customer: User,
    *,
    channel: Channel,
    body: str,
    client_message_id: str | None = None,
    conversation_id: UUID | None = None,
) -> SuspendedMessage:
    """Keep what a (locked) suspended customer wrote, once for each message id of his widget.

    Without an event: nothing that anybody follows has changed. `conversation_id` is what he is told that it went to.
    """
    if client_message_id is not None:
        earlier = await _kept(customer).get_or_none(client_message_id=client_message_id)
        if earlier is not None:
            return earlier
    return await SuspendedMessage.create(
        account_id=tx.account_id,
        end_user_id=customer.id,
        channel=channel,
        conversation_id=conversation_id or await _plausible_conversation(customer),
        body=body,
        client_message_id=client_message_id,
        received_at=tx.now,
    )


async def _plausible_conversation(customer: User) -> UUID:
    """The same each time: his last one, as if it went on, or else one that does not exist."""
    conversations = Conversation.filter(
        account_id=customer.account_id, end_user_id=customer.id, channel=Channel.MESSAGING
    )
    last = await conversations.order_by("-started_at", "-id").first()
    if last is not None:
        return last.id
    first = await _kept(customer).order_by("received_at", "id").first()
    return first.conversation_id if first is not None else new_id()


def _kept(customer: Customer) -> QuerySet[SuspendedMessage]:
    return SuspendedMessage.filter(account_id=customer.account_id, end_user_id=customer.id, channel=Channel.MESSAGING)


async def kept_message(customer: Customer, message_id: UUID) -> SuspendedMessage | None:
    """The message of this customer that was kept aside under the id that he was told."""
    return await _kept(customer).get_or_none(id=message_id)


async def was_told_of(customer: Customer, conversation_id: UUID) -> bool:
    """Whether this customer was told that a kept message went to this conversation, which need not exist."""
    return await _kept(customer).filter(conversation_id=conversation_id).exists()


async def as_if_sent(customer: Customer, message_id: UUID) -> tuple[Comment, Conversation]:
    """A kept message and its conversation as its author is shown them. Never saved: they look like the real ones."""
    kept = await kept_message(customer, message_id)
    assert kept is not None, "a message was answered and is gone"
    comment = Comment(
        id=kept.id,
        account_id=kept.account_id,
        conversation_id=kept.conversation_id,
        sequence=1,
        author_kind="END_USER",
        author_id=kept.end_user_id,
        channel=kept.channel,
        visibility=Visibility.PUBLIC,
        body=kept.body,
        client_message_id=kept.client_message_id,
        created_at=kept.received_at,
    )
    return comment, await _conversation_of(customer, kept)


async def _conversation_of(customer: Customer, kept: SuspendedMessage) -> Conversation:
    real = await Conversation.get_or_none(id=kept.conversation_id)
    if real is not None:
        return real
    first = await _kept(customer).filter(conversation_id=kept.conversation_id).order_by("received_at").first()
    assert first is not None
    return Conversation(
        id=kept.conversation_id,
        account_id=kept.account_id,
        end_user_id=kept.end_user_id,
        channel=Channel.MESSAGING,
        started_at=first.received_at,
    )
