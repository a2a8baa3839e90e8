"""What the system knows of processes and ports."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress
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
    for _ in range(20):  # the table is read piece by piece while others change it: an end may be missing in it
        ends = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
        inodes = [end[9] for end in ends if (_port(end[1]), _port(end[2])) == (theirs, mine)]
        for pid in processes:
            if any(f"socket:[{inode}]" in _open_files(pid) for inode in inodes):
                return pid
        time.sleep(0.05)
    raise AssertionError("nobody has the other end")


def _port(address: str) -> int:
    return int(address.split(":")[1], 16)


def _open_files(pid: int) -> set[str]:
    found = set()
    for each in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            found.add(os.readlink(each))
    return found
