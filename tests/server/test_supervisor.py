"""The supervisor, over workers that are small programs and misbehave."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from deskwire.serving import workers
from deskwire.serving.workers import Command, Supervisor
from tests.server.system import is_running

SERVES = (
    "import os, sys, time; os.write({line}, b'.'); "
    "open({path!r}, 'a').write(f'{{os.getpid()}} {{time.monotonic()}}\\n')"
)


def program(path: Path, then: str = "") -> Command:
    """A worker that says that it serves, notes its process and the time, and goes on with `then`."""

    def command(index: int, line: int) -> list[str]:
        return [sys.executable, "-S", "-c", SERVES.format(line=line, path=str(path)) + "\n" + then]

    return command


@asynccontextmanager
async def running(count: int, command: Command) -> AsyncIterator[asyncio.Task[int]]:
    """The task of a supervisor, all of whose workers have served."""
    complete = asyncio.Event()
    task = asyncio.create_task(Supervisor(count, command).run(complete.set))
    async with asyncio.timeout(60):
        await complete.wait()
        yield task
        await task


def lines(path: Path) -> list[list[str]]:
    """What the programs have told so far; the first may not have come to it."""
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


async def test_a_worker_that_keeps_ending_is_started_after_growing_pauses(tmp_path: Path) -> None:
    path, complete = tmp_path / "starts", tmp_path / "complete"
    # Who ends before the supervisor has seen it serve has met what is wrong for all.
    waiting = f"while not os.path.exists({str(complete)!r}): time.sleep(0.01)"
    async with running(1, program(path, f"{waiting}\ntime.sleep(0.1); sys.exit(3)")) as task:
        complete.touch()
        while len(lines(path)) < 6:  # noqa: ASYNC110  # programs tell by a file
            await asyncio.sleep(0.05)
        assert not task.done()
        os.kill(os.getpid(), signal.SIGTERM)
    moments = [float(moment) for _, moment in lines(path)]
    pauses = [after - before for before, after in pairwise(moments)]
    for pause, least in zip(pauses, (0.1, 0.2, 0.4, 0.8, 1.6), strict=False):
        assert pause >= least
    # It ended by itself or by our wish, and always in disorder: the last one, too, if it was running.
    assert task.result() in (0, 1)


async def test_a_worker_that_does_not_end_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "KILL_SECONDS", 0.3)
    path = tmp_path / "starts"
    async with running(2, program(path, "time.sleep(100)")) as task:
        os.kill(os.getpid(), signal.SIGTERM)
    assert task.result() == 1
    assert [pid for pid, _ in lines(path) if is_running(int(pid))] == []


async def test_a_worker_that_hangs_is_killed_and_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the one: the other goes on beating."""
    # Long enough for the other one to start meanwhile.
    monkeypatch.setattr(workers, "SILENT_SECONDS", 3.0)
    path = tmp_path / "starts"

    def command(index: int, line: int) -> list[str]:
        beating = f"while True: os.write({line}, b'.'); time.sleep(0.1)"
        return program(path.with_suffix(f".{index}"), beating if index else "time.sleep(100)")(index, line)

    async with running(2, command) as task:
        while len(lines(path.with_suffix(".0"))) < 2:  # noqa: ASYNC110  # programs tell by a file
            await asyncio.sleep(0.05)
        (hung, _), *_ = lines(path.with_suffix(".0"))
        assert not is_running(int(hung))
        monkeypatch.setattr(workers, "KILL_SECONDS", 0.1)
        os.kill(os.getpid(), signal.SIGTERM)
    assert task.result() == 1
    assert len(lines(path.with_suffix(".1"))) == 1


async def test_workers_that_end_when_told_end_in_order(tmp_path: Path) -> None:
    path = tmp_path / "starts"

    def command(index: int, line: int) -> list[str]:
        return program(path, f"os.read({line}, 1)")(index, line)

    async with running(2, command) as task:
        os.kill(os.getpid(), signal.SIGINT)
    assert task.result() == 0
    assert len(lines(path)) == 2


async def test_a_worker_that_cannot_start_is_tried_once() -> None:
    def command(index: int, line: int) -> list[str]:
        return [sys.executable, "-S", "-c", "import sys; sys.exit(2)"]

    async with asyncio.timeout(30):
        assert await Supervisor(4, command).run(lambda: None) == 1
