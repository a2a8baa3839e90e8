"""Subscribers without a network: members of the hub's cohorts that keep what they are told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

import orjson
import pytest

from domain.actors import Actor
from domain.people import issue_token
from models import User, utc_now
from subscriptions.backlog import read
from subscriptions.callers import Caller
from subscriptions.cohorts import Member
from subscriptions.questions import Following, Question
from subscriptions.resume import position_in
from subscriptions.tail import Tail
from subscriptions.telling import Telling
from tests.client import OPERATIONS
from tests.delivery.stage import Stage


class Ear(Member):
    """One subscription. While it is full, a telling is its last until it drains."""

    __slots__ = ("errors", "is_full", "tellings")

    def __init__(self, caller: Caller, question: Question) -> None:
        super().__init__(caller, question)
        self.tellings: list[Telling] = []
        self.errors: list[dict[str, Any]] | None = None
        self.is_full = False

    def tell(self, telling: Telling) -> bool:
        self.tellings.append(telling)
        return not self.is_full

    def end(self, errors: list[dict[str, Any]]) -> None:
        assert self.errors is None, "a stream ends once"
        self.errors = errors

    def drain(self) -> None:
        self.is_full = False
        self.caller.tail.drained(self)

    def leave(self) -> None:
        self.caller.tail.leave(self)

    @property
    def code(self) -> str | None:
        """What the stream ended with."""
        return str(self.errors[0]["extensions"]["code"]) if self.errors else None

    @property
    def frames(self) -> list[bytes]:
        """What was told, as its bytes."""
        return [telling.json for telling in self.tellings]

    @property
    def items(self) -> list[dict[str, Any]]:
        """What was told: what is inside of data's one field. Fails on errors."""
        answers = [orjson.loads(frame) for frame in self.frames]
        assert not [answer for answer in answers if "errors" in answer]
        return [next(iter(answer["data"].values())) for answer in answers]

    @property
    def positions(self) -> list[int]:
        """Where in the log the items stand, by their cursors."""
        return [position_in(item["cursor"]) for item in self.items]


class Ears:
    """Makes them, on the hub of a stage. Each `caller` is a connection of its own."""

    def __init__(self, stage: Stage, stack: AsyncExitStack) -> None:
        self.stage = stage
        self._stack = stack
        self.gone: list[Caller] = []
        """Those who were turned away."""

    @property
    def tail(self) -> Tail:
        """The tail of the stage's account."""
        return self.stage.hub._tails[self.stage.world.id]

    async def caller(self, actor: Actor) -> Caller:
        token = (await issue_token(await User.get(id=actor.id), "test", utc_now())).secret
        callers: list[Caller] = []

        def gone(*, expired: bool) -> None:
            self.gone.extend(callers)

        callers.append(await self.stage.hub.admit(token, gone))
        self._stack.callback(self.stage.hub.dismiss, callers[0])
        return callers[0]

    async def ask(self, caller: Caller, operation: str, **variables: Any) -> Following:
        """What he asks: an operation of the contract by its name, or the text of any."""
        live = self.stage.app.state.deskwire.live
        prepared = live.engine.prepare(OPERATIONS.get(operation, operation), None)
        asked = await live.questions.ask(prepared, variables, partial(live.context_for, caller.actor))
        assert isinstance(asked, Following)
        return asked

    async def listen(self, caller: Caller, operation: str, **variables: Any) -> Ear:
        asked = await self.ask(caller, operation, **variables)
        ear = Ear(caller, asked.question)
        await caller.tail.join(ear, asked.after)
        return ear

    async def hear(self, actor: Actor, operation: str, **variables: Any) -> Ear:
        """The same, on a connection of its own."""
        return await self.listen(await self.caller(actor), operation, **variables)

    async def heard(self) -> None:
        """Wait until everybody has been told all that has happened so far."""
        await self.stage.settled()


@asynccontextmanager
async def ears_of(stage: Stage) -> AsyncIterator[Ears]:
    async with AsyncExitStack() as stack:
        yield Ears(stage, stack)


@asynccontextmanager
async def held_back(stage: Stage) -> AsyncIterator[None]:
    """The tail of the account reads nothing meanwhile, so that what happens is told in one turn."""
    gate = asyncio.Event()

    async def waiting(*arguments: Any, **more: Any) -> Any:
        await gate.wait()
        return await read(*arguments, **more)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("subscriptions.tail.read", waiting)
        stage.hub._tails[stage.world.id].wake.set()
        try:
            yield
        finally:
            gate.set()
