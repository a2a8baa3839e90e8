"""Comments of a ticket, as agents see them."""

from __future__ import annotations

from datetime import datetime

import strawberry

import models
from models import ActorKind, Channel, Visibility
from schema.attachments import Attachment, attachments_of
from schema.context import Info
from schema.emails import EmailDelivery
from schema.ids import encode_id
from schema.people import Actor, Node, actor_of


@strawberry.type(description="A message, a reply or a note.")
class Comment(Node):
    row: strawberry.Private[models.Comment]
    body: str
    channel: Channel
    visibility: Visibility
    created_at: datetime
    edited_at: datetime | None
    deleted_at: datetime | None
    redacted_at: datetime | None
    reaction: str | None

    @classmethod
    def of(cls, row: models.Comment) -> Comment:
        return cls(
            id=encode_id("Comment", row.id),
            row=row,
            body=row.body,
            channel=row.channel,
            visibility=row.visibility,
            created_at=row.created_at,
            edited_at=row.edited_at,
            deleted_at=row.deleted_at,
            redacted_at=row.redacted_at,
            reaction=row.reaction,
        )

    @strawberry.field(description="Who wrote it.")
    async def author(self, info: Info) -> Actor:
        return await actor_of(info, ActorKind(self.row.author_kind), self.row.author_id)

    @strawberry.field(description="Files that came with it, in the order of their uploads.")
    async def attachments(self, info: Info) -> list[Attachment]:
        return await attachments_of(info, self.row)

    @strawberry.field(description="What became of a reply by e-mail. Null for all other comments.")
    async def email_delivery(self, info: Info) -> EmailDelivery | None:
        if self.channel is not Channel.EMAIL:
            return None
        row = await info.context.loaders.emails.load(self.row.id)
        return EmailDelivery.of(row) if row else None
