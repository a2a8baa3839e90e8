"""Making the HTTP calls that wait: signed, each by one process, tried again until they are taken.

The receiver checks `Deskwire-Signature`: "v1=" and the hexadecimal HMAC-SHA256, under the secret that he was given, of
the timestamp of `Deskwire-Timestamp`, a dot, and the body as it came. The same `Deskwire-Event-Id` may come again.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
from collections.abc import Callable
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import httpx
import orjson

from domain.errors import BusyRetry
from domain.ids import global_id
from domain.webhooks import DueCall, claim_due_calls, finish_call
from models import utc_now
from partners.addresses import ForbiddenAddress, resolved

TIMEOUT = 10.0
"""Seconds that a receiver has for all of it: to be found, to accept the connection, and to answer."""
MOST_AT_ONCE = 20

logger = logging.getLogger("deskwire.webhooks")
Clock = Callable[[], datetime]


def webhook_client() -> httpx.AsyncClient:
    """The client to make the calls with: no proxy of the environment, and no redirects."""
    return httpx.AsyncClient(trust_env=False, follow_redirects=False, timeout=TIMEOUT)


async def send_due_calls(
    client: httpx.AsyncClient, clock: Clock = utc_now, *, allow_private_urls: bool = False, timeout: float = TIMEOUT
) -> int:
    """Pass: make the calls that are due, over all accounts, at the same time. Returns how many were taken.

    Private addresses are for development alone.
    """
    calls = await claim_due_calls(clock, MOST_AT_ONCE)
    results = await asyncio.gather(*(_make(client, call, clock, allow_private_urls, timeout) for call in calls))
    return sum(results)


async def _make(client: httpx.AsyncClient, call: DueCall, clock: Clock, allow_private: bool, timeout: float) -> bool:
    code: int | None = None
    for_good = False
    try:
        async with asyncio.timeout(timeout):
            code = await _post(client, call, clock, allow_private)
    except ForbiddenAddress:
        logger.warning("call %s was not made: %s is no public address", call.id, urlsplit(call.url).hostname)
        for_good = True
    except (httpx.HTTPError, httpx.InvalidURL, OSError, TimeoutError, UnicodeError) as error:
        logger.info("call %s failed: %s", call.id, type(error).__name__)
    except Exception:
        logger.exception("call %s could not be made", call.id)
    sent = code is not None and 200 <= code < 300
    try:
        await finish_call(call, code, clock, sent=sent, for_good=for_good)
    except BusyRetry:
        logger.info("call %s is made again: what became of it could not be noted", call.id)
    return sent


async def _post(client: httpx.AsyncClient, call: DueCall, clock: Clock, allow_private: bool) -> int:
    """The status of the answer, whose body nobody reads."""
    address = await resolved(call.url, allow_private=allow_private)
    body = orjson.dumps(payload_of(call))
    parts = urlsplit(call.url)
    url = httpx.URL(call.url)
    headers = {
        "Host": parts.netloc,
        "Content-Type": "application/json",
        "User-Agent": "Deskwire",
        "Deskwire-Event-Id": event_id_of(call),
        "Deskwire-Attempt": str(call.attempt),
        **signed(call.secret, body, clock()),
    }
    # Connected to the address that was looked at; the certificate is still checked against the name.
    extensions = {"sni_hostname": url.host} if url.scheme == "https" else {}
    async with client.stream(
        "POST", url.copy_with(host=address), content=body, headers=headers, extensions=extensions
    ) as response:
        return response.status_code


def signed(secret: str, body: bytes, moment: datetime) -> dict[str, str]:
    """The headers that prove who sent a body, and when."""
    timestamp = str(int(moment.timestamp()))
    digest = hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    return {"Deskwire-Timestamp": timestamp, "Deskwire-Signature": f"v1={digest}"}


def event_id_of(call: DueCall) -> str:
    """What a receiver knows a delivery by when it comes again."""
    return _global("TicketEvent", call.body["eventId"]) if call.to_webhook else call.key


def payload_of(call: DueCall) -> dict[str, Any]:
    """The body as it is sent: to webhooks with the ids of the API, to bots as it was queued."""
    if not call.to_webhook:
        return call.body
    ticket, events = call.body["ticket"], call.body["events"]
    return {
        "eventId": event_id_of(call),
        "auditId": _global("Audit", call.body["auditId"]),
        "ticket": ticket | {"id": _global("Ticket", ticket["id"])},
        "events": [event | {"id": _global("TicketEvent", event["id"])} for event in events],
    }


def _global(kind: str, identifier: str) -> str:
    return global_id(kind, UUID(identifier))
