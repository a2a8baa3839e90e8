"""Macros."""

from __future__ import annotations

import strawberry
from strawberry import ID

import models
from domain.macros import MacroActionKind
from schema.ids import encode_id
from schema.payloads import Payload
from schema.people import Node


@strawberry.type(description="One thing that a macro does.")
class MacroAction:
    kind: MacroActionKind
    value: str | None


@strawberry.type(description="A prepared update.")
class Macro(Node):
    title: str
    shared: bool
    active: bool
    actions: list[MacroAction]

    @classmethod
    def of(cls, row: models.Macro) -> Macro:
        actions = [MacroAction(kind=MacroActionKind(each["kind"]), value=each["value"]) for each in row.actions]
        return cls(
            id=encode_id("Macro", row.id),
            title=row.title,
            shared=row.owner_id is None,
            active=row.active,
            actions=actions,
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
    client_mutation_id: str | None = None


@strawberry.type(description="The macro as it was saved.")
class SaveMacroPayload(Payload):
    macro: Macro | None = None
