"""Rules 3.2 from the admin's side: roles, groups, organisations, customers and tokens."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import pytest

from domain.actors import Actor, access_to_json
from domain.agents import save_agent
from domain.end_users import end_users_page, known_people, save_end_user
from domain.errors import Forbidden, InvalidInput, NotFound
from domain.groups import delete_group, save_group
from domain.macros import MacroAction, MacroActionKind, save_macro
from domain.organizations import delete_organization, known_organizations, save_organization
from domain.people import issue_token, revoke_token, set_groups, set_role, update_role
from domain.roles import create_role, delete_role
from domain.tickets import update_ticket
from domain.tokens import create_api_token, scopes_of, tokens_page
from domain.transactions import Call
from models import (
    Group,
    GroupMembership,
    IdempotencyRecord,
    Organization,
    OrganizationMembership,
    Permission,
    Role,
    RoutingQueue,
    TicketAccess,
    TicketStatus,
    Token,
    Trigger,
    User,
    UserKind,
    new_id,
    utc_now,
)
from tests.domain.test_administration import MANAGER, accesses, directory, id_of, refuses
from tests.factories import AGENT, LIGHT, World, authenticate, columns

EDITOR = AGENT | {Permission.EDIT_END_USERS}


async def lines(world: World) -> list[tuple[str, str, list[dict[str, Any]]]]:
    return [(entry.action, entry.target, entry.changes) for entry in await world.log()]


def named(before: str | None, after: str | None) -> dict[str, Any]:
    return {"field": "name", "from": before, "to": after}


async def test_a_role_is_made_renamed_and_deleted(world: World) -> None:
    """S1: each is a line of the log; a new name moves nobody, and the same name again is no change."""
    made = await create_role(Call(world.admin), name=" Clerks ", ticket_access=TicketAccess.GROUPS, permissions=LIGHT)
    agent = await world.agent()
    await set_role(Call(world.admin), id_of(agent), made.role_id)
    for _ in range(2):
        await update_role(Call(world.admin), made.role_id, name="Scribes")
    assert len(await accesses(world)) == 1  # of the new role, not of its new name
    async with refuses(world, InvalidInput) as caught:
        await delete_role(Call(world.admin), made.role_id)
    assert caught.value.field == ("roleId",)
    await User.filter(id=agent.id).update(role_id=(await world.role()).id)
    await delete_role(Call(world.admin), made.role_id)
    target, log = f"Role {made.role_id}", await lines(world)
    created, renamed, deleted = [line for line in log if line[1] == target]
    assert created == (
        "ROLE_CREATED",
        target,
        [
            named(None, "Clerks"),
            {"field": "ticketAccess", "from": None, "to": "GROUPS"},
            {"field": "permissions", "from": None, "to": sorted(LIGHT)},
        ],
    )
    assert (renamed, deleted) == (
        ("ROLE_CHANGED", target, [named("Clerks", "Scribes")]),
        ("ROLE_DELETED", target, [named("Scribes", None)]),
    )
    async with refuses(world, NotFound):
        await delete_role(Call(world.admin), made.role_id)


async def test_a_role_of_somebody_who_is_deactivated_stays(world: World) -> None:
    """He may come back."""
    agent = await world.agent(permissions=LIGHT)
    await User.filter(id=agent.id).update(active=False)
    role_id = (await User.get(id=agent.id)).role_id
    assert role_id is not None
    async with refuses(world, InvalidInput):
        await delete_role(Call(world.admin), role_id)


async def test_a_role_is_not_deleted_while_somebody_gets_it(world: World) -> None:
    """At the same moment: he has it, or it is gone and he has not."""
    agent, had = await world.agent(), await world.role()
    for number in range(3):
        made = await create_role(
            Call(world.admin), name=f"R{number}", ticket_access=TicketAccess.ALL, permissions=LIGHT
        )
        got, deleted = await asyncio.gather(
            set_role(Call(world.admin), id_of(agent), made.role_id),
            delete_role(Call(world.admin), made.role_id),
            return_exceptions=True,
        )
        has_it = (await User.get(id=agent.id)).role_id == made.role_id
        assert (type(got), type(deleted)) == ((type(None), InvalidInput) if has_it else (NotFound, type(None)))
        assert await Role.exists(id=made.role_id) is has_it
        await User.filter(id=agent.id).update(role_id=had.id)


async def test_groups_and_organisations_are_made_renamed_and_deleted(world: World) -> None:
    """S1: each is a line of the log; the same name again is no change."""
    call = Call(world.admin)
    group = (await save_group(call, name=" Billing ")).group_id
    company = (await save_organization(call, name="Initech")).organization_id
    for _ in range(2):
        await save_group(call, name="Money", group_id=group)
        await save_organization(call, name="Initrode", organization_id=company)
    assert (await Group.get(id=group)).name == "Money"
    assert (await Organization.get(id=company)).name == "Initrode"
    await delete_group(call, group)
    await delete_organization(call, company)
    assert await lines(world) == [
        ("GROUP_CREATED", f"Group {group}", [named(None, "Billing")]),
        ("ORGANIZATION_CREATED", f"Organization {company}", [named(None, "Initech")]),
        ("GROUP_RENAMED", f"Group {group}", [named("Billing", "Money")]),
        ("ORGANIZATION_RENAMED", f"Organization {company}", [named("Initech", "Initrode")]),
        ("GROUP_DELETED", f"Group {group}", [named("Money", None)]),
        ("ORGANIZATION_DELETED", f"Organization {company}", [named("Initrode", None)]),
    ]
    for gone in (delete_group(call, group), delete_organization(call, company)):
        async with refuses(world, NotFound):
            await gone
    for later in (
        save_group(call, name="Back", group_id=group),
        save_organization(call, name="Back", organization_id=company),
    ):
        async with refuses(world, NotFound):
            await later


Namer = Callable[[Call, str], Awaitable[object]]


async def _role(call: Call, name: str) -> object:
    return await create_role(call, name=name, ticket_access=TicketAccess.ALL, permissions=LIGHT)


NAMERS: dict[str, Namer] = {
    "role": _role,
    "group": lambda call, name: save_group(call, name=name),
    "organisation": lambda call, name: save_organization(call, name=name),
}


@pytest.mark.parametrize("namer", NAMERS.values(), ids=list(NAMERS))
async def test_names_are_said_once_and_readable(world: World, other_world: World, namer: Namer) -> None:
    """Twice, at the same moment, empty, too long, with control characters; another account's names are its own."""
    call = Call(world.admin)
    outcomes = await asyncio.gather(*(namer(call, "Twice") for _ in range(3)), return_exceptions=True)
    refused = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    assert [(type(each), getattr(each, "field", None)) for each in refused] == [(InvalidInput, ("name",))] * 2
    assert len(await world.log()) == 1
    for wrong in ("Twice", " Twice ", "", " \t", "n" * 101, "two\nlines", "\x1b[31m", "\u2028"):
        async with refuses(world, InvalidInput) as caught:
            await namer(call, wrong)
        assert caught.value.field == ("name",)
    await namer(call, "n" * 100)
    await namer(Call(other_world.admin), "Twice")


async def test_a_rename_to_a_name_that_is_taken_is_refused(world: World) -> None:
    """With its field, and nothing is renamed."""
    call, group, company = Call(world.admin), await world.group("A"), await world.organization("A")
    await world.group("B")
    await world.organization("B")
    role = (await create_role(call, name="A", ticket_access=TicketAccess.ALL, permissions=LIGHT)).role_id
    await create_role(call, name="B", ticket_access=TicketAccess.ALL, permissions=LIGHT)
    for rename in (
        save_group(call, name="B", group_id=group.id),
        save_organization(call, name="B", organization_id=company.id),
        update_role(call, role, name="B"),
    ):
        async with refuses(world, InvalidInput) as caught:
            await rename
        assert caught.value.field == ("name",)


async def test_a_deleted_group_loses_its_members_and_they_are_told(world: World) -> None:
    """R25: one event for each in one update; one line that names them."""
    group, other = await world.group("Going"), await world.group("Staying")
    members = [await world.agent(access=TicketAccess.GROUPS, groups=each) for each in ((group,), (group, other))]
    stranger = await world.agent(access=TicketAccess.GROUPS, groups=(other,))
    await delete_group(Call(world.admin), group.id)
    told = await accesses(world)
    assert sorted(told, key=lambda each: str(each["user"])) == sorted(
        ({"user": str(each.id), "before": access_to_json(each.access), "active": True} for each in members),
        key=lambda each: str(each["user"]),
    )
    assert await GroupMembership.filter(account_id=world.id).count() == 2
    [entry] = await world.log()
    assert entry.changes[1]["from"] == sorted(str(each.id) for each in members)
    assert str(stranger.id) not in str(entry.changes)


async def test_a_deleted_organisation_is_looked_after_by_nobody(world: World) -> None:
    """R25."""
    company = await world.organization()
    agent = await world.agent(access=TicketAccess.ORGANIZATIONS, organizations=(company,))
    await delete_organization(Call(world.admin), company.id)
    assert [each["user"] for each in await accesses(world)] == [str(agent.id)]
    assert await OrganizationMembership.filter(account_id=world.id).count() == 0


async def test_what_is_in_use_is_not_deleted(world: World) -> None:
    """Tickets (closed ones, too), queues, triggers and shared macros keep a group; customers and tickets a company."""
    call, group, company = Call(world.admin), await world.group(), await world.organization()
    rules = [{"match": "ALL", "rules": [{"subject": "GROUP", "operator": "IS", "value": str(group.id)}]}]
    to_group = MacroAction(MacroActionKind.SET_GROUP, str(group.id))
    ticket = await world.email_ticket(group_id=group.id, organization_id=company.id, status=TicketStatus.CLOSED)
    macro = await save_macro(call, title="To the group", actions=[to_group], shared=True)
    agent = await world.agent()
    await save_macro(Call(agent), title="His own", actions=[to_group], shared=False)
    now = utc_now()
    queue = await RoutingQueue.create(
        account_id=world.id, name="Q", conditions=[], group_ids=[str(group.id)], created_at=now
    )
    trigger = await Trigger.create(account_id=world.id, title="T", conditions=rules, actions=[], created_at=now)
    async with refuses(world, InvalidInput) as caught:
        await delete_group(call, group.id)
    assert caught.value.field == ("groupId",)
    assert caught.value.message.startswith("1 tickets, 1 queues, 1 triggers, 1 macros still name this group.")
    async with refuses(world, InvalidInput) as caught:
        await delete_organization(call, company.id)
    assert caught.value.message.startswith("1 tickets belong to this organisation.")
    await type(ticket).filter(id=ticket.id).update(group_id=None, organization_id=None)
    await queue.delete()
    await trigger.delete()
    await save_macro(
        call, title="Nobody", actions=[MacroAction(MacroActionKind.END_SESSION)], shared=True, macro_id=macro.macro_id
    )
    await delete_group(call, group.id)  # somebody's own macro keeps nothing that only he could free
    customer = await world.customer(organization=company)
    async with refuses(world, InvalidInput):
        await delete_organization(call, company.id)
    await save_end_user(call, {"organization_id": None}, user_id=customer.id)
    await delete_organization(call, company.id)


async def test_a_group_is_not_deleted_while_it_gets_something(world: World) -> None:
    """At the same moment: a ticket, a member, a macro."""
    call, agent, ticket = Call(world.admin), await world.agent(), await world.live_ticket()
    for number in range(2):
        to_member, to_ticket, to_macro = [await world.group(f"{what}{number}") for what in ("A", "B", "C")]
        action = MacroAction(MacroActionKind.SET_GROUP, str(to_macro.id))
        outcomes = await asyncio.gather(
            delete_group(call, to_member.id),
            set_groups(call, id_of(agent), frozenset({to_member.id})),
            delete_group(call, to_ticket.id),
            update_ticket(call, ticket.id, {"group_id": to_ticket.id}),
            delete_group(call, to_macro.id),
            save_macro(call, title="To the group", actions=[action], shared=True),
            return_exceptions=True,
        )
        failed = [isinstance(outcome, BaseException) for outcome in outcomes]
        # A member does not keep a group: he joins it before it goes, or not at all.
        assert not failed[0]
        assert not await Group.exists(id=to_member.id)
        assert failed[2] is not failed[3]
        assert await Group.exists(id=to_ticket.id) is failed[2]
        assert failed[4] is not failed[5]
        assert await Group.exists(id=to_macro.id) is failed[4]
        assert {type(each) for each in outcomes if isinstance(each, BaseException)} <= {InvalidInput, NotFound}


async def test_a_customer_is_made_and_changed(world: World) -> None:
    """A new address is not verified by itself; the log tells neither name nor address."""
    call, company = Call(world.admin), await world.organization()
    values = {"name": " Cleo ", "email": "cleo@Shop.Example", "organization_id": company.id}
    user_id = (await save_end_user(call, values)).user_id
    user = await User.get(id=user_id)
    assert (user.kind, user.name, user.email, user.email_verified) == (
        UserKind.END_USER,
        "Cleo",
        "cleo@shop.example",
        False,
    )
    assert user.organization_id == company.id
    await save_end_user(call, {"email_verified": True}, user_id=user_id)
    for _ in range(2):
        await save_end_user(call, {"email": "cleo@other.example", "name": "Cleo C"}, user_id=user_id)
    user = await User.get(id=user_id)
    assert (user.email, user.email_verified) == ("cleo@other.example", False)
    await save_end_user(call, {"email": "c@other.example", "email_verified": True}, user_id=user_id)
    assert (await User.get(id=user_id)).email_verified
    await save_end_user(call, {"email": None, "organization_id": None}, user_id=user_id)
    assert (await User.get(id=user_id)).email_verified is False
    target, gone = f"User {user_id}", {"from": None, "to": None}
    company_set = {"field": "organization", "from": None, "to": str(company.id)}
    assert await lines(world) == [
        ("END_USER_CREATED", target, [{"field": "name", **gone}, {"field": "email", **gone}, company_set]),
        ("END_USER_CHANGED", target, [{"field": "emailVerified", "from": False, "to": True}]),
        (
            "END_USER_CHANGED",
            target,
            [
                {"field": "name", **gone},
                {"field": "email", **gone},
                {"field": "emailVerified", "from": True, "to": False},
            ],
        ),
        (
            "END_USER_CHANGED",
            target,
            [{"field": "email", **gone}, {"field": "emailVerified", "from": False, "to": True}],
        ),
        (
            "END_USER_CHANGED",
            target,
            [
                {"field": "email", **gone},
                {"field": "emailVerified", "from": True, "to": False},
                {"field": "organization", "from": str(company.id), "to": None},
            ],
        ),
    ]
    assert await world.positions() == []


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"name": " "}, "name"),
        ({"name": "n" * 201}, "name"),
        ({"email": "cleo"}, "email"),
        ({"email": "ADA@acme.example"}, "email"),
        ({"email": None, "email_verified": True}, "emailVerified"),
        ({"email_verified": None}, "emailVerified"),
    ],
)
async def test_a_customer_that_could_not_be_is_refused(world: World, values: dict[str, Any], field: str) -> None:
    """An address belongs to one person, whatever he is."""
    customer = await world.customer()
    for base, user_id in (({}, customer.id), ({"name": "New"}, None)):
        async with refuses(world, InvalidInput) as caught:
            await save_end_user(Call(world.admin), base | values, user_id=user_id)
        assert caught.value.field == (field,)


async def names(actor: Actor, **more: Any) -> list[str]:
    return [user.name for user in await end_users_page(actor, 9, None, **more)]


async def test_customers_are_known_through_their_tickets(world: World, other_world: World) -> None:
    """S1, R27: who manages people knows all; others those of tickets that they may see; nobody those of others."""
    group = await world.group()
    near, far, never = [await world.customer(name) for name in ("Near", "Far", "Never wrote")]
    await world.live_ticket(customer=near, group=group)
    await world.live_ticket(customer=far)
    await other_world.live_ticket(customer=await other_world.customer("Foreign"))
    agent, narrow = await world.agent(), await world.agent(access=TicketAccess.GROUPS, groups=(group,))
    assert await names(world.admin) == ["Far", "Near", "Never wrote"]
    assert await names(agent) == ["Far", "Near"]
    assert await names(narrow) == ["Near"]
    assert await names(world.admin, search="NEV") == ["Never wrote"]
    assert await names(world.admin, search="@customer.example") == ["Far", "Near", "Never wrote"]
    assert await names(world.admin, search="%") == []
    for nobody in (await world.agent(permissions=LIGHT), await world.customer()):
        with pytest.raises(Forbidden):
            await end_users_page(nobody, 9, None)
    for text in (" ", "x" * 201):
        with pytest.raises(InvalidInput):
            await end_users_page(agent, 9, None, search=text)
    assert never.id not in await known_people(agent).values_list("id", flat=True)


async def test_who_edits_customers_edits_those_whom_he_knows(world: World) -> None:
    """R143's sister: the right to edit customers; unknown and missing look alike."""
    group, company = await world.group(), await world.organization()
    near, far = await world.customer("Near"), await world.customer("Far")
    await world.live_ticket(customer=near, group=group)
    await world.live_ticket(customer=far)
    editor = await world.agent(access=TicketAccess.GROUPS, permissions=EDITOR, groups=(group,))
    await save_end_user(Call(editor), {"name": "Nearer"}, user_id=near.id)
    for unknown in (far.id, editor.id, new_id()):
        async with refuses(world, NotFound):
            await save_end_user(Call(editor), {"name": "Mine"}, user_id=unknown)
    async with refuses(world, NotFound) as caught:
        await save_end_user(Call(editor), {"organization_id": company.id}, user_id=near.id)
    assert caught.value.field == ("organizationId",)
    for nobody in (await world.agent(), near):
        async with refuses(world, Forbidden):
            await save_end_user(Call(nobody), {"name": "Mine"}, user_id=near.id)


async def test_organisations_are_known_to_who_reaches_them(world: World) -> None:
    """S1: the list of all companies is not for who looks after one."""
    near, far = await world.organization("Near"), await world.organization("Far")
    narrow = await world.agent(access=TicketAccess.ORGANIZATIONS, organizations=(near,))
    assert set(await known_organizations(narrow).values_list("id", flat=True)) == {near.id}
    for wide in (world.admin, await world.agent()):
        assert set(await known_organizations(wide).values_list("id", flat=True)) == {near.id, far.id}


async def test_a_token_is_made_for_oneself_or_a_partner(world: World) -> None:
    """R25: it works, its secret is nowhere in the store, and the log has neither secret nor text."""
    agent, partner = await world.agent(), await world.agent("Parcels", permissions=LIGHT, kind=UserKind.PARTNER)
    for call, owner in ((Call(agent), agent), (Call(partner), partner), (Call(world.admin), partner)):
        user_id = None if call.actor is owner else owner.id
        token_id, secret = await create_api_token(call, name=" Sync ", days=7, user_id=user_id)
        assert secret is not None
        row = await Token.get(id=token_id)
        assert (row.name, row.user_id, (row.expires_at - row.created_at).days) == ("Sync", owner.id, 7)
        assert secret.rsplit("_", 1)[1] not in str(columns(row))
        actor = await authenticate(secret, utc_now())
        assert actor is not None
        assert actor.id == owner.id
        last = (await lines(world))[-1]
        assert last == (
            "TOKEN_CREATED",
            f"Token {token_id}",
            [
                {"field": "user", "from": None, "to": str(owner.id)},
                {"field": "expiresInDays", "from": None, "to": 7},
            ],
        )


async def test_a_token_gives_nobody_more_than_he_has(world: World, other_world: World) -> None:
    """R27: not for colleagues, not for customers, not for a partner who may do more, nor for one who is gone."""
    agent, manager = await world.agent(), await world.agent("Mia", permissions=MANAGER)
    strong = await world.agent("Strong", permissions=frozenset(Permission), kind=UserKind.PARTNER)
    gone = await world.agent("Gone", permissions=LIGHT, kind=UserKind.PARTNER)
    await User.filter(id=gone.id).update(active=False)
    foreign = await other_world.agent(kind=UserKind.PARTNER)
    customer = await world.customer()
    cases = [
        (agent, gone.id, Forbidden),
        (agent, new_id(), Forbidden),
        (manager, agent.id, Forbidden),
        (manager, strong.id, Forbidden),
        (strong, gone.id, Forbidden),
        (world.admin, manager.id, Forbidden),
        (manager, gone.id, NotFound),
        (manager, foreign.id, NotFound),
        (manager, customer.id, NotFound),
        (manager, new_id(), NotFound),
        (customer, None, Forbidden),
    ]
    for caller, user_id, refusal in cases:
        async with refuses(world, refusal):
            await create_api_token(Call(caller), name="Sync", user_id=user_id)
    for days in (0, -1, 367):
        async with refuses(world, InvalidInput) as caught:
            await create_api_token(Call(agent), name="Sync", days=days)
        assert caught.value.field == ("expiresInDays",)
    async with refuses(world, InvalidInput):
        await create_api_token(Call(agent), name=" ")


async def test_a_secret_is_told_once(world: World) -> None:
    """R37: a repeated call learns which token it made, and not its secret, which is not kept."""
    agent = await world.agent()
    call = Call(agent, idempotency_key="sync")
    outcomes = await asyncio.gather(*(create_api_token(call, name="Sync") for _ in range(3)))
    assert len({token_id for token_id, _ in outcomes}) == 1
    [secret] = [secret for _, secret in outcomes if secret is not None]
    assert await authenticate(secret, utc_now()) is not None
    assert await Token.filter(account_id=world.id).count() == 1
    [record] = await IdempotencyRecord.filter(account_id=world.id)
    assert record.result == {"token_id": str(outcomes[0][0])}
    assert await create_api_token(call, name="Sync") == (outcomes[0][0], None)


async def test_tokens_are_listed_for_their_owner_and_who_manages_people(world: World, other_world: World) -> None:
    """R27: customers' widgets have tokens, too, which are nobody's business here."""
    agent, customer = await world.agent(), await world.customer()
    mine, _ = await create_api_token(Call(agent), name="Mine")
    admins, _ = await create_api_token(Call(world.admin), name="Admin's")
    await create_api_token(Call(other_world.admin), name="Foreign")
    await issue_token(await User.get(id=customer.id), "Widget", utc_now())

    async def listed(actor: Actor) -> list[UUID]:
        return [token.id for token in await tokens_page(actor, 9, None)]

    assert await listed(world.admin) == [admins, mine]
    assert await listed(await world.agent(permissions=MANAGER)) == [admins, mine]
    assert await listed(agent) == [mine]
    await revoke_token(Call(world.admin), mine)
    assert await listed(agent) == [mine]  # what it was stays to be seen


async def test_scopes_are_what_the_role_allows_now(world: World) -> None:
    """R25: a token has no rights of its own."""
    agent = await world.agent(permissions=LIGHT)
    user = await User.get(id=agent.id)
    assert scopes_of(user, await Role.get(id=user.role_id)) == sorted(LIGHT)
    admin = await User.get(id=world.admin.id)
    assert scopes_of(admin, None) == sorted(Permission)


async def test_only_who_manages_people_changes_teams(world: World, other_world: World) -> None:
    """R8's sister, R27."""
    group, company = await world.group(), await world.organization()
    verbs: list[Callable[[Call], Awaitable[Any]]] = [
        lambda call: save_group(call, name="New"),
        lambda call: save_group(call, name="New", group_id=group.id),
        lambda call: delete_group(call, group.id),
        lambda call: save_organization(call, name="New"),
        lambda call: save_organization(call, name="New", organization_id=company.id),
        lambda call: delete_organization(call, company.id),
    ]
    partner = await world.agent(permissions=frozenset(Permission), kind=UserKind.PARTNER)
    for caller in (await world.agent(), await world.agent(permissions=EDITOR), await world.customer(), partner):
        for verb in verbs:
            async with refuses(world, Forbidden):
                await verb(Call(caller))
    before = await directory(world)
    for number in (1, 2, 4, 5):
        async with refuses(other_world, NotFound):
            await verbs[number](Call(other_world.admin))
    assert await directory(world) == before
    manager = await world.agent(access=TicketAccess.ASSIGNED, permissions=MANAGER)
    for number in (1, 2, 4, 5):
        await verbs[number](Call(manager))


async def test_an_end_user_is_nobody_who_works_here(world: World) -> None:
    """And the other way round: neither verb turns one into the other."""
    agent, customer = await world.agent(), await world.customer()
    async with refuses(world, NotFound):
        await save_end_user(Call(world.admin), {"name": "New"}, user_id=agent.id)
    async with refuses(world, NotFound):
        await save_agent(Call(world.admin), {"name": "New"}, user_id=customer.id)
