"""What a soak runs on: a database, Redis, servers that are forked, and a proxy in front of each."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.brokers import Redis
from tests.databases import Postgres, Sqlite, postgres_server
from tests.failpoints.forking import ForkedServer, forker
from tests.faults.proxy import Proxy
from tests.soak.plan import Plan
from tests.soak.postmaster import Postmaster

# A server that is told to end does so within 20 seconds; a busy machine may need some more to tell of it.
DRAIN_SECONDS = 25.0


@dataclass
class Installation:
    """Everything that can be broken, and where clients find it."""

    url: str
    folder: Path
    servers: list[ForkedServer]
    proxies: list[Proxy] = field(default_factory=list)
    redis: Redis | None = None
    postmaster: Postmaster | None = None

    def ports(self) -> list[int]:
        return [proxy.port for proxy in self.proxies]

    def addresses(self) -> list[str]:
        return [f"http://127.0.0.1:{port}" for port in self.ports()]

    def keep(self, folder: Path) -> Path:
        """Put the history and the servers' logs where they outlive the soak."""
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(self.folder / "history.jsonl", folder)
        for name, log in self.logs().items():
            (folder / f"{name}.log").write_text(log)
        return folder

    def logs(self) -> dict[str, str]:
        return {f"server {number}": server.log.read_text() for number, server in enumerate(self.servers, start=1)}

    async def start(self) -> None:
        for server in self.servers:
            await asyncio.to_thread(server.start)

    async def end(self) -> list[str]:
        """End all servers in order. What was wrong with how they did."""
        return [wrong for server in self.servers for wrong in await end(server)]

    @asynccontextmanager
    async def proxied(self, seed: int) -> AsyncIterator[None]:
        """A proxy in front of each running server."""
        async with AsyncExitStack() as stack:
            for number, server in enumerate(self.servers):
                proxy = Proxy("127.0.0.1", server.port, seed=seed + number)
                self.proxies.append(await stack.enter_async_context(proxy.running()))
            yield


async def end(server: ForkedServer) -> list[str]:
    """SIGTERM. What was wrong with how the server ended."""
    server.signal(signal.SIGTERM)
    began = time.monotonic()
    status = await asyncio.to_thread(server.wait, DRAIN_SECONDS)
    seconds = time.monotonic() - began
    return [f"a server ended with {status}, {seconds:.1f} s after SIGTERM"] if status != 0 else []


@contextmanager
def installed(plan: Plan) -> Iterator[Installation]:
    """Nothing of it is left behind. Called outside of any event loop."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dwsoak", dir="/tmp")))
        installation = (_on_sqlite if plan.back_end == "sqlite" else _on_postgres)(plan, folder, stack)
        for server in installation.servers:
            stack.callback(server.close)
        yield installation


def _settings(plan: Plan, folder: Path) -> dict[str, str]:
    files = {name: f"files://{folder / name}" for name in ("attachments", "mail")}
    settings = {"poll_seconds": str(plan.poll_seconds), "attachments_url": files["attachments"]}
    return settings | {"email_url": files["mail"]} | ({"bus_faults": plan.bus} if plan.bus else {})


def _on_sqlite(plan: Plan, folder: Path, stack: ExitStack) -> Installation:
    url = stack.enter_context(Sqlite(folder).fresh())
    forks = stack.enter_context(forker(plan.planted))
    return Installation(url, folder, [ForkedServer(forks, url, folder, **_settings(plan, folder))])


def _on_postgres(plan: Plan, folder: Path, stack: ExitStack) -> Installation:
    main = stack.enter_context(postgres_server())
    postmaster = Postmaster(main)
    stack.callback(postmaster.stop)
    url = stack.enter_context(_kept(Postgres(main)))
    redis = stack.enter_context(Redis.started())
    forks = stack.enter_context(forker(plan.planted))
    settings = _settings(plan, folder) | {"broadcast_url": redis.url}
    servers = []
    for number in (1, 2):
        (folder / str(number)).mkdir()
        servers.append(ForkedServer(forks, url, folder / str(number), **settings))
    return Installation(url, folder, servers, redis=redis, postmaster=postmaster)


@contextmanager
def _kept(postgres: Postgres) -> Iterator[str]:
    """A database whose end does not matter: its server ends with it."""
    with contextlib.suppress(Exception), postgres.fresh() as url:
        yield url
