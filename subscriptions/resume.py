"""Cursors of the event log: where a stream stands, and whether it can be taken up from there.

A cursor is `v1|account|epoch|position` with a keyed tag, so that nobody probes other accounts or tampers with it.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from uuid import UUID

from domain.errors import CursorExpired, InvalidCursor
from models import Account, utc_now
from subscriptions.backlog import Backlog

VERSION = b"v1"
TAG_BYTES = 12
BODY_BYTES = len(VERSION) + 16 + 16 + 8


@dataclass(frozen=True, slots=True)
class Position:
    """A place in the log of one account: after the event at `position`."""

    account_id: UUID
    epoch: UUID
    position: int


def _position(body: bytes) -> Position:
    start = len(VERSION)
    return Position(
        account_id=UUID(bytes=body[start : start + 16]),
        epoch=UUID(bytes=body[start + 16 : start + 32]),
        position=int.from_bytes(body[start + 32 : BODY_BYTES], "big"),
    )


def position_in(cursor: str) -> int:
    """The position in a cursor of ours, unchecked: for our own tools, which compare streams with the log."""
    return _position(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))).position


class Cursors:
    """Writes and reads cursors under one key."""

    def __init__(self, key: bytes, *, retention: timedelta = timedelta(days=7)) -> None:
        self._key = key
        self.retention = retention

    def write(self, position: Position) -> str:
        number = position.position.to_bytes(8, "big")
        body = VERSION + position.account_id.bytes + position.epoch.bytes + number
        return urlsafe_b64encode(body + self._tag(body)).decode().rstrip("=")

    def read(self, cursor: str) -> Position:
        """Raises InvalidCursor for what we did not write."""
        try:
            data = urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4))
        except ValueError:
            raise InvalidCursor(field=("after",)) from None
        body, tag = data[:BODY_BYTES], data[BODY_BYTES:]
        if len(body) != BODY_BYTES or not hmac.compare_digest(tag, self._tag(body)):
            raise InvalidCursor(field=("after",))
        place = _position(body)
        # One spelling for each place: base64 skips characters that are none of its own.
        if self.write(place) != cursor:
            raise InvalidCursor(field=("after",))
        return place

    def _tag(self, body: bytes) -> bytes:
        return hmac.new(self._key, body, sha256).digest()[:TAG_BYTES]

    async def resume(self, cursor: str, account: Account, backlog: Backlog, now: datetime | None = None) -> int:
        """The position to go on from. Raises InvalidCursor, CursorExpired (R158): never an empty success."""
        place = self.read(cursor)
        if place.account_id != account.id or place.epoch != account.epoch or place.position > account.last_position:
            raise CursorExpired(field=("after",))
        if place.position < account.last_position:
            missed = await backlog.row(place.position + 1)
            # Gone from the log, or about to be.
            if missed is None or missed.occurred_at < (now or utc_now()) - self.retention:
                raise CursorExpired(field=("after",))
        return place.position
