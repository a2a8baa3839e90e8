"""Files that people sent along. One type for both sides: it says nothing but what the file is."""

from __future__ import annotations

from uuid import UUID

import strawberry
from strawberry import ID

import models
from schema.context import Info
from schema.ids import decode_id, encode_id
from schema.people import Node

ATTACHMENT_IDS = "At most 10 files of the caller, uploaded with POST /attachments and attached to nothing yet."


@strawberry.type(description="A file.")
class Attachment(Node):
    row: strawberry.Private[models.Attachment]
    file_name: str
    content_type: str = strawberry.field(description="What its content was found to be, not what its sender said.")
    size: int = strawberry.field(description="In bytes.")

    @classmethod
    def of(cls, row: models.Attachment) -> Attachment:
        return cls(
            id=encode_id("Attachment", row.id),
            row=row,
            file_name=row.file_name,
            content_type=row.content_type,
            size=row.size,
        )

    @strawberry.field(
        description="Where to open it without a token, below the API's address: for 15 minutes, while its viewer may."
    )
    async def url(self, info: Info) -> str:
        return info.context.links.url(info.context.actor, self.row.id, info.context.clock())


async def attachments_of(info: Info, comment: models.Comment) -> list[Attachment]:
    """The files of a comment that the actor may see."""
    return [Attachment.of(row) for row in await info.context.loaders.attachments_of.load(comment.id)]


def attachment_ids() -> list[ID] | None:
    return strawberry.field(default=None, description=ATTACHMENT_IDS)  # type: ignore[no-any-return]


def decode_attachments(ids: list[ID] | None) -> list[UUID]:
    """Raises InvalidId."""
    return [decode_id("Attachment", each, field="attachmentIds") for each in ids or ()]
