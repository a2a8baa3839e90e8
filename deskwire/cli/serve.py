"""`serve`: one process, until SIGTERM."""

from __future__ import annotations

import argparse
import logging
import signal
import socket
import sys
from dataclasses import replace

import uvicorn

from deskwire.app import Deskwire, create_app, no_pages
from deskwire.cli.store import loaded
from deskwire.config import BadConfiguration, Config
from deskwire.development import development_pages
from domain.failpoints import pass_through

MESSAGE_BYTES = 65_536
DRAIN_SECONDS = 15
BACKLOG = 1024
# A client that acknowledges nothing for so long is gone. Pings do not find it out while our send buffer is full.
GONE_AFTER_SECONDS = 30

log = logging.getLogger("deskwire")


class Server(uvicorn.Server):
    """Tells our streams to end before uvicorn waits for them."""

    def __init__(self, config: uvicorn.Config, deskwire: Deskwire) -> None:
        super().__init__(config)
        self._deskwire = deskwire

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._deskwire.stopping.set()
        await pass_through("during_drain")
        await super().shutdown(sockets)


async def run(arguments: argparse.Namespace) -> int:
    config = loaded()
    port = config.port if arguments.port is None else arguments.port
    config = replace(config, host=arguments.host or config.host, port=port)
    _log_to_stderr()
    app = create_app(config, no_pages if config.is_production else development_pages)
    deskwire: Deskwire = app.state.deskwire
    async with deskwire.alive():
        with _listening(config) as listener:
            return await _serve(Server(_uvicorn(app), deskwire), deskwire, listener)


async def _serve(server: Server, deskwire: Deskwire, listener: socket.socket) -> int:
    # uvicorn raises the signal again when it is done; by then we want to leave in order, with status 0.
    # Not before here: a start that hangs must still die of a signal.
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, lambda number, frame: None)
    host, port = listener.getsockname()[:2]
    log.info("serving on http://%s:%s", f"[{host}]" if ":" in host else host, port)
    await server.serve(sockets=[listener])
    # A supervisor that restarts what failed must not take a dead hub for an orderly end.
    return 1 if deskwire.broken or not server.started else 0


def _listening(config: Config) -> socket.socket:
    """The socket that accepts connections. Raises BadConfiguration."""
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    try:
        listener = socket.create_server((config.host, config.port), family=family, backlog=BACKLOG)
    except (OSError, OverflowError) as error:
        raise BadConfiguration(
            f"Cannot listen on {config.host}:{config.port}: {error}. Choose another address with --host and --port."
        ) from None
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux; the accepted sockets inherit it
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, GONE_AFTER_SECONDS * 1000)
    return listener


def _uvicorn(app: object) -> uvicorn.Config:
    return uvicorn.Config(
        app,  # type: ignore[arg-type]  # a Starlette
        http="httptools",
        ws="websockets-sansio",
        ws_max_size=MESSAGE_BYTES,
        ws_per_message_deflate=False,
        lifespan="off",
        timeout_keep_alive=5,
        timeout_graceful_shutdown=DRAIN_SECONDS,
        backlog=BACKLOG,
        server_header=False,
        access_log=False,
        log_config=None,
    )


def _log_to_stderr() -> None:
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    logging.getLogger("tortoise").setLevel(logging.WARNING)
