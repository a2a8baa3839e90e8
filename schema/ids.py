"""Global ids: base64url of `Type:uuid`. Opaque to clients, typed for us."""

from __future__ import annotations

from base64 import urlsafe_b64decode
from uuid import UUID

from strawberry import ID

from domain.errors import InvalidId
from domain.ids import global_id


def encode_id(kind: str, identifier: UUID) -> ID:
    return ID(global_id(kind, identifier))


def decode_any(value: str) -> tuple[str, UUID]:
    """The kind and the identifier of a global id. Raises InvalidId."""
    try:
        kind, _, identifier = (
            urlsafe_b64decode(value.encode("ascii") + b"=" * (-len(value) % 4)).decode().partition(":")
        )
        found = UUID(identifier)
    except ValueError:
        raise InvalidId from None
    # One spelling for each id: what is not written as we write it was not written by us.
    if encode_id(kind, found) != value:
        raise InvalidId
    return kind, found


def decode_id(kind: str, value: str, *, field: str | None = None) -> UUID:
    """The identifier of a global id of this kind. Raises InvalidId."""
    try:
        found, identifier = decode_any(value)
    except InvalidId:
        found, identifier = "", UUID(int=0)
    if found != kind:
        raise InvalidId(field=(field,) if field else ())
    return identifier


def decode_optional(kind: str, value: str | None, *, field: str | None = None) -> UUID | None:
    """The same, where null names nothing. An empty text is no null: it is no id. Raises InvalidId."""
    return None if value is None else decode_id(kind, value, field=field)
