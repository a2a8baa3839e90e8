"""Queues: which tickets go to which groups."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from domain.actors import Actor
from domain.capacity_rules import check_can_manage_routing
from domain.conditions import Subject, check_conditions, facts_of, hold, references
from domain.errors import InvalidInput, NotFound
from domain.locks import confirm_actor, hold_group, lock_settings
from domain.transactions import Call, Transaction, unit_of_work
from domain.withdrawal import withdraw
from models import MessagingSession, Offer, RoutingQueue, Ticket, new_id

MOST_GROUPS = 50
MOST_PLACE = 10_000


@dataclass(frozen=True, slots=True)
class SavedQueue:
    """The verdict of saving or deleting a queue."""

    queue_id: UUID


def groups_for(
    queues: Iterable[RoutingQueue], ticket: Ticket, session: MessagingSession | None
) -> frozenset[UUID] | None:
    """Whose members may get a ticket: those of the first queue that takes it, else of its own group, else anybody."""
    for queue in queues:
        if takes(queue, ticket, session):
            return frozenset(UUID(group) for group in queue.group_ids)
    return frozenset({ticket.group_id}) if ticket.group_id is not None else None


def takes(queue: RoutingQueue, ticket: Ticket, session: MessagingSession | None) -> bool:
    """Whether a queue's conditions hold for a ticket."""
    return hold(queue.conditions, facts_of(ticket, session))


async def save_queue(
    call: Call,
    *,
    name: str,
    conditions: list[dict[str, Any]],
    group_ids: list[UUID],
    place: int = 0,
    active: bool = True,
    queue_id: UUID | None = None,
) -> SavedQueue:
    """Create a queue, or replace one. Raises Forbidden, NotFound, InvalidInput."""
    _check_queue(name, group_ids, place)
    check_conditions(conditions, of_updates=False)

    async def work(tx: Transaction) -> SavedQueue:
        await lock_settings(tx)
        check_can_manage_routing(await confirm_actor(tx))
        queue = await _queue_to_save(tx, queue_id)
        if await RoutingQueue.filter(account_id=tx.account_id, name=name.strip()).exclude(id=queue.id).exists():
            raise InvalidInput("There is a queue of this name already.", field=("name",))
        for field, named in (("groupIds", set(group_ids)), ("conditions", references(conditions, Subject.GROUP))):
            # Held: a group that a queue is about to name is not deleted meanwhile.
            if not all([await hold_group(tx, group_id) for group_id in sorted(named)]):
                raise NotFound("There is no such group.", field=(field,))
        before = None if queue_id is None else queue.name
        queue.update_from_dict({"name": name.strip(), "conditions": conditions, "place": place, "active": active})
        queue.group_ids = sorted({str(group) for group in group_ids})
        queue.created_at = queue.created_at or tx.now
        await queue.save()
        await _withdraw_offers(tx)
        await tx.log("QUEUE_SAVED", f"RoutingQueue {queue.id}", [{"field": "name", "from": before, "to": queue.name}])
        return SavedQueue(queue.id)

    return await unit_of_work(call, work)


def _check_queue(name: str, group_ids: list[UUID], place: int) -> None:
    if not 0 < len(name.strip()) <= 100:
        raise InvalidInput("A queue has a name of 1 to 100 characters.", field=("name",))
    if not 1 <= len(group_ids) <= MOST_GROUPS:
        raise InvalidInput(f"A queue has 1 to {MOST_GROUPS} groups.", field=("groupIds",))
    if not 0 <= place <= MOST_PLACE:
        raise InvalidInput(f"A place lies between 0 and {MOST_PLACE}.", field=("place",))


async def _queue_to_save(tx: Transaction, queue_id: UUID | None) -> RoutingQueue:
    if queue_id is None:
        return RoutingQueue(id=new_id(), account_id=tx.account_id)
    queue = await RoutingQueue.get_or_none(id=queue_id, account_id=tx.account_id)
    if queue is None:
        raise NotFound("There is no such queue.", field=("id",))
    return queue


async def delete_queue(call: Call, queue_id: UUID) -> SavedQueue:
    """Delete a queue. What it took goes by the tickets' own groups."""

    async def work(tx: Transaction) -> SavedQueue:
        await lock_settings(tx)
        check_can_manage_routing(await confirm_actor(tx))
        queue = await _queue_to_save(tx, queue_id)
        await queue.delete()
        await _withdraw_offers(tx)
        await tx.log("QUEUE_DELETED", f"RoutingQueue {queue.id}", [{"field": "name", "from": queue.name, "to": None}])
        return SavedQueue(queue.id)

    return await unit_of_work(call, work)


async def _withdraw_offers(tx: Transaction) -> None:
    """Whom a ticket is for may be another question now: the router asks it again."""
    await withdraw(Offer.filter(account_id=tx.account_id), tx.now)


async def queues_of(actor: Actor) -> list[RoutingQueue]:
    """All queues of the account, in the order in which they are asked. Raises Forbidden."""
    check_can_manage_routing(actor)
    return await RoutingQueue.filter(account_id=actor.account_id).order_by("place", "name")
