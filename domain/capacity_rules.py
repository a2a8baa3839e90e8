"""Capacity rules: how much work agents get by themselves. Only admins and roles with the right manage them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from domain.actors import Actor
from domain.capacity import Booking, lock_availabilities, recount
from domain.errors import Forbidden, InvalidInput, NotFound
from domain.locks import confirm_actor, lock_settings
from domain.transactions import Call, Transaction, unit_of_work
from models import (
    AgentAvailability,
    CapacityRule,
    EventType,
    LedgerReason,
    Permission,
    User,
    UserKind,
    new_id,
)

MOST = 1000


@dataclass(frozen=True, slots=True)
class SavedRule:
    """The verdict of saving a capacity rule."""

    rule_id: UUID


def check_can_manage_routing(actor: Actor) -> None:
    """Raises Forbidden."""
    if actor.is_customer or not actor.may(Permission.MANAGE_ROUTING):
        raise Forbidden


async def save_capacity_rule(
    call: Call,
    *,
    name: str,
    messaging_limit: int | None,
    email_limit: int | None,
    is_default: bool = False,
    rule_id: UUID | None = None,
) -> SavedRule:
    """Create a rule, or replace one. A new default takes the place of the old one. All work is counted anew.

    None as a limit: the channel is neither limited nor counted. Raises Forbidden, NotFound, InvalidInput.
    """
    _check_rule(name, messaging_limit, email_limit)

    async def work(tx: Transaction) -> SavedRule:
        await lock_settings(tx)
        check_can_manage_routing(await confirm_actor(tx))
        rule = await _rule_to_save(tx, rule_id)
        if await CapacityRule.filter(account_id=tx.account_id, name=name.strip()).exclude(id=rule.id).exists():
            raise InvalidInput("There is a capacity rule of this name already.", field=("name",))
        values = {
            "name": name.strip(),
            "messaging_limit": messaging_limit,
            "email_limit": email_limit,
            "is_default": is_default,
        }
        changes = _changes(rule, values, is_new=rule_id is None)
        if not changes:
            return SavedRule(rule.id)
        if is_default:
            others = CapacityRule.filter(account_id=tx.account_id, is_default=True).exclude(id=rule.id)
            await others.update(is_default=False)
        rule.update_from_dict(values)
        rule.created_at = rule.created_at or tx.now
        await rule.save()
        await tx.log("CAPACITY_RULE_SAVED", f"CapacityRule {rule.id}", changes)
        await _count_anew(tx, rule.id)
        return SavedRule(rule.id)

    return await unit_of_work(call, work)


def _check_rule(name: str, *limits: int | None) -> None:
    if not 0 < len(name.strip()) <= 100:
        raise InvalidInput("A capacity rule has a name of 1 to 100 characters.", field=("name",))
    if not all(limit is None or 0 <= limit <= MOST for limit in limits):
        raise InvalidInput(f"A limit lies between 0 and {MOST}; null does not limit.", field=("messagingLimit",))


async def _rule_to_save(tx: Transaction, rule_id: UUID | None) -> CapacityRule:
    if rule_id is None:
        return CapacityRule(id=new_id(), account_id=tx.account_id)
    return await _rule(tx, rule_id)


async def _rule(tx: Transaction, rule_id: UUID) -> CapacityRule:
    rule = await CapacityRule.get_or_none(id=rule_id, account_id=tx.account_id)
    if rule is None:
        raise NotFound("There is no such capacity rule.", field=("id",))
    return rule


def _changes(rule: CapacityRule, values: dict[str, Any], *, is_new: bool) -> list[dict[str, Any]]:
    camel = {"messaging_limit": "messagingLimit", "email_limit": "emailLimit", "is_default": "isDefault"}
    before = {name: None if is_new else getattr(rule, name) for name in values}
    return [
        {"field": camel.get(name, name), "from": before[name], "to": value}
        for name, value in values.items()
        if is_new or before[name] != value
    ]


async def _count_anew(tx: Transaction, rule_id: UUID | None) -> None:
    """Book what the changed rules count. The fact makes the audit that the ledger's lines name (R99)."""
    change = {"field": "capacityRule", "from": None, "to": _text(rule_id)}
    tx.record(EventType.ROUTING_SETTINGS_CHANGED, changes=[change])
    await recount(
        Booking(tx.account_id, tx.audit_id, tx.now), await tx.hold_settings(), LedgerReason.CAPACITY_RULE_CHANGED
    )


async def delete_capacity_rule(call: Call, rule_id: UUID) -> SavedRule:
    """Delete a rule. Its agents move to the default one, by themselves."""

    async def work(tx: Transaction) -> SavedRule:
        await lock_settings(tx)
        check_can_manage_routing(await confirm_actor(tx))
        rule = await _rule(tx, rule_id)
        await AgentAvailability.filter(capacity_rule_id=rule.id).update(capacity_rule_id=None)
        await rule.delete()
        await tx.log(
            "CAPACITY_RULE_DELETED", f"CapacityRule {rule.id}", [{"field": "name", "from": rule.name, "to": None}]
        )
        await _count_anew(tx, rule.id)
        return SavedRule(rule.id)

    return await unit_of_work(call, work)


async def choose_capacity_rule(call: Call, agent_id: UUID, rule_id: UUID | None) -> SavedRule | None:
    """Give an agent a rule of his own, or (None) the default one."""

    async def work(tx: Transaction) -> SavedRule | None:
        await lock_settings(tx)
        check_can_manage_routing(await confirm_actor(tx))
        agents = User.filter(id=agent_id, account_id=tx.account_id, kind__in=[UserKind.AGENT, UserKind.ADMIN])
        if not await agents.exists():
            raise NotFound("There is no such agent.", field=("agentId",))
        if rule_id is not None:
            await _rule(tx, rule_id)
        row = (await lock_availabilities(tx.account_id, [agent_id], tx.now))[agent_id]
        if row.capacity_rule_id != rule_id:
            change = {"field": "capacityRule", "from": _text(row.capacity_rule_id), "to": _text(rule_id)}
            row.capacity_rule_id = rule_id
            await row.save(update_fields=["capacity_rule_id"])
            await tx.log("CAPACITY_RULE_CHOSEN", f"User {agent_id}", [change])
            await _count_anew(tx, rule_id)
        return SavedRule(rule_id) if rule_id else None

    return await unit_of_work(call, work)


def _text(identifier: UUID | None) -> str | None:
    return str(identifier) if identifier else None


async def capacity_rules_of(actor: Actor) -> list[CapacityRule]:
    """All capacity rules of the account, by name. Raises Forbidden."""
    check_can_manage_routing(actor)
    return await CapacityRule.filter(account_id=actor.account_id).order_by("name")
