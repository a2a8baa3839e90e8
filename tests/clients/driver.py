"""Python's gql as a program; commands and answers as in driver.mjs. `python -m tests.clients.driver <url> <token>`."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import orjson
from gql import Client, GraphQLRequest
from gql.transport.exceptions import TransportError, TransportQueryError
from gql.transport.httpx import HTTPXAsyncTransport

from tests.clients.examples import with_gql


def say(**message: Any) -> None:
    sys.stdout.write(orjson.dumps(message).decode() + "\n")
    sys.stdout.flush()


class Driver:
    """What a line of standard input may ask for."""

    def __init__(self, url: str, token: str) -> None:
        self._url = url
        self._token = token
        self._streams: dict[str, asyncio.Task[None]] = {}

    async def obey(self, command: dict[str, Any]) -> None:
        name = command["name"]
        match command["do"]:
            case "follow":
                self._streams[name] = asyncio.create_task(self._follow(name, command))
            case "stop":
                self._streams[name].cancel()
                await asyncio.wait([self._streams[name]])
                say(name=name, stopped=True)
            case "query" | "mutate":
                say(name=name, answer=await self._answer(command))

    async def _follow(self, name: str, command: dict[str, Any]) -> None:
        def use(item: dict[str, Any]) -> None:
            say(name=name, item=item)

        try:
            await with_gql.follow(self._url, self._token, command["query"], command["variables"], use)
        except TransportQueryError as refusal:
            say(name=name, refused=[each["extensions"]["code"] for each in refusal.errors or []])
        except TransportError as failure:
            say(name=name, refused=[], failure=repr(failure.__cause__ or failure))

    async def _answer(self, command: dict[str, Any]) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self._token}"}
        async with Client(transport=HTTPXAsyncTransport(self._url, headers=headers)) as session:
            try:
                request = GraphQLRequest(command["query"], variable_values=command["variables"])
                return {"data": await session.execute(request)}
            except TransportQueryError as refusal:
                return {"errors": refusal.errors}


async def drive(url: str, token: str) -> None:
    driver = Driver(url, token)
    while line := await asyncio.to_thread(sys.stdin.readline):
        await driver.obey(orjson.loads(line))


if __name__ == "__main__":
    asyncio.run(drive(sys.argv[1], sys.argv[2]))
