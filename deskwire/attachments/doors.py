"""Uploading and downloading: decode, call the domain, answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from deskwire.attachments.answers import Masked, answering, json, refused
from deskwire.attachments.forms import FilePart
from deskwire.attachments.links import PATH, Links
from deskwire.attachments.sending import response_for
from deskwire.http import METHODS, HTTPRefusal
from domain.actors import Actor, load_actor
from domain.attachments import check_can_upload, readable_attachment, upload_file
from domain.errors import FileTooLarge, InvalidId, NotFound, Unauthenticated
from domain.storage import Storage
from domain.transactions import Call
from models import utc_now
from schema.ids import decode_id, encode_id

FORM_BYTES = 64 * 1024
"""What a form may have beside its file."""


@dataclass(frozen=True, slots=True)
class AttachmentDoors:
    """The routes of attachments.

    authenticate  raises an exception with `code` and `status` where the caller is nobody
    masked        reports a defect, and makes what a client may see of it
    """

    storage: Storage
    links: Links
    most_bytes: int
    authenticate: Callable[[Request], Awaitable[Actor]]
    masked: Masked

    def routes(self) -> Sequence[Route]:
        upload, download = answering(self._upload, self.masked), answering(self._download, self.masked)
        return [
            Route(PATH, upload, methods=list(METHODS)),
            Route(f"{PATH}/{{id}}", download, methods=list(METHODS)),
        ]

    async def _upload(self, request: Request) -> Response:
        """Refuses as early as it can: by method, caller, declared size, uploads that wait, and only then by content."""
        _check_method(request, "POST")
        actor = await self.authenticate(request)
        declared = request.headers.get("content-length", "")
        if declared.isdecimal() and (len(declared) > 15 or int(declared) > self.most_bytes + FORM_BYTES):
            raise FileTooLarge(self.most_bytes)
        part = FilePart(request)
        await check_can_upload(actor)
        await part.opened()
        row = await upload_file(
            Call(actor), self.storage, file_name=part.name, chunks=part.chunks(), most_bytes=self.most_bytes
        )
        identifier = encode_id("Attachment", row.id)
        body = {"id": identifier, "fileName": row.file_name, "contentType": row.content_type, "size": row.size}
        return json(201, body, {"Location": f"{PATH}/{identifier}"})

    async def _download(self, request: Request) -> Response:
        _check_method(request, "GET", "HEAD")
        attachment_id = _identifier(request)
        actor = await self._viewer(request, attachment_id)
        row = await readable_attachment(actor, attachment_id)
        return response_for(request, row, self.storage, lambda error: refused(error, self.masked))

    async def _viewer(self, request: Request, attachment_id: UUID) -> Actor:
        """Who opens it: by his token, or by a link that was given to him. Either way as he stands now."""
        if "signature" not in request.query_params:
            return await self.authenticate(request)
        account_id, user_id = self.links.viewer(attachment_id, request.query_params, utc_now())
        actor = await load_actor(account_id, user_id)
        if actor is None:
            raise Unauthenticated("This link was given to somebody who is no longer active.")
        return actor


def _identifier(request: Request) -> UUID:
    try:
        return decode_id("Attachment", request.path_params["id"])
    except InvalidId:
        raise NotFound from None


def _check_method(request: Request, *allowed: str) -> None:
    if request.method not in allowed:
        message = f"{request.method} is not served here."
        raise HTTPRefusal(405, "METHOD_NOT_ALLOWED", message, {"Allow": ", ".join(allowed)})
