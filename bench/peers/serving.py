"""How the peers in Python are served: by uvicorn, set as Deskwire sets it."""

from __future__ import annotations

import socket

import uvicorn
from starlette.types import ASGIApp

BACKLOG = 1024


def serve(app: ASGIApp) -> None:
    """Serve on a free port of this machine, and say which on standard output, until SIGTERM."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
    print(f"serving on http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    config = uvicorn.Config(
        app,
        http="httptools",
        ws="websockets-sansio",
        ws_per_message_deflate=False,
        backlog=BACKLOG,
        access_log=False,
        log_level="error",
    )
    uvicorn.Server(config).run(sockets=[listener])
