"""Defects, planted into a server before it imports what they change: a soak that does not find them proves nothing.

As a program it is tests/failpoints/forking.py with a defect: `python -m tests.soak.planted drop_one`.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any

from tortoise.queryset import QuerySet

# Which events are mistreated, by their positions: one of eight.
EVERY = 8

Rows = list[Any]


def _is_chosen(row: Any) -> bool:
    return bool(row.position % EVERY == EVERY - 1)


def _reading_the_log(mistreat: Callable[[Rows], Rows]) -> None:
    """Mistreat what is read of the event log by many rows at once, as whoever delivers reads it."""
    from models import Event

    execute = QuerySet._execute

    async def executed(self: QuerySet[Any]) -> Any:
        rows = await execute(self)
        reads_on = self.model is Event and not self._single and (self._limit or 0) > 2
        return mistreat(list(rows)) if reads_on else rows

    QuerySet._execute = executed  # type: ignore[method-assign]


def drop_one() -> None:
    """Some events are never delivered."""
    _reading_the_log(lambda rows: [row for row in rows if not _is_chosen(row)])


def repeat_one() -> None:
    """Some events are delivered twice."""
    from subscriptions.cohorts import Cohort

    tell = Cohort.tell

    def told(self: Cohort, members: Any, tellings: Any, position: int) -> None:
        for _ in range(1 + (position % EVERY == EVERY - 1)):
            tell(self, members, tellings, position)

    Cohort.tell = told  # type: ignore[method-assign]


def swap_two() -> None:
    """Some events are delivered behind the one that follows them."""
    from subscriptions.cohorts import Cohort

    tell = Cohort.tell
    held: dict[Cohort, tuple[Any, Any, int]] = {}

    def told(self: Cohort, members: Any, tellings: Any, position: int) -> None:
        if position % 2 and self not in held:
            held[self] = (members, tellings, position)
            return
        tell(self, members, tellings, position)
        if self in held:
            tell(self, *held.pop(self))

    Cohort.tell = told  # type: ignore[method-assign]


def missing_account_filter(*careless: str) -> None:
    """The log is read without asking whose it is; or all that these modules read."""
    from tortoise.models import Model

    filter = Model.filter.__func__  # type: ignore[attr-defined]

    def filtered(model: type[Model], *words: Any, **fields: Any) -> Any:
        asking = sys._getframe(1).f_globals["__name__"]
        if "position__gt" in fields or asking.startswith(careless):
            fields.pop("account_id", None)
        return filter(model, *words, **fields)

    Model.filter = classmethod(filtered)  # type: ignore[method-assign, assignment]


def leak_one() -> None:
    """The same, and whoever delivers shows every ticket, with all that belongs to it, to everybody."""
    from domain import visibility
    from models import Ticket

    missing_account_filter("subscriptions.", "resolvers.loaders")
    visibility.tickets_of_account = lambda account_id: Ticket.all()
    visibility.may_see = lambda actor, audience: True


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
    """Who somebody is, is asked once."""
    from domain import actors

    load = actors.load_actors
    known: dict[Any, Any] = {}

    async def loaded(users: Any) -> Any:
        for actor in await load([user for user in users if user.id not in known]):
            known[actor.id] = actor
        return [known[user.id] for user in users]

    actors.load_actors = loaded


PLANTED: dict[str, Callable[[], None]] = {
    plant.__name__: plant
    for plant in (
        drop_one,
        repeat_one,
        swap_two,
        leak_one,
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
