"""Sending and fetching files, as the applications do."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import httpx

from domain.actors import Actor
from domain.attachments import upload_file
from domain.storage import Storage
from domain.transactions import Call
from models import Attachment
from schema.ids import decode_id
from tests.client import Client

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40
MEGABYTE = 1024 * 1024


async def pieces(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def uploaded(
    storage: Storage, actor: Actor, content: bytes = PNG, name: str | None = "cat.png", **more: Any
) -> Attachment:
    """A file of somebody, attached to nothing."""
    call = Call(actor, **more)
    return await upload_file(call, storage, file_name=name, chunks=pieces(content), most_bytes=MEGABYTE)


async def contents(storage: Storage) -> list[str]:
    """The keys of all that is stored."""
    return sorted([stored.key async for stored in storage.listed()])


@asynccontextmanager
async def http(client: Client) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=client.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://deskwire.example") as found:
        yield found


async def send_file(
    client: Client, content: Any = PNG, name: str = "cat.png", kind: str = "image/png"
) -> httpx.Response:
    async with http(client) as connection:
        return await connection.post("/attachments", files={"file": (name, content, kind)}, headers=client.headers)


async def sent_id(client: Client, content: bytes = PNG, name: str = "cat.png") -> str:
    """The global id of a file that was uploaded over HTTP."""
    answer = await send_file(client, content, name)
    assert answer.status_code == 201, answer.text
    identifier: str = answer.json()["id"]
    return identifier


def row_id(identifier: str) -> UUID:
    return decode_id("Attachment", identifier)


async def fetch(
    client: Client, path: str, *, signed: bool = False, method: str = "GET", **headers: str
) -> httpx.Response:
    """Open an attachment by its global id with the token, or by the url that GraphQL gave, without.

    Headers are written with underscores.
    """
    address = path if signed else f"/attachments/{path}"
    given = {} if signed else client.headers
    async with http(client) as connection:
        return await connection.request(
            method, address, headers=given | {name.replace("_", "-"): value for name, value in headers.items()}
        )
