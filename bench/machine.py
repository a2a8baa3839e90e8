"""What a measurement ran on, and the clocks and limits of its processes."""

from __future__ import annotations

import os
import platform
import resource
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

# Standard input, output, logs, epoll, listeners, a database's connections.
SPARE_DESCRIPTORS = 200
TICKS = os.sysconf("SC_CLK_TCK")
PAGE_KIB = os.sysconf("SC_PAGE_SIZE") / 1024


def describe(*libraries: str) -> str:
    """One line: the CPUs and what else they do, Python, and these libraries."""
    versions = ", ".join(f"{name} {version(name)}" for name in libraries)
    cpus = f"{os.cpu_count()} CPUs ({_model() or platform.machine()})"
    system = f"{platform.system()} {platform.release()}"
    return f"{cpus}, load {os.getloadavg()[0]:.1f}, {system}, Python {platform.python_version()}, {versions}"


def _model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")


def output_of(*command: str) -> str:
    """The first line that a command prints, or "absent": versions of what is no Python library."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except OSError:
        return "absent"
    return (done.stdout or done.stderr).strip().split("\n")[0]


def cpu_seconds(processes: Iterable[int]) -> float:
    """The CPU time of these processes with all their threads, user and system, by the kernel's own clocks."""
    return sum(_cpu_seconds(process) for process in processes)


def _cpu_seconds(process: int) -> float:
    # What clock_getcpuclockid(3) computes: nanoseconds, where /proc/PID/stat counts in ticks of 10 ms.
    try:
        return time.clock_gettime_ns((~process << 3) | 2) / 1e9
    except OSError:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS


def resident_kib(processes: Iterable[int]) -> float:
    """The memory that these processes hold, in KiB of resident pages."""
    return sum(int(Path(f"/proc/{each}/statm").read_text().split()[1]) * PAGE_KIB for each in processes)


def settled(processes: Iterable[int], *, window: float = 0.2, busy: float = 0.1, limit: float = 120) -> None:
    """Wait until they rest: until they use less than `busy` of a CPU for a `window` of seconds.

    Raises TimeoutError after `limit` seconds.
    """
    processes = list(processes)
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        before = cpu_seconds(processes)
        time.sleep(window)
        if cpu_seconds(processes) - before < window * busy:
            return
    raise TimeoutError(f"processes {processes} did not come to rest within {limit:.0f} s")


def cores() -> tuple[int, int] | None:
    """The core of the server and the core of the load, or None where there is only one."""
    allowed = sorted(os.sched_getaffinity(0))
    return (allowed[0], allowed[1]) if len(allowed) > 1 else None


@contextmanager
def on_core(core: int | None) -> Iterator[None]:
    """What is started meanwhile runs on this core, with all threads that it ever starts."""
    before = os.sched_getaffinity(0)
    if core is not None:
        os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def allow_descriptors(sockets: int) -> None:
    """Let this process, and those that it starts, open so many sockets. Exits with what to do where it may not."""
    needed = sockets + SPARE_DESCRIPTORS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= needed:
        return
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise SystemExit(f"{sockets} sockets need {needed} file descriptors and {hard} are allowed: raise ulimit -Hn")
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
