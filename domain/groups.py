"""Groups: making, renaming and deleting teams."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson

from domain.actors import load_access
from domain.authority import check_can_manage_people
from domain.errors import InvalidInput, NotFound
from domain.idempotency import once
from domain.locks import confirm_actor
from domain.names import check_name_is_free, clean_name
from domain.people import record_access
from domain.transactions import Call, Transaction, unit_of_work
from models import Group, GroupMembership, Macro, RoutingQueue, Ticket, Trigger, User, new_id


@dataclass(frozen=True, slots=True)
class SavedGroup:
    """The verdict of `save_group`."""

    group_id: UUID


async def save_group(call: Call, *, name: str, group_id: UUID | None = None) -> SavedGroup:
    """Make a group, or rename one. The same name again is no change. Raises Forbidden, NotFound, InvalidInput."""
    name = clean_name(name)

    async def work(tx: Transaction) -> SavedGroup:
        check_can_manage_people(await confirm_actor(tx))
        group = Group(id=new_id(), account_id=tx.account_id, name="")
        if group_id is not None:
            group = await _lock_group(tx, group_id)
        if group.name != name:
            await check_name_is_free(Group.filter(account_id=tx.account_id), name, but=group.id)
            before, group.name = group.name or None, name
            await group.save()
            action = "GROUP_RENAMED" if before else "GROUP_CREATED"
            await tx.log(action, f"Group {group.id}", [{"field": "name", "from": before, "to": name}])
        return SavedGroup(group.id)

    return await once(call, "saveGroup", {"name": name, "group_id": str(group_id)}, SavedGroup, work)


async def _lock_group(tx: Transaction, group_id: UUID) -> Group:
    group = await Group.filter(id=group_id, account_id=tx.account_id).select_for_update().get_or_none()
    if group is None:
        raise NotFound("There is no such group.", field=("groupId",))
    return group


async def delete_group(call: Call, group_id: UUID) -> None:
    """Delete a group that nothing names any more. Its members leave it, which their streams are told.

    Raises Forbidden, NotFound, and InvalidInput while tickets, queues, triggers or shared macros name it.
    """

    async def work(tx: Transaction) -> None:
        check_can_manage_people(await confirm_actor(tx))
        # As when a role changes: the users first, then the group, then whoever joined it meanwhile.
        await _lock_members(tx, group_id)
        group = await _lock_group(tx, group_id)
        if uses := await _uses(tx.account_id, group_id):
            named = ", ".join(uses)
            raise InvalidInput(f"{named} still name this group. Change them first, or rename it.", field=("groupId",))
        before = [(user, await load_access(user)) for user in await _lock_members(tx, group_id)]
        await GroupMembership.filter(group_id=group_id).delete()
        await group.delete()
        members = [str(user.id) for user, _ in before]
        changes: list[dict[str, Any]] = [
            {"field": "name", "from": group.name, "to": None},
            *([{"field": "members", "from": members, "to": []}] if members else []),
        ]
        await tx.log("GROUP_DELETED", f"Group {group.id}", changes)
        for user, access in before:
            if await load_access(user) != access:
                await record_access(tx, user, access)

    await unit_of_work(call, work)


async def _lock_members(tx: Transaction, group_id: UUID) -> list[User]:
    members = await GroupMembership.filter(group_id=group_id, account_id=tx.account_id).values_list(
        "user_id", flat=True
    )
    return await User.filter(id__in=list(members)).order_by("id").select_for_update()


async def _uses(account_id: UUID, group_id: UUID) -> list[str]:
    """What names the group, in words. Others' own macros do not count: nobody but them could change those."""
    queues = await RoutingQueue.filter(account_id=account_id)
    triggers = await Trigger.filter(account_id=account_id)
    macros = await Macro.filter(account_id=account_id, owner_id=None)
    counts = {
        # Closed ones, too: what a closed ticket says of itself is history.
        "tickets": await Ticket.filter(account_id=account_id, group_id=group_id).count(),
        "queues": sum(_names(group_id, queue.group_ids, queue.conditions) for queue in queues),
        "triggers": sum(_names(group_id, trigger.conditions, trigger.actions) for trigger in triggers),
        "macros": sum(_names(group_id, macro.actions) for macro in macros),
    }
    return [f"{count} {what}" for what, count in counts.items() if count]


def _names(identifier: UUID, *stored: list[Any]) -> bool:
    return str(identifier).encode() in orjson.dumps(stored)
