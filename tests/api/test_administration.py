"""The admin console through the API: each operation, as a client sends it and as the log tells of it."""

from __future__ import annotations

from typing import Any

import pytest

from domain.actors import Actor
from models import Group, Permission, TicketAccess, User, UserKind, new_id, utc_now
from tests.api.covered import codes, covers, moment, user_id
from tests.api.stage import gid
from tests.client import Client
from tests.conftest import SignIn
from tests.delivery.stage import Stage, changes, refusal_of, ticket_id
from tests.domain.test_administration import directory
from tests.factories import AGENT, LIGHT, World, authenticate

AGENT_PARTS = "id name email kind active role { name } groups { name } organizations { name } user { id role }"
ANSWERS = {
    "saveAgent": f"agent {{ {AGENT_PARTS} }}",
    "deactivateAgent": "agent { id active }",
    "reactivateAgent": "agent { id active }",
    "saveEndUser": "endUser { id name email emailVerified organization { name } }",
    "saveRole": "role { id name ticketAccess permissions holderCount }",
    "deleteRole": "deleted",
    "saveGroup": "group { id name members { name } }",
    "deleteGroup": "deleted",
    "saveOrganization": "organization { id name }",
    "deleteOrganization": "deleted",
    "deleteMacro": "deleted",
    "createApiToken": "apiToken { id name prefix scopes createdAt expiresAt revokedAt user { name } } secret",
    "revokeApiToken": "apiToken { id revokedAt }",
}


async def do(client: Client, mutation: str, **input: Any) -> dict[str, Any]:
    """The payload of a mutation."""
    kind = f"{mutation[0].upper()}{mutation[1:]}Input!"
    errors = "userErrors { code message field } clientMutationId"
    text = f"mutation ($input: {kind}) {{ {mutation}(input: $input) {{ {ANSWERS[mutation]} {errors} }} }}"
    answer = await client.ask(text, {"input": input})
    assert "errors" not in answer, answer["errors"]
    payload: dict[str, Any] = answer["data"][mutation]
    return payload


async def done(client: Client, mutation: str, **input: Any) -> Any:
    """What a mutation answers first, after it was no refusal."""
    payload = await do(client, mutation, **input)
    assert payload["userErrors"] == [], payload
    return next(iter(payload.values()))


async def asked(client: Client, text: str, **variables: Any) -> Any:
    """The data of a query with one field."""
    answer = await client.ask(text, variables)
    assert "errors" not in answer, answer["errors"]
    (value,) = answer["data"].values()
    return value


def nodes(connection: dict[str, Any]) -> list[dict[str, Any]]:
    return [edge["node"] for edge in connection["edges"]]


def agent_id(actor: Actor) -> str:
    return gid("Agent", actor.id)


async def test_an_account_is_built_from_nothing(world: World, sign_in: SignIn) -> None:
    """S1: a role, a group, an organisation, somebody in all of them; each line of the log names what it changed."""
    admin = await sign_in(world.admin)
    permissions = ["EDIT_TICKETS", "PUBLIC_COMMENTS"]
    role = await done(admin, "saveRole", name="Clerks", ticketAccess="GROUPS", permissions=permissions)
    group = await done(admin, "saveGroup", name="Billing")
    company = await done(admin, "saveOrganization", name="Initech")
    agent = await done(
        admin,
        "saveAgent",
        name="Nina New",
        email="nina@acme.example",
        roleId=role["id"],
        groupIds=[group["id"]],
        organizationIds=[company["id"]],
    )
    user = await User.get(account_id=world.id, email="nina@acme.example")
    assert agent == {
        "id": gid("Agent", user.id),
        "name": "Nina New",
        "email": "nina@acme.example",
        "kind": "AGENT",
        "active": True,
        "role": {"name": "Clerks"},
        "groups": [{"name": "Billing"}],
        "organizations": [{"name": "Initech"}],
        "user": {"id": gid("User", user.id), "role": "AGENT"},
    }
    (clerks,) = await asked(admin, "{ roles { name ticketAccess permissions holderCount } }")
    assert clerks == {"name": "Clerks", "ticketAccess": "GROUPS", "permissions": permissions, "holderCount": 1}
    (billing,) = nodes(await asked(admin, "{ groups(first: 9) { edges { node { name members { id name } } } } }"))
    assert billing == {"name": "Billing", "members": [{"id": gid("User", user.id), "name": "Nina New"}]}
    assert nodes(await asked(admin, "{ organizations(first: 9) { edges { node { name } } } }")) == [{"name": "Initech"}]
    log = "{ auditLog(first: 9) { edges { node { action targetId changes { field from to } } } } }"
    made, *others = nodes(await asked(admin, log))
    assert [(line["action"], line["targetId"]) for line in others] == [
        ("ORGANIZATION_CREATED", company["id"]),
        ("GROUP_CREATED", group["id"]),
        ("ROLE_CREATED", role["id"]),
    ]
    assert (made["action"], made["targetId"]) == ("AGENT_CREATED", gid("User", user.id))
    assert {change["field"]: (change["from"], change["to"]) for change in made["changes"]} == {
        "name": (None, None),
        "email": (None, None),
        "kind": (None, "AGENT"),
        "role": (None, role["id"]),
        "ticketAccess": (None, "GROUPS"),
        "permissions": ("", "EDIT_TICKETS, PUBLIC_COMMENTS"),
        "groups": ("", group["id"]),
        "organizations": ("", company["id"]),
        "active": (None, "true"),
    }


async def test_what_is_left_out_stays_and_null_empties(world: World, sign_in: SignIn) -> None:
    """S1: one field at a time; an admin has no role and gets none."""
    admin, group = await sign_in(world.admin), await world.group("Billing")
    agent = await world.agent("Alex", groups=(group,))
    identifier = agent_id(agent)
    shown = await done(admin, "saveAgent", agentId=identifier, name="Alexandra", clientMutationId="m")
    assert (shown["name"], shown["groups"]) == ("Alexandra", [{"name": "Billing"}])
    shown = await done(admin, "saveAgent", agentId=identifier, groupIds=[])
    assert (shown["name"], shown["groups"]) == ("Alexandra", [])
    shown = await done(admin, "saveAgent", agentId=identifier, kind="ADMIN")
    assert (shown["kind"], shown["role"]) == ("ADMIN", None)
    cases: list[tuple[dict[str, Any], str, list[str]]] = [
        ({"name": None}, "INVALID_INPUT", ["name"]),
        ({"email": None}, "INVALID_INPUT", ["email"]),
        ({"email": "ada@acme.example"}, "INVALID_INPUT", ["email"]),
        ({"kind": "END_USER"}, "INVALID_INPUT", ["kind"]),
        ({"kind": "AGENT"}, "INVALID_INPUT", ["roleId"]),
        ({"groupIds": None}, "INVALID_INPUT", ["groupIds"]),
        ({"groupIds": [gid("Group", new_id())]}, "NOT_FOUND", ["groupIds"]),
        ({"kind": "AGENT", "roleId": gid("Role", new_id())}, "NOT_FOUND", ["roleId"]),
        ({"organizationIds": [gid("Group", group.id)]}, "INVALID_ID", ["organizationIds"]),
    ]
    for input, code, field in cases:
        before = await directory(world)
        payload = await do(admin, "saveAgent", agentId=identifier, **input)
        assert (payload["agent"], codes(payload)) == (None, [(code, field)]), input
        assert await directory(world) == before


async def test_somebody_goes_and_comes_back(world: World, sign_in: SignIn) -> None:
    """R25: his token is refused at once and for ever; who manages people finds him among the deactivated."""
    admin, agent = await sign_in(world.admin), await world.agent("Alex")
    his, identifier = await sign_in(agent), agent_id(agent)
    gone = "{ agents(first: 9, active: false) { edges { node { id name active } } } }"
    one = "query ($id: ID!) { agent(id: $id) { id } }"
    for _ in range(2):
        assert await done(admin, "deactivateAgent", agentId=identifier) == {"id": identifier, "active": False}
    assert (await his.post("{ viewer { user { id } } }")).status_code == 401
    assert nodes(await asked(admin, gone)) == [{"id": identifier, "name": "Alex", "active": False}]
    assert await asked(admin, one, id=identifier) == {"id": identifier}
    colleague = await sign_in(await world.agent("Cory"))
    assert await asked(colleague, one, id=identifier) is None
    for _ in range(2):
        assert await done(admin, "reactivateAgent", agentId=identifier) == {"id": identifier, "active": True}
    assert (await his.post("{ viewer { user { id } } }")).status_code == 401
    assert (await (await sign_in(agent)).post("{ viewer { user { id } } }")).status_code == 200
    payload = await do(admin, "deactivateAgent", agentId=agent_id(world.admin))
    assert (payload["agent"], codes(payload)) == (None, [("FORBIDDEN", [])])
    assert await asked(colleague, one, id=identifier) == {"id": identifier}


async def test_roles_are_changed_and_deleted(world: World, sign_in: SignIn) -> None:
    """S1: a new role is whole; a change says what changes; one that somebody has stays."""
    admin, agent = await sign_in(world.admin), await world.agent(permissions=LIGHT)
    role = gid("Role", (await User.get(id=agent.id)).role_id)
    shown = await done(admin, "saveRole", roleId=role, name="Readers", permissions=[])
    assert shown == {"id": role, "name": "Readers", "ticketAccess": "ALL", "permissions": [], "holderCount": 1}
    whole: dict[str, Any] = {"name": "R", "ticketAccess": "ALL", "permissions": []}
    for missing in whole:
        payload = await do(admin, "saveRole", **{name: value for name, value in whole.items() if name != missing})
        assert codes(payload) == [("INVALID_INPUT", [missing])]
    assert codes(await do(admin, "deleteRole", roleId=role)) == [("INVALID_INPUT", ["roleId"])]
    await done(admin, "saveAgent", agentId=agent_id(agent), kind="ADMIN")
    assert await done(admin, "deleteRole", roleId=role) is True
    assert codes(await do(admin, "deleteRole", roleId=role)) == [("NOT_FOUND", [])]


async def test_groups_organisations_and_macros_go(world: World, sign_in: SignIn) -> None:
    """S1, R113: what is in use stays, with a sentence that says what uses it."""
    admin, group, company = await sign_in(world.admin), await world.group(), await world.organization()
    ticket = await world.live_ticket(group=group, organization_id=company.id)
    ids = {"deleteGroup": gid("Group", group.id), "deleteOrganization": gid("Organization", company.id)}
    for mutation, name in (("deleteGroup", "groupId"), ("deleteOrganization", "organizationId")):
        payload = await do(admin, mutation, **{name: ids[mutation]})
        assert (payload["deleted"], codes(payload)) == (False, [("INVALID_INPUT", [name])])
        assert payload["userErrors"][0]["message"].startswith("1 tickets ")
    await type(ticket).filter(id=ticket.id).update(group_id=None, organization_id=None)
    for mutation, name in (("deleteGroup", "groupId"), ("deleteOrganization", "organizationId")):
        assert await done(admin, mutation, **{name: ids[mutation]}) is True
    saved = await admin.do("SaveMacro", title="Bye", actions=[{"kind": "END_SESSION"}], shared=True)
    light = await sign_in(await world.agent())
    macro = saved["macro"]["id"]
    assert codes(await do(light, "deleteMacro", macroId=macro)) == [("FORBIDDEN", [])]
    assert await done(admin, "deleteMacro", macroId=macro) is True
    assert codes(await do(admin, "deleteMacro", macroId=macro)) == [("NOT_FOUND", [])]


async def test_customers_are_made_found_and_changed(world: World, sign_in: SignIn) -> None:
    """S1: by name or address, page by page; the id is that of the User."""
    admin, company = await sign_in(world.admin), await world.organization("Initech")
    made = [
        await done(admin, "saveEndUser", name=name, email=f"{name}@shop.example", emailVerified=True)
        for name in ("cleo", "cora", "dora")
    ]
    changed = await done(
        admin, "saveEndUser", userId=made[0]["id"], organizationId=gid("Organization", company.id), name="Cleo"
    )
    assert changed == {**made[0], "name": "Cleo", "organization": {"name": "Initech"}}
    find = """query ($first: Int!, $after: String, $search: String) {
        endUsers(first: $first, after: $after, search: $search) {
          pageInfo { hasNextPage endCursor } edges { node { id name organization { name } } } } }"""
    page = await asked(admin, find, first=1, search="C")
    assert [node["name"] for node in nodes(page)] == ["Cleo"]
    rest = await asked(admin, find, first=9, after=page["pageInfo"]["endCursor"], search="c")
    assert nodes(rest) == [{"id": made[1]["id"], "name": "cora", "organization": None}]
    assert rest["pageInfo"]["hasNextPage"] is False
    assert await asked(admin, "query ($id: ID!) { node(id: $id) { id } }", id=made[2]["id"]) == {"id": made[2]["id"]}
    narrow = await sign_in(await world.agent(access=TicketAccess.ASSIGNED))
    assert nodes(await asked(narrow, find, first=9)) == []


@covers("CreateApiToken", "RevokeApiToken")
async def test_a_partner_rotates_his_token(world: World, sign_in: SignIn) -> None:
    """R25: made, used, revoked; the secret is shown once, and never again in any list or log."""
    partner = await world.agent("Parcels", permissions=AGENT, kind=UserKind.PARTNER)
    client = await sign_in(partner)
    made = await client.do("CreateApiToken", name="Nightly", expiresInDays=30, idempotencyKey="k")
    token, secret = made["apiToken"], made["secret"]
    assert token.keys() == {"id", "name", "prefix", "scopes", "expiresAt"}
    assert (token["name"], token["scopes"]) == ("Nightly", sorted(AGENT))
    assert secret.startswith(token["prefix"] + "_")
    again = await client.do("CreateApiToken", name="Nightly", expiresInDays=30, idempotencyKey="k")
    assert (again["apiToken"], again["secret"], again["userErrors"]) == (token, None, [])
    renewed = Client(client.app, secret)
    listed = "{ tokens(first: 9) { edges { node { id name prefix createdAt expiresAt revokedAt user { id } } } } }"
    rows = nodes(await asked(renewed, listed))
    assert (rows[0]["id"], rows[0]["revokedAt"], rows[0]["user"]) == (token["id"], None, {"id": user_id(partner)})
    assert len(rows) == 2
    assert secret.rsplit("_", 1)[1] not in str(rows) + str([entry.changes for entry in await world.log()])
    assert await renewed.do("RevokeApiToken", tokenId=token["id"]) == {"userErrors": []}
    assert await authenticate(secret, utc_now()) is None
    assert (await renewed.post(listed)).status_code == 401
    assert [(entry.action, entry.actor_id) for entry in await world.log()] == [
        ("TOKEN_CREATED", partner.id),
        ("TOKEN_REVOKED", partner.id),
    ]


async def test_an_admin_makes_a_partner_and_his_token(world: World, sign_in: SignIn) -> None:
    """R25: and sees and revokes everybody's."""
    admin, role = await sign_in(world.admin), await world.role()
    partner = await done(admin, "saveAgent", name="Parcels", kind="PARTNER", roleId=gid("Role", role.id))
    payload = await do(admin, "createApiToken", name="Sync", userId=partner["user"]["id"])
    token = payload["apiToken"]
    assert (token["user"], token["scopes"]) == ({"name": "Parcels"}, sorted(AGENT))
    assert await asked(Client(admin.app, payload["secret"]), "{ viewer { user { id } } }") == {
        "user": {"id": partner["user"]["id"]}
    }
    partners = "{ agents(first: 9, partners: true) { edges { node { name kind } } } }"
    assert nodes(await asked(admin, partners)) == [{"name": "Parcels", "kind": "PARTNER"}]
    revoked = await done(admin, "revokeApiToken", tokenId=token["id"])
    assert revoked["revokedAt"] is not None
    assert await done(admin, "revokeApiToken", tokenId=token["id"]) == revoked
    for days in (0, 367):
        refused = await do(admin, "createApiToken", name="Sync", expiresInDays=days)
        assert (refused["secret"], codes(refused)) == (None, [("INVALID_INPUT", ["expiresInDays"])])


async def test_an_admin_of_another_account_finds_nothing(world: World, other_world: World, sign_in: SignIn) -> None:
    """R27: with every right at home, and the ids of what is here."""
    stranger, agent = await sign_in(other_world.admin), await world.agent(kind=UserKind.AGENT)
    partner = await world.agent("Parcels", kind=UserKind.PARTNER)
    customer, group, company = await world.customer(), await world.group(), await world.organization()
    role = await world.role()
    saved = await (await sign_in(world.admin)).do(
        "SaveMacro", title="Bye", actions=[{"kind": "END_SESSION"}], shared=True
    )
    calls: list[tuple[str, dict[str, Any]]] = [
        ("saveAgent", {"agentId": agent_id(agent), "name": "x"}),
        ("deactivateAgent", {"agentId": agent_id(agent)}),
        ("reactivateAgent", {"agentId": agent_id(agent)}),
        ("saveAgent", {"name": "x", "email": "x@globex.example", "roleId": gid("Role", role.id)}),
        ("saveEndUser", {"userId": user_id(customer), "name": "x"}),
        ("saveEndUser", {"name": "x", "organizationId": gid("Organization", company.id)}),
        ("saveRole", {"roleId": gid("Role", role.id), "name": "x"}),
        ("deleteRole", {"roleId": gid("Role", role.id)}),
        ("saveGroup", {"groupId": gid("Group", group.id), "name": "x"}),
        ("deleteGroup", {"groupId": gid("Group", group.id)}),
        ("saveOrganization", {"organizationId": gid("Organization", company.id), "name": "x"}),
        ("deleteOrganization", {"organizationId": gid("Organization", company.id)}),
        ("deleteMacro", {"macroId": saved["macro"]["id"]}),
        ("createApiToken", {"userId": user_id(partner), "name": "x"}),
    ]
    before, there = await directory(world), await directory(other_world)
    for mutation, input in calls:
        payload = await do(stranger, mutation, **input)
        assert [code for code, _ in codes(payload)] == ["NOT_FOUND"], (mutation, input)
    assert await asked(stranger, "query ($id: ID!) { agent(id: $id) { id } }", id=agent_id(agent)) is None
    assert (await directory(world), await directory(other_world)) == (before, there)


async def test_a_manager_does_not_climb(world: World, sign_in: SignIn) -> None:
    """S1: neither himself nor through somebody new, whatever he tries."""
    manager = await world.agent("Mia", permissions=AGENT | {Permission.MANAGE_PEOPLE})
    client, auditor = await sign_in(manager), await world.role(TicketAccess.ALL, frozenset({Permission.VIEW_AUDIT_LOG}))
    his = gid("Role", (await User.get(id=manager.id)).role_id)
    new = {"name": "x", "email": "x@acme.example"}
    everything = [permission.value for permission in Permission]
    attempts: list[tuple[str, dict[str, Any]]] = [
        ("saveAgent", {"agentId": agent_id(manager), "kind": "ADMIN"}),
        ("saveAgent", {"agentId": agent_id(manager), "roleId": gid("Role", auditor.id)}),
        ("saveAgent", {"agentId": agent_id(world.admin), "email": "mia@evil.example"}),
        ("saveAgent", {**new, "kind": "ADMIN"}),
        ("saveAgent", {**new, "roleId": gid("Role", auditor.id)}),
        ("saveRole", {"roleId": his, "permissions": everything}),
        ("saveRole", {"name": "x", "ticketAccess": "ALL", "permissions": everything}),
        ("deactivateAgent", {"agentId": agent_id(world.admin)}),
        ("createApiToken", {"name": "x", "userId": user_id(world.admin)}),
    ]
    before = await directory(world)
    for mutation, input in attempts:
        payload = await do(client, mutation, **input)
        assert codes(payload) == [("FORBIDDEN", [])], (mutation, input)
    assert await directory(world) == before


async def test_a_refused_change_is_no_line_of_the_log(world: World, sign_in: SignIn) -> None:
    """R6: and the line of the one that was made names its target by a global id."""
    admin = await sign_in(world.admin)
    await done(admin, "saveGroup", name="Billing")
    await do(admin, "saveGroup", name="Billing")
    [entry] = await world.log()
    page = await asked(admin, "{ auditLog(first: 9) { edges { node { at target targetId changes { field to } } } } }")
    assert nodes(page) == [
        {
            "at": moment(entry.at),
            "target": entry.target,
            "targetId": gid("Group", (await Group.get(account_id=world.id)).id),
            "changes": [{"field": "name", "to": "Billing"}],
        }
    ]


TAKE = "mutation ($input: %sInput!) { %s(input: $input) { userErrors { code } } }"


@pytest.mark.parametrize("loss", ["group", "role"])
async def test_what_the_console_takes_leaves_the_screens(loss: str, world: World, sign_in: SignIn, app: Any) -> None:
    """R154: the row is removed without content, the ticket's stream ends with ACCESS_REVOKED."""
    stage, group = Stage(app, world, sign_in), await world.group()
    agent = await world.agent(access=TicketAccess.GROUPS, groups=(group,))
    ticket = await world.live_ticket(group=group)
    role = gid("Role", (await User.get(id=agent.id)).role_id)
    async with (
        stage.hearing(agent, "TicketActivity", ticketId=ticket_id(ticket)) as activity,
        stage.hearing(agent, "Inbox") as inbox,
    ):
        if loss == "group":
            await stage.do(
                world.admin, TAKE % ("SaveAgent", "saveAgent"), agentId=agent_id(agent), groupIds=[], name="Also"
            )
        else:
            await stage.do(world.admin, TAKE % ("SaveRole", "saveRole"), roleId=role, ticketAccess="ASSIGNED")
        removed = await inbox.next()
        assert changes([removed]) == [("REMOVED", ticket_id(ticket))]
        assert removed["ticket"] is None
        await world.comment(ticket, world.admin, "secret")
        (error,) = await refusal_of(activity)
        assert error["extensions"]["code"] == "ACCESS_REVOKED"
        await stage.silent(inbox)
