"""A small support desk, and one method for each thing that can happen to its capacity.

Everybody and everything is chosen by a number, so that chance (or a search for the shortest failure) can choose.
A method does what it says or raises the domain's Refusal.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

from domain.actors import EVERYTHING, Actor, load_actor
from domain.assignment import EMAIL_TAG, route_account
from domain.availability import set_status
from domain.capacity_rules import choose_capacity_rule, delete_capacity_rule, save_capacity_rule
from domain.emails import receive_email
from domain.lifecycle import close_ticket
from domain.locks import lock_session, lock_ticket
from domain.messages import send_message
from domain.offers import accept_offer, decline_offer, expire_offers
from domain.people import deactivate, set_groups, set_role
from domain.queues import delete_queue, save_queue
from domain.sessions import end_session, mark_inactive, preview_end
from domain.settings import update_routing_settings
from domain.tickets import set_routing_channel, update_ticket
from domain.transactions import Call, Transaction, unit_of_work
from models import (
    ActorKind,
    AgentStatus,
    CapacityRule,
    Channel,
    Event,
    EventType,
    Group,
    InactiveReason,
    MessagingSession,
    Offer,
    Role,
    RoutingQueue,
    Ticket,
    TicketAccess,
    TicketStatus,
    new_id,
)
from tests.factories import LIGHT, World

T = TypeVar("T")
MORNING = datetime(2030, 1, 1, 8, tzinfo=UTC)
CUSTOMERS = 6
REACH = {
    "Everywhere": ((), TicketAccess.ALL),
    "First": ((0,), TicketAccess.GROUPS),
    "Both": ((0, 1), TicketAccess.ASSIGNED),
    "Second": ((1,), TicketAccess.ALL),
}
# The name of a method of the desk, and its arguments.
Change = tuple[Any, ...]


@dataclass
class Desk:
    """An account with two groups, four agents of different reach, and customers. `now` is its clock."""

    world: World
    agents: list[Actor]
    customers: list[Actor]
    groups: list[Group]
    roles: list[Role]
    now: datetime = MORNING
    trigger: Actor = field(init=False)

    def __post_init__(self) -> None:
        self.trigger = Actor(self.world.id, ActorKind.TRIGGER, new_id(), EVERYTHING)

    @classmethod
    async def create(cls, slug: str) -> Desk:
        world = await World.create(slug)
        groups = [await world.group("First line"), await world.group("Second line")]
        agents = []
        for name, (mine, access) in REACH.items():
            agents.append(await world.agent(name, groups=tuple(groups[each] for each in mine), access=access))
            # Identifiers of one millisecond are in no order, and routing asks by them where nothing else decides.
            await asyncio.sleep(0.002)
        await world.role(permissions=LIGHT)
        roles = sorted(world.roles.values(), key=lambda role: role.name)
        customers = [await world.customer(f"Customer {number}") for number in range(CUSTOMERS)]
        return cls(world, agents, customers, groups, roles)

    def call(self, actor: Actor | None = None) -> Call:
        return Call(actor or self.world.admin, clock=lambda: self.now)

    def passes(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    def agent(self, number: int) -> Actor:
        return self.agents[number % len(self.agents)]

    def staff(self, number: int) -> Actor:
        """Somebody who works here: the admin, or an agent."""
        everybody = [self.world.admin, *self.agents]
        return everybody[number % len(everybody)]

    def _id(self, number: int) -> UUID:
        identifier = self.agent(number).id
        assert identifier is not None
        return identifier

    async def ticket(self, number: int) -> Ticket | None:
        """One of the tickets; None while there is none."""
        return _chosen(await Ticket.filter(account_id=self.world.id).order_by("number"), number)

    async def on_ticket(self, number: int, do: Callable[[Ticket], Awaitable[T]]) -> T | None:
        ticket = await self.ticket(number)
        return await do(ticket) if ticket is not None else None

    async def do(self, change: Change) -> None:
        """One of the methods below, by its name."""
        await getattr(self, change[0])(*change[1:])

    # Customers

    async def message(self, customer: int) -> None:
        """A customer writes: his live session goes on, or a new one begins."""
        await send_message(self.call(self.customers[customer % CUSTOMERS]), body="Hello?")

    async def mail(self, customer: int, tagged: bool) -> None:
        """A customer begins a ticket by mail, with the tag that lets routing give it to somebody, or without."""
        posted = await receive_email(self.call(self.customers[customer % CUSTOMERS]), body="Dear all")
        if tagged:
            await update_ticket(self.call(), posted.ticket_id, {"tags": [EMAIL_TAG]})

    async def answer_by_mail(self, ticket: int) -> None:
        """The requester answers a ticket by mail, which opens it again and revives no session (R79)."""

        async def do(found: Ticket) -> None:
            requester = next(each for each in self.customers if each.id == found.requester_id)
            await receive_email(self.call(requester), body="Still broken", ticket_id=found.id)

        await self.on_ticket(ticket, do)

    # Agents

    async def set_status(self, agent: int, status: AgentStatus, channels: dict[Channel, AgentStatus]) -> None:
        await set_status(self.call(self.agent(agent)), self._id(agent), status, channels=channels)

    async def answer_offer(self, offer: int, accept: bool, agent: int | None = None) -> None:
        """An offer is accepted or declined by whom it was made to, or tried by somebody else."""
        offers = Offer.filter(account_id=self.world.id).order_by("-created_at", "agent_id", "ticket_id", "id")
        found = _chosen(await offers, offer)
        if found is None:
            return
        his = next(each for each in self.agents if each.id == found.agent_id)
        actor = his if agent is None else self.agent(agent)
        await (accept_offer if accept else decline_offer)(self.call(actor), found.id)

    # Tickets

    async def update(self, ticket: int, values: dict[str, Any], by: int = 0) -> None:
        await self.on_ticket(ticket, lambda found: update_ticket(self.call(self.staff(by)), found.id, values))

    async def assign(self, ticket: int, agent: int | None, status: TicketStatus | None = None) -> None:
        """By hand, also above the limit."""
        values = {"assignee_id": None if agent is None else self._id(agent)} | ({"status": status} if status else {})
        await self.update(ticket, values)

    async def move(self, ticket: int, group: int | None) -> None:
        await self.update(ticket, {"group_id": None if group is None else self.groups[group % len(self.groups)].id})

    async def tag(self, ticket: int, tagged: bool) -> None:
        """With the tag for routing, or without any."""
        await self.update(ticket, {"tags": [EMAIL_TAG] if tagged else []})

    async def close(self, ticket: int) -> None:
        await self.on_ticket(ticket, lambda found: close_ticket(self.call(self.world.system), found.id))

    async def route_as_email(self, ticket: int) -> None:
        """What a trigger does with its action (R102)."""

        async def do(found: Ticket) -> None:
            async def work(tx: Transaction) -> None:
                await tx.hold_settings()
                await lock_session(tx, found.conversation_id)
                set_routing_channel(tx, await lock_ticket(tx, found.id), Channel.EMAIL)

            await unit_of_work(self.call(self.trigger), work)

        await self.on_ticket(ticket, do)

    # Sessions

    async def end(self, ticket: int, by: int) -> None:
        await self.on_ticket(ticket, lambda found: end_session(self.call(self.staff(by)), found.id))

    async def previewed_end(self, ticket: int, by: int) -> tuple[str | None, str] | None:
        """The same after a look at what it would do. The outcome that was foretold, and the one of the event."""
        found = await self.ticket(ticket)
        if found is None:
            return None
        # A preview is asked for with each request, hence with the rights of the moment.
        actor = await load_actor(self.world.id, self.staff(by).id)  # type: ignore[arg-type]
        preview = await preview_end(actor, found.id) if actor else None
        verdict = await end_session(self.call(self.staff(by)), found.id)
        event = await Event.get(id=verdict.event_id, type=EventType.MESSAGING_SESSION_ENDED)
        foretold = preview.routing_outcome if preview else None
        return (foretold, event.payload["routing_outcome"]) if verdict.outcome == "ENDED" else None

    async def falls_silent(self, ticket: int) -> None:
        """No word from the customer for a while."""

        async def do(found: Ticket) -> None:
            session = await MessagingSession.get_or_none(conversation_id=found.conversation_id)
            if session is not None:
                await mark_inactive(self.call(self.world.system), session.id, InactiveReason.NO_REPLY)

        await self.on_ticket(ticket, do)

    # Admins

    async def change_settings(self, values: dict[str, Any]) -> None:
        await update_routing_settings(self.call(), values)

    async def save_rule(self, rule: int | None, messaging: int | None, email: int | None, is_default: bool) -> None:
        """A new capacity rule, or other numbers in one that there is."""
        rules = await CapacityRule.filter(account_id=self.world.id).order_by("created_at", "id")
        found = None if rule is None else _chosen(rules, rule)
        await save_capacity_rule(
            self.call(),
            name=found.name if found else f"Rule {new_id().hex}",
            messaging_limit=messaging,
            email_limit=email,
            is_default=is_default,
            rule_id=found.id if found else None,
        )

    async def choose_rule(self, agent: int, rule: int | None) -> None:
        rules = await CapacityRule.filter(account_id=self.world.id).order_by("created_at", "id")
        found = None if rule is None else _chosen(rules, rule)
        await choose_capacity_rule(self.call(), self._id(agent), found.id if found else None)

    async def delete_rule(self, rule: int) -> None:
        rules = await CapacityRule.filter(account_id=self.world.id).order_by("created_at", "id")
        found = _chosen(rules, rule)
        if found is not None:
            await delete_capacity_rule(self.call(), found.id)

    async def set_groups(self, agent: int, groups: list[int]) -> None:
        wanted = frozenset(self.groups[each % len(self.groups)].id for each in groups)
        await set_groups(self.call(), self._id(agent), wanted)

    async def set_role(self, agent: int, role: int) -> None:
        await set_role(self.call(), self._id(agent), self.roles[role % len(self.roles)].id)

    async def deactivate(self, agent: int, doubts: int = 0) -> None:
        """He leaves for good; there are only four, so only without any doubt."""
        if not doubts:
            await deactivate(self.call(), self._id(agent))

    async def save_queue(self, groups: list[int]) -> None:
        """One queue for everything, for these groups; for none, no queue."""
        queues = await RoutingQueue.filter(account_id=self.world.id)
        if not groups:
            for queue in queues:
                await delete_queue(self.call(), queue.id)
            return
        wanted = sorted({self.groups[each % len(self.groups)].id for each in groups})
        found = queues[0].id if queues else None
        await save_queue(self.call(), name="Everything", conditions=[], group_ids=wanted, queue_id=found)

    # The system

    async def route(self) -> int:
        return await route_account(self.world.id, lambda: self.now)

    async def expire(self) -> int:
        return await expire_offers(lambda: self.now)


def _chosen(things: list[T], number: int) -> T | None:
    return things[number % len(things)] if things else None
