"""The audits that npm's graphql-http makes of the GraphQL-over-HTTP specification, all of them, on our endpoint."""

from __future__ import annotations

import asyncio

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route

from deskwire.http import METHODS, graphql_endpoint
from deskwire.slots import Slots
from tests.api.toy import Context, toy_engine
from tests.clients.installed import FOLDER, node
from tests.server.beside import served

AUDITS = 61
SECONDS = 60


async def somebody(_: Request) -> str:
    return "somebody"


async def test_the_endpoint_passes_every_audit() -> None:
    """With GET and introspection, which the audits ask for; MUST, SHOULD and MAY alike."""
    endpoint = graphql_endpoint(toy_engine(), somebody, Context, allow_get=True, changes=Slots(4))
    async with served(Starlette(routes=[Route("/graphql", endpoint, methods=list(METHODS))])) as url:
        command = node(str(FOLDER / "audit.mjs"), url)
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        try:
            out, _ = await asyncio.wait_for(process.communicate(), SECONDS)
        finally:
            if process.returncode is None:
                process.kill()
    audits = [orjson.loads(line) for line in out.splitlines()]
    assert [audit for audit in audits if audit["status"] != "ok"] == []
    assert len(audits) == AUDITS
