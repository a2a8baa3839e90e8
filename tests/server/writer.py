"""A program beside the server: it writes as a customer, by the same verb, and goes. `python -m tests.server.writer`."""

from __future__ import annotations

import asyncio
import sys
from uuid import UUID

from domain.actors import load_actor
from domain.messages import send_message
from domain.transactions import Call
from models import User
from models.database import opened


async def write(url: str, customer: UUID, body: str) -> None:
    async with opened(url):
        user = await User.get(id=customer)
        actor = await load_actor(user.account_id, user.id)
        assert actor is not None
        await send_message(Call(actor), body=body)


if __name__ == "__main__":
    asyncio.run(write(sys.argv[1], UUID(sys.argv[2]), sys.argv[3]))
