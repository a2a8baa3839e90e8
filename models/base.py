"""What every table shares: identifiers, timestamps and the base class."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from tortoise import fields
from tortoise.models import Model


def new_id() -> UUID:
    """A UUID version 7 (RFC 9562): 48 bits of Unix milliseconds, then 74 random bits.

    Random enough that nobody guesses one, ordered enough that an index grows at its right edge.
    Python has `uuid.uuid7` only from 3.14 on.
    """
    milliseconds = time.time_ns() // 1_000_000
    random = int.from_bytes(os.urandom(10), "big")
    value = (milliseconds & (1 << 48) - 1) << 80
    value |= 0x7 << 76
    value |= (random >> 68 & 0xFFF) << 64
    value |= 0b10 << 62
    value |= random & (1 << 62) - 1
    return UUID(int=value)


def utc_now() -> datetime:
    """The present moment, aware and in UTC. The only clock that rows are stamped with."""
    return datetime.now(UTC)


class Row(Model):
    """A row with an identifier that the application chooses, so that facts can name it before it is stored."""

    id = fields.UUIDField(primary_key=True, default=new_id)

    class Meta:
        abstract = True


def account_key() -> Any:
    """The foreign key that every row of an account carries; no query outside `domain` goes without it."""
    return fields.ForeignKeyField("models.Account", related_name=False, on_delete=fields.OnDelete.RESTRICT)


def link(model: str, *, null: bool = False) -> Any:
    """A foreign key without a reverse accessor: reading is done by explicit queries, never by lazy relations."""
    options: dict[str, Any] = {"related_name": False, "on_delete": fields.OnDelete.RESTRICT, "null": null}
    return fields.ForeignKeyField(f"models.{model}", **options)
