"""Background work: what happens after commits and when its time has come, in this process.

Every job is a *pass* of the domain or of a partner's door: it does all that is due now and says how much that was.
A pass that fails is logged and tried again; a job that ends is a defect, and stops the process (see `app.py`).
Several processes may run the same passes: each unit of work decides again, under its locks, whether it is still due.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from models.database import is_unavailable

log = logging.getLogger("deskwire.jobs")

Pass = Callable[[], Awaitable[int]]

# After a commit wakes it, a job waits so long for more of them: one pass for a burst.
TOGETHER_SECONDS = 0.02
LONGEST_PAUSE_SECONDS = 30.0


@dataclass(slots=True)
class Job:
    """A pass, and when it runs: every so many seconds, and (`on_commit`) after commits of this process."""

    name: str
    run: Pass
    every: float
    on_commit: bool = False
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    failures: int = 0
    done: int = 0


class Jobs:
    """The jobs of one process. `run` them for as long as it serves."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self.jobs = list(jobs)

    def announce(self, account_id: UUID, position: int) -> None:
        """Something was committed: wake whoever follows commits. Returns at once."""
        for job in self.jobs:
            if job.on_commit:
                job.wake.set()

    @property
    def failing(self) -> list[str]:
        """The names of the jobs whose last pass failed."""
        return [job.name for job in self.jobs if job.failures]

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            for job in self.jobs:
                group.create_task(self._repeat(job), name=f"job {job.name}")

    async def _repeat(self, job: Job) -> None:
        while True:
            pause = await self._once(job)
            try:
                async with asyncio.timeout(pause):
                    await job.wake.wait()
                await asyncio.sleep(TOGETHER_SECONDS)
            except TimeoutError:
                pass

    async def _once(self, job: Job) -> float:
        """One pass. Returns for how long to wait for a commit before the next one."""
        job.wake.clear()
        try:
            job.done += await job.run()
        except Exception as error:
            job.failures += 1
            if is_unavailable(error):  # an outage needs no traceback, and none from every job
                log.warning("job %s waits for the database: %s", job.name, error)
            else:
                log.exception("job %s failed; it is tried again", job.name)
            job.wake.clear()
            pause: float = min(LONGEST_PAUSE_SECONDS, job.every * 2**job.failures)
            return pause * random.uniform(0.5, 1.0)
        job.failures = 0
        return job.every
