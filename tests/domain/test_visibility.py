"""Rules 3.2: the one rule of who may see a ticket, which exists in two forms that must never differ."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, product
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from domain.actors import EVERYTHING, NOTHING, Access, Actor, access_from_json, access_to_json, load_access, load_actor
from domain.transactions import attributes_of
from domain.visibility import (
    Audience,
    audience_from_json,
    audience_of,
    deleted_tickets,
    may_see,
    reaches,
    visible_tickets,
)
from models import (
    ActorKind,
    Channel,
    Conversation,
    Permission,
    Ticket,
    TicketAccess,
    TicketStatus,
    User,
    new_id,
    utc_now,
)
from tests.factories import World


@dataclass(frozen=True, slots=True)
class Cast:
    """The people, groups and organisations of one account: two of each, and everything that tickets have of them."""

    agents: tuple[UUID, UUID]
    customers: tuple[UUID, UUID]
    groups: tuple[UUID, UUID]
    organizations: tuple[UUID, UUID]


async def cast(world: World) -> Cast:
    agents = [(await world.agent()).id for _ in range(2)]
    customers = [(await world.customer()).id for _ in range(2)]
    groups = [(await world.group(name)).id for name in ("First line", "Billing")]
    organizations = [(await world.organization(name)).id for name in ("Initech", "Umbrella")]
    return Cast(pair(agents), pair(customers), pair(groups), pair(organizations))


def pair(found: list[UUID | None] | list[UUID]) -> tuple[UUID, UUID]:
    first, second = found
    assert first is not None
    assert second is not None
    return first, second


async def every_ticket(world: World, people: Cast) -> list[Ticket]:
    """One ticket for each combination of requester, group, organisation and assignee."""
    now = utc_now()
    rows = product(people.customers, (None, *people.groups), (None, *people.organizations), (None, *people.agents))
    conversations, tickets = [], []
    for number, (requester, group, organization, assignee) in enumerate(rows, start=1):
        conversation = Conversation(
            id=new_id(), account_id=world.id, end_user_id=requester, channel=Channel.EMAIL, started_at=now
        )
        conversations.append(conversation)
        ticket = Ticket(
            account_id=world.id,
            number=number,
            conversation_id=conversation.id,
            requester_id=requester,
            group_id=group,
            organization_id=organization,
            assignee_id=assignee,
            subject="…",
            status=TicketStatus.OPEN,
            channel=Channel.EMAIL,
            routing_channel=Channel.EMAIL,
            tags=[],
            custom_fields={},
            cc_ids=[str(agent) for agent in people.agents],
            follower_ids=[str(agent) for agent in people.agents],
            created_at=now,
            updated_at=now,
            status_changed_at=now,
        )
        tickets.append(ticket)
    await Conversation.bulk_create(conversations)
    await Ticket.bulk_create(tickets)
    return tickets


def subsets(of: tuple[UUID, UUID]) -> Iterator[frozenset[UUID]]:
    for size in range(len(of) + 1):
        yield from map(frozenset, combinations(of, size))


def every_access(people: Cast) -> Iterator[Access]:
    for tickets, groups, organizations in product(TicketAccess, subsets(people.groups), subsets(people.organizations)):
        yield Access(tickets, groups, organizations)


def every_actor(account_id: UUID, people: Cast) -> Iterator[Actor]:
    identities = [
        (ActorKind.AGENT, people.agents[0]),
        (ActorKind.PARTNER, people.agents[1]),
        (ActorKind.END_USER, people.customers[0]),
        (ActorKind.BOT, new_id()),
        (ActorKind.SYSTEM, None),
    ]
    for access, (kind, identifier) in product(every_access(people), identities):
        yield Actor(account_id, kind, identifier, access)
    yield Actor(account_id, ActorKind.ADMIN, people.agents[0], EVERYTHING)


async def ids_of(actor: Actor) -> set[UUID]:
    return set(await visible_tickets(actor).values_list("id", flat=True))  # type: ignore[arg-type]


async def test_the_query_and_the_check_agree_for_every_access_and_every_ticket(
    world: World, other_world: World
) -> None:
    """R17–R20 and R27: 321 actors, each with the 54 tickets of his account and the 54 of another."""
    people = await cast(world)
    tickets = await every_ticket(world, people) + await every_ticket(other_world, await cast(other_world))
    assert len(tickets) == 108
    actors = list(every_actor(world.id, people))
    assert len(actors) == 321
    for actor in actors:
        seen = {ticket.id for ticket in tickets if may_see(actor, audience_of(ticket))}
        assert await ids_of(actor) == seen, actor


async def test_each_access_sees_as_many_tickets_as_it_should(world: World, other_world: World) -> None:
    """R17–R20, R27, R31: counted by hand, for both forms could be wrong together. All agents are copied in."""
    people = await cast(world)
    await every_ticket(world, people)
    await every_ticket(other_world, await cast(other_world))
    agent, customer = people.agents[0], people.customers[0]
    one_group, two_groups = frozenset(people.groups[:1]), frozenset(people.groups)
    one_organization = frozenset(people.organizations[:1])
    for access, count in [
        (Access(TicketAccess.ALL), 54),
        (Access(TicketAccess.GROUPS, groups=one_group), 18),
        (Access(TicketAccess.GROUPS, groups=two_groups), 36),
        (Access(TicketAccess.GROUPS, organizations=one_organization), 0),
        (Access(TicketAccess.ORGANIZATIONS, organizations=one_organization), 18),
        (Access(TicketAccess.ORGANIZATIONS, groups=two_groups), 0),
        (Access(TicketAccess.ASSIGNED, groups=two_groups, organizations=one_organization), 18),
        (NOTHING, 18),
    ]:
        assert len(await ids_of(Actor(world.id, ActorKind.AGENT, agent, access))) == count
    assert len(await ids_of(Actor(world.id, ActorKind.END_USER, customer, EVERYTHING))) == 27
    assert await ids_of(Actor(world.id, ActorKind.SYSTEM, None, NOTHING)) == set()
    assert len(await ids_of(Actor(other_world.id, ActorKind.AGENT, agent, NOTHING))) == 0
    assert (
        len(await ids_of(Actor(other_world.id, ActorKind.AGENT, agent, Access(TicketAccess.GROUPS, two_groups)))) == 0
    )


async def test_a_deleted_ticket_is_beyond_every_access(world: World) -> None:
    """R148: in both forms; and those who may restore it find what they would see if it were not deleted."""
    people = await cast(world)
    tickets = await every_ticket(world, people)
    actors = list(every_actor(world.id, people))
    seen = [await ids_of(actor) for actor in actors]
    await Ticket.filter(id__in=[ticket.id for ticket in tickets[::2]]).update(deleted_at=utc_now())
    tickets = await Ticket.filter(account_id=world.id)
    gone = {ticket.id for ticket in tickets if ticket.deleted_at is not None}
    assert len(gone) == 27
    for actor, before in zip(actors, seen, strict=True):
        assert await ids_of(actor) == before - gone
        assert {ticket.id for ticket in tickets if may_see(actor, audience_of(ticket))} == before - gone
        restorable = set(await deleted_tickets(actor).values_list("id", flat=True))
        assert restorable == (set() if actor.kind is ActorKind.END_USER else before & gone)


async def test_an_access_is_made_of_kind_role_and_memberships(world: World, other_world: World) -> None:
    """R17–R19: and of what belongs to this user alone."""
    group, organization = await world.group(), await world.organization()
    permissions = frozenset({Permission.INTERNAL_NOTES})
    agent = await world.agent(
        access=TicketAccess.GROUPS, permissions=permissions, groups=(group,), organizations=(organization,)
    )
    await world.agent(groups=(await world.group("Billing"),))
    expected = Access(TicketAccess.GROUPS, frozenset({group.id}), frozenset({organization.id}), permissions)
    assert agent.access == expected
    assert world.admin.access == EVERYTHING
    customer = await world.customer(organization=organization)
    assert customer.access == NOTHING
    # A role does not make a customer an agent.
    await User.filter(id=customer.id).update(role_id=(await world.role()).id)
    assert await load_access(await User.get(id=customer.id)) == NOTHING
    assert agent.id is not None
    assert await load_actor(other_world.id, agent.id) is None
    await User.filter(id=agent.id).update(active=False)
    assert await load_actor(world.id, agent.id) is None


async def test_an_event_keeps_the_audience_of_its_ticket(world: World) -> None:
    """R31: deliveries decide by what the event keeps."""
    ticket = await world.live_ticket(
        assignee=await world.agent(),
        group=await world.group(),
        customer=await world.customer(organization=await world.organization()),
    )
    for event in await world.events(ticket):
        assert event.ticket_before is None
        assert event.ticket_after is not None
        kept = audience_from_json(world.id, event.ticket_after)
        assert kept == Audience(world.id, ticket.requester_id, None, ticket.organization_id, None)
    assert audience_from_json(world.id, attributes_of(ticket)) == audience_of(ticket)
    assert None not in (ticket.group_id, ticket.organization_id, ticket.assignee_id)


ids = st.sampled_from([UUID(int=number) for number in range(4)])
accesses = st.builds(
    Access,
    tickets=st.sampled_from(TicketAccess),
    groups=st.frozensets(ids),
    organizations=st.frozensets(ids),
    permissions=st.frozensets(st.sampled_from(Permission)),
)
audiences = st.builds(
    Audience,
    account_id=ids,
    requester_id=ids,
    group_id=st.none() | ids,
    organization_id=st.none() | ids,
    assignee_id=st.none() | ids,
    deleted=st.booleans(),
)


@given(accesses)
def test_an_access_survives_being_kept_in_an_event(access: Access) -> None:
    """R25: what an AGENT_ACCESS_CHANGED event says of the access that was."""
    assert access_from_json(access_to_json(access)) == access


@given(st.sampled_from(ActorKind), ids, st.none() | ids, accesses, audiences)
def test_nobody_sees_a_ticket_of_another_account(
    kind: ActorKind, account_id: UUID, actor_id: UUID | None, access: Access, audience: Audience
) -> None:
    """R27."""
    seen = may_see(Actor(account_id, kind, actor_id, access), audience)
    assert not seen or account_id == audience.account_id
    if account_id == audience.account_id and kind is not ActorKind.END_USER:
        assert seen == reaches(access, actor_id, audience)


@given(accesses, st.frozensets(ids), st.frozensets(ids), ids, audiences)
def test_more_memberships_never_reach_less(
    access: Access, groups: frozenset[UUID], organizations: frozenset[UUID], user_id: UUID, audience: Audience
) -> None:
    """R17 and R18."""
    more = Access(access.tickets, access.groups | groups, access.organizations | organizations, access.permissions)
    assert not reaches(access, user_id, audience) or reaches(more, user_id, audience)
