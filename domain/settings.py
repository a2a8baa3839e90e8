"""The settings of messaging and routing: their defaults, and changing them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any

from domain.actors import Actor
from domain.capacity import Booking, recount
from domain.errors import Forbidden, InvalidInput, StaleVersion
from domain.idempotency import once
from domain.inactivity import UNASSIGNED_MINUTES, move_timers
from domain.locks import confirm_actor, lock_settings
from domain.transactions import Call, Transaction
from domain.withdrawal import withdraw
from models import (
    AccountSettings,
    ActorKind,
    AgentAvailability,
    AgentStatus,
    Bot,
    Deployment,
    EventType,
    FirstResponder,
    LedgerReason,
    Offer,
    Permission,
    RoutingMode,
)

MESSAGING_FIELDS = (
    "messaging_enabled",
    "agents_can_end_sessions",
    "agents_can_collaborate",
    "remind_agents_to_notify",
    "remind_within_minutes",
    "inactive_after_minutes",
    "inactive_unassigned_after_minutes",
    "ticket_creation",
    "first_responder",
    "customer_absence_seconds",
    "close_solved_after_days",
    "survey_question",
    "survey_sampling_percent",
)
ROUTING_FIELDS = (
    "routing_mode",
    "routing_method",
    "count_inactive_toward_capacity",
    "route_agent_ended_sessions_as_email",
    "standard_distribution",
    "chat_limit",
    "auto_accept",
    "offer_seconds",
    "agent_absence_seconds",
)
# What a recount of everybody's work depends on.
COUNTING = {"routing_mode", "count_inactive_toward_capacity"}
# How tickets are given out. What was offered in another way is given out anew.
GIVING = {"routing_mode", "standard_distribution", "auto_accept"}
MAY_BE_EMPTY = ("chat_limit",)
SECONDS = {"offer_seconds": (5, 3600), "agent_absence_seconds": (5, 24 * 3600)}
MOST_CHATS = 1000
LONGEST_QUESTION = 500
MINUTES = ("remind_within_minutes", "inactive_after_minutes", "inactive_unassigned_after_minutes")
MOST_MINUTES = 7 * 24 * 60
# None switches off what these govern.
LIMITS = {"customer_absence_seconds": 24 * 60 * 60, "close_solved_after_days": 3650}


@dataclass(frozen=True, slots=True)
class SettingsChange:
    """The verdict of a change."""

    changed: bool


def agents_can_end_sessions(settings: AccountSettings, since: datetime) -> bool:
    """What an admin saved, or else the default: on for those who got messaging at or after `since` (R1–R5)."""
    if settings.agents_can_end_sessions is not None:
        return settings.agents_can_end_sessions
    return settings.messaging_enabled_at is None or settings.messaging_enabled_at >= since


async def ending_sessions_since() -> datetime:
    """The release instant of this installation (D10): the first migration, unless the deployment says otherwise."""
    return (await Deployment.get(id=1)).ending_sessions_since


async def set_ending_sessions_since(moment: datetime) -> None:
    """What the deployment says instead."""
    await Deployment.filter(id=1).update(ending_sessions_since=moment)


async def may_agents_end_sessions(settings: AccountSettings) -> bool:
    """The effective value of the setting."""
    return agents_can_end_sessions(settings, await ending_sessions_since())


def check_can_read_settings(actor: Actor) -> None:
    """Raises Forbidden."""
    if not (actor.is_staff and actor.may(Permission.MANAGE_CHANNELS)):
        raise Forbidden


def check_can_manage_channels(actor: Actor) -> None:
    """Raises Forbidden for all but admins and roles with the right to manage channels (R8)."""
    if actor.kind is ActorKind.PARTNER or not actor.may(Permission.MANAGE_CHANNELS):
        raise Forbidden


async def update_messaging_settings(
    call: Call, values: dict[str, Any], *, expected_version: int | None = None
) -> SettingsChange:
    """Save new values; a value that is equal to the stored one is no change (R6, R9)."""
    return await _update(call, "updateMessagingSettings", values, MESSAGING_FIELDS, expected_version)


async def update_routing_settings(
    call: Call, values: dict[str, Any], *, expected_version: int | None = None
) -> SettingsChange:
    """The same for routing, which has a version of its own."""
    return await _update(call, "updateRoutingSettings", values, ROUTING_FIELDS, expected_version)


async def _update(
    call: Call, operation: str, values: dict[str, Any], allowed: tuple[str, ...], expected_version: int | None
) -> SettingsChange:
    _check_values(values, allowed)

    async def work(tx: Transaction) -> SettingsChange:
        # The settings first: this is their order among the locks.
        settings = await lock_settings(tx)
        check_can_manage_channels(await confirm_actor(tx))
        version = "messaging_version" if allowed is MESSAGING_FIELDS else "routing_version"
        if expected_version is not None and expected_version != getattr(settings, version):
            raise StaleVersion(getattr(settings, version))
        await _check_bot(tx, values)
        changes = await _apply(tx, settings, values)
        if not changes:
            # A default that an admin confirms is no change (R9), but from now on it is the value that he saved (R5).
            await settings.save()
            return SettingsChange(changed=False)
        setattr(settings, version, getattr(settings, version) + 1)
        setattr(settings, version.replace("version", "updated_at"), tx.now)
        await settings.save()
        told = {change["field"] for change in changes}
        changed = {name for name in values if _argument(name) in told}
        await _follow_routing(tx, settings, changed)
        if "inactive_after_minutes" in changed:
            await move_timers(tx.account_id, settings.inactive_after_minutes)
        await tx.log("SETTINGS_CHANGED", operation.removeprefix("update"), changes)
        messaging = allowed is MESSAGING_FIELDS
        tx.record(
            EventType.MESSAGING_SETTINGS_CHANGED if messaging else EventType.ROUTING_SETTINGS_CHANGED,
            changes=changes,
        )
        return SettingsChange(changed=True)

    inputs = {"values": values, "expected_version": expected_version}
    return await once(call, operation, inputs, SettingsChange, work)


async def _check_bot(tx: Transaction, values: dict[str, Any]) -> None:
    if values.get("first_responder") is FirstResponder.BOT and not await Bot.exists(account_id=tx.account_id):
        raise InvalidInput("There is no bot in this account. Save one first.", field=("firstResponder",))


async def _apply(tx: Transaction, settings: AccountSettings, values: dict[str, Any]) -> list[dict[str, Any]]:
    before = {name: getattr(settings, name) for name in values}
    if "agents_can_end_sessions" in values:
        # Compared with what was in force: saving the default's own value changes nothing (R9).
        before["agents_can_end_sessions"] = await may_agents_end_sessions(settings)
    changes = []
    for name, value in values.items():
        setattr(settings, name, value)
        if value != before[name]:
            changes.append({"field": _argument(name), "from": plain(before[name]), "to": plain(value)})
    if settings.messaging_enabled and settings.messaging_enabled_at is None:
        settings.messaging_enabled_at = tx.now
    return changes


async def _follow_routing(tx: Transaction, settings: AccountSettings, changed: set[str]) -> None:
    """What follows from other routing: offers end, work is counted anew; omnichannel begins with all agents offline."""
    if "routing_mode" in changed and settings.routing_mode is RoutingMode.OMNICHANNEL:
        await AgentAvailability.filter(account_id=tx.account_id).update(status=AgentStatus.OFFLINE, changed_at=tx.now)
    if changed & GIVING:
        await withdraw(Offer.filter(account_id=tx.account_id), tx.now)
    if changed & COUNTING:
        booking = Booking(tx.account_id, tx.audit_id, tx.now)
        await recount(booking, settings, LedgerReason.SETTINGS_CHANGED)


def _check_values(values: dict[str, Any], allowed: tuple[str, ...]) -> None:
    for name, value in values.items():
        if name not in allowed:
            raise InvalidInput(f"There is no setting {name!r} here.", field=(name,))
        if name in LIMITS:
            if value is not None and not 1 <= value <= LIMITS[name]:
                raise InvalidInput(f"This lies between 1 and {LIMITS[name]}, or is null.", field=(_argument(name),))
            continue
        if value is None and name not in MAY_BE_EMPTY:
            raise InvalidInput("A setting has a value; leave it out to keep the stored one.", field=(_argument(name),))
        if name in SECONDS and not SECONDS[name][0] <= value <= SECONDS[name][1]:
            raise InvalidInput("Seconds lie between {} and {}.".format(*SECONDS[name]), field=(_argument(name),))
        if name == "chat_limit" and value is not None and not 1 <= value <= MOST_CHATS:
            raise InvalidInput(f"A limit lies between 1 and {MOST_CHATS}; null is none.", field=("chatLimit",))
        if name == "survey_question" and not 0 < len(value.strip()) <= LONGEST_QUESTION:
            raise InvalidInput(f"A question has 1 to {LONGEST_QUESTION} characters.", field=(_argument(name),))
        if name == "survey_sampling_percent" and not 0 <= value <= 100:
            raise InvalidInput("A percentage lies between 0 and 100.", field=(_argument(name),))
        if name in MINUTES and not 1 <= value <= MOST_MINUTES:
            raise InvalidInput(f"Minutes lie between 1 and {MOST_MINUTES}.", field=(_argument(name),))
        if name == "inactive_unassigned_after_minutes" and value != UNASSIGNED_MINUTES:
            said = f"Sessions that nobody has always become inactive after {UNASSIGNED_MINUTES} minutes."
            raise InvalidInput(said, field=(_argument(name),))


def _argument(name: str) -> str:
    """A setting as callers name it: its section is the mutation's name, the rest is in camel case."""
    first, *rest = name.removeprefix("messaging_").removeprefix("routing_").split("_")
    return first + "".join(word.title() for word in rest)


def plain(value: Any) -> Any:
    """An enum as its value, an identifier or a moment as text: what logs and events keep."""
    if isinstance(value, Enum):
        return value.value
    if value is None or isinstance(value, bool | int | str | list | dict):
        return value
    return str(value)
