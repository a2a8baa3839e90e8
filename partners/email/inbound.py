"""POST /email/inbound/{account}: where a mail server hands over what came in, as raw MIME.

    Content-Type: message/rfc822
    Deskwire-Timestamp: seconds since 1970
    Deskwire-Signature: hexadecimal HMAC-SHA256, under DESKWIRE_EMAIL_INBOUND_KEY, of timestamp.account.body

The answer to a mail that was understood is 200 and what became of it, also when nothing did: there is no use in
sending it again. 4xx says that the request was wrong, 503 that the server should send it again later.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from domain.actors import system
from domain.emails import MailKind, ReceivedMail, account_of, receive_mail
from domain.errors import BusyRetry
from domain.storage import StorageUnavailable
from domain.transactions import Call
from models import utc_now
from models.database import is_unavailable
from partners.email.addresses import Addresses
from partners.email.files import Files
from partners.email.incoming import incoming, parsed

log = logging.getLogger("deskwire.email")

LARGEST_MAIL = 25 * 1024 * 1024
BODY_SECONDS = 60.0
OLDEST_SECONDS = 300
HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


class _Refused(Exception):
    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


def signature(key: str, timestamp: str, slug: str, body: bytes) -> str:
    """The signature of a mail for an account, for whoever hands it over."""
    seal = _seal(key, timestamp, slug)
    seal.update(body)
    return seal.hexdigest()


def _seal(key: str, timestamp: str, slug: str) -> hmac.HMAC:
    # With the account: what was signed for one is refused by all others.
    return hmac.new(key.encode(), f"{timestamp}.{slug}.".encode(), hashlib.sha256)


def inbound_endpoint(
    key: str, addresses: Addresses, files: Files, clock: Callable[[], datetime] = utc_now
) -> Callable[[Request], Awaitable[Response]]:
    """The endpoint, to be routed at a path with `{slug}`. What comes with a mail is kept as `files` says."""
    return _Endpoint(key, addresses, files, clock).respond


@dataclass(frozen=True, slots=True)
class _Endpoint:
    key: str
    addresses: Addresses
    files: Files
    clock: Callable[[], datetime]

    async def respond(self, request: Request) -> Response:
        try:
            return _answer(200, _shown(await self._receive(request)))
        except _Refused as refusal:
            return _answer(refusal.status, {"code": refusal.code, "message": refusal.message})
        except ClientDisconnect:
            return Response(status_code=400)
        except Exception as error:
            if not (isinstance(error, BusyRetry | StorageUnavailable) or is_unavailable(error)):
                raise
            log.warning("a mail could not be stored now: %s", error)
            return _answer(503, {"code": "BUSY_RETRY", "message": "Send this mail again in a moment."})

    async def _receive(self, request: Request) -> ReceivedMail:
        slug = str(request.path_params["slug"])
        content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if content_type != "message/rfc822":
            raise _Refused(415, "UNSUPPORTED_MEDIA_TYPE", "Send the mail as message/rfc822, as it is.")
        raw = await self._signed_body(request, slug)
        account = await account_of(slug)
        if account is None:
            raise _Refused(404, "NOT_FOUND", "There is no such account.")
        # Reading a large mail takes a moment, in which the others are served.
        letter = await asyncio.to_thread(parsed, raw)
        mail = incoming(letter, self.addresses, slug)
        if mail.kind is MailKind.LETTER and letter.attachments:
            mail = await self.files.kept(account.id, mail, letter.attachments)
        return await receive_mail(Call(system(account.id), clock=self.clock), mail)

    async def _signed_body(self, request: Request, slug: str) -> bytes:
        timestamp = request.headers.get("deskwire-timestamp", "")
        if not (timestamp.isascii() and timestamp.isdecimal() and len(timestamp) <= 12):
            raise _unsigned()
        if abs(self.clock().timestamp() - int(timestamp)) > OLDEST_SECONDS:
            raise _Refused(401, "STALE_SIGNATURE", "This was signed more than five minutes ago. Sign it anew.")
        body = await _body(request)
        seal = _seal(self.key, timestamp, slug)
        seal.update(body)
        given = request.headers.get("deskwire-signature", "")
        if not hmac.compare_digest(seal.hexdigest().encode(), given.lower().encode()):
            raise _unsigned()
        return body


async def _body(request: Request) -> bytes:
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and (len(declared) > 12 or int(declared) > LARGEST_MAIL):
        raise _too_large()
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > LARGEST_MAIL:
                    raise _too_large()
    except TimeoutError:
        raise _Refused(408, "REQUEST_TIMEOUT", "The mail took too long.") from None
    return bytes(body)


def _unsigned() -> _Refused:
    return _Refused(401, "BAD_SIGNATURE", "The signature is missing or wrong.")


def _too_large() -> _Refused:
    return _Refused(413, "BODY_TOO_LARGE", f"A mail may have {LARGEST_MAIL:,} bytes.")


def _shown(received: ReceivedMail) -> dict[str, Any]:
    shown: dict[str, Any] = {"outcome": received.outcome.value}
    return shown | ({"ticket": received.ticket_number} if received.ticket_number is not None else {})


def _answer(status: int, content: dict[str, Any]) -> Response:
    # What is left of a body that was refused cannot be told from a next request.
    closing = {"Connection": "close"} if status in (408, 413) else {}
    return JSONResponse(content, status, HEADERS | closing)
