"""Who is here: the live sockets of a user, on any server process (R134).

A row per user and process says that he has a socket there. The process renews its rows; one that is not renewed for
DEAD_AFTER is of a process that died, and as good as gone. Whoever's last row is gone is absent from then on. What
follows from a long absence, a pass does: an agent goes offline, a customer's session becomes inactive. Coming back
ends the absence, and nothing else: he says himself that he is online, or writes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from domain.actors import Actor, system
from domain.availability import change_status
from domain.locks import lock_sessions, lock_user, lock_users, read_settings_locked
from domain.passes import each
from domain.timers import expire
from domain.transactions import Call, Transaction, shielded, unit_of_work
from models import (
    AccountSettings,
    ActorKind,
    AgentAvailability,
    AgentStatus,
    InactiveReason,
    MessagingSession,
    Presence,
    SessionState,
    User,
    UserKind,
    new_id,
    utc_now,
)

log = logging.getLogger("deskwire.presence")

DEAD_AFTER = timedelta(seconds=30)
WATCHED = frozenset({ActorKind.AGENT, ActorKind.ADMIN, ActorKind.END_USER})
"""Integration partners keep sockets open for other reasons than being here."""

Clock = Callable[[], datetime]


async def note_present(user: Actor, process_id: UUID, now: datetime) -> None:
    """He has a socket on this process."""
    await note_changes(user.account_id, process_id, now, here={_id(user)}, gone=set())


async def note_gone(user: Actor, process_id: UUID, now: datetime) -> None:
    """His last socket on this process is closed. If it was his last anywhere, he is absent from now on."""
    await note_changes(user.account_id, process_id, now, here=set(), gone={_id(user)})


def _id(user: Actor) -> UUID:
    assert user.id is not None
    return user.id


async def note_changes(account_id: UUID, process_id: UUID, now: datetime, *, here: set[UUID], gone: set[UUID]) -> None:
    """Who of an account has come to this process, and who has left it: all in one unit of work.

    Thousands come back in the same seconds when a server restarts.
    """

    async def work(tx: Transaction) -> None:
        users = {user.id: user for user in await lock_users(tx, here | gone)}
        await _note_here(tx, process_id, here & users.keys())
        await _mark(tx, [users[each] for each in sorted(here & users.keys())], None)
        absent = await _note_gone(process_id, gone & users.keys())
        await _mark(tx, [users[each] for each in sorted(absent)], tx.now)

    await unit_of_work(Call(system(account_id), clock=lambda: now), work)


async def _note_here(tx: Transaction, process_id: UUID, here: set[UUID]) -> None:
    mine = Presence.filter(process_id=process_id, user_id__in=here)
    await mine.update(renewed_at=tx.now)
    known = set(await mine.values_list("user_id", flat=True))
    rows = [
        Presence(id=new_id(), account_id=tx.account_id, user_id=each, process_id=process_id, renewed_at=tx.now)
        for each in sorted(here - known)
    ]
    await Presence.bulk_create(rows)


async def _note_gone(process_id: UUID, gone: set[UUID]) -> set[UUID]:
    """Returns those who are absent now: their last socket anywhere was here."""
    mine = Presence.filter(process_id=process_id, user_id__in=gone)
    left: set[UUID] = set(await mine.values_list("user_id", flat=True))  # type: ignore[arg-type]  # typed as rows
    await mine.delete()
    elsewhere: list[Any] = await Presence.filter(user_id__in=left).values_list("user_id", flat=True)
    return left - set(elsewhere)


async def _mark(tx: Transaction, users: Sequence[User], absent_since: datetime | None) -> None:
    """Note absences, or that they are over, on the rows that they matter to. The users are locked."""
    agents = [user.id for user in users if user.kind is not UserKind.END_USER]
    if agents:
        await AgentAvailability.filter(agent_id__in=agents).update(absent_since=absent_since)
    customers = [user.id for user in users if user.kind is UserKind.END_USER]
    if customers:
        live = MessagingSession.filter(end_user_id__in=customers).exclude(state=SessionState.ENDED)
        for session in await lock_sessions(tx, live):
            session.customer_left_at = absent_since
            await session.save(update_fields=["customer_left_at"])


async def renew(process_id: UUID, now: datetime) -> set[UUID]:
    """This process lives, and so do its sockets. Returns the users whose presence is noted."""
    mine = Presence.filter(process_id=process_id)

    async def write() -> set[UUID]:
        await mine.update(renewed_at=now)
        return set(await mine.values_list("user_id", flat=True))  # type: ignore[arg-type]  # typed as rows

    return await shielded(write())


async def sweep_presence(clock: Clock = utc_now) -> int:
    """A pass: forget dead processes, then act on absences that are too long. Returns how many things it did."""
    return await _bury(clock) + await _send_agents_offline(clock) + await _leave_customers(clock)


async def _bury(clock: Clock) -> int:
    dead = Presence.filter(renewed_at__lt=clock() - DEAD_AFTER).order_by("renewed_at", "id")

    async def act(item: tuple[UUID, UUID, UUID]) -> bool:
        account_id, user_id, process_id = item
        return await _bury_one(Call(system(account_id), clock=clock), user_id, process_id)

    rows = await dead.values_list("account_id", "user_id", "process_id")
    return await each(log, [(row[0], row[1], row[2]) for row in rows], act)


async def _bury_one(call: Call, user_id: UUID, process_id: UUID) -> bool:
    """His absence counts from now, not from the crash: after a restart everybody gets the time to come back."""

    async def work(tx: Transaction) -> bool:
        user = await lock_user(tx, user_id)
        dead = Presence.filter(user_id=user_id, process_id=process_id, renewed_at__lt=tx.now - DEAD_AFTER)
        if not await dead.delete():
            return False
        if not await Presence.exists(user_id=user_id):
            await _mark(tx, [user], tx.now)
        return True

    return await unit_of_work(call, work)


async def _send_agents_offline(clock: Clock) -> int:
    absent = AgentAvailability.filter(absent_since__lt=clock()).exclude(status=AgentStatus.OFFLINE)

    async def act(item: tuple[UUID, UUID]) -> bool:
        account_id, agent_id = item
        return await go_offline(Call(system(account_id), clock=clock), agent_id)

    rows = await absent.order_by("absent_since", "id").values_list("account_id", "agent_id")
    return await each(log, [(row[0], row[1]) for row in rows], act)


async def go_offline(call: Call, agent_id: UUID) -> bool:
    """An agent who is absent for `agent_absence_seconds` takes no more work. Returns whether he is."""

    async def work(tx: Transaction) -> bool:
        settings = await read_settings_locked(tx)
        await lock_user(tx, agent_id)
        row = await AgentAvailability.filter(agent_id=agent_id).select_for_update().get()
        grace = timedelta(seconds=settings.agent_absence_seconds)
        here = row.absent_since is None or row.absent_since > tx.now - grace
        if here or row.status is AgentStatus.OFFLINE:
            return False
        await change_status(tx, row, AgentStatus.OFFLINE, {})
        return True

    return await unit_of_work(call, work)


async def _leave_customers(clock: Clock) -> int:
    count = 0
    for settings in await AccountSettings.filter(customer_absence_seconds__isnull=False):
        assert settings.customer_absence_seconds is not None
        count += await _leave_those_of(settings.account_id, timedelta(seconds=settings.customer_absence_seconds), clock)
    return count


async def _leave_those_of(account_id: UUID, grace: timedelta, clock: Clock) -> int:
    def is_gone(session: MessagingSession, now: datetime) -> bool:
        return session.customer_left_at is not None and session.customer_left_at <= now - grace

    async def act(session_id: UUID) -> bool:
        call = Call(system(account_id), clock=clock)
        return await expire(call, session_id, InactiveReason.USER_OFFLINE, is_gone)

    live = MessagingSession.filter(account_id=account_id, state=SessionState.ACTIVE)
    left = live.filter(customer_left_at__lte=clock() - grace).order_by("customer_left_at", "id")
    return await each(log, await left.values_list("id", flat=True), act)  # type: ignore[arg-type]  # typed as rows
