"""Macros: a prepared update, applied in one call that succeeds or fails as a whole (R110–R113)."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from uuid import UUID

from tortoise.expressions import Q
from tortoise.queryset import QuerySet

from domain.actors import Actor
from domain.comments import check_body, check_version, reply, situation_of
from domain.composer import Situation, check_can_comment, check_can_end
from domain.errors import Forbidden, InvalidInput, NotFound
from domain.idempotency import once
from domain.locks import confirm_actor, hold_group, read_settings_locked
from domain.sessions import EndOutcome, end_with_message, lock_for_end
from domain.tickets import change_ticket, check_can_edit, check_values, hold_people, is_assignable
from domain.transactions import Call, Transaction, unit_of_work
from models import (
    AccountSettings,
    Channel,
    EventType,
    Macro,
    MessagingSession,
    Permission,
    SessionState,
    Ticket,
    TicketStatus,
    User,
    new_id,
)

MOST_ACTIONS = 20
NOT_A_MANAGER = "Only admins and roles with the right to manage macros may do this."


class MacroActionKind(StrEnum):
    """What a macro can do. `value` is the text, the status, the tags (comma-separated) or the id of the new owner."""

    PUBLIC_REPLY = "PUBLIC_REPLY"
    INTERNAL_NOTE = "INTERNAL_NOTE"
    SET_STATUS = "SET_STATUS"
    ADD_TAGS = "ADD_TAGS"
    SET_ASSIGNEE = "SET_ASSIGNEE"
    SET_GROUP = "SET_GROUP"
    END_SESSION = "END_SESSION"


@dataclass(frozen=True, slots=True)
class MacroAction:
    """One thing that a macro does."""

    kind: MacroActionKind
    value: str | None = None


@dataclass(frozen=True, slots=True)
class SavedMacro:
    """The verdict of `save_macro`."""

    macro_id: UUID


@dataclass(frozen=True, slots=True)
class AppliedMacro:
    """The verdict of `apply_macro`: the last comment it wrote, and what became of the session if it ended one."""

    ticket_id: UUID
    comment_id: UUID | None
    end_outcome: str | None


REFERENCES = (MacroActionKind.SET_ASSIGNEE, MacroActionKind.SET_GROUP)

PLACEHOLDERS: dict[str, Callable[[Ticket, User, User], str]] = {
    "ticket.id": lambda ticket, requester, agent: str(ticket.number),
    "ticket.subject": lambda ticket, requester, agent: ticket.subject,
    "ticket.requester.name": lambda ticket, requester, agent: requester.name,
    "ticket.requester.first_name": lambda ticket, requester, agent: requester.name.strip().partition(" ")[0],
    "agent.name": lambda ticket, requester, agent: agent.name,
}
_PLACEHOLDER = re.compile(r"\{\{\s*([^{}]*?)\s*\}\}")


def usable_macros(actor: Actor) -> QuerySet[Macro]:
    """The shared macros of the account and the actor's own. Inactive shared ones are for those who manage macros."""
    shared = Q(owner_id=None) if actor.may(Permission.MANAGE_MACROS) else Q(owner_id=None, active=True)
    return Macro.filter(shared | Q(owner_id=actor.id), account_id=actor.account_id)


async def save_macro(
    call: Call,
    *,
    title: str,
    actions: list[MacroAction],
    shared: bool,
    active: bool = True,
    macro_id: UUID | None = None,
) -> SavedMacro:
    """Create a macro, or replace one. Shared ones need the right to manage macros (R113)."""
    _check_macro(title, actions)

    async def work(tx: Transaction) -> SavedMacro:
        actor = await confirm_actor(tx)
        if actor.is_customer:
            raise Forbidden
        await _check_references(tx, actions)
        macro = await _macro_to_save(actor, macro_id)
        if (shared or macro.owner_id is None) and not actor.may(Permission.MANAGE_MACROS):
            raise Forbidden(NOT_A_MANAGER)
        before = _shown(macro) if macro_id else {}
        macro.owner_id = None if shared else actor.id
        macro.title, macro.active = title.strip(), active
        macro.actions = [{"kind": action.kind.value, "value": action.value} for action in actions]
        if macro_id is None:
            macro.created_at = tx.now
        await macro.save()
        await _log(tx, "MACRO_SAVED", macro, before, _shown(macro))
        return SavedMacro(macro.id)

    inputs = {
        "title": title,
        "actions": [[action.kind.value, action.value] for action in actions],
        "shared": shared,
        "active": active,
        "macro_id": str(macro_id),
    }
    return await once(call, "saveMacro", inputs, SavedMacro, work)


async def _macro_to_save(actor: Actor, macro_id: UUID | None) -> Macro:
    if macro_id is None:
        return Macro(id=new_id(), account_id=actor.account_id, owner_id=actor.id)
    macro = await usable_macros(actor).select_for_update().get_or_none(id=macro_id)
    if macro is None:
        raise NotFound
    return macro


async def delete_macro(call: Call, macro_id: UUID) -> None:
    """Delete a shared macro (with the right to manage macros), or one's own. Raises NotFound, Forbidden."""

    async def work(tx: Transaction) -> None:
        actor = await confirm_actor(tx)
        if actor.is_customer:
            raise Forbidden
        macro = await _macro_to_save(actor, macro_id)
        if macro.owner_id is None and not actor.may(Permission.MANAGE_MACROS):
            raise Forbidden(NOT_A_MANAGER)
        await macro.delete()
        await _log(tx, "MACRO_DELETED", macro, _shown(macro), {})

    await unit_of_work(call, work)


def _shown(macro: Macro) -> dict[str, Any]:
    return {
        "title": macro.title,
        "shared": macro.owner_id is None,
        "active": macro.active,
        "actions": [(action["kind"], action["value"]) for action in macro.actions],
    }


async def _log(tx: Transaction, action: str, macro: Macro, before: dict[str, Any], after: dict[str, Any]) -> None:
    """A line for what changed: of actions their kinds, never a text. What is somebody's own stays his own."""
    changes = []
    for name in sorted(before.keys() | after.keys(), key=list(_shown(macro)).index):
        was, now = before.get(name), after.get(name)
        if was == now:
            continue
        if name == "actions":
            was, now = ([kind for kind, _ in each] if each else None for each in (was, now))
        elif name == "title" and macro.owner_id is not None:
            was = now = None
        changes.append({"field": name, "from": was, "to": now})
    if changes:
        await tx.log(action, f"Macro {macro.id}", changes)


def _check_macro(title: str, actions: list[MacroAction]) -> None:
    if not 0 < len(title.strip()) <= 200:
        raise InvalidInput("A macro has a title of 1 to 200 characters.", field=("title",))
    if not 0 < len(actions) <= MOST_ACTIONS:
        raise InvalidInput(f"A macro has 1 to {MOST_ACTIONS} actions.", field=("actions",))
    for action in actions:
        _check_action(action)


def _check_action(action: MacroAction) -> None:
    value = action.value or ""
    match action.kind:
        case MacroActionKind.PUBLIC_REPLY | MacroActionKind.INTERNAL_NOTE:
            check_body(value, field="actions")
            unknown = set(_PLACEHOLDER.findall(value)) - set(PLACEHOLDERS)
            if unknown:
                known = ", ".join(sorted(PLACEHOLDERS))
                raise InvalidInput(f"Unknown placeholder {min(unknown)!r}; there are {known}.", field=("actions",))
        case MacroActionKind.SET_STATUS:
            if value not in TicketStatus.__members__:
                raise InvalidInput(f"There is no status {value!r}.", field=("actions",))
            check_values({"status": TicketStatus(value)})
        case MacroActionKind.ADD_TAGS:
            check_values({"tags": _tags(value)})
        case MacroActionKind.SET_ASSIGNEE | MacroActionKind.SET_GROUP:
            _identifier(value)
        case MacroActionKind.END_SESSION:
            pass


async def _check_references(tx: Transaction, actions: list[MacroAction]) -> None:
    """Raises NotFound for a new owner who is not there. A group is held, so that nobody deletes it meanwhile."""
    for action in actions:
        identifier = _identifier(action.value or "") if action.kind in REFERENCES else None
        if identifier is None:
            continue
        if action.kind is MacroActionKind.SET_GROUP and not await hold_group(tx, identifier):
            raise NotFound("There is no such group.", field=("actions",))
        if action.kind is MacroActionKind.SET_ASSIGNEE and not await is_assignable(tx, identifier):
            raise NotFound("There is no such agent.", field=("actions",))


def _tags(value: str) -> list[str]:
    return [tag.strip() for tag in value.split(",") if tag.strip()]


def _identifier(value: str) -> UUID | None:
    try:
        return UUID(value) if value else None
    except ValueError:
        raise InvalidInput(f"{value!r} is no id.", field=("actions",)) from None


async def apply_macro(
    call: Call, ticket_id: UUID, macro_id: UUID, *, expected_version: int | None = None
) -> AppliedMacro:
    """Do all that the macro says, in its order, or nothing: with the checks of each single act (R112)."""

    async def work(tx: Transaction) -> AppliedMacro:
        settings = await read_settings_locked(tx)
        actor = await confirm_actor(tx)
        macro = await usable_macros(actor).get_or_none(id=macro_id, active=True)
        await _hold_assignees(tx, macro)
        ticket, session = await lock_for_end(tx, actor, ticket_id)
        if macro is None:
            raise NotFound("There is no such macro.", field=("macroId",))
        check_version(ticket, expected_version)
        tx.record(EventType.MACRO_APPLIED, ticket=ticket, macro=str(macro.id), title=macro.title)
        run = _Run(tx, actor, settings, ticket, session)
        for action in macro.actions:
            await run.do(MacroAction(MacroActionKind(action["kind"]), action["value"]))
        return AppliedMacro(ticket.id, run.comment_id, run.end_outcome)

    inputs = {"ticket_id": str(ticket_id), "macro_id": str(macro_id), "expected_version": expected_version}
    return await once(call, "applyMacro", inputs, AppliedMacro, work)


async def _hold_assignees(tx: Transaction, macro: Macro | None) -> None:
    for action in macro.actions if macro is not None else ():
        if action["kind"] == MacroActionKind.SET_ASSIGNEE:
            await hold_people(tx, {"assignee_id": _identifier(action["value"] or "")})


class _Run:
    """One application of a macro, under the locks of an end."""

    def __init__(
        self,
        tx: Transaction,
        actor: Actor,
        settings: AccountSettings,
        ticket: Ticket,
        session: MessagingSession | None,
    ) -> None:
        self.tx, self.actor, self.settings, self.ticket, self.session = tx, actor, settings, ticket, session
        self.comment_id: UUID | None = None
        self.end_outcome: str | None = None

    async def do(self, action: MacroAction) -> None:
        value = action.value or ""
        match action.kind:
            case MacroActionKind.PUBLIC_REPLY:
                await self._write(value, self._public_channel())
            case MacroActionKind.INTERNAL_NOTE:
                await self._write(value, Channel.INTERNAL_NOTE)
            case MacroActionKind.SET_STATUS:
                await self._change({"status": TicketStatus(value)})
            case MacroActionKind.ADD_TAGS:
                await self._change({"tags": [*self.ticket.tags, *_tags(value)]})
            case MacroActionKind.SET_ASSIGNEE:
                await self._change({"assignee_id": _identifier(value)})
            case MacroActionKind.SET_GROUP:
                await self._change({"group_id": _identifier(value)})
            case MacroActionKind.END_SESSION:
                await self._end()

    def _public_channel(self) -> Channel:
        """A public reply goes where the ticket came from. After the end of its session it is refused, not diverted."""
        return Channel.MESSAGING if self.ticket.channel is Channel.MESSAGING else Channel.EMAIL

    async def _situation(self) -> Situation:
        return await situation_of(self.settings, self.ticket, self.session)

    async def _write(self, text: str, channel: Channel) -> None:
        check_can_comment(self.actor, await self._situation(), channel)
        requester = await User.get(id=self.ticket.requester_id)
        agent = await User.get(id=self.actor.id)
        body = filled(text, self.ticket, requester, agent)
        check_body(body, field="macroId")  # once more: placeholders can make it empty or too long
        comment = await reply(self.tx, self.ticket, body=body, channel=channel, session=self.session)
        self.comment_id = comment.id

    async def _change(self, values: dict[str, Any]) -> None:
        check_can_edit(self.actor, self.ticket)
        check_values(values)
        await change_ticket(self.tx, self.ticket, self.session, values)

    async def _end(self) -> None:
        check_can_end(self.actor, await self._situation())
        assert self.session is not None
        if self.session.state is SessionState.ENDED:
            self.end_outcome = EndOutcome.ALREADY_ENDED.value
            return
        end = await end_with_message(self.tx, self.settings, self.ticket, self.session, None)
        self.end_outcome = end.outcome


def placeholders_in(text: str) -> set[str]:
    """The names of the placeholders of a text, known or not."""
    return set(_PLACEHOLDER.findall(text))


def filled(text: str, ticket: Ticket, requester: User, agent: User) -> str:
    """The text with its placeholders replaced. Unknown ones were refused when the macro was saved."""
    return _PLACEHOLDER.sub(lambda match: PLACEHOLDERS[match[1]](ticket, requester, agent), text)
