"""The PostgreSQL server of the tests, killed and started again: as whoever started it, with the same words."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

START_SECONDS = 30.0


@dataclass
class Postmaster:
    """A running server of this machine. Its process is found by the file that it keeps in its folder of data."""

    url: str
    _started: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        with self._connected() as connection:
            (folder,) = connection.execute("SHOW data_directory").fetchone() or ("",)
        self._folder = Path(folder)
        pid = self._pid()
        self._program = os.readlink(f"/proc/{pid}/exe")
        self._words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().rstrip("\0").split("\0")
        self._owner = Path(f"/proc/{pid}").stat()

    def _connected(self) -> psycopg.Connection[Any]:
        url = self.url.replace("postgres://", "postgresql://", 1)
        return psycopg.connect(url, autocommit=True, connect_timeout=5)

    def _pid(self) -> int:
        return int((self._folder / "postmaster.pid").read_text().split()[0])

    def restart(self) -> None:
        """All its processes end at once, as after a crash; returns when it answers again."""
        pid = self._pid()
        os.kill(pid, signal.SIGQUIT)
        self._wait_for_the_end_of(pid)
        is_root = os.geteuid() == 0
        self._started = subprocess.Popen(
            self._words,
            executable=self._program,
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            user=self._owner.st_uid if is_root else None,
            group=self._owner.st_gid if is_root else None,
        )
        self._answers()

    def _wait_for_the_end_of(self, pid: int) -> None:
        if self._started is not None:
            self._started.wait(START_SECONDS)
        deadline = time.monotonic() + START_SECONDS
        while Path(f"/proc/{pid}").exists():
            assert time.monotonic() < deadline, "PostgreSQL does not end"
            time.sleep(0.01)

    def _answers(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                self._connected().close()
                return
            except psycopg.OperationalError:
                assert time.monotonic() < deadline, "PostgreSQL does not start"
                time.sleep(0.02)

    def terminate(self) -> None:
        """End all sessions but this one."""
        with self._connected() as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
            )

    def stop(self) -> None:
        """Whoever started it at first may not know the process that runs now."""
        if self._started is not None and self._started.poll() is None:
            self._started.send_signal(signal.SIGQUIT)
            self._started.wait(START_SECONDS)
