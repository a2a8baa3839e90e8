"""Macros."""

from __future__ import annotations

from domain.directory import macros_page
from domain.macros import MacroAction, apply_macro, delete_macro, save_macro
from domain.sessions import EndOutcome
from resolvers.answers import answering, staff
from schema.comments import Comment
from schema.context import Info
from schema.ids import decode_id, decode_optional
from schema.macros import (
    REFERENCES,
    DeleteMacroInput,
    DeleteMacroPayload,
    Macro,
    MacroActionInput,
    SaveMacroInput,
    SaveMacroPayload,
)
from schema.paging import Connection, check_first, decode_name, keyset_page
from schema.payloads import ApplyMacroInput, ApplyMacroPayload
from schema.tickets import Ticket


async def macros(info: Info, first: int, after: str | None = None) -> Connection[Macro]:
    rows = await macros_page(staff(info), check_first(first), decode_name(after))
    return keyset_page(rows, first, after=after is not None, key=lambda row: (row.title, row.id), node=Macro.of)


def _action(action: MacroActionInput) -> MacroAction:
    if action.kind in REFERENCES and action.value:
        return MacroAction(action.kind, str(decode_id(REFERENCES[action.kind], action.value, field="actions")))
    return MacroAction(action.kind, action.value)


@answering(SaveMacroPayload)
async def resolve_save_macro(info: Info, input: SaveMacroInput) -> SaveMacroPayload:
    saved = await save_macro(
        info.context.call(idempotency_key=input.idempotency_key),
        title=input.title,
        actions=[_action(action) for action in input.actions],
        shared=input.shared,
        active=input.active,
        macro_id=decode_optional("Macro", input.macro_id, field="macroId"),
    )
    row = await info.context.loaders.macros.load(saved.macro_id)
    return SaveMacroPayload(macro=Macro.of(row) if row else None)


@answering(DeleteMacroPayload)
async def resolve_delete_macro(info: Info, input: DeleteMacroInput) -> DeleteMacroPayload:
    await delete_macro(info.context.call(), decode_id("Macro", input.macro_id, field="macroId"))
    return DeleteMacroPayload(deleted=True)


@answering(ApplyMacroPayload)
async def resolve_apply_macro(info: Info, input: ApplyMacroInput) -> ApplyMacroPayload:
    applied = await apply_macro(
        info.context.call(client_id=input.client_id, idempotency_key=input.idempotency_key),
        decode_id("Ticket", input.ticket_id, field="ticketId"),
        decode_id("Macro", input.macro_id, field="macroId"),
        expected_version=input.expected_version,
    )
    loaders = info.context.loaders
    ticket = await loaders.tickets.load(applied.ticket_id)
    comment = await loaders.comments.load(applied.comment_id) if ticket and applied.comment_id else None
    return ApplyMacroPayload(
        ticket=Ticket.of(ticket) if ticket else None,
        comment=Comment.of(comment) if comment else None,
        end_session_outcome=EndOutcome(applied.end_outcome) if applied.end_outcome else None,
    )
