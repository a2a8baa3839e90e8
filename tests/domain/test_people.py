"""Rules 3.2: who somebody is, and how what he may reach changes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

from domain.actors import Actor, access_to_json, load_actor
from domain.errors import Forbidden, NotFound
from domain.people import (
    LONGEST_LIFE,
    IssuedToken,
    authenticate_all,
    deactivate,
    issue_token,
    revoke_token,
    set_groups,
    set_organizations,
    set_role,
    update_role,
)
from domain.transactions import Call
from models import (
    Event,
    EventType,
    GroupMembership,
    Permission,
    Role,
    TicketAccess,
    Token,
    User,
    new_id,
    utc_now,
)
from tests.factories import AGENT, LIGHT, World, authenticate, columns

MANAGER = AGENT | {Permission.MANAGE_PEOPLE}
HOUR = timedelta(hours=1)
INSTANT = timedelta(microseconds=1)


async def token_for(actor: Actor, *, life: timedelta = HOUR) -> IssuedToken:
    return await issue_token(await User.get(id=actor.id), "Test", utc_now(), life=life)


async def events_of(world: World, type: EventType) -> list[Event]:
    return await Event.filter(account_id=world.id, type=type).order_by("position")


async def test_a_token_is_its_user_as_he_stands_now(world: World) -> None:
    """R25: what the role gives is read with each call, not kept in the token."""
    agent = await world.agent(access=TicketAccess.ASSIGNED, permissions=LIGHT)
    token = await token_for(agent)
    stored = await Token.get(id=token.token_id)
    assert token.secret.split("_")[2] not in str(columns(stored))
    actor = await authenticate(token.secret, utc_now())
    assert actor is not None
    assert (actor.account_id, actor.kind, actor.id, actor.access) == (world.id, agent.kind, agent.id, agent.access)
    assert (actor.token_id, actor.token_expires_at) == (token.token_id, stored.expires_at)
    await User.filter(id=agent.id).update(role_id=(await world.role()).id)
    later = await authenticate(token.secret, utc_now())
    assert later is not None
    assert later.access.permissions == AGENT


async def test_a_token_lives_until_the_moment_it_expires(world: World) -> None:
    """R25."""
    token = await token_for(world.admin)
    end = (await Token.get(id=token.token_id)).expires_at
    assert await authenticate(token.secret, end - INSTANT) is not None
    assert await authenticate(token.secret, end) is None
    assert await authenticate(token.secret, end + HOUR) is None


async def test_no_token_lives_for_ever(world: World) -> None:
    """R25."""
    token = await Token.get(id=(await token_for(world.admin, life=timedelta(days=10_000))).token_id)
    assert token.expires_at - token.created_at == LONGEST_LIFE


async def test_a_token_of_somebody_who_is_gone_is_none(world: World) -> None:
    """R25."""
    agent = await world.agent()
    token = await token_for(agent)
    assert agent.id is not None
    await deactivate(Call(world.admin), agent.id)
    assert await authenticate(token.secret, utc_now()) is None


def damaged(token: IssuedToken, other: IssuedToken) -> dict[str, str]:
    """What somebody might send instead."""
    prefix, identifier, secret = token.secret.split("_")
    return {
        "empty": "",
        "no parts": prefix,
        "no secret": f"{prefix}_{identifier}",
        "an empty secret": f"{prefix}_{identifier}_",
        "another prefix": f"xx_{identifier}_{secret}",
        "no prefix": f"{identifier}_{secret}",
        "a part too many": f"{token.secret}_",
        "an unknown id": f"{prefix}_{new_id().hex}_{secret}",
        "no id": f"{prefix}__{secret}",
        "an id that is none": f"{prefix}_{'z' * 32}_{secret}",
        "another's secret": f"{prefix}_{identifier}_{other.secret.split('_')[2]}",
        "half a secret": f"{prefix}_{identifier}_{secret[:32]}",
        "a longer secret": f"{prefix}_{identifier}_{secret}0",
        "the secret in capitals": f"{prefix}_{identifier}_{secret.upper()}",
        "a space": f" {token.secret}",
        "a secret that is no ASCII": f"{prefix}_{identifier}_ä",
        "a novel": f"{prefix}_{identifier}_{'a' * 100_000}",
    }


async def test_a_wrong_or_malformed_token_is_nobody(world: World, other_world: World) -> None:
    """R27: also another account's secret with one's own id."""
    token, other = await token_for(world.admin), await token_for(other_world.admin)
    wrong = damaged(token, other)
    digest = (await Token.get(id=token.token_id)).secret_sha256
    wrong["the stored digest"] = f"dw_{token.token_id.hex}_{digest}"
    assert len(wrong) == 18
    for what, text in wrong.items():
        assert await authenticate(text, utc_now()) is None, what
    for good, owner in ((token, world), (other, other_world)):
        actor = await authenticate(good.secret, utc_now())
        assert actor is not None
        assert (actor.account_id, actor.id) == (owner.id, owner.admin.id)


async def test_whoever_asks_at_the_same_moment_is_who_he_is(world: World, other_world: World) -> None:
    """R27: a wrong token takes nothing from the right ones beside it, of any account."""
    token, other = await token_for(world.admin), await token_for(other_world.admin)
    wrong = list(damaged(token, other).values())
    found = await authenticate_all([token.secret, *wrong, other.secret, token.secret], utc_now())
    assert [actor and actor.id for actor in found] == [
        world.admin.id,
        *[None] * len(wrong),
        other_world.admin.id,
        world.admin.id,
    ]


async def test_a_revoked_token_is_nobody_at_once(world: World) -> None:
    """R25: one event for the sockets and one line in the log, however often."""
    agent = await world.agent()
    token, kept = await token_for(agent), await token_for(agent)
    for _ in range(2):
        await revoke_token(Call(agent), token.token_id)
    assert await authenticate(token.secret, utc_now()) is None
    assert await authenticate(kept.secret, utc_now()) is not None
    [event] = await events_of(world, EventType.TOKEN_REVOKED)
    assert event.payload == {"token": str(token.token_id), "user": str(agent.id)}
    [entry] = await world.log()
    assert (entry.action, entry.target) == ("TOKEN_REVOKED", f"Token {token.token_id}")
    assert (entry.actor_id, entry.changes) == (agent.id, [])


async def test_others_tokens_are_revoked_by_who_manages_people(world: World, other_world: World) -> None:
    """R27: for everybody else they do not exist."""
    owner, manager = await world.agent(), await world.agent(permissions=MANAGER)
    token = await token_for(owner)
    for caller in (await world.agent(), await world.customer()):
        async with world.refuses(NotFound):
            await revoke_token(Call(caller), token.token_id)
    async with other_world.refuses(NotFound):
        await revoke_token(Call(other_world.admin), token.token_id)
    async with world.refuses(NotFound):
        await revoke_token(Call(manager), new_id())
    assert await authenticate(token.secret, utc_now()) is not None
    await revoke_token(Call(manager), token.token_id)
    assert await authenticate(token.secret, utc_now()) is None


async def test_each_change_of_access_is_one_event_and_one_line(world: World) -> None:
    """R25: the event keeps the access that was; the log says what changed."""
    group, organization = await world.group(), await world.organization()
    light = await world.role(TicketAccess.GROUPS, LIGHT)
    agent = await world.agent(access=TicketAccess.GROUPS)
    had = (await world.role(TicketAccess.GROUPS)).id
    assert agent.id is not None
    admin, user = Call(world.admin), agent.id
    steps: list[tuple[Callable[[], Any], *tuple[dict[str, Any], ...]]] = [
        (
            lambda: set_groups(admin, user, frozenset({group.id})),
            {"field": "groups", "from": [], "to": [str(group.id)]},
        ),
        (
            lambda: set_organizations(admin, user, frozenset({organization.id})),
            {"field": "organizations", "from": [], "to": [str(organization.id)]},
        ),
        (
            lambda: set_role(admin, user, light.id),
            {"field": "role", "from": str(had), "to": str(light.id)},
            {"field": "permissions", "from": sorted(AGENT), "to": sorted(LIGHT)},
        ),
        (lambda: set_groups(admin, user, frozenset()), {"field": "groups", "from": [str(group.id)], "to": []}),
        (lambda: deactivate(admin, user), {"field": "active", "from": True, "to": False}),
    ]
    befores = []
    for change, *_ in steps:
        now = await load_actor(world.id, user)
        assert now is not None
        befores.append(access_to_json(now.access))
        for _again in range(2):
            await change()
    assert (await User.get(id=user)).role_id == light.id
    events = await events_of(world, EventType.AGENT_ACCESS_CHANGED)
    assert [event.payload for event in events] == [
        {"user": str(user), "before": before, "active": active}
        for before, active in zip(befores, [True, True, True, True, False], strict=True)
    ]
    log = await world.log()
    assert {(entry.action, entry.target, entry.actor_id) for entry in log} == {
        ("ACCESS_CHANGED", f"User {user}", world.admin.id)
    }
    assert [entry.changes for entry in log] == [expected for _, *expected in steps]


async def test_what_changes_for_somebody_who_is_gone_says_nothing_of_his_going(world: World) -> None:
    """R25: the log does not tell of one deactivation twice."""
    agent, group = await world.agent(), await world.group()
    assert agent.id is not None
    await deactivate(Call(world.admin), agent.id)
    await set_groups(Call(world.admin), agent.id, frozenset({group.id}))
    gone, moved = await world.log()
    assert gone.changes == [{"field": "active", "from": True, "to": False}]
    assert moved.changes == [{"field": "groups", "from": [], "to": [str(group.id)]}]
    assert [event.payload["active"] for event in await events_of(world, EventType.AGENT_ACCESS_CHANGED)] == [False] * 2


async def test_only_who_manages_people_changes_access(world: World) -> None:
    """R8's sister: and it changes no customer, nor to what does not exist."""
    group = await world.group()
    agent, customer, manager = await world.agent(), await world.customer(), await world.agent(permissions=MANAGER)
    role = await world.role(TicketAccess.ALL, MANAGER)
    assert agent.id is not None
    assert customer.id is not None
    for caller in (agent, customer, await world.agent(permissions=LIGHT)):
        for verb in changes_of(Call(caller), agent.id, group.id, role.id):
            async with world.refuses(Forbidden):
                await verb()
    for verb in changes_of(Call(world.admin), customer.id, group.id, role.id)[:-1]:
        async with world.refuses(NotFound):
            await verb()
    for verb in changes_of(Call(world.admin), agent.id, new_id(), new_id())[:-2]:
        async with world.refuses(NotFound):
            await verb()
    assert await GroupMembership.all().count() == 0
    assert (await load_actor(world.id, agent.id)) == agent
    await set_groups(Call(manager), agent.id, frozenset({group.id}))
    assert await GroupMembership.filter(user_id=agent.id, group_id=group.id).count() == 1


def changes_of(call: Call, user_id: UUID, group_id: UUID, role_id: UUID) -> list[Callable[[], Any]]:
    everything = frozenset(Permission)
    return [
        lambda: set_groups(call, user_id, frozenset({group_id})),
        lambda: set_organizations(call, user_id, frozenset({new_id()})),
        lambda: set_role(call, user_id, role_id),
        lambda: deactivate(call, user_id),
        lambda: update_role(call, role_id, ticket_access=TicketAccess.ALL, permissions=everything),
    ]


async def test_a_role_changes_for_everybody_who_has_it(world: World) -> None:
    """R25: one line in the log, and one event for each, in one audit."""
    role = await world.role(TicketAccess.ALL)
    group = await world.group()
    having = [await world.agent(), await world.agent(groups=(group,)), await world.agent()]
    others = [await world.agent(permissions=LIGHT), world.admin]
    for _ in range(2):
        await update_role(Call(world.admin), role.id, ticket_access=TicketAccess.GROUPS, permissions=LIGHT)
    events = await events_of(world, EventType.AGENT_ACCESS_CHANGED)
    assert {event.payload["user"] for event in events} == {str(agent.id) for agent in having}
    assert len(events) == 3
    assert len({event.audit_id for event in events}) == 1
    before = {str(agent.id): access_to_json(agent.access) for agent in having}
    assert {event.payload["user"]: event.payload["before"] for event in events} == before
    [entry] = await world.log()
    assert (entry.action, entry.target) == ("ROLE_CHANGED", f"Role {role.id}")
    assert entry.changes == [
        {"field": "ticketAccess", "from": "ALL", "to": "GROUPS"},
        {"field": "permissions", "from": sorted(AGENT), "to": sorted(LIGHT)},
    ]
    for agent in having:
        assert agent.id is not None
        now = await load_actor(world.id, agent.id)
        assert now is not None
        assert (now.access.tickets, now.access.permissions) == (TicketAccess.GROUPS, LIGHT)
        assert now.access.groups == agent.access.groups
    for agent in others:
        assert agent.id is not None
        assert await load_actor(world.id, agent.id) == agent


async def test_a_role_that_nobody_has_changes_without_an_event(world: World) -> None:
    """R25."""
    role = await world.role()
    await update_role(Call(world.admin), role.id, ticket_access=TicketAccess.ASSIGNED, permissions=AGENT)
    assert await world.positions() == []
    assert (await Role.get(id=role.id)).ticket_access is TicketAccess.ASSIGNED
    assert [entry.changes for entry in await world.log()] == [
        [{"field": "ticketAccess", "from": "ALL", "to": "ASSIGNED"}]
    ]
