"""What the system knows of processes and ports."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path


def eventually(condition: Callable[[], object], seconds: float = 10) -> bool:
    """Whether it becomes true in time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def children(pid: int) -> set[int]:
    """The processes that it started and that run."""
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return {int(each) for each in listed if is_running(int(each))}


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def peer_of(connection: socket.socket, processes: set[int]) -> int:
    """Which of these processes has the other end of a connection on this machine."""
    mine, theirs = connection.getsockname()[1], connection.getpeername()[1]
    ends = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
    inode = next(end[9] for end in ends if (_port(end[1]), _port(end[2])) == (theirs, mine))
    return next(pid for pid in processes if f"socket:[{inode}]" in _open_files(pid))


def _port(address: str) -> int:
    return int(address.split(":")[1], 16)


def _open_files(pid: int) -> set[str]:
    return {os.readlink(each) for each in Path(f"/proc/{pid}/fd").iterdir() if each.is_symlink()}


def free_ports(count: int) -> int:
    """The first of so many neighbouring ports that were free just now."""
    for _ in range(100):
        with ExitStack() as held:
            try:
                first = held.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1]
                for port in range(first + 1, first + count):
                    held.enter_context(socket.create_server(("127.0.0.1", port)))
            except (OSError, OverflowError):
                continue
            return int(first)
    raise AssertionError("no neighbouring ports are free")
