"""What the customer's widget sees. Types of its own: nothing of ends, notes, routing or capacity is reachable (R53)."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import strawberry
from strawberry import ID

import models
from domain.errors import InvalidInput
from models import ActorKind, Score, TicketStatus
from schema.attachments import Attachment, attachment_ids, attachments_of
from schema.context import Info, Tailpiece
from schema.ids import encode_id
from schema.paging import (
    Connection,
    Edge,
    PageInfo,
    check_first,
    decode_sequence,
    encode_cursor,
)
from schema.payloads import Payload
from schema.people import Node


@strawberry.enum(description="Which side wrote.")
class MessageAuthorKind(StrEnum):
    END_USER = "END_USER"
    AGENT = "AGENT"
    BOT = "BOT"


SIDES = {ActorKind.END_USER: MessageAuthorKind.END_USER, ActorKind.BOT: MessageAuthorKind.BOT}


@strawberry.type(description="Who wrote a message.")
class MessageAuthor:
    kind: MessageAuthorKind
    name: str


@strawberry.type(description="A message of a conversation.")
class Message(Node):
    row: strawberry.Private[models.Comment]
    client_message_id: str | None
    body: str
    sent_at: datetime
    edited_at: datetime | None
    deleted_at: datetime | None
    reaction: str | None

    @classmethod
    def of(cls, row: models.Comment) -> Message:
        return cls(
            id=encode_id("Message", row.id),
            row=row,
            client_message_id=row.client_message_id,
            body=row.body,
            sent_at=row.created_at,
            edited_at=row.edited_at,
            deleted_at=row.deleted_at,
            reaction=row.reaction,
        )

    @strawberry.field(description="Who wrote it.")
    async def author(self, info: Info) -> MessageAuthor:
        kind = SIDES.get(ActorKind(self.row.author_kind), MessageAuthorKind.AGENT)
        loaders = info.context.loaders
        known = loaders.bots if kind is MessageAuthorKind.BOT else loaders.users
        user = await known.load(self.row.author_id) if self.row.author_id else None
        return MessageAuthor(kind=kind, name=user.name if user else "Support")

    @strawberry.field(description="Files that came with it, in the order of their uploads.")
    async def attachments(self, info: Info) -> list[Attachment]:
        return await attachments_of(info, self.row)


@strawberry.type(description="A question to the customer.")
class Survey(Node):
    question: str

    @classmethod
    def of(cls, row: models.Survey) -> Survey:
        return cls(id=encode_id("Survey", row.id), question=row.question)


@strawberry.type(description="A conversation of the customer. It stays readable for ever.")
class Conversation(Node):
    row: strawberry.Private[models.Conversation]
    started_at: datetime

    @classmethod
    def of(cls, row: models.Conversation) -> Conversation:
        return cls(id=encode_id("Conversation", row.id), row=row, started_at=row.started_at)

    @strawberry.field(description="The question about it that waits for an answer.")
    async def survey(self, info: Info) -> Survey | None:
        row = await info.context.loaders.open_surveys.load(self.row.id)
        return Survey.of(row) if row else None

    @strawberry.field(description="Its messages, in order.")
    async def messages(
        self,
        info: Info,
        first: int | None = None,
        after: str | None = None,
        last: int | None = None,
        before: str | None = None,
    ) -> Connection[Message]:
        count, newest = _count(first, last)
        piece = Tailpiece(
            conversation_id=self.row.id,
            count=count + 1,
            before=decode_sequence(before),
            after=decode_sequence(after),
            newest=newest,
        )
        rows = await info.context.loaders.messages.load(piece)
        more = len(rows) > count
        shown = rows[-count:] if newest else rows[:count]
        edges = [Edge(cursor=encode_cursor(row.sequence), node=Message.of(row)) for row in shown]
        page = PageInfo(
            has_next_page=before is not None if newest else more,
            has_previous_page=more if newest else after is not None,
            start_cursor=edges[0].cursor if edges else None,
            end_cursor=edges[-1].cursor if edges else None,
        )
        return Connection(edges=edges, page_info=page)


def _count(first: int | None, last: int | None) -> tuple[int, bool]:
    if (first is None) == (last is None):
        raise InvalidInput("Say either 'first' or 'last'.", field=("first",))
    if first is not None:
        return check_first(first), False
    assert last is not None
    return check_first(last, name="last"), True


@strawberry.type(description="A request of the customer, as the help centre shows it.")
class Request(Node):
    number: int
    subject: str
    status: TicketStatus
    created_at: datetime

    @classmethod
    def of(cls, row: models.Ticket) -> Request:
        return cls(
            id=encode_id("Request", row.id),
            number=row.number,
            subject=row.subject,
            status=row.status,
            created_at=row.created_at,
        )


@strawberry.input(description="Write into the messaging channel.")
class SendMessageInput:
    body: str = strawberry.field(description="1 to 10,000 characters.")
    client_message_id: str | None = strawberry.field(
        default=None, description="The widget's own id: sent again, the message is not stored again."
    )
    conversation_id: ID | None = strawberry.field(
        default=None, description="What the widget shows. It may be stale: the answer says where the message is."
    )
    attachment_ids: list[ID] | None = attachment_ids()
    client_id: str | None = None
    client_mutation_id: str | None = None


@strawberry.type(description="Where the message is.")
class SendMessagePayload(Payload):
    message: Message | None = None
    conversation: Conversation | None = None


@strawberry.input(description="Correct a message of a live conversation.")
class EditMessageInput:
    message_id: ID
    body: str
    client_mutation_id: str | None = None


@strawberry.input(description="Take back a message of a live conversation.")
class DeleteMessageInput:
    message_id: ID
    client_mutation_id: str | None = None


@strawberry.input(description="React to a message of a live conversation. Without a reaction: take it away.")
class ReactToMessageInput:
    message_id: ID
    reaction: str | None = None
    client_mutation_id: str | None = None


@strawberry.type(description="The message as it reads now.")
class ChangeMessagePayload(Payload):
    message: Message | None = None


@strawberry.input(description="Comment on one's own request through the help centre.")
class CommentOnRequestInput:
    request_id: ID
    body: str
    attachment_ids: list[ID] | None = attachment_ids()
    idempotency_key: str | None = None
    client_mutation_id: str | None = None


@strawberry.type(description="The request after the comment.")
class CommentOnRequestPayload(Payload):
    request: Request | None = None


@strawberry.input(description="Answer a survey.")
class RateConversationInput:
    survey_id: ID
    score: Score
    comment: str | None = strawberry.field(default=None, description="At most 2,000 characters.")
    client_mutation_id: str | None = None


@strawberry.type(description="What the customer thought.")
class Rating:
    score: Score
    comment: str | None


@strawberry.type(description="The answer to a survey.")
class RateConversationPayload(Payload):
    rating: Rating | None = None
