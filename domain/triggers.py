"""Triggers: what an account wants to happen by itself. Saving and deleting them, and what an admin should know of each.

Running them is in `domain/trigger_runs.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from uuid import UUID

from tortoise.expressions import Q
from tortoise.functions import Max

from domain.actors import Actor
from domain.comments import check_body
from domain.conditions import Conditions, Subject, check_conditions, references, tags_of, waits_for_end
from domain.errors import FeatureDisabled, Forbidden, InvalidInput, NotFound
from domain.keyset import beyond
from domain.locks import confirm_actor, hold_group, read_settings_locked
from domain.macros import PLACEHOLDERS, placeholders_in
from domain.readers import start_at_head
from domain.surveys import AGAIN
from domain.tickets import check_values
from domain.transactions import Call, Transaction, unit_of_work
from models import (
    AccountSettings,
    Channel,
    Group,
    Permission,
    TicketStatus,
    Trigger,
    TriggerRun,
    User,
    UserKind,
    Webhook,
    new_id,
)

MOST_ACTIONS = 20
MOST_PLACES = 1_000_000
# A trigger is no agent: what it writes is in nobody's name.
TRIGGER_PLACEHOLDERS = frozenset(name for name in PLACEHOLDERS if not name.startswith("agent."))


class TriggerActionKind(StrEnum):
    """What a trigger can do.

    `value` is the text, the status, the tags (comma-separated), the channel, or the id of the group, agent or webhook;
    of SEND_SURVEY nothing, or "again".
    """

    SEND_SURVEY = "SEND_SURVEY"
    ADD_TAGS = "ADD_TAGS"
    REMOVE_TAGS = "REMOVE_TAGS"
    SET_STATUS = "SET_STATUS"
    SET_GROUP = "SET_GROUP"
    SET_ASSIGNEE = "SET_ASSIGNEE"
    INTERNAL_NOTE = "INTERNAL_NOTE"
    PUBLIC_REPLY = "PUBLIC_REPLY"
    END_SESSION = "END_SESSION"
    SET_ROUTING_CHANNEL = "SET_ROUTING_CHANNEL"
    NOTIFY_WEBHOOK = "NOTIFY_WEBHOOK"


NAMED = frozenset({TriggerActionKind.SET_GROUP, TriggerActionKind.SET_ASSIGNEE, TriggerActionKind.NOTIFY_WEBHOOK})
"""The actions whose value is an id. Of the group and the assignee it may be left out: then there is none."""


@dataclass(frozen=True, slots=True)
class TriggerAction:
    """One thing that a trigger does."""

    kind: TriggerActionKind
    value: str | None = None


@dataclass(frozen=True, slots=True)
class SavedTrigger:
    """The verdict of `save_trigger` and `delete_trigger`."""

    trigger_id: UUID


def check_can_manage_triggers(actor: Actor) -> None:
    """Raises Forbidden."""
    if actor.is_customer or not actor.may(Permission.MANAGE_TRIGGERS):
        raise Forbidden("Only admins and roles with the right to manage triggers may do this.")


async def triggers_page(actor: Actor, first: int, after: tuple[int, UUID] | None) -> list[Trigger]:
    """Up to first + 1 triggers, in the order in which they run. Raises Forbidden."""
    check_can_manage_triggers(actor)
    mine = Trigger.filter(account_id=actor.account_id).filter(beyond("place", after, descending=False))
    return await mine.order_by("place", "id").limit(first + 1)


async def save_trigger(
    call: Call,
    *,
    title: str,
    conditions: Conditions,
    actions: list[TriggerAction],
    active: bool = True,
    place: int | None = None,
    trigger_id: UUID | None = None,
) -> SavedTrigger:
    """Create a trigger, or replace one. Without a place a new one comes last, and an old one stays where it is.

    Raises Forbidden, NotFound, InvalidInput; and FeatureDisabled for a survey at the end of a session in an account
    whose plan has no customizable surveys (R123).
    """
    _check_trigger(title, conditions, actions, place)

    async def work(tx: Transaction) -> SavedTrigger:
        settings = await read_settings_locked(tx)
        actor = await confirm_actor(tx)
        check_can_manage_triggers(actor)
        trigger = await _trigger_to_save(tx, trigger_id)
        check_plan(settings, conditions, actions)
        await _check_references(tx, conditions, actions)
        before = _logged(trigger) if trigger_id else {}
        if active and not await Trigger.filter(account_id=tx.account_id, active=True).exists():
            await start_at_head("triggers", tx.account_id)
        trigger.title, trigger.active = title.strip(), active
        trigger.conditions = [_stored(entry) for entry in conditions]
        trigger.actions = [{"kind": action.kind.value, "value": action.value} for action in actions]
        trigger.place = place or trigger.place or await _last_place(tx) + 1
        if trigger_id is None:
            trigger.created_at = tx.now
        await trigger.save()
        await tx.log("TRIGGER_SAVED", f"Trigger {trigger.id}", _changes(before, _logged(trigger)))
        return SavedTrigger(trigger.id)

    return await unit_of_work(call, work)


async def _trigger_to_save(tx: Transaction, trigger_id: UUID | None) -> Trigger:
    if trigger_id is None:
        return Trigger(id=new_id(), account_id=tx.account_id)
    return await _locked(tx, trigger_id)


async def _locked(tx: Transaction, trigger_id: UUID) -> Trigger:
    trigger = await Trigger.filter(id=trigger_id, account_id=tx.account_id).select_for_update().get_or_none()
    if trigger is None:
        raise NotFound(field=("id",))
    return trigger


def _stored(entry: Any) -> dict[str, Any]:
    rules = [{name: rule[name] for name in ("subject", "operator", "value")} for rule in entry["rules"]]
    return {"match": entry["match"], "rules": rules}


async def _last_place(tx: Transaction) -> int:
    places = Trigger.filter(account_id=tx.account_id).annotate(last=Max("place"))
    return (await places.values_list("last", flat=True))[0] or 0  # type: ignore[return-value]  # typed as a row


def _logged(trigger: Trigger) -> dict[str, Any]:
    """What the account's log keeps: which actions there are, but not what they write."""
    actions = [action["kind"] for action in trigger.actions]
    return {"title": trigger.title, "active": trigger.active, "place": trigger.place, "actions": actions}


def _changes(before: dict[str, Any], after: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"field": name, "from": before.get(name), "to": value}
        for name, value in after.items()
        if before.get(name) != value
    ]


async def delete_trigger(call: Call, trigger_id: UUID) -> SavedTrigger:
    """Delete a trigger. What it did stays; what it still meant to try again is not done. Raises NotFound, Forbidden."""

    async def work(tx: Transaction) -> SavedTrigger:
        check_can_manage_triggers(await confirm_actor(tx))
        trigger = await _locked(tx, trigger_id)
        await TriggerRun.filter(trigger_id=trigger.id).delete()
        await trigger.delete()
        await tx.log(
            "TRIGGER_DELETED", f"Trigger {trigger.id}", [{"field": "title", "from": trigger.title, "to": None}]
        )
        return SavedTrigger(trigger.id)

    return await unit_of_work(call, work)


def check_plan(settings: AccountSettings, conditions: Conditions, actions: list[TriggerAction]) -> None:
    """Raises FeatureDisabled for what the account's plan does not have (R123)."""
    surveys = any(action.kind is TriggerActionKind.SEND_SURVEY for action in actions)
    if surveys and waits_for_end(conditions) and not settings.customizable_surveys:
        raise FeatureDisabled(
            "Surveys at the end of a session are part of customizable surveys, which the plan of this account does "
            "not have. Leave the condition on the end out, or ask for another plan.",
            field=("conditions",),
        )


def _check_trigger(title: str, conditions: Conditions, actions: list[TriggerAction], place: int | None) -> None:
    if not 0 < len(title.strip()) <= 200:
        raise InvalidInput("A trigger has a title of 1 to 200 characters.", field=("title",))
    if place is not None and not 1 <= place <= MOST_PLACES:
        raise InvalidInput(f"Places are counted from 1 to {MOST_PLACES}.", field=("place",))
    check_conditions(conditions)
    if not 0 < len(actions) <= MOST_ACTIONS:
        raise InvalidInput(f"A trigger has 1 to {MOST_ACTIONS} actions.", field=("actions",))
    for action in actions:
        _check_action(action)


def _check_action(action: TriggerAction) -> None:
    value = action.value or ""
    match action.kind:
        case TriggerActionKind.PUBLIC_REPLY | TriggerActionKind.INTERNAL_NOTE:
            _check_text(value)
        case TriggerActionKind.SET_STATUS:
            _check_status(value)
        case TriggerActionKind.ADD_TAGS | TriggerActionKind.REMOVE_TAGS:
            _require(tags_of(value), "Name at least one tag.")
            check_tags(value)
        case TriggerActionKind.SET_ROUTING_CHANNEL:
            _require(value in (Channel.MESSAGING, Channel.EMAIL), "A ticket is routed as MESSAGING or EMAIL.")
        case TriggerActionKind.SEND_SURVEY:
            _require(value in ("", AGAIN), f"SEND_SURVEY takes no value, or {AGAIN!r}.")
        case TriggerActionKind.END_SESSION:
            _require(not value, "END_SESSION takes no value.")
        case TriggerActionKind.NOTIFY_WEBHOOK | TriggerActionKind.SET_GROUP | TriggerActionKind.SET_ASSIGNEE:
            _require(value or action.kind is not TriggerActionKind.NOTIFY_WEBHOOK, "Name the webhook.")
            identifier(value)


def _require(condition: object, message: str) -> None:
    if not condition:
        raise InvalidInput(message, field=("actions",))


def _check_text(text: str) -> None:
    check_body(text, field="actions")
    unknown = placeholders_in(text) - TRIGGER_PLACEHOLDERS
    known = ", ".join(sorted(TRIGGER_PLACEHOLDERS))
    _require(not unknown, f"Unknown placeholder {min(unknown, default='')!r}; triggers know {known}.")


def _check_status(value: str) -> None:
    _require(value in TicketStatus.__members__, f"There is no status {value!r}.")
    _require(value not in (TicketStatus.NEW, TicketStatus.CLOSED), "Triggers make no ticket new, and close none.")


def check_tags(value: str) -> None:
    """Raises InvalidInput for tags that no ticket can have."""
    try:
        check_values({"tags": list(tags_of(value))})
    except InvalidInput as refusal:
        raise InvalidInput(refusal.message, field=("actions",)) from None


def identifier(value: str | None) -> UUID | None:
    """The id that is the value of an action, or None without one. Raises InvalidInput."""
    try:
        return UUID(value) if value else None
    except ValueError:
        raise InvalidInput(f"{value!r} is no id.", field=("actions",)) from None


async def _check_references(tx: Transaction, conditions: Conditions, actions: list[TriggerAction]) -> None:
    """Whom a trigger names, the account has."""

    def named(kind: TriggerActionKind) -> set[UUID]:
        return {UUID(action.value) for action in actions if action.kind is kind and action.value}

    for group_id in sorted(references(conditions, Subject.GROUP) | named(TriggerActionKind.SET_GROUP)):
        await hold_group(tx, group_id)  # not deleted meanwhile
    account = Q(account_id=tx.account_id)
    agents = account & Q(kind__in=[UserKind.AGENT, UserKind.ADMIN])
    for where, ids, found in (
        ("conditions", references(conditions, Subject.GROUP), Group.filter(account)),
        ("conditions", references(conditions, Subject.ASSIGNEE), User.filter(agents)),
        ("actions", named(TriggerActionKind.SET_GROUP), Group.filter(account)),
        ("actions", named(TriggerActionKind.SET_ASSIGNEE), User.filter(agents, active=True)),
        ("actions", named(TriggerActionKind.NOTIFY_WEBHOOK), Webhook.filter(account)),
    ):
        if ids and await found.filter(id__in=list(ids)).count() < len(ids):
            raise NotFound("A group, agent or webhook that this names does not exist.", field=(where,))
