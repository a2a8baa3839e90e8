"""The bot of docs/guides/bots.md, as it stands there, over real HTTP in both directions."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import orjson
from starlette.applications import Starlette

from domain.bot_settings import BotForm, save_bot
from domain.people import issue_token
from domain.responders import answer_messages
from domain.transactions import Call
from models import BotKind, Control, OutboundCall, User, utc_now
from tests.bots import partner, put_in_front, said_in, session_of, ticket_of, writes
from tests.factories import World
from tests.ports import kept_ports
from tests.server.beside import served

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "bots.md"


def program() -> str:
    (found,) = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    return str(found)


@contextmanager
def running(**environment: str) -> Iterator[str]:
    """The address of the guide's bot, as a process of its own."""
    with kept_ports(1) as port:
        settings = environment | {"PORT": str(port)}
        process = subprocess.Popen([sys.executable, "-c", program()], env=os.environ | settings)
        try:
            _wait_for(port)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(10)


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with socket.socket() as sock:
            if sock.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError("the bot did not start")


async def deliver(call: OutboundCall, address: str, secret: str, *, attempt: int = 1, age: int = 0) -> int:
    """The call as it is documented. Returns the status of the answer."""
    body, when = orjson.dumps(call.body), str(int(time.time()) - age)
    signature = hmac.new(secret.encode(), when.encode() + b"." + body, hashlib.sha256).hexdigest()
    headers = {
        "Content-Type": "application/json",
        "Deskwire-Event-Id": str(call.id),
        "Deskwire-Attempt": str(attempt),
        "Deskwire-Timestamp": when,
        "Deskwire-Signature": f"v1={signature}",
    }
    async with httpx.AsyncClient() as http:
        return (await http.post(address, content=body, headers=headers, timeout=30)).status_code


async def test_the_bot_of_the_guide_answers_and_hands_off(world: World, app: Starlette) -> None:
    """R70, R137: told twice, the customer hears it once; what is not signed by us, or old, does nothing."""
    token = await issue_token(await User.get(id=(await partner(world)).id), "bot", utc_now())
    form = BotForm("Echo", BotKind.HTTP, url="https://bot.example")
    saved = await save_bot(Call(world.admin), form)
    assert saved.secret is not None
    await put_in_front(world, form)
    customer = await world.customer()
    sent = await writes(customer, "Hello?")
    await writes(customer, "A human, please")
    assert await answer_messages() == 2
    calls = {call.body["message"]["body"]: call for call in await OutboundCall.all()}
    hello, human = calls["Hello?"], calls["A human, please"]
    async with served(app) as api:
        with running(DESKWIRE_API=api, DESKWIRE_TOKEN=token.secret, BOT_SECRET=saved.secret) as address:
            assert await deliver(hello, address, "another secret") == 401
            assert await deliver(hello, address, saved.secret, age=400) == 401
            assert len(await said_in(sent)) == 2
            for attempt in (1, 2):
                assert await deliver(hello, address, saved.secret, attempt=attempt) == 204
            assert (await session_of(sent)).control is Control.BOT
            for attempt in (1, 2):
                assert await deliver(human, address, saved.secret, attempt=attempt) == 204
    assert (await said_in(sent))[2:] == [
        ("BOT", "You wrote: Hello?. Say 'human' for a person."),
        ("BOT", "Wants a person."),
    ]
    assert (await session_of(sent)).control is Control.AGENT
    assert await ticket_of(sent) is not None
