"""Defects, planted into a server before it imports what they change: a soak that does not find them proves nothing.

As a program it is tests/failpoints/forking.py with a defect: `python -m tests.soak.planted drop_one`.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any
from uuid import UUID

from tests.soak.frames import Mixture, dropped, held_back, mistreat_deliveries, repeated

Rows = list[Any]


def drop_one() -> None:
    """Some items are never delivered."""
    mistreat_deliveries(dropped)


def repeat_one() -> None:
    """Some items are delivered twice."""
    mistreat_deliveries(repeated)


def swap_two() -> None:
    """Some items are delivered behind the next one."""
    mistreat_deliveries(held_back)


def leak_one() -> None:
    """Some items of one account reach another."""
    mistreat_deliveries(Mixture())


def _reading_the_log(mistreat: Callable[[Rows], Rows]) -> None:
    """Mistreat what is read of the event log, other than single rows."""
    from models import Event
    from models.prepared import Prepared

    find = Prepared.rows

    async def rows(self: Prepared[Any], *values: Any) -> Rows:
        found = await find(self, *values)
        return mistreat(found) if self._model is Event else found

    Prepared.rows = rows  # type: ignore[method-assign]


def skip_one() -> None:
    """Some rows of the log are passed over by whoever reads it."""
    _reading_the_log(lambda rows: [row for row in rows if row.position % 8 != 7])


def missing_account_filter() -> None:
    """The log is read without asking whose it is."""
    from models import Event
    from subscriptions import backlog

    class Next:
        def __init__(self, limit: int) -> None:
            self._limit = limit

        async def rows(self, account: UUID, after: int) -> Rows:
            return await Event.filter(position__gt=after).order_by("position").limit(self._limit)

    backlog._next = Next  # type: ignore[assignment]


def publish_before_commit() -> None:
    """The bell rings before there is anything to read, and not again."""
    from domain import transactions

    store = transactions.Transaction.store
    rings: list[transactions.Announce] = []

    def announce_to(announce: transactions.Announce | None) -> None:
        rings[:] = [announce] if announce else []

    async def stored(self: transactions.Transaction) -> int | None:
        position = await store(self)
        for announce in rings if position is not None else ():
            announce(self.account_id, position or 0)
            await asyncio.sleep(0.05)
        return position

    transactions.announce_to = announce_to
    transactions.Transaction.store = stored  # type: ignore[method-assign]


def off_by_one_cursor() -> None:
    """Who resumes misses the first event behind his cursor."""
    from models import Account
    from subscriptions.resume import Cursors

    resume = Cursors.resume

    async def resumed(self: Cursors, cursor: str, account: Account, backlog: Any, now: Any = None) -> int:
        position: int = await resume(self, cursor, account, backlog, now)
        return min(position + 1, int(account.last_position))

    Cursors.resume = resumed  # type: ignore[method-assign]


def cached_role() -> None:
    """What somebody may do is asked once, and that it changes is told to nobody."""
    from domain import actors
    from models import EventType, new_id

    load = actors.load_actors
    known: dict[Any, Any] = {}

    async def loaded(users: Any) -> Any:
        for actor in await load([user for user in users if user.id not in known]):
            known[actor.id] = actor
        return [known[user.id] for user in users]

    def untold(rows: Rows) -> Rows:
        for row in rows:
            if row.type is EventType.AGENT_ACCESS_CHANGED:
                row.payload = row.payload | {"user": str(new_id())}
        return rows

    actors.load_actors = loaded
    _reading_the_log(untold)


PLANTED: dict[str, Callable[[], None]] = {
    plant.__name__: plant
    for plant in (
        drop_one,
        repeat_one,
        swap_two,
        leak_one,
        skip_one,
        publish_before_commit,
        off_by_one_cursor,
        missing_account_filter,
        cached_role,
    )
}


if __name__ == "__main__":
    PLANTED[sys.argv[1]]()
    from tests.failpoints import forking

    forking.main()
