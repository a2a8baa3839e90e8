"""The cohorts that are behind and have not begun to catch up: whoever comes back to the same place joins them."""

from __future__ import annotations

import asyncio

from subscriptions.cohorts import Cohort
from subscriptions.questions import Question
from subscriptions.viewers import Viewers

CROWD_SECONDS = 0.2
"""Who comes back when others of his cohort just did waits so long for more of them: they catch up together."""


class Latecomers:
    """Those of one account."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[Question, Viewers, int], Cohort] = {}
        self._came_back: dict[tuple[Question, Viewers], float] = {}

    def find(self, question: Question, viewers: Viewers, position: int) -> Cohort | None:
        """The cohort of these that waits at this place."""
        return self._waiting.get((question, viewers, position))

    def add(self, cohort: Cohort) -> None:
        """It waits, and others may join it."""
        self._waiting[cohort.question, cohort.viewers, cohort.position] = cohort

    def patience(self, cohort: Cohort) -> float:
        """How many seconds it should wait for others."""
        now, key = asyncio.get_running_loop().time(), (cohort.question, cohort.viewers)
        alone = now - self._came_back.get(key, -CROWD_SECONDS) >= CROWD_SECONDS
        self._came_back[key] = now
        return 0.0 if alone else CROWD_SECONDS

    def forget(self, cohort: Cohort) -> None:
        """From here on nobody can join it: it leaves its place."""
        key = (cohort.question, cohort.viewers, cohort.position)
        if self._waiting.get(key) is cohort:
            del self._waiting[key]

    def rest(self) -> None:
        """Nobody catches up now."""
        self._came_back.clear()
