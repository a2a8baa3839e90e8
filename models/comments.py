"""Comments, and how far they were read."""

from __future__ import annotations

from enum import StrEnum
from typing import Any
from uuid import UUID

from tortoise import fields
from tortoise.migrations.constraints import CheckConstraint, UniqueConstraint

from models.base import Row, account_key, link
from models.tickets import Channel


class Visibility(StrEnum):
    PUBLIC = "PUBLIC"
    INTERNAL = "INTERNAL"


class Comment(Row):
    """One message, reply or note. `sequence` orders the thread of its conversation, without gaps."""

    account: Any = account_key()
    account_id: UUID
    conversation: Any = link("Conversation")
    conversation_id: UUID
    sequence = fields.IntField()
    author_kind = fields.CharField(max_length=16)
    author_id = fields.UUIDField(null=True)
    channel = fields.CharEnumField(Channel, max_length=16)
    visibility = fields.CharEnumField(Visibility, max_length=16)
    body = fields.TextField()
    client_message_id = fields.CharField(max_length=200, null=True)
    created_at = fields.DatetimeField()
    edited_at = fields.DatetimeField(null=True)
    deleted_at = fields.DatetimeField(null=True)
    redacted_at = fields.DatetimeField(null=True)
    reaction = fields.CharField(max_length=16, null=True)

    class Meta:
        table = "comments"
        constraints = (
            UniqueConstraint(fields=("conversation_id", "sequence"), name="comments_are_in_one_order"),
            # R75: a message that is sent again is not stored again.
            UniqueConstraint(
                fields=("account_id", "author_id", "client_message_id"), name="a_client_message_is_stored_once"
            ),
            CheckConstraint(
                check="(channel = 'INTERNAL_NOTE') = (visibility = 'INTERNAL')",
                name="notes_and_only_notes_are_internal",
            ),
        )


class ReadMark(Row):
    """How far somebody has read a conversation. It changes no session and no ticket (R63)."""

    account: Any = account_key()
    account_id: UUID
    conversation: Any = link("Conversation")
    conversation_id: UUID
    reader: Any = link("User")
    reader_id: UUID
    sequence = fields.IntField()
    read_at = fields.DatetimeField()

    class Meta:
        table = "read_marks"
        constraints = (UniqueConstraint(fields=("conversation_id", "reader_id"), name="one_read_mark_per_reader"),)
