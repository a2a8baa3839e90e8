"""Addresses that open an attachment without a token, for a short time: what a browser needs to show or save a file.

A link names the attachment and the viewer, and is signed. It gives nobody more than that viewer has: when it is used,
he is looked up again, and may open the file only if he may see it then.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from datetime import datetime, timedelta
from hashlib import sha256
from urllib.parse import urlencode
from uuid import UUID

from domain.actors import Actor
from domain.errors import Unauthenticated
from schema.ids import encode_id

LIFE = timedelta(minutes=15)
PATH = "/attachments"


class Links:
    """Writes and reads links under one key."""

    def __init__(self, secret: bytes) -> None:
        # A key of its own, so that no other tag under the secret is ever one of a link.
        self._key = hmac.digest(secret, b"links to attachments", sha256)

    def url(self, actor: Actor, attachment_id: UUID, now: datetime) -> str:
        """The address, without scheme and host. It works for whoever has it until LIFE is over."""
        assert actor.id is not None, "links are for people"
        viewer = urlsafe_b64encode(actor.account_id.bytes + actor.id.bytes).decode().rstrip("=")
        expires = str(int((now + LIFE).timestamp()))
        query = {"viewer": viewer, "expires": expires, "signature": self._tag(attachment_id, viewer, expires)}
        return f"{PATH}/{encode_id('Attachment', attachment_id)}?{urlencode(query)}"

    def viewer(self, attachment_id: UUID, query: Mapping[str, str], now: datetime) -> tuple[UUID, UUID]:
        """The account and the user whom a link was given to. Raises Unauthenticated."""
        viewer, expires = query.get("viewer", ""), query.get("expires", "")
        right = self._tag(attachment_id, viewer, expires)
        if not hmac.compare_digest(right.encode(), query.get("signature", "").encode()):
            raise Unauthenticated("This link is not valid. Ask for the url of the attachment again.")
        if now.timestamp() >= int(expires):
            raise Unauthenticated("This link has expired. Ask for the url of the attachment again.")
        both = urlsafe_b64decode(viewer + "==")
        return UUID(bytes=both[:16]), UUID(bytes=both[16:])

    def _tag(self, attachment_id: UUID, viewer: str, expires: str) -> str:
        return hmac.digest(self._key, f"{attachment_id}|{viewer}|{expires}".encode(), sha256).hex()
