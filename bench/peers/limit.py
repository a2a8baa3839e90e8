"""limit.c in Python, for machines without a C compiler: the same protocol, and a higher limit."""

from __future__ import annotations

import os
import select
import socket
import sys
from contextlib import suppress
from pathlib import Path


def main(file: str) -> None:
    """See limit.c."""
    frame = Path(file).read_bytes()
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    print(f"serving on http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    listener.setblocking(False)
    sockets: list[socket.socket] = []
    while True:
        ready, _, _ = select.select([listener.fileno(), 0], [], [])
        # All who wait: somebody who is connected may still be in the backlog when the next order comes.
        with suppress(BlockingIOError):
            while True:
                sockets.append(listener.accept()[0])
                sockets[-1].setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if 0 in ready:
            if not os.read(0, 1):
                return
            took = sum(each.send(frame, socket.MSG_DONTWAIT) == len(frame) for each in sockets)
            print(took, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
