"""The public API over HTTP, called until it answers."""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import Any

import httpx
import orjson

from deskwire.cli.store import CannotDo

# How long one call is repeated while the server does not answer.
PATIENCE_SECONDS = 120.0

SEND = """mutation Send($input: SendMessageInput!) {
  sendMessage(input: $input) { message { id } conversation { id } userErrors { code message } } }"""
POST = """mutation Post($input: PostCommentInput!) {
  postComment(input: $input) { comment { id } userErrors { code message } } }"""
END = """mutation End($input: EndSessionInput!) {
  endSession(input: $input) { outcome event { id } userErrors { code message } } }"""
FIND = """query Find($filter: TicketFilter) { tickets(filter: $filter, first: 1,
  orderBy: {field: NUMBER, direction: DESC}) { edges { node { id } } } }"""
OWNER = """query Owner($filter: TicketFilter) { tickets(filter: $filter, first: 1,
  orderBy: {field: NUMBER, direction: DESC}) { edges { node { id assignee { id } } } } }"""
AVAILABLE = """mutation Available($input: SetAvailabilityInput!) {
  setAvailability(input: $input) { availability { status } userErrors { code message } } }"""
SYNC = "query Sync { tickets(first: 1) { syncCursor } }"


class Unavailable(Exception):
    """The server does not answer, or says that it cannot now: the call may be repeated."""


class Rejected(Exception):
    """The server refused; repeating does not help."""


class Api:
    """The public API over HTTP. Every call can be repeated: it carries a key of its own."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def call(self, token: str, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        """The one field of data; the call is repeated until the server answers. Raises Rejected, CannotDo."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        for attempt in itertools.count():
            try:
                return await self.once(token, query, variables)
            except (Unavailable, httpx.HTTPError) as error:
                if time.monotonic() > deadline:
                    raise CannotDo(f"The server did not answer for {PATIENCE_SECONDS:.0f} s: {error!r}") from None
                await asyncio.sleep(min(0.05 * 2**attempt, 1.0))
        raise AssertionError("unreachable")

    async def once(self, token: str, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        body = orjson.dumps({"query": query, "variables": variables})
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        response = await self._http.post("/graphql", content=body, headers=headers)
        answer = _answer(response)
        if "errors" in answer:
            raise Rejected(answer["errors"][0]["message"])
        (payload,) = answer["data"].values()
        refusals = payload.get("userErrors") or []
        if refusals and refusals[0]["code"] == "BUSY_RETRY":
            raise Unavailable("busy")
        if refusals:
            raise Rejected(f"{refusals[0]['code']}: {refusals[0]['message']}")
        result: dict[str, Any] = payload
        return result


def _answer(response: httpx.Response) -> dict[str, Any]:
    """What Deskwire said. Raises Unavailable where it cannot now, or where somebody else answers in its place."""
    try:
        answer = response.json()
    except ValueError:
        answer = None
    if response.status_code >= 500 or not isinstance(answer, dict) or not {"data", "errors"} & set(answer):
        raise Unavailable(f"status {response.status_code}")
    return answer
