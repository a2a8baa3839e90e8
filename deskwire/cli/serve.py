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
from deskwire.config import Config, load
from deskwire.development import development_pages

MESSAGE_BYTES = 65_536
DRAIN_SECONDS = 15

log = logging.getLogger("deskwire")


class Server(uvicorn.Server):
    """Tells our streams to end before uvicorn waits for them."""

    def __init__(self, config: uvicorn.Config, deskwire: Deskwire) -> None:
        super().__init__(config)
        self._deskwire = deskwire

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._deskwire.stopping.set()
        await super().shutdown(sockets)


async def run(arguments: argparse.Namespace) -> int:
    loaded = load()
    config = replace(loaded, host=arguments.host or loaded.host, port=arguments.port or loaded.port)
    _log_to_stderr()
    # uvicorn raises the signal again when it is done; by then we want to leave in order, with status 0.
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, lambda number, frame: None)
    app = create_app(config, no_pages if config.is_production else development_pages)
    deskwire: Deskwire = app.state.deskwire
    async with deskwire.alive():
        server = Server(_uvicorn(config, app), deskwire)
        log.info("serving on http://%s:%s", config.host, config.port)
        await server.serve()
    return 0 if server.started else 1


def _uvicorn(config: Config, app: object) -> uvicorn.Config:
    return uvicorn.Config(
        app,  # type: ignore[arg-type]  # a Starlette
        host=config.host,
        port=config.port,
        http="httptools",
        ws="websockets-sansio",
        ws_max_size=MESSAGE_BYTES,
        ws_per_message_deflate=False,
        lifespan="off",
        timeout_keep_alive=5,
        timeout_graceful_shutdown=DRAIN_SECONDS,
        backlog=1024,
        server_header=False,
        access_log=False,
        log_config=None,
    )


def _log_to_stderr() -> None:
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    logging.getLogger("tortoise").setLevel(logging.WARNING)
