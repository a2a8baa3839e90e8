"""Triggers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from domain.trigger_hints import agents_can_end, hints_of
from domain.triggers import TriggerAction, delete_trigger, save_trigger, triggers_page
from resolvers.answers import answering, staff
from schema.context import Info
from schema.ids import decode_id, decode_optional
from schema.paging import Connection, as_identifier, as_number, check_first, decode_cursor, keyset_page
from schema.triggers import (
    ACTION_REFERENCES,
    RULE_REFERENCES,
    ConditionInput,
    DeleteTriggerInput,
    DeleteTriggerPayload,
    SaveTriggerInput,
    SaveTriggerPayload,
    Trigger,
    TriggerActionInput,
)

KeyT = TypeVar("KeyT")


async def triggers(info: Info, first: int, after: str | None = None) -> Connection[Trigger]:
    place = None
    if after is not None:
        number, identifier = decode_cursor(after, 2)
        place = as_number(number), as_identifier(identifier)
    rows = await triggers_page(staff(info), check_first(first), place)
    can_end = await agents_can_end(info.context.actor)
    return keyset_page(
        rows,
        first,
        after=after is not None,
        key=lambda row: (row.place, row.id),
        node=lambda row: Trigger.of(row, hints_of(row.conditions, row.actions, agents_can_end=can_end)),
    )


def _named(kinds: Mapping[KeyT, str], key: KeyT, value: str | None, field: str) -> str | None:
    return str(decode_id(kinds[key], value, field=field)) if key in kinds and value else value


def stored_condition(entry: ConditionInput) -> dict[str, Any]:
    """A condition as it is stored, with the identifiers of rows."""
    rules = [
        {
            "subject": rule.subject.value,
            "operator": rule.operator.value,
            "value": _named(RULE_REFERENCES, rule.subject, rule.value, "conditions"),
        }
        for rule in entry.rules
    ]
    return {"match": entry.match.value, "rules": rules}


def _action(action: TriggerActionInput) -> TriggerAction:
    return TriggerAction(action.kind, _named(ACTION_REFERENCES, action.kind, action.value, "actions"))


@answering(SaveTriggerPayload)
async def resolve_save_trigger(info: Info, input: SaveTriggerInput) -> SaveTriggerPayload:
    saved = await save_trigger(
        info.context.call(),
        title=input.title,
        conditions=[stored_condition(entry) for entry in input.conditions],
        actions=[_action(action) for action in input.actions],
        active=input.active,
        place=input.place,
        trigger_id=decode_optional("Trigger", input.id, field="id"),
    )
    row = await info.context.loaders.triggers.load(saved.trigger_id)
    if row is None:
        return SaveTriggerPayload()
    can_end = await agents_can_end(info.context.actor)
    hints = hints_of(row.conditions, row.actions, agents_can_end=can_end)
    return SaveTriggerPayload(trigger=Trigger.of(row, hints))


@answering(DeleteTriggerPayload)
async def resolve_delete_trigger(info: Info, input: DeleteTriggerInput) -> DeleteTriggerPayload:
    await delete_trigger(info.context.call(), decode_id("Trigger", input.id, field="id"))
    return DeleteTriggerPayload(deleted=True)
