"""A real HTTP server on a real socket that answers as it is told, and keeps what it was sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson

HANG = "hang"
DROP = "drop"


@dataclass(frozen=True)
class Received:
    """One request."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)


@dataclass
class Receiver:
    """`answers` are used one after the other, the last one for ever: a status, or what to do instead of answering."""

    port: int = 0
    answers: list[int | str] = field(default_factory=lambda: [200])
    headers: str = ""
    received: list[Received] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?x=1"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            self.received.append(await _request(reader))
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            if answer == HANG:
                await reader.read()  # until the other side gives up
            elif answer != DROP:
                writer.write(f"HTTP/1.1 {answer} So\r\nContent-Length: 0\r\n{self.headers}\r\n".encode())
                await writer.drain()
        finally:
            writer.close()

    @classmethod
    @asynccontextmanager
    async def started(cls, *answers: int | str) -> AsyncIterator[Receiver]:
        receiver = cls(answers=list(answers) or [200])
        server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
        receiver.port = server.sockets[0].getsockname()[1]
        try:
            yield receiver
        finally:
            server.close()
            await server.wait_closed()


async def _request(reader: asyncio.StreamReader) -> Received:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    first, *lines = head.strip().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return Received(first.split()[1], headers, await reader.readexactly(int(headers["content-length"])))
