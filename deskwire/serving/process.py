"""One serving process, from its configuration to its exit status."""

from __future__ import annotations

import gc
import logging
import signal
import socket
import sys
from collections.abc import Awaitable
from dataclasses import dataclass

import uvicorn
from starlette.applications import Starlette
from starlette.types import Receive, Scope, Send

from deskwire.app import Deskwire, create_app, no_pages
from deskwire.config import Config
from deskwire.development import development_pages
from deskwire.serving.frames import ReadyFramesProtocol
from deskwire.serving.line import Line
from deskwire.serving.listening import BACKLOG, address, listening
from deskwire.serving.operations import operations
from deskwire.serving.protocol import Impatient
from deskwire.serving.server import Server

MESSAGE_BYTES = 65_536

log = logging.getLogger("deskwire")


@dataclass(frozen=True, slots=True)
class Place:
    """A worker's place among others: which one it is, and its line to the supervisor."""

    index: int
    line: Line


async def serve(config: Config, place: Place | None = None) -> int:
    """Serve until told to stop. Returns the exit status. Raises BadConfiguration."""
    if place:
        # A start that hangs must die of it as it dies of a signal.
        place.line.on_end(lambda: signal.raise_signal(signal.SIGTERM))
    app = create_app(config, no_pages if config.is_production else development_pages)
    deskwire: Deskwire = app.state.deskwire
    async with deskwire.alive():
        with listening(config.host, config.port, shared=place is not None) as listener:
            async with operations(deskwire, config, place.index if place else 0):
                return await _serve(Server(_uvicorn(app), deskwire), deskwire, listener, place)


async def _serve(server: Server, deskwire: Deskwire, listener: socket.socket, place: Place | None) -> int:
    server.take_signals()
    # What was loaded until here stays for good. To walk through it takes the collector a tenth of a second, in which
    # nobody is served; so it is told not to.
    gc.collect()
    gc.freeze()
    if place:
        place.line.on_end(server.stop)
        place.line.say_ready()
    else:
        log.info("serving on %s", address(*listener.getsockname()[:2]))
    await server.serve(sockets=[listener])
    # A supervisor that restarts what failed must not take a dead hub for an orderly end.
    return 1 if deskwire.broken or not server.started else 0


class Front:
    """What uvicorn calls. Sockets go straight to where they are served: each layer in between would be a coroutine that
    lives as long as the socket."""

    def __init__(self, app: Starlette) -> None:
        self._app = app
        self._sockets = app.state.deskwire.sockets

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] == "websocket" and scope["path"] == "/graphql":
            served: Awaitable[None] = self._sockets(scope, receive, send)
            return served
        return self._app(scope, receive, send)


def _uvicorn(app: Starlette) -> uvicorn.Config:
    return uvicorn.Config(
        Front(app),
        interface="asgi3",
        proxy_headers=False,  # nothing here asks where a client is
        http=Impatient,
        ws=ReadyFramesProtocol,
        ws_ping_interval=None,  # our own are messages of the protocol
        ws_max_size=MESSAGE_BYTES,
        ws_per_message_deflate=False,
        lifespan="off",
        timeout_keep_alive=5,
        backlog=BACKLOG,
        server_header=False,
        access_log=False,
        log_config=None,
    )


def log_to_stderr(index: int | None = None) -> None:
    """The log of a process; a worker's lines carry its number."""
    who = "" if index is None else f"[{index}] "
    form = f"%(asctime)s %(levelname)s {who}%(name)s: %(message)s"
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format=form)
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    logging.getLogger("tortoise").setLevel(logging.WARNING)
