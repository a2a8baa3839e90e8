"""Rules 3.2 from the admin's side: agents, admins and partners, and that nobody gives more than he has."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from domain.actors import EVERYTHING, Access, Actor, access_to_json, load_access, load_actor
from domain.agents import reactivate, save_agent
from domain.authority import contains
from domain.errors import Forbidden, IdempotencyConflict, InvalidInput, NotFound, Refusal, Unauthenticated
from domain.people import deactivate, issue_token, set_groups, set_role, update_role
from domain.roles import create_role, delete_role
from domain.transactions import Call
from models import (
    Event,
    EventType,
    Group,
    GroupMembership,
    Macro,
    Organization,
    OrganizationMembership,
    Permission,
    Role,
    TicketAccess,
    Token,
    User,
    UserKind,
    new_id,
    utc_now,
)
from tests.factories import AGENT, LIGHT, World, authenticate, columns

MANAGER = AGENT | {Permission.MANAGE_PEOPLE}
DIRECTORY = (User, Role, Group, Organization, GroupMembership, OrganizationMembership, Token, Macro)


async def directory(world: World) -> list[dict[str, Any]]:
    """Everything that administration changes, as it is stored."""
    return [columns(row) for table in DIRECTORY for row in await table.filter(account_id=world.id).order_by("id")]


@asynccontextmanager
async def refuses(world: World, refusal: type[Refusal]) -> AsyncIterator[pytest.ExceptionInfo[Refusal]]:
    """The refusal, and that nothing is written: no row, no line, no event."""
    before = await directory(world)
    async with world.refuses(refusal) as caught:
        yield caught
    assert await directory(world) == before


async def accesses(world: World) -> list[dict[str, Any]]:
    """What the events tell of changed access, in order."""
    events = await Event.filter(account_id=world.id, type=EventType.AGENT_ACCESS_CHANGED).order_by("position")
    return [event.payload for event in events]


def id_of(actor: Actor) -> UUID:
    assert actor.id is not None
    return actor.id


async def values_for(world: World, **more: Any) -> dict[str, Any]:
    role = await world.role()
    return {"name": "Nina New", "email": "nina@acme.example", "role_id": role.id} | more


async def test_an_agent_is_made_with_all_that_he_is(world: World) -> None:
    """S1: one call, one line in the log without his name and address; nobody's stream has to hear of it."""
    group, organization = await world.group(), await world.organization()
    role = await world.role(TicketAccess.GROUPS)
    saved = await save_agent(
        Call(world.admin),
        {
            "name": "  Nina New ",
            "email": " Nina.New@ACME.example ",
            "role_id": role.id,
            "group_ids": frozenset({group.id}),
            "organization_ids": frozenset({organization.id}),
        },
    )
    user = await User.get(id=saved.user_id)
    assert (user.account_id, user.kind, user.name) == (world.id, UserKind.AGENT, "Nina New")
    assert (user.email, user.role_id, user.active) == ("Nina.New@acme.example", role.id, True)
    assert await load_access(user) == Access(
        TicketAccess.GROUPS, frozenset({group.id}), frozenset({organization.id}), AGENT
    )
    [entry] = await world.log()
    assert (entry.action, entry.target, entry.actor_id) == ("AGENT_CREATED", f"User {user.id}", world.admin.id)
    assert entry.changes == [
        {"field": "name", "from": None, "to": None},
        {"field": "email", "from": None, "to": None},
        {"field": "kind", "from": None, "to": "AGENT"},
        {"field": "role", "from": None, "to": str(role.id)},
        {"field": "ticketAccess", "from": None, "to": "GROUPS"},
        {"field": "permissions", "from": [], "to": sorted(AGENT)},
        {"field": "groups", "from": [], "to": [str(group.id)]},
        {"field": "organizations", "from": [], "to": [str(organization.id)]},
        {"field": "active", "from": None, "to": True},
    ]
    assert await accesses(world) == []


async def test_admins_and_partners_are_made_too(world: World) -> None:
    """S1: an admin has no role; a partner needs no address."""
    admin = await save_agent(Call(world.admin), {"name": "Bob", "email": "bob@acme.example", "kind": UserKind.ADMIN})
    partner = await save_agent(
        Call(world.admin), {"name": "Parcels", "kind": UserKind.PARTNER, "role_id": (await world.role()).id}
    )
    users = [await User.get(id=each.user_id) for each in (admin, partner)]
    assert [(user.kind, user.email) for user in users] == [
        (UserKind.ADMIN, "bob@acme.example"),
        (UserKind.PARTNER, None),
    ]
    assert await load_access(users[0]) == EVERYTHING


async def test_a_change_of_everything_is_told_once(world: World) -> None:
    """R25: role, groups and organisations in one call are one event and one line; the same again is none."""
    group, organization = await world.group(), await world.organization()
    agent = await world.agent()
    light = await world.role(TicketAccess.GROUPS, LIGHT)
    values = {
        "name": "Alexandra",
        "email": "alexandra@acme.example",
        "role_id": light.id,
        "group_ids": frozenset({group.id}),
        "organization_ids": frozenset({organization.id}),
    }
    for _ in range(2):
        assert (await save_agent(Call(world.admin), values, user_id=agent.id)).user_id == agent.id
    assert await accesses(world) == [
        {"user": str(agent.id), "before": access_to_json(agent.access), "active": True},
    ]
    [entry] = await world.log()
    assert (entry.action, entry.target) == ("AGENT_CHANGED", f"User {agent.id}")
    assert [change["field"] for change in entry.changes] == [
        "name",
        "email",
        "role",
        "ticketAccess",
        "permissions",
        "groups",
        "organizations",
    ]
    assert "lexandra" not in str(entry.changes)
    await save_agent(Call(world.admin), {"name": "Alex"}, user_id=agent.id)
    assert len(await accesses(world)) == 1  # a name is no access
    assert (await world.log())[-1].changes == [{"field": "name", "from": None, "to": None}]


async def test_an_admin_becomes_an_agent_and_back(world: World) -> None:
    """S1: the groups of an admin are his, too."""
    agent, group = await world.agent(groups=(await world.group(),)), await world.group("Second line")
    await save_agent(Call(world.admin), {"kind": UserKind.ADMIN}, user_id=agent.id)
    user = await User.get(id=agent.id)
    assert (user.kind, user.role_id) == (UserKind.ADMIN, None)
    await save_agent(Call(world.admin), {"group_ids": frozenset({group.id})}, user_id=agent.id)
    assert [change["field"] for change in (await world.log())[-1].changes] == ["groups"]
    assert len(await accesses(world)) == 1  # he reaches everything with and without them
    with pytest.raises(InvalidInput):
        await save_agent(Call(world.admin), {"kind": UserKind.AGENT}, user_id=agent.id)
    role = await world.role(TicketAccess.GROUPS)
    await save_agent(Call(world.admin), {"kind": UserKind.AGENT, "role_id": role.id}, user_id=agent.id)
    now = await load_actor(world.id, id_of(agent))
    assert now is not None
    assert (now.access.tickets, now.access.groups) == (TicketAccess.GROUPS, frozenset({group.id}))
    assert len(await accesses(world)) == 2


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"name": None}, "name"),
    ({"name": " \t"}, "name"),
    ({"name": "n" * 201}, "name"),
    ({"name": "two\nlines"}, "name"),
    ({"email": None}, "email"),
    ({"email": ""}, "email"),
    ({"email": "nina"}, "email"),
    ({"email": "nina@"}, "email"),
    ({"email": "nina@localhost"}, "email"),
    ({"email": "nina@-acme.example"}, "email"),
    ({"email": "nina..new@acme.example"}, "email"),
    ({"email": "ni na@acme.example"}, "email"),
    ({"email": "nina@acme.example\nBcc: x@evil.example"}, "email"),
    ({"email": "Nina <nina@acme.example>"}, "email"),
    ({"email": "n" * 65 + "@acme.example"}, "email"),
    ({"email": "nina@" + "a" * 63 + "." + ("b" * 60 + ".") * 4 + "example"}, "email"),
    ({"email": "ADA@acme.example"}, "email"),
    ({"kind": UserKind.END_USER}, "kind"),
    ({"kind": None}, "kind"),
    ({"role_id": None}, "roleId"),
    ({"group_ids": None}, "groupIds"),
    ({"organization_ids": None}, "organizationIds"),
]


@pytest.mark.parametrize(("wrong", "field"), WRONG)
async def test_wrong_values_are_refused_with_their_field(world: World, wrong: dict[str, Any], field: str) -> None:
    """Somebody new, and somebody who is there; an address is one's own in capitals and small letters."""
    values, agent = await values_for(world), await world.agent()
    for given, user_id in ((values | wrong, None), (wrong, agent.id)):
        async with refuses(world, InvalidInput) as caught:
            await save_agent(Call(world.admin), given, user_id=user_id)
        assert caught.value.field == (field,)


async def test_admins_have_no_role_and_programs_stay_programs(world: World) -> None:
    """S1."""
    agent, role = await world.agent(), await world.role()
    partner = await world.agent("Parcels", kind=UserKind.PARTNER)
    cases: list[tuple[UUID | None, dict[str, Any], str]] = [
        (agent.id, {"kind": UserKind.ADMIN, "role_id": role.id}, "roleId"),
        (agent.id, {"kind": UserKind.PARTNER}, "kind"),
        (partner.id, {"kind": UserKind.ADMIN}, "kind"),
    ]
    for user_id, values, field in cases:
        async with refuses(world, InvalidInput) as caught:
            await save_agent(Call(world.admin), values, user_id=user_id)
        assert caught.value.field == (field,)


async def test_foreign_people_roles_groups_and_organisations_are_not_found(world: World, other_world: World) -> None:
    """R27: also by an admin, and what came before them is not saved either."""
    mine, values = await world.agent(), await values_for(world)
    there = await other_world.agent()
    foreign: list[dict[str, Any]] = [
        {"name": "New", "role_id": (await other_world.role()).id},
        {"name": "New", "group_ids": frozenset({(await other_world.group()).id})},
        {"name": "New", "organization_ids": frozenset({(await other_world.organization()).id})},
    ]
    customer, before = await world.customer(), await directory(other_world)
    for wrong in foreign:
        async with refuses(world, NotFound):
            await save_agent(Call(world.admin), wrong, user_id=mine.id)
        async with refuses(world, NotFound):
            await save_agent(Call(world.admin), values | wrong)
    for somebody in (there.id, customer.id, new_id()):
        assert somebody is not None
        async with refuses(world, NotFound):
            await save_agent(Call(world.admin), {"name": "New"}, user_id=somebody)
        async with refuses(world, NotFound):
            await reactivate(Call(world.admin), somebody)
    assert await directory(other_world) == before


async def test_only_who_manages_people_administers(world: World) -> None:
    """R8's sister: no agent, no customer, and no partner whatever his role says."""
    values, agent = await values_for(world), await world.agent()
    partner = await world.agent("Parcels", permissions=frozenset(Permission), kind=UserKind.PARTNER)
    role = await world.role(TicketAccess.ASSIGNED, LIGHT)
    verbs: list[Callable[[Call], Awaitable[Any]]] = [
        lambda call: save_agent(call, values),
        lambda call: save_agent(call, {"name": "New"}, user_id=agent.id),
        lambda call: deactivate(call, id_of(agent)),
        lambda call: reactivate(call, id_of(agent)),
        lambda call: create_role(call, name="R", ticket_access=TicketAccess.ASSIGNED, permissions=frozenset()),
        lambda call: update_role(call, role.id, name="R"),
        lambda call: delete_role(call, role.id),
    ]
    for caller in (await world.agent(), await world.agent(permissions=LIGHT), await world.customer(), partner):
        for verb in verbs:
            async with refuses(world, Forbidden):
                await verb(Call(caller))


def test_an_access_contains_another() -> None:
    """S1: of two accesses, whichever does not reach more or may do more."""
    a, b = new_id(), new_id()
    groups = Access(TicketAccess.GROUPS, groups=frozenset({a, b}), permissions=AGENT)
    everything = Access(TicketAccess.ALL, permissions=AGENT)
    assert contains(everything, groups)
    assert not contains(groups, everything)
    assert contains(groups, groups)
    assert contains(groups, Access(TicketAccess.GROUPS, groups=frozenset({a}), permissions=LIGHT))
    assert contains(groups, Access(TicketAccess.ASSIGNED, permissions=LIGHT))
    assert not contains(groups, Access(TicketAccess.GROUPS, groups=frozenset({new_id()})))
    assert not contains(groups, Access(TicketAccess.ASSIGNED, groups=frozenset({new_id()})))
    assert not contains(groups, Access(TicketAccess.ORGANIZATIONS))
    assert not contains(groups, Access(TicketAccess.ASSIGNED, organizations=frozenset({a})))
    assert not contains(everything, Access(TicketAccess.ASSIGNED, permissions=frozenset({Permission.MANAGE_PEOPLE})))


async def test_a_manager_gives_nobody_more_than_he_has(world: World) -> None:
    """S1: neither by a role, nor by a group, nor to himself, nor to somebody new."""
    own, other = await world.group("Own"), await world.group("Other")
    company = await world.organization()
    manager = await world.agent("Mia", access=TicketAccess.GROUPS, permissions=MANAGER, groups=(own,))
    agent = await world.agent(access=TicketAccess.GROUPS, permissions=AGENT, groups=(own,))
    wider = await world.role(TicketAccess.ALL, LIGHT)
    stronger = await world.role(TicketAccess.GROUPS, AGENT | {Permission.MANAGE_CHANNELS})
    his = await Role.get(id=(await User.get(id=manager.id)).role_id)
    call, values = Call(manager), await values_for(world)
    gains: list[dict[str, Any]] = [
        {"role_id": wider.id},
        {"role_id": stronger.id},
        {"kind": UserKind.ADMIN, "role_id": None},
        {"role_id": his.id, "group_ids": frozenset({own.id, other.id})},
        {"role_id": his.id, "organization_ids": frozenset({company.id})},
    ]
    attempts: list[Callable[[], Awaitable[Any]]] = []
    for target in (agent, manager, None):
        base: dict[str, Any] = values if target is None else {}
        for gain in gains:
            attempts.append(
                lambda base=base, gain=gain, target=target: save_agent(  # type: ignore[misc]
                    call, base | gain, user_id=target.id if target else None
                )
            )
    attempts += [
        lambda: set_role(call, id_of(manager), stronger.id),
        lambda: set_groups(call, id_of(manager), frozenset({own.id, other.id})),
        lambda: update_role(call, his.id, permissions=MANAGER | {Permission.VIEW_AUDIT_LOG}),
        lambda: update_role(call, his.id, ticket_access=TicketAccess.ALL),
        lambda: update_role(call, stronger.id, permissions=LIGHT),  # nor does he take what he has not
        lambda: update_role(call, wider.id, name="Mine"),
        lambda: delete_role(call, wider.id),
        lambda: create_role(call, name="R", ticket_access=TicketAccess.ALL, permissions=LIGHT),
        lambda: create_role(
            call, name="R", ticket_access=TicketAccess.GROUPS, permissions=frozenset({Permission.DELETE_TICKETS})
        ),
    ]
    for attempt in attempts:
        async with refuses(world, Forbidden):
            await attempt()
    await save_agent(call, {"name": "Alexis", "role_id": his.id, "group_ids": frozenset()}, user_id=agent.id)
    await create_role(call, name="R", ticket_access=TicketAccess.ASSIGNED, permissions=LIGHT)


async def test_a_manager_changes_nobody_who_has_more(world: World) -> None:
    """S1: no admin, and no colleague with further rights; not even his name."""
    manager = await world.agent("Mia", permissions=frozenset(Permission) - {Permission.DELETE_TICKETS})
    second = await world.agent("Second", kind=UserKind.ADMIN)
    strong = await world.agent("Strong", permissions=frozenset({Permission.DELETE_TICKETS}))
    call = Call(manager)
    for target in (world.admin, second, strong):
        attempts: list[Callable[[], Awaitable[Any]]] = [
            lambda target=target: save_agent(call, {"name": "Mine"}, user_id=target.id),  # type: ignore[misc]
            lambda target=target: deactivate(call, id_of(target)),  # type: ignore[misc]
        ]
        for attempt in attempts:
            async with refuses(world, Forbidden):
                await attempt()
    await deactivate(Call(world.admin), id_of(strong))
    async with refuses(world, Forbidden):
        await reactivate(call, id_of(strong))


async def test_who_has_every_right_but_is_no_admin_makes_none(world: World) -> None:
    """S1: the kind counts, not the sum of the rights."""
    manager = await world.agent("Mia", permissions=frozenset(Permission))
    values = {"name": "Bob", "email": "bob@acme.example", "kind": UserKind.ADMIN}
    async with refuses(world, Forbidden):
        await save_agent(Call(manager), values)
    async with refuses(world, Forbidden):
        await save_agent(Call(manager), {"kind": UserKind.ADMIN}, user_id=manager.id)
    async with refuses(world, Forbidden):
        await deactivate(Call(manager), id_of(world.admin))


async def test_a_role_change_that_gives_a_holder_more_than_the_manager_has_is_refused(world: World) -> None:
    """S1: the holder's groups are not the manager's."""
    own, other = await world.group("Own"), await world.group("Other")
    manager = await world.agent("Mia", access=TicketAccess.GROUPS, permissions=MANAGER, groups=(own,))
    role = await world.role(TicketAccess.ASSIGNED, LIGHT)
    await world.agent(access=TicketAccess.ASSIGNED, permissions=LIGHT, groups=(other,))
    async with refuses(world, Forbidden):
        await update_role(Call(manager), role.id, ticket_access=TicketAccess.GROUPS)
    await update_role(Call(world.admin), role.id, ticket_access=TicketAccess.GROUPS)


async def test_nobody_shuts_himself_out(world: World) -> None:
    """An account keeps at least one active admin, whoever tries."""
    role = await world.role()
    second = await world.agent("Second", kind=UserKind.ADMIN)
    async with refuses(world, Forbidden):
        await deactivate(Call(world.admin), id_of(world.admin))
    async with refuses(world, Forbidden):
        await save_agent(Call(world.admin), {"kind": UserKind.AGENT, "role_id": role.id}, user_id=world.admin.id)
    await deactivate(Call(world.admin), id_of(second))
    async with refuses(world, Forbidden) as caught:
        await deactivate(Call(world.system), id_of(world.admin))
    assert "at least one active admin" in caught.value.message
    manager = await world.agent("Mia", permissions=MANAGER)
    async with refuses(world, Forbidden):
        await deactivate(Call(manager), id_of(manager))


async def test_of_two_admins_who_deactivate_each_other_one_remains(world: World) -> None:
    """R25: at the same moment, and as often as one likes."""
    for _ in range(3):
        pair = [await world.agent(f"Admin {number}", kind=UserKind.ADMIN) for number in (1, 2)]
        ids = list(map(id_of, pair))
        outcomes = await asyncio.gather(
            deactivate(Call(pair[0]), ids[1]), deactivate(Call(pair[1]), ids[0]), return_exceptions=True
        )
        assert sorted(str(type(outcome)) for outcome in outcomes) == sorted([str(type(None)), str(Unauthenticated)])
        assert await User.filter(id__in=ids, active=True).count() == 1
        await User.filter(id__in=ids).update(active=False)


async def test_two_people_with_one_address_at_the_same_moment_are_one(world: World) -> None:
    """The second is told what is wrong, and not that the database is."""
    values = await values_for(world)
    outcomes = await asyncio.gather(
        *(save_agent(Call(world.admin), values | {"name": f"Nina {n}"}) for n in range(3)), return_exceptions=True
    )
    refused = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    assert [(type(each), getattr(each, "field", None)) for each in refused] == [(InvalidInput, ("email",))] * 2
    assert await User.filter(account_id=world.id, email="nina@acme.example").count() == 1
    assert [entry.action for entry in await world.log()] == ["AGENT_CREATED"]


async def test_a_retried_key_makes_one_agent(world: World) -> None:
    """R37: also at the same moment; with other values it is a conflict."""
    values, call = await values_for(world), Call(world.admin, idempotency_key="nina")
    first, second = await asyncio.gather(save_agent(call, values), save_agent(call, values))
    assert first == second
    assert await User.filter(account_id=world.id, name="Nina New").count() == 1
    assert len(await world.log()) == 1
    async with refuses(world, IdempotencyConflict):
        await save_agent(call, values | {"name": "Nora New"})


async def test_who_comes_back_needs_a_new_token(world: World) -> None:
    """R25: he is who he was, his tokens of before are worthless, and each step is told."""
    agent = await world.agent()
    user = await User.get(id=agent.id)
    old = await issue_token(user, "old", utc_now())
    spent = await issue_token(user, "spent", utc_now() - timedelta(days=2), life=timedelta(days=1))
    await deactivate(Call(world.admin), user.id)
    for _ in range(2):
        await reactivate(Call(world.admin), user.id)
    assert await load_actor(world.id, user.id) == agent
    assert await authenticate(old.secret, utc_now()) is None
    assert await authenticate((await issue_token(user, "new", utc_now())).secret, utc_now()) is not None
    assert [each["active"] for each in await accesses(world)] == [False, True]
    went, *came = await world.log()
    assert (went.action, went.target) == ("ACCESS_CHANGED", f"User {user.id}")
    # The lines of one update are of one moment, in no order.
    assert sorted((entry.action, entry.target) for entry in came) == sorted(
        [
            ("ACCESS_CHANGED", f"User {user.id}"),
            *(("TOKEN_REVOKED", f"Token {token.token_id}") for token in (old, spent)),
        ]
    )
    [back] = [entry.changes for entry in came if entry.action == "ACCESS_CHANGED"]
    assert back == [{"field": "active", "from": False, "to": True}]
