"""One turn of a tail, or of somebody who catches up: some events, and what is read once to tell them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar
from uuid import UUID

from models.database import is_passing
from subscriptions.scenes import Means, Moment

log = logging.getLogger("deskwire.hub")

T = TypeVar("T")


@dataclass(slots=True)
class Turn:
    """Some events that are told by what is read once for all of them; anew when the database was away."""

    account_id: UUID
    means: Means
    poll_seconds: float
    moment: Moment | None = None

    async def insist(self, work: Callable[[Moment], Awaitable[T]]) -> T:
        """Do it, however long the database is away: an event is not lost because it could not be read about."""
        while True:
            if self.moment is None:
                self.moment = Moment(self.account_id, self.means)
            try:
                return await work(self.moment)
            except Exception as error:
                if not is_passing(error):
                    raise
                log.warning("an event could not be told yet; it is tried again: %s", error)
            self.moment = None
            await asyncio.sleep(self.poll_seconds)
