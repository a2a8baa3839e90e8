"""Giving waiting tickets to agents: the oldest first, to whoever is eligible and has room (R88, R92–R95).

What waits and who has room is read off the tables, without locks, and decided again under the locks of each single
assignment: the settings, the agent, the session, the ticket, the agent's capacity. So two routers at the same moment
give one ticket once and one slot once.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

from tortoise.expressions import Q, Subquery

from domain.actors import Access, groups_of, load_accesses, system
from domain.availability import live_chats
from domain.capacity import BUSY, Rules, lock_availabilities, session_counts
from domain.errors import Refusal
from domain.locks import lock_session, lock_ticket
from domain.queues import groups_for
from domain.tickets import change_ticket
from domain.transactions import Call, Transaction, unit_of_work
from domain.visibility import audience_of, reaches
from models import (
    AccountSettings,
    AgentAvailability,
    AgentStatus,
    Channel,
    EventType,
    MessagingSession,
    Offer,
    OfferState,
    Permission,
    RoutingMethod,
    RoutingMode,
    RoutingQueue,
    SessionState,
    StandardDistribution,
    Ticket,
    User,
    utc_now,
)
from models.database import share

log = logging.getLogger("deskwire.routing")

PAGE = 100
# E-mail tickets wait for an agent only with this tag: who has not asked for it keeps picking them from a list.
EMAIL_TAG = "auto-routing"
# Who declined a ticket, or let it pass, is not asked again for so long.
ASKED_AGAIN_AFTER = timedelta(minutes=5)
NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(slots=True)
class Candidate:
    """An agent who takes work, as far as could be seen without locks. `room` is by channel; None is boundless."""

    agent_id: UUID
    access: Access
    groups: frozenset[UUID]
    last_assigned_at: datetime
    room: dict[Channel, int | None] = field(default_factory=dict)

    def has_room(self, channel: Channel) -> bool:
        room = self.room.get(channel, 0)
        return room is None or room > 0

    def took(self, channel: Channel, slots: int, now: datetime) -> None:
        room = self.room.get(channel)
        if room is not None:
            self.room[channel] = room - slots
        self.last_assigned_at = now


@dataclass(frozen=True, slots=True)
class Waiting:
    """A ticket that waits for an agent, and the groups that its queue names (None: anybody)."""

    ticket: Ticket
    session: MessagingSession | None
    channel: Channel
    groups: frozenset[UUID] | None
    # Who was asked: an offer of his is open, or he declined lately.
    asked: frozenset[UUID]


async def route_waiting_tickets(clock: Callable[[], datetime] = utc_now) -> int:
    """Route what waits in every account where somebody takes work. Returns how many tickets were given or offered."""
    takers = AgentAvailability.exclude(status=AgentStatus.OFFLINE)
    accounts = await takers.distinct().values_list("account_id", flat=True)
    count = 0
    for account_id in accounts:
        try:
            count += await route_account(account_id, clock)  # type: ignore[arg-type]  # a flat list of ids
        except Exception:
            log.exception("routing failed for account %s; it is tried again", account_id)
    return count


async def route_account(account_id: UUID, clock: Callable[[], datetime] = utc_now) -> int:
    """Give or offer what waits in one account, the oldest first, until nobody eligible has room."""
    settings = await AccountSettings.get(account_id=account_id)
    if not await _waiting_tickets(settings, 0).exists():
        return 0
    takers = AgentAvailability.filter(account_id=account_id).exclude(status=AgentStatus.OFFLINE)
    candidates = await _candidates(settings, await takers)
    count = 0
    async for waiting in _waiting(settings, clock()):
        if not any(candidate.has_room(waiting.channel) for candidate in candidates):
            continue
        count += await _route(settings, waiting, candidates, clock)
    return count


async def _route(
    settings: AccountSettings, waiting: Waiting, candidates: list[Candidate], clock: Callable[[], datetime]
) -> int:
    eligible = [candidate for candidate in candidates if is_eligible(candidate, waiting)]
    call = Call(system(settings.account_id), clock=clock)
    if broadcasts(settings):
        return int(bool(eligible) and await offer_to_all(call, waiting.ticket.id, [each.agent_id for each in eligible]))
    for candidate in in_turn(settings, waiting.channel, eligible):
        try:
            done = await give(call, waiting.ticket.id, candidate.agent_id, waiting.channel)
        except Refusal:
            return 0  # the ticket is gone, or too many want it: the next pass tries again
        if done is None:
            return 0  # it does not wait any more
        if done:
            candidate.took(waiting.channel, _slots(settings, waiting), clock())
            return 1
        candidate.room[waiting.channel] = 0  # he may not have it after all: the next pass knows why
    return 0


def _slots(settings: AccountSettings, waiting: Waiting) -> int:
    """What a ticket takes of the room of who gets it: an open offer one, and an inactive session maybe none."""
    counted = settings.routing_mode is RoutingMode.OMNICHANNEL and not one_by_one(settings)
    if not counted or waiting.session is None or waiting.channel is Channel.EMAIL:
        return 1
    return int(session_counts(settings, waiting.session))


def broadcasts(settings: AccountSettings) -> bool:
    """Whether a chat is offered to all at once, instead of to one after the other."""
    broadcast = settings.standard_distribution is StandardDistribution.BROADCAST
    return broadcast and settings.routing_mode is RoutingMode.STANDARD


def one_by_one(settings: AccountSettings) -> bool:
    """Whether an agent is asked before a ticket is his."""
    return settings.routing_mode is RoutingMode.OMNICHANNEL and not settings.auto_accept


def is_eligible(candidate: Candidate, waiting: Waiting) -> bool:
    """Whether an agent may get a ticket: his channel has room, he would see it, may answer, and is in its groups."""
    if candidate.agent_id in waiting.asked or not candidate.has_room(waiting.channel):
        return False
    if waiting.groups is not None and not waiting.groups & candidate.groups:
        return False
    audience = audience_of(waiting.ticket)
    if not reaches(candidate.access, candidate.agent_id, audience.assigned_to(candidate.agent_id)):
        return False
    return candidate.access.permissions >= _needed(waiting.channel)


def _needed(channel: Channel) -> set[Permission]:
    answering = {Permission.EDIT_TICKETS, Permission.PUBLIC_COMMENTS}
    return answering | {Permission.MESSAGING} if channel is Channel.MESSAGING else answering


def in_turn(settings: AccountSettings, channel: Channel, eligible: Iterable[Candidate]) -> list[Candidate]:
    """The eligible in the order in which they are asked: the most room first, or the longest without a ticket."""

    def turn(candidate: Candidate) -> tuple[float, datetime, UUID]:
        room = candidate.room.get(channel)
        by_room = (
            settings.routing_mode is RoutingMode.OMNICHANNEL
            and settings.routing_method is RoutingMethod.HIGHEST_SPARE_CAPACITY
        )
        spare = float("inf") if room is None else float(room)
        return (-spare if by_room else 0.0, candidate.last_assigned_at, candidate.agent_id)

    return sorted(eligible, key=turn)


async def _candidates(settings: AccountSettings, rows: list[AgentAvailability]) -> list[Candidate]:
    """The agents of these rows who are still here, with what they take."""
    users = await User.filter(id__in=[row.agent_id for row in rows], active=True)
    access = await load_accesses(users)
    here = [row for row in rows if row.agent_id in access]
    groups = await groups_of(access)
    rooms = await _rooms(settings, here)
    return [
        Candidate(
            row.agent_id,
            access[row.agent_id],
            groups.get(row.agent_id, frozenset()),
            row.last_assigned_at or NEVER,
            rooms[row.agent_id],
        )
        for row in here
    ]


async def _rooms(settings: AccountSettings, rows: list[AgentAvailability]) -> dict[UUID, dict[Channel, int | None]]:
    agents = [row.agent_id for row in rows]
    if settings.routing_mode is RoutingMode.STANDARD:
        chats = await live_chats(settings.account_id, agents)
        return {row.agent_id: _chat_room(settings, row, chats.get(row.agent_id, 0)) for row in rows}
    rules = await Rules.load(settings.account_id, agents)
    reserved = await _open_offers(agents)
    return {
        row.agent_id: {
            channel: _room(rules, row, channel, reserved.get((row.agent_id, channel), 0))
            for channel in (Channel.MESSAGING, Channel.EMAIL)
            if row.status_on(channel) is AgentStatus.ONLINE
        }
        for row in rows
    }


def _chat_room(settings: AccountSettings, row: AgentAvailability, chats: int) -> dict[Channel, int | None]:
    if row.status_on(Channel.MESSAGING) is not AgentStatus.ONLINE:
        return {}
    return {Channel.MESSAGING: None if settings.chat_limit is None else settings.chat_limit - chats}


def _room(rules: Rules, row: AgentAvailability, channel: Channel, reserved: int) -> int | None:
    limit = rules.limit(row.agent_id, channel)
    return None if limit is None else limit - (row.work(channel) or 0) - reserved


async def _open_offers(agents: list[UUID]) -> dict[tuple[UUID, Channel], int]:
    counts: dict[tuple[UUID, Channel], int] = {}
    for offer in await Offer.filter(agent_id__in=agents, state=OfferState.OPEN):
        counts[offer.agent_id, offer.channel] = counts.get((offer.agent_id, offer.channel), 0) + 1
    return counts


async def _waiting(settings: AccountSettings, now: datetime) -> AsyncIterator[Waiting]:
    """What waits, the oldest first."""
    queues = await _queues(settings)
    after = 0
    while tickets := await _waiting_tickets(settings, after).limit(PAGE):
        after = tickets[-1].number
        sessions = {
            row.conversation_id: row
            for row in await MessagingSession.filter(conversation_id__in=[each.conversation_id for each in tickets])
        }
        asked = await _asked([ticket.id for ticket in tickets], now)
        for ticket in tickets:
            session = sessions.get(ticket.conversation_id)
            waiting = _as_waiting(settings, queues, ticket, session, asked)
            if waiting is not None:
                yield waiting


def _as_waiting(
    settings: AccountSettings,
    queues: list[RoutingQueue],
    ticket: Ticket,
    session: MessagingSession | None,
    asked: dict[UUID, set[UUID]],
) -> Waiting | None:
    channel = waits_on(settings, ticket, session)
    if channel is None:
        return None
    groups = groups_for(queues, ticket, session)
    return Waiting(ticket, session, channel, groups, frozenset(asked.get(ticket.id, ())))


async def _queues(settings: AccountSettings) -> list[RoutingQueue]:
    return await RoutingQueue.filter(account_id=settings.account_id, active=True).order_by("place", "name")


def _waiting_tickets(settings: AccountSettings, after: int):  # type: ignore[no-untyped-def]  # a query
    live = MessagingSession.filter(account_id=settings.account_id).exclude(state=SessionState.ENDED)
    return Ticket.filter(
        Q(conversation_id__in=Subquery(live.values("conversation_id"))) | Q(channel=Channel.EMAIL),
        account_id=settings.account_id,
        assignee_id__isnull=True,
        status__in=BUSY,
        deleted_at__isnull=True,
        number__gt=after,
    ).order_by("number")


def waits_on(settings: AccountSettings, ticket: Ticket, session: MessagingSession | None) -> Channel | None:
    """On which channel a ticket waits for an agent; None when it does not. What has ended is never offered (R43)."""
    if ticket.assignee_id is not None or ticket.status not in BUSY or ticket.deleted_at is not None:
        return None
    if session is not None:
        if session.state is SessionState.ENDED or session.with_bot:
            return None
        standard = settings.routing_mode is RoutingMode.STANDARD
        return Channel.MESSAGING if standard else ticket.routing_channel
    routed = settings.routing_mode is RoutingMode.OMNICHANNEL and EMAIL_TAG in ticket.tags
    return Channel.EMAIL if routed and ticket.channel is Channel.EMAIL else None


async def _asked(tickets: list[UUID], now: datetime) -> dict[UUID, set[UUID]]:
    lately = Q(state__in=[OfferState.DECLINED, OfferState.EXPIRED], decided_at__gt=now - ASKED_AGAIN_AFTER)
    asked: dict[UUID, set[UUID]] = {}
    for offer in await Offer.filter(Q(state=OfferState.OPEN) | lately, ticket_id__in=tickets):
        asked.setdefault(offer.ticket_id, set()).add(offer.agent_id)
    return asked


async def give(call: Call, ticket_id: UUID, agent_id: UUID, channel: Channel) -> bool | None:
    """Assign or offer a waiting ticket to an agent who has room. None: it does not wait; False: he may not have it."""

    async def work(tx: Transaction) -> bool | None:
        settings = await tx.hold_settings()
        waiting = await _lock_waiting(tx, settings, ticket_id, [agent_id])
        if waiting is None or waiting.channel is not channel or broadcasts(settings):
            return None
        if one_by_one(settings) and await Offer.filter(ticket_id=ticket_id, state=OfferState.OPEN).exists():
            return None
        row = (await lock_availabilities(tx.account_id, [agent_id], tx.now))[agent_id]
        if not await _eligible(settings, waiting, [row]):
            return False
        if one_by_one(settings):
            await _offer(tx, waiting, [agent_id], tx.now + timedelta(seconds=settings.offer_seconds))
        else:
            await change_ticket(tx, waiting.ticket, waiting.session, {"assignee_id": agent_id})
        row.last_assigned_at = tx.now
        await row.save(update_fields=["last_assigned_at"])
        return True

    return await unit_of_work(call, work)


async def offer_to_all(call: Call, ticket_id: UUID, agents: list[UUID]) -> bool:
    """Offer a waiting ticket to all of these agents: the first who accepts has it (standard routing, broadcast)."""

    async def work(tx: Transaction) -> bool:
        settings = await tx.hold_settings()
        waiting = await _lock_waiting(tx, settings, ticket_id, agents)
        if waiting is None or not broadcasts(settings):
            return False
        rows = await lock_availabilities(tx.account_id, agents, tx.now)
        asked = await _eligible(settings, waiting, list(rows.values()))
        if asked:
            await _offer(tx, waiting, asked, None)
        return bool(asked)

    try:
        return await unit_of_work(call, work)
    except Refusal:
        return False  # the ticket is gone, or too many want it: the next pass tries again


async def _lock_waiting(
    tx: Transaction, settings: AccountSettings, ticket_id: UUID, agents: list[UUID]
) -> Waiting | None:
    """The ticket as it waits now, while nobody can change it, nor what these agents may have (R25)."""
    await share(User, "id", *agents)
    seen = await Ticket.get(id=ticket_id)
    session = await lock_session(tx, seen.conversation_id)
    ticket = await lock_ticket(tx, ticket_id)
    return _as_waiting(settings, await _queues(settings), ticket, session, await _asked([ticket_id], tx.now))


async def _eligible(settings: AccountSettings, waiting: Waiting, rows: list[AgentAvailability]) -> list[UUID]:
    """Who of these locked rows may have the ticket, now that nothing can change it (R93–R95)."""
    return [each.agent_id for each in await _candidates(settings, rows) if is_eligible(each, waiting)]


async def _offer(tx: Transaction, waiting: Waiting, agents: list[UUID], expires: datetime | None) -> None:
    for agent_id in agents:
        await Offer.create(
            account_id=tx.account_id,
            ticket_id=waiting.ticket.id,
            agent_id=agent_id,
            channel=waiting.channel,
            created_at=tx.now,
            expires_at=expires,
        )
    tx.record(
        EventType.TICKET_OFFERED,
        ticket=waiting.ticket,
        agents=[str(agent_id) for agent_id in agents],
        channel=waiting.channel.value,
        expires_at=expires.isoformat() if expires else None,
    )
