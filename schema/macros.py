"""Macros."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import strawberry
from strawberry import ID

import models
from domain.macros import MacroActionKind
from schema.ids import encode_id
from schema.payloads import Payload, idempotency_key
from schema.people import Node

REFERENCES = {MacroActionKind.SET_ASSIGNEE: "User", MacroActionKind.SET_GROUP: "Group"}
"""The actions whose value names somebody: stored as the row's identifier, sent and shown as a global id."""


@strawberry.type(description="One thing that a macro does.")
class MacroAction:
    kind: MacroActionKind
    value: str | None

    @classmethod
    def of(cls, action: dict[str, Any]) -> MacroAction:
        kind, value = MacroActionKind(action["kind"]), action["value"]
        return cls(kind=kind, value=encode_id(REFERENCES[kind], UUID(value)) if kind in REFERENCES and value else value)


@strawberry.type(description="A prepared update.")
class Macro(Node):
    title: str
    shared: bool
    active: bool
    actions: list[MacroAction]

    @classmethod
    def of(cls, row: models.Macro) -> Macro:
        return cls(
            id=encode_id("Macro", row.id),
            title=row.title,
            shared=row.owner_id is None,
            active=row.active,
            actions=[MacroAction.of(action) for action in row.actions],
        )


@strawberry.input(description="One thing that the macro shall do.")
class MacroActionInput:
    kind: MacroActionKind
    value: str | None = strawberry.field(
        default=None, description="The text, the status, the tags (comma-separated), or the global id of the new owner."
    )


@strawberry.input(description="Create a macro, or replace one.")
class SaveMacroInput:
    macro_id: ID | None = None
    title: str
    actions: list[MacroActionInput]
    shared: bool = False
    active: bool = True
    idempotency_key: str | None = idempotency_key()
    client_mutation_id: str | None = None


@strawberry.type(description="The macro as it was saved.")
class SaveMacroPayload(Payload):
    macro: Macro | None = None


@strawberry.input(description="Delete a macro.")
class DeleteMacroInput:
    macro_id: ID
    client_mutation_id: str | None = None


@strawberry.type(description="The macro is gone.")
class DeleteMacroPayload(Payload):
    deleted: bool = False
