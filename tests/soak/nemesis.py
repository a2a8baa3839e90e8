"""What breaks things while clients work, one after the other, and clients' connections all the time."""

from __future__ import annotations

import asyncio
import random
import signal
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from tests.failpoints.forking import ForkedServer
from tests.soak.installation import Installation, end
from tests.soak.plan import Faults


@dataclass
class Nemesis:
    """Breaks an installation as planned, within a number of seconds.

    `done` counts what it did; `wrong` says which servers did not end in order.
    """

    installation: Installation
    faults: Faults
    chance: random.Random
    done: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    async def run(self, seconds: float) -> None:
        """Everything planned, spread over the time; everything runs again in the end."""
        cutting = asyncio.create_task(self._cut())
        try:
            # Connections are cut to the end of the time, also where nothing else is planned.
            await asyncio.gather(self._break(self.faults.planned(self.chance), seconds), asyncio.sleep(seconds))
        finally:
            cutting.cancel()
            await asyncio.gather(cutting, return_exceptions=True)

    async def _break(self, order: list[str], seconds: float) -> None:
        acts: dict[str, Callable[[], Awaitable[None]]] = {
            "kills": self._kill,
            "stops": self._stop,
            "deploys": self._deploy,
            "redis_restarts": self._restart_redis,
            "redis_stops": self._stop_redis,
            "redis_cuts": self._cut_redis,
            "restarts": self._restart_postgres,
            "terminations": self._terminate,
        }
        clock = asyncio.get_running_loop()
        began = clock.time()
        for number, name in enumerate(order):
            due = began + seconds * (number + self.chance.uniform(0.2, 0.8)) / len(order)
            await asyncio.sleep(max(0.0, due - clock.time()))
            await acts[name]()
            self.done[name] += 1

    async def _cut(self) -> None:
        """A client is cut off every so often."""
        while self.faults.cuts_a_second:
            await asyncio.sleep(self.chance.expovariate(self.faults.cuts_a_second))
            self.done["cuts"] += self.chance.choice(self.installation.proxies).reset_one()

    def _server(self) -> ForkedServer:
        return self.chance.choice(self.installation.servers)

    async def _kill(self) -> None:
        server = self._server()
        await asyncio.to_thread(server.kill)
        await asyncio.sleep(self.chance.uniform(0, 0.5))
        await asyncio.to_thread(server.start)

    async def _stop(self) -> None:
        server = self._server()
        server.signal(signal.SIGSTOP)
        await asyncio.sleep(self.faults.stop_seconds)
        server.signal(signal.SIGCONT)

    async def _deploy(self) -> None:
        server = self._server()
        self.wrong += await end(server)
        await asyncio.to_thread(server.start)

    async def _restart_redis(self) -> None:
        assert self.installation.redis is not None
        await asyncio.to_thread(self.installation.redis.down)
        await asyncio.sleep(self.chance.uniform(0.2, 1.5))
        await asyncio.to_thread(self.installation.redis.up)

    async def _stop_redis(self) -> None:
        assert self.installation.redis is not None
        self.installation.redis.stall()
        await asyncio.sleep(self.faults.stop_seconds)
        self.installation.redis.resume()

    async def _cut_redis(self) -> None:
        assert self.installation.redis is not None
        await asyncio.to_thread(self.installation.redis.cut)

    async def _restart_postgres(self) -> None:
        assert self.installation.postmaster is not None
        await asyncio.to_thread(self.installation.postmaster.restart)

    async def _terminate(self) -> None:
        assert self.installation.postmaster is not None
        await asyncio.to_thread(self.installation.postmaster.terminate)
