"""Named points in the life of a change, at which a test can let this process die, fail or wait.

DESKWIRE_FAILPOINTS="before_commit:kill" kills it there (SIGKILL: nothing is cleaned up), `raise` raises
FailpointReached, `sleep:0.5` waits; `*3` behind an action lets it happen at the third passage alone. Several are
separated by commas. The variable is read when this module is imported, and refused in production.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import signal
from dataclasses import dataclass, field

log = logging.getLogger("deskwire.failpoints")

POINTS = (
    "after_position_lock",
    "before_commit",
    "after_commit",
    "before_publish",
    "after_publish",
    "before_reply",
    "during_catchup",
    "during_drain",
)
_FORM = re.compile(r"(\w+):(?:(kill|raise)|sleep:(\d+(?:\.\d+)?))(?:\*([1-9]\d*))?")


class FailpointReached(Exception):
    """What `raise` raises. Nobody expects it, as nobody expects a defect."""


@dataclass(slots=True)
class Failpoint:
    """What happens at one point: at each passage, or at the `only`-th."""

    action: str
    seconds: float = 0.0
    only: int | None = None
    passages: int = field(default=0, init=False)

    async def pass_by(self, point: str) -> None:
        """Do it, if it is time."""
        self.passages += 1
        if self.only not in (None, self.passages):
            return
        log.warning("failpoint %s: %s", point, self.action)
        match self.action:
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "raise":
                raise FailpointReached(point)
            case _:
                await asyncio.sleep(self.seconds)


def parsed(text: str) -> dict[str, Failpoint]:
    """The failpoints that a configuration names. Raises ValueError."""
    return dict(map(_parsed, text.split(","))) if text else {}


def _parsed(text: str) -> tuple[str, Failpoint]:
    match = _FORM.fullmatch(text.strip())
    if match is None or match[1] not in POINTS:
        raise ValueError(f"{text!r} is not like before_commit:kill, after_commit:sleep:0.5 or before_reply:raise*2")
    point, action, seconds, only = match.groups()
    return point, Failpoint(action or "sleep", float(seconds or 0), int(only) if only else None)


def _configured() -> dict[str, Failpoint]:
    try:
        return parsed(os.environ.get("DESKWIRE_FAILPOINTS", ""))
    except ValueError:
        return {}  # whoever serves is told so by deskwire.config


_failpoints = _configured()


async def pass_through(point: str) -> None:
    """Go past a point. Without a configuration it is a look into an empty dictionary."""
    failpoint = _failpoints.get(point)
    if failpoint is not None:
        await failpoint.pass_by(point)
