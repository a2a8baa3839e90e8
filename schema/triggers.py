"""Triggers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar
from uuid import UUID

import strawberry
from strawberry import ID

import models
from domain.conditions import Match, Operator, Subject
from domain.triggers import TriggerActionKind
from schema.ids import encode_id
from schema.payloads import Payload
from schema.people import Node

KeyT = TypeVar("KeyT")

# The rules and actions whose value is an id: stored as the row's identifier, sent and shown as a global id.
RULE_REFERENCES = {Subject.GROUP: "Group", Subject.ASSIGNEE: "User"}
ACTION_REFERENCES = {
    TriggerActionKind.SET_GROUP: "Group",
    TriggerActionKind.SET_ASSIGNEE: "User",
    TriggerActionKind.NOTIFY_WEBHOOK: "Webhook",
}

VALUE_OF_RULE = (
    "The event type, status, priority, channel, state or reason by its name; tags, comma-separated, of which one is "
    "enough; or the global id of a group or agent. Null: none."
)
VALUE_OF_ACTION = (
    "The text, the status, the tags (comma-separated), the channel, or a global id; of SEND_SURVEY null, or 'again'."
)


def _shown(kinds: Mapping[KeyT, str], key: KeyT, value: str | None) -> str | None:
    return encode_id(kinds[key], UUID(value)) if key in kinds and value else value


@strawberry.type(description="One comparison.")
class ConditionRule:
    subject: Subject
    operator: Operator
    value: str | None = strawberry.field(description=VALUE_OF_RULE)

    @classmethod
    def of(cls, rule: Mapping[str, Any]) -> ConditionRule:
        subject = Subject(rule["subject"])
        shown = _shown(RULE_REFERENCES, subject, rule["value"])
        return cls(subject=subject, operator=Operator(rule["operator"]), value=shown)


@strawberry.type(description="A list of rules, of which all or any must hold.")
class Condition:
    match: Match
    rules: list[ConditionRule]

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> Condition:
        return cls(match=Match(entry["match"]), rules=[ConditionRule.of(rule) for rule in entry["rules"]])


@strawberry.type(description="One thing that a trigger does.")
class TriggerAction:
    kind: TriggerActionKind
    value: str | None = strawberry.field(description=VALUE_OF_ACTION)

    @classmethod
    def of(cls, action: Mapping[str, Any]) -> TriggerAction:
        kind = TriggerActionKind(action["kind"])
        return cls(kind=kind, value=_shown(ACTION_REFERENCES, kind, action["value"]))


@strawberry.type(description="What happens by itself after an update that meets all its conditions.")
class Trigger(Node):
    title: str
    active: bool
    place: int = strawberry.field(description="Triggers run in this order.")
    conditions: list[Condition]
    actions: list[TriggerAction]
    hints: list[str] = strawberry.field(description="What an admin should know before he wonders.")

    @classmethod
    def of(cls, row: models.Trigger, hints: list[str]) -> Trigger:
        return cls(
            id=encode_id("Trigger", row.id),
            title=row.title,
            active=row.active,
            place=row.place,
            conditions=[Condition.of(entry) for entry in row.conditions],
            actions=[TriggerAction.of(action) for action in row.actions],
            hints=hints,
        )


@strawberry.input(description="One comparison.")
class ConditionRuleInput:
    subject: Subject
    operator: Operator
    value: str | None = strawberry.field(default=None, description=VALUE_OF_RULE)


@strawberry.input(description="A list of rules, of which all or any must hold.")
class ConditionInput:
    match: Match = Match.ALL
    rules: list[ConditionRuleInput]


@strawberry.input(description="One thing that the trigger shall do.")
class TriggerActionInput:
    kind: TriggerActionKind
    value: str | None = strawberry.field(default=None, description=VALUE_OF_ACTION)


@strawberry.input(description="Create a trigger, or replace one.")
class SaveTriggerInput:
    id: ID | None = strawberry.field(default=None, description="Of the one to replace.")
    title: str
    active: bool = True
    conditions: list[ConditionInput] = strawberry.field(description="All of them must hold.")
    actions: list[TriggerActionInput]
    place: int | None = strawberry.field(default=None, description="From 1 on. Null: a new one comes last.")
    client_mutation_id: str | None = None


@strawberry.type(description="The trigger as it was saved.")
class SaveTriggerPayload(Payload):
    trigger: Trigger | None = None


@strawberry.input(description="Delete a trigger. What it did stays.")
class DeleteTriggerInput:
    id: ID
    client_mutation_id: str | None = None


@strawberry.type(description="Whether the trigger is gone.")
class DeleteTriggerPayload(Payload):
    deleted: bool = False
