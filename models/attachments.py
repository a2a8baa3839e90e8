"""Attachments: files that people send along."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from tortoise import fields
from tortoise.migrations.constraints import CheckConstraint, UniqueConstraint

from models.base import Row, account_key, link


class Attachment(Row):
    """A file. Its content is in the storage under `storage_key`. Until it is attached, only its uploader reaches it."""

    account: Any = account_key()
    account_id: UUID
    uploader: Any = link("User", null=True)
    uploader_id: UUID | None
    comment: Any = link("Comment", null=True)
    comment_id: UUID | None
    file_name = fields.CharField(max_length=255)
    # What the content is, not what the uploader said it was.
    content_type = fields.CharField(max_length=127)
    size = fields.BigIntField()
    sha256 = fields.CharField(max_length=64)
    storage_key = fields.CharField(max_length=200)
    created_at = fields.DatetimeField()
    attached_at = fields.DatetimeField(null=True)

    class Meta:
        table = "attachments"
        constraints = (
            UniqueConstraint(fields=("storage_key",), name="a_stored_file_is_one_attachment"),
            CheckConstraint(check="size > 0", name="files_are_not_empty"),
            CheckConstraint(check="(comment_id IS NULL) = (attached_at IS NULL)", name="attached_files_say_when"),
        )
        indexes = (("comment_id",), ("account_id", "attached_at", "created_at"))
