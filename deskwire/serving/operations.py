"""The operations listener: health and metrics of one process, on a port that clients do not reach.

It is a server of its own. It stays up while the other one drains, and says then that this process is not ready; no
limit on clients' connections counts its own.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import uvicorn
from starlette.applications import Starlette
from starlette.routing import Route

from deskwire.app import Deskwire
from deskwire.config import Config
from deskwire.serving.listening import listening_for_operations

LONGEST_END_SECONDS = 2


class _Beside(uvicorn.Server):
    """Leaves the signals to the server of the clients."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def operations(deskwire: Deskwire, config: Config, index: int) -> AsyncIterator[None]:
    """Serve them on DESKWIRE_OPERATIONS_PORT + index; nothing where that is 0. Raises BadConfiguration."""
    if not config.operations_port:
        yield
        return
    with listening_for_operations(config.operations_host, config.operations_port + index) as listener:
        server = _Beside(_uvicorn(deskwire))
        serving = asyncio.create_task(server.serve(sockets=[listener]), name="operations")
        try:
            yield
        finally:
            server.should_exit = True
            await asyncio.wait({serving}, timeout=LONGEST_END_SECONDS)


def _uvicorn(deskwire: Deskwire) -> uvicorn.Config:
    routes = [
        Route("/livez", deskwire.livez),
        Route("/readyz", deskwire.readyz),
        Route("/metrics", deskwire.served_metrics),
    ]
    return uvicorn.Config(
        Starlette(routes=routes),
        http="httptools",
        ws="none",
        lifespan="off",
        timeout_graceful_shutdown=1,
        server_header=False,
        access_log=False,
        log_config=None,
    )
