"""The log of one account, read once for all of this process and told to everybody who may hear of it, in order.

One task reads what is past `position` and tells it, event by event: first to those whose right to hear changes with
it, then to the cohorts that it may concern. Whoever is further back (a client that comes back with its cursor, one
that read too slowly, one whose access has just changed) is in a cohort of its own that catches up from the log; where
the two meet, it joins the others.

`position` moves before an event is told, and placing a member has no await between the look at it and the attaching:
everybody meets an event once, either in the log or live.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import Any
from uuid import UUID

from domain.actors import Access, Actor, load_actor
from domain.errors import CursorExpired, SlowConsumer, Unauthenticated
from domain.failpoints import pass_through
from execution.errors import code_of
from models import Account, Event, EventType, utc_now
from models.database import is_passing
from subscriptions.backlog import BATCH, Backlog, read
from subscriptions.batches import Batches
from subscriptions.callers import Caller, Callers
from subscriptions.changes import AccessChange, AccessChanges
from subscriptions.cohorts import Cohort, Index, Member, matches
from subscriptions.latecomers import Latecomers
from subscriptions.questions import Question
from subscriptions.resume import Cursors, Position
from subscriptions.scenes import Means, Moment, Personal, Scene
from subscriptions.telling import Telling
from subscriptions.turns import Turn
from subscriptions.viewers import Viewers

log = logging.getLogger("deskwire.hub")

AT_ONCE = 1_000
"""Members that are told one after the other before anything else of the process has its turn."""


class Tail:
    """See the module. `run` it for as long as it has callers."""

    def __init__(self, account_id: UUID, means: Means, cursors: Cursors, poll_seconds: float) -> None:
        self.account_id = account_id
        self.epoch = UUID(int=0)
        self.position = 0
        self.ready = asyncio.Event()
        self.wake = asyncio.Event()
        self.index = Index()
        self.backlog = Backlog(account_id, means.counts)
        self.callers = Callers()
        self.users = 0
        """How many ask for it: callers, and those who are about to be."""
        self.sure_since = float("inf")
        """Loop time: who was authenticated after it is as he was then, or was told of the change."""
        self._means = means
        self._counts = means.counts
        self._cursors = cursors
        self._poll_seconds = poll_seconds
        self._late = Latecomers()
        self._catching_up: set[asyncio.Task[None]] = set()
        self._changes = AccessChanges(account_id)
        self._account: Batches[None, Account] = Batches(self._read_account)
        self._moved = asyncio.Event()
        self._telling = False

    async def run(self) -> None:
        """A failing database is waited for; members notice nothing but a delay."""
        try:
            while self.users:
                try:
                    if not self.ready.is_set():
                        await self._open()
                    self.wake.clear()
                    await self._read_on()
                except Exception as error:
                    # An outage is one line and no traceback for each account and second.
                    log.error("reading the log failed; it is tried again: %s", error, exc_info=not is_passing(error))
                    await asyncio.sleep(self._poll_seconds)
                    continue
                await self.wake.wait()
        finally:
            for task in self._catching_up:
                task.cancel()

    @property
    def late(self) -> int:
        """How many cohorts catch up with the log."""
        return len(self._catching_up)

    @property
    def is_idle(self) -> bool:
        """Whether everybody has been told all that was read."""
        return not (self._telling or self._catching_up)

    async def _open(self) -> None:
        account = await Account.get(id=self.account_id)
        self.epoch, self.position = account.epoch, account.last_position
        self.backlog.head = self.position
        self._changes.begin(self.position)
        self.sure_since = asyncio.get_running_loop().time()
        self.ready.set()

    async def _read_account(self, askers: list[None]) -> list[Account]:
        return [await Account.get(id=self.account_id)] * len(askers)

    async def _read_on(self) -> None:
        more = True
        while more:
            rows = await read(self.account_id, self.position, counts=self._counts)
            more = len(rows) == BATCH  # what is committed from here on wakes us
            turn = self._turn()
            self._telling = True
            try:
                for row in rows:
                    try:
                        await self._pass_on(turn, row)
                    except Exception as error:
                        self._give_up(row, error)
            finally:
                self._telling = False

    def _turn(self) -> Turn:
        return Turn(self.account_id, self._means, self._poll_seconds)

    async def _pass_on(self, turn: Turn, row: Event) -> None:
        self._counts.events += 1
        self.position = row.position
        self.backlog.add(row)
        self._moved.set()
        self._moved = asyncio.Event()
        # However late a timer is: nothing is told to who is known no longer.
        for caller in self.callers.expired(utc_now()):
            self.turn_away(caller, expired=True)
        if row.type is EventType.TOKEN_REVOKED:
            self._revoke(row)
        if row.type is EventType.AGENT_ACCESS_CHANGED:
            await self._change_access(turn, row)
        if not self.index.may_concern(row):
            return
        ticket_id = row.ticket_id
        now = await turn.insist(lambda moment: moment.ticket(ticket_id)) if ticket_id else None
        for cohort in self.index.concerned(row, now):
            await self._meet(turn, cohort, row)
        self._counts.delays.note(max(0.0, (utc_now() - row.occurred_at).total_seconds()))

    def _give_up(self, row: Event, error: Exception) -> None:
        """A defect of ours: those whom the event may concern are told so, and can ask again from where they were."""
        shown = self._shown(error)
        if row.type in (EventType.AGENT_ACCESS_CHANGED, EventType.TOKEN_REVOKED):
            for caller in self.callers.of(UUID(row.payload["user"])):
                self.turn_away(caller, expired=False)  # rather nothing than what he may not see any more
        for cohort in [each for each in self.index if matches(each, row)]:
            self._end(cohort, shown)

    # Who may hear

    def dismiss(self, caller: Caller) -> None:
        """He hears nothing more. For one who is gone already, nothing."""
        for member in list(caller.members):
            self.leave(member)
        self.callers.discard(caller)

    def turn_away(self, caller: Caller, *, expired: bool) -> None:
        """His token is good no longer."""
        self.dismiss(caller)
        caller.gone(expired=expired)

    def _revoke(self, row: Event) -> None:
        self.sure_since = asyncio.get_running_loop().time()
        for caller in self.callers.of(UUID(row.payload["user"])):
            if str(caller.token_id) == row.payload["token"]:
                self.turn_away(caller, expired=False)

    async def _change_access(self, turn: Turn, row: Event) -> None:
        self.sure_since = asyncio.get_running_loop().time()
        change = AccessChange.of(row)
        self._changes.add(change)
        callers = self.callers.of(change.user_id)
        if not callers:
            return
        actor = (
            await turn.insist(lambda _: load_actor(self.account_id, change.user_id)) if row.payload["active"] else None
        )
        for caller in callers:
            if actor is None:
                self.turn_away(caller, expired=False)
            else:
                self._become(caller, actor)
                await self._check_again(turn, caller)

    def _become(self, caller: Caller, actor: Actor) -> None:
        """From here on his members are told what he may see now."""
        used = caller.actor.access
        caller.actor = replace(actor, token_id=caller.token_id, token_expires_at=caller.expires_at)
        for member in list(caller.members):
            if member.parked_at is None and member.cohort is not None:
                position = self._place_of(member, member.cohort)
                self._detach(member)
                self._place(member, position, used)

    def _place_of(self, member: Member, cohort: Cohort) -> int:
        """Up to where a member has been told everything, at the event that is passed on now."""
        told = max(cohort.position if cohort.is_late else self.position, member.since)
        if member.question.topic.heeds_access and told == self.position:
            return self.position - 1  # where it caught up meanwhile, it was told of this event by what he was before
        return told

    async def _check_again(self, turn: Turn, caller: Caller) -> None:
        """Those that began behind this event are not told of it, and were let through by what he was before."""
        for member in [each for each in caller.members if each.since > self.position]:
            topic = member.question.topic
            try:
                await turn.insist(lambda _: topic.check(caller.actor))  # noqa: B023
            except Exception as error:
                self.leave(member)
                member.end(self._shown(error))

    # Members

    async def join(self, member: Member, after: str | None) -> None:
        """Tell it everything after a cursor, or from now on; first from the log, then live, without gap or repeat.

        Raises InvalidCursor, CursorExpired, Unauthenticated, and what its topic refuses.
        """
        # First where the log stands, then who he is: a change of his access in between is met as an event.
        account = await self._account.ask(None)
        position = account.last_position if after is None else await self._cursors.resume(after, account, self.backlog)
        await member.question.topic.check(member.caller.actor)
        if position < self.position and member.question.topic.heeds_access:
            await self._changes.reach_back(position)
        if member.caller not in self.callers:
            raise Unauthenticated  # he was turned away meanwhile
        member.caller.members.add(member)
        self._place(member, position)

    def leave(self, member: Member) -> None:
        """Its stream is over. For one that has left already, nothing."""
        member.caller.members.discard(member)
        member.parked_at = None
        self._detach(member)

    def drained(self, member: Member) -> None:
        """Its connection takes more: what it missed is found in the log."""
        if member.parked_at is None:
            return
        position = member.parked_at
        self._detach(member)
        self._place(member, position)

    def _detach(self, member: Member) -> None:
        cohort = member.cohort
        if cohort is not None:
            cohort.discard(member)
            if cohort.is_empty:
                self.index.drop(cohort)

    def _place(self, member: Member, position: int, used: Access | None = None) -> None:
        question, actor = member.question, member.caller.actor
        if position >= self.position:
            self.index.cohort(question, self.index.viewers(question, actor)).add(member, position)
            return
        self._late_cohort(question, actor, position, used).add(member, position)

    def _late_cohort(self, question: Question, actor: Actor, position: int, used: Access | None) -> Cohort:
        changes = self._changes.accesses(actor.id, position)
        if question.topic.heeds_access and changes:
            alone = Cohort(question, Viewers.of(actor, personal=True), position, is_late=True)
            if alone.state is not None:
                for access in changes if used is None else (*changes, used):
                    alone.state.had(access)
            self._start(alone)
            return alone
        viewers = self.index.viewers(question, actor)
        cohort = self._late.find(question, viewers, position)
        if cohort is None:
            cohort = Cohort(question, viewers, position, is_late=True)
            self._late.add(cohort)
            self._start(cohort)
        return cohort

    # Catching up

    def _start(self, cohort: Cohort) -> None:
        if not self._catching_up:
            self._late.rest()
        task = asyncio.create_task(self._catch_up(cohort, self._late.patience(cohort)))
        self._catching_up.add(task)
        task.add_done_callback(self._catching_up.discard)

    async def _catch_up(self, cohort: Cohort, patience: float) -> None:
        try:
            await asyncio.sleep(patience)
            while cohort.members and not self._merged(cohort):
                await pass_through("during_catchup")
                turn = self._turn()
                rows = await turn.insist(lambda _: self.backlog.after(cohort.position))
                # Never ahead of the tail, which sees a lost right before anything after it goes out.
                rows = [row for row in rows if row.position <= self.position]
                if not rows:
                    await self._wait_for_more(cohort)
                for row in rows:
                    if not cohort.members:
                        return
                    self._late.forget(cohort)
                    await self._meet(turn, cohort, row)
                    cohort.position = row.position
        except Exception as error:
            self._end(cohort, self._shown(error))
        finally:
            self._late.forget(cohort)

    async def _wait_for_more(self, cohort: Cohort) -> None:
        if cohort.position < self.position:
            raise CursorExpired(field=("after",))  # the log was cut meanwhile
        await self._moved.wait()

    def _merged(self, cohort: Cohort) -> bool:
        """Whether it has met the tail, and its members have joined the others."""
        if cohort.position < self.position or not (cohort.state is None or cohort.state.is_plain(cohort.position)):
            return False
        self._late.forget(cohort)
        for member in list(cohort.members):
            cohort.discard(member)
            self._place(member, cohort.position)
        return True

    # Telling

    async def _meet(self, turn: Turn, cohort: Cohort, row: Event) -> None:
        """Tell a cohort of an event, if it is anything to it."""
        if not matches(cohort, row):
            return
        try:
            tellings = await self._tellings(turn, cohort, row)
        except Personal:
            self._split(cohort, row.position - 1)
            return
        except Exception as error:
            if code_of(error) is not None:
                self._end(cohort, self._shown(error))
                return
            # A defect of ours. To end the stream would not help: who comes back with his cursor meets it again.
            assert turn.moment is not None
            tellings = [turn.moment.failure(cohort.question, row, error)]
        if tellings:
            await self._tell(cohort, tellings, row.position)

    async def _tellings(self, turn: Turn, cohort: Cohort, row: Event) -> list[Telling]:
        topic, viewers = cohort.question.topic, cohort.viewers

        async def items(moment: Moment) -> Any:
            return await topic.items(Scene(moment, viewers, self.cursor, cohort.state), row)

        # One after the other: what a topic remembers must not be asked for twice.
        made = await turn.insist(items)
        return [await turn.insist(lambda moment: moment.answer(cohort.question, item, viewers)) for item in made]  # noqa: B023

    def cursor(self, position: int) -> str:
        """The cursor that resumes after the event at this position."""
        return self._cursors.write(Position(self.account_id, self.epoch, position))

    async def _tell(self, cohort: Cohort, tellings: list[Telling], position: int) -> None:
        cohort.told += len(tellings)
        members = [member for member in cohort.members if member.since < position]
        self._counts.deliveries += len(members) * len(tellings)
        for start in range(0, len(members), AT_ONCE):
            if start:
                await asyncio.sleep(0)
            cohort.tell(members[start : start + AT_ONCE], tellings, position)
        for member in cohort.overflown():
            assert member.parked_at is not None
            slow = SlowConsumer(self.cursor(member.parked_at))
            self._counts.slow += 1
            self.leave(member)
            member.end(self._shown(slow))

    def _split(self, cohort: Cohort, position: int) -> None:
        """An answer asked who somebody is: from here on each is told by himself."""
        self.index.part(cohort)
        for member in [*cohort.members, *cohort.parked]:
            self._detach(member)
            if member.parked_at is None:
                self._place(member, max(position, member.since))

    def _end(self, cohort: Cohort, shown: list[dict[str, Any]]) -> None:
        for member in [*cohort.members, *cohort.parked]:
            self.leave(member)
            member.end(shown)

    def _shown(self, error: Exception) -> list[dict[str, Any]]:
        """The errors of a GraphQL response. A defect is reported here, once for all whom it hits."""
        shown: list[dict[str, Any]] = self._means.engine.masked(error)["errors"]
        return shown
