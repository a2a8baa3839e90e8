"""Whether an agent takes work, and how much he has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from tortoise.expressions import Subquery

from domain.actors import Actor
from domain.capacity import Rules, lock_availabilities
from domain.errors import Forbidden, InvalidInput, NotFound
from domain.locks import confirm_actor, lock_user
from domain.transactions import Call, Transaction, unit_of_work
from domain.withdrawal import withdraw
from models import (
    AccountSettings,
    AgentAvailability,
    AgentStatus,
    Channel,
    EventType,
    MessagingSession,
    Offer,
    Permission,
    RoutingMode,
    SessionState,
    Ticket,
    UserKind,
)

ROUTED = (Channel.MESSAGING, Channel.EMAIL)


@dataclass(frozen=True, slots=True)
class ChannelWork:
    """How much an agent has on a channel, and the most that he gets by himself (None: no limit, or nobody counts)."""

    channel: Channel
    status: AgentStatus
    work: int
    limit: int | None


@dataclass(frozen=True, slots=True)
class Work:
    """An agent's availability as the account's routing sees it."""

    agent_id: UUID
    status: AgentStatus
    channels: tuple[ChannelWork, ...]


@dataclass(frozen=True, slots=True)
class ChangedStatus:
    """The verdict of `set_status`."""

    agent_id: UUID
    changed: bool


async def set_status(
    call: Call,
    agent_id: UUID,
    status: AgentStatus,
    *,
    channels: dict[Channel, AgentStatus] | None = None,
) -> ChangedStatus:
    """Say whether an agent takes work, on all channels or with exceptions. One's own, or others' with MANAGE_ROUTING.

    What was offered to somebody who no longer takes it is withdrawn. Raises Forbidden, NotFound, InvalidInput.
    """
    wanted = channels or {}
    for channel in wanted:
        if channel not in ROUTED:
            raise InvalidInput("Only messaging and e-mail are routed to agents.", field=("channels",))

    async def work(tx: Transaction) -> ChangedStatus:
        if agent_id == tx.actor.id:
            # Before it is held with others: two windows that both hold it would wait for each other.
            await lock_user(tx, agent_id)
        actor = await confirm_actor(tx)
        if actor.is_customer:
            raise Forbidden
        if agent_id != actor.id and not actor.may(Permission.MANAGE_ROUTING):
            raise Forbidden("You can change your own availability only.")
        user = await lock_user(tx, agent_id)
        if user.kind not in (UserKind.AGENT, UserKind.ADMIN) or not user.active:
            raise NotFound("There is no such agent.", field=("agentId",))
        row = (await lock_availabilities(tx.account_id, [agent_id], tx.now))[agent_id]
        return ChangedStatus(agent_id, await change_status(tx, row, status, wanted))

    return await unit_of_work(call, work)


async def change_status(
    tx: Transaction, row: AgentAvailability, status: AgentStatus, channels: dict[Channel, AgentStatus]
) -> bool:
    """The change on a locked row, with its event. Returns whether there was one."""
    before = _said(row)
    row.status = status
    row.messaging_status, row.email_status = channels.get(Channel.MESSAGING), channels.get(Channel.EMAIL)
    if _said(row) == before:
        return False
    row.changed_at = tx.now
    row.absent_since = None  # whoever says so is here
    await row.save(update_fields=["status", "messaging_status", "email_status", "changed_at", "absent_since"])
    await _withdraw_offers(tx, row)
    change: dict[str, Any] = {"from": before, "to": _said(row)}
    tx.record(EventType.AGENT_AVAILABILITY_CHANGED, user=str(row.agent_id), **change)
    return True


def _said(row: AgentAvailability) -> dict[str, str | None]:
    own = {"messaging": row.messaging_status, "email": row.email_status}
    return {"status": row.status.value} | {name: said.value if said else None for name, said in own.items()}


async def _withdraw_offers(tx: Transaction, row: AgentAvailability) -> None:
    for channel in ROUTED:
        if row.status_on(channel) is not AgentStatus.ONLINE:
            await withdraw(Offer.filter(agent_id=row.agent_id, channel=channel), tx.now)


async def work_of(actor: Actor, agents: Collection[UUID]) -> dict[UUID, Work]:
    """The availability of these agents of the actor's account."""
    settings = await AccountSettings.get(account_id=actor.account_id)
    rows = {
        row.agent_id: row
        for row in await AgentAvailability.filter(account_id=actor.account_id, agent_id__in=list(agents))
    }
    rules = await Rules.load(actor.account_id, agents)
    chats = await live_chats(actor.account_id, agents) if settings.routing_mode is RoutingMode.STANDARD else {}
    return {agent: _work(settings, rules, rows.get(agent), agent, chats.get(agent, 0)) for agent in agents}


def _work(settings: AccountSettings, rules: Rules, row: AgentAvailability | None, agent_id: UUID, chats: int) -> Work:
    row = row or AgentAvailability(agent_id=agent_id, status=AgentStatus.OFFLINE)
    if settings.routing_mode is RoutingMode.STANDARD:
        status = row.status_on(Channel.MESSAGING)
        return Work(agent_id, row.status, (ChannelWork(Channel.MESSAGING, status, chats, settings.chat_limit),))
    channels = tuple(
        ChannelWork(channel, row.status_on(channel), row.work(channel) or 0, rules.limit(agent_id, channel))
        for channel in ROUTED
    )
    return Work(agent_id, row.status, channels)


async def live_chats(account_id: UUID, agents: Collection[UUID]) -> dict[UUID, int]:
    """How many sessions that have not ended these agents have. Standard routing knows no other count (R88)."""
    live = MessagingSession.filter(account_id=account_id).exclude(state=SessionState.ENDED)
    theirs = Ticket.filter(
        account_id=account_id,
        assignee_id__in=list(agents),
        deleted_at__isnull=True,
        conversation_id__in=Subquery(live.values("conversation_id")),
    )
    return dict(Counter(await theirs.values_list("assignee_id", flat=True)))
