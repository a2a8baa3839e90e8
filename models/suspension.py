"""What suspended customers wrote: kept aside, in no session and no ticket."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from tortoise import fields
from tortoise.migrations.constraints import UniqueConstraint

from models.base import Row, account_key, link
from models.tickets import Channel


class SuspendedMessage(Row):
    """A message of a suspended customer (R140). `conversation_id` is what his widget was told. There is no such row."""

    account: Any = account_key()
    account_id: UUID
    end_user: Any = link("User")
    end_user_id: UUID
    channel = fields.CharEnumField(Channel, max_length=16)
    conversation_id = fields.UUIDField()
    body = fields.TextField()
    client_message_id = fields.CharField(max_length=200, null=True)
    received_at = fields.DatetimeField()

    class Meta:
        table = "suspended_messages"
        constraints = (
            UniqueConstraint(
                fields=("account_id", "end_user_id", "client_message_id"), name="a_suspended_message_is_stored_once"
            ),
        )
        indexes = (("account_id", "received_at"),)
