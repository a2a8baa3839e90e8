"""Background work in one process: passes on time, after commits, and after failures."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from deskwire.jobs import Job, Jobs
from models import new_id


class Counted:
    """A pass that counts its runs, and fails as often as it is told to."""

    def __init__(self, failures: int = 0) -> None:
        self.runs = 0
        self._failures = failures
        self._ran = asyncio.Condition()

    async def __call__(self) -> int:
        self.runs += 1
        async with self._ran:
            self._ran.notify_all()
        if self.runs <= self._failures:
            raise RuntimeError("not yet")
        return 1

    async def reaches(self, runs: int) -> None:
        async with asyncio.timeout(5), self._ran:
            await self._ran.wait_for(lambda: self.runs >= runs)


@asynccontextmanager
async def running(*jobs: Job) -> AsyncIterator[Jobs]:
    at_work = Jobs(jobs)
    task = asyncio.create_task(at_work.run())
    try:
        yield at_work
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_job_runs_at_once_and_then_on_time() -> None:
    counted = Counted()
    async with running(Job("timed", counted, every=0.01)):
        await counted.reaches(3)


async def test_a_burst_of_commits_is_one_pass() -> None:
    """A pass reads everything that is due: ten commits need no ten passes."""
    counted = Counted()
    async with running(Job("follows", counted, every=60, on_commit=True)) as jobs:
        await counted.reaches(1)
        for position in range(10):
            jobs.announce(new_id(), position)
        await counted.reaches(2)
        await asyncio.sleep(0.1)
        assert counted.runs == 2


async def test_only_jobs_that_follow_commits_are_woken() -> None:
    counted = Counted()
    async with running(Job("timed", counted, every=60)) as jobs:
        await counted.reaches(1)
        jobs.announce(new_id(), 1)
        await asyncio.sleep(0.1)
        assert counted.runs == 1


async def test_a_commit_during_a_pass_is_not_missed() -> None:
    """What was committed after the pass had read its work is done by another one."""
    under_way, go_on, counted = asyncio.Event(), asyncio.Event(), Counted()

    async def work() -> int:
        under_way.set()
        await go_on.wait()
        return await counted()

    async with running(Job("slow", work, every=60, on_commit=True)) as jobs:
        await under_way.wait()
        jobs.announce(new_id(), 1)
        go_on.set()
        await counted.reaches(2)


async def test_a_failing_pass_is_said_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    """One that fails stops no other, and nobody has to start it again."""
    weak, strong = Counted(failures=2), Counted()
    async with running(Job("weak", weak, every=0.01), Job("strong", strong, every=0.01)) as jobs:
        await weak.reaches(1)
        await asyncio.sleep(0)
        assert jobs.failing == ["weak"]
        await weak.reaches(3)
        await strong.reaches(3)
        await weak.reaches(4)
        assert jobs.failing == []
    told = [record.getMessage() for record in caplog.records if record.name == "deskwire.jobs"]
    assert told == ["job weak failed; it is tried again"] * 2


async def test_jobs_end_when_they_are_cancelled() -> None:
    jobs = Jobs([Job("idle", Counted(), every=60)])
    task = asyncio.create_task(jobs.run())
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
