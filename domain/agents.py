"""Those who work in an account: making agents, admins and integration partners, changing them, letting them back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from domain.actors import load_access
from domain.authority import check_can_manage_people, check_within
from domain.changes import changes_between, person_to_json
from domain.errors import InvalidInput, NotFound
from domain.idempotency import once
from domain.locks import confirm_actor, hold_role
from domain.names import LONGEST_PERSON, check_address_is_free, clean_address, clean_name
from domain.people import (
    change_person,
    lock_staff,
    put_into_groups,
    put_into_organizations,
)
from domain.transactions import Call, Transaction, unit_of_work
from models import EventType, Token, User, UserKind, new_id

FIELDS = ("name", "email", "kind", "role_id", "group_ids", "organization_ids")
STAFF = (UserKind.AGENT, UserKind.ADMIN, UserKind.PARTNER)
NOBODY: dict[str, Any] = {"permissions": [], "groups": [], "organizations": []}
"""Somebody before he was there, for the log."""


@dataclass(frozen=True, slots=True)
class SavedPerson:
    """The verdict of saving somebody."""

    user_id: UUID


async def save_agent(call: Call, values: dict[str, Any], *, user_id: UUID | None = None) -> SavedPerson:
    """Make somebody who works here, or change him: all of it, or nothing, and his streams hear of it once.

    `values` maps names of FIELDS to new values: `kind` is a UserKind, `group_ids` and `organization_ids` are
    frozensets of exactly those that he is in. What is left out stays, and for somebody new is an agent in no group.
    Raises Forbidden, NotFound, InvalidInput.
    """
    values = _checked(values)
    if user_id is None:
        values = {"name": clean_name(None), **values} if "name" not in values else values
        values = {"kind": UserKind.AGENT, "role_id": None, "email": None} | values

    async def work(tx: Transaction) -> SavedPerson:
        check_can_manage_people(await confirm_actor(tx))
        if user_id is None:
            return SavedPerson(await _create(tx, values))

        async def change(tx: Transaction, user: User) -> None:
            await _set(tx, user, values)

        await change_person(tx, await lock_staff(tx, user_id), change, action="AGENT_CHANGED")
        return SavedPerson(user_id)

    inputs = {"user_id": str(user_id), "values": {name: _plain(value) for name, value in values.items()}}
    return await once(call, "saveAgent", inputs, SavedPerson, work)


def _plain(value: Any) -> Any:
    if isinstance(value, frozenset):
        return sorted(map(str, value))
    return None if value is None else str(value)


def _checked(values: dict[str, Any]) -> dict[str, Any]:
    checked = dict(values)
    if "name" in values:
        checked["name"] = clean_name(values["name"], longest=LONGEST_PERSON)
    if values.get("email") is not None:
        checked["email"] = clean_address(values["email"])
    if "kind" in values and values["kind"] not in STAFF:
        raise InvalidInput("Who works here is an agent, an admin or an integration partner.", field=("kind",))
    for name, argument in (("group_ids", "groupIds"), ("organization_ids", "organizationIds")):
        if name in values and values[name] is None:
            raise InvalidInput("This is a list; leave it out to keep it.", field=(argument,))
    return checked


async def _create(tx: Transaction, values: dict[str, Any]) -> UUID:
    user = User(
        id=new_id(),
        account_id=tx.account_id,
        kind=values["kind"],
        name=values["name"],
        email=None,
        email_verified=True,  # who makes him vouches for it
        created_at=tx.now,
    )
    await _set(tx, user, values)
    check_within(tx.actor, user.kind, await load_access(user))
    await tx.log("AGENT_CREATED", f"User {user.id}", changes_between(NOBODY, await person_to_json(user)))
    return user.id


async def _set(tx: Transaction, user: User, values: dict[str, Any]) -> None:
    await _set_kind(tx, user, values)
    if "email" in values and values["email"] != user.email:
        if values["email"] is not None:
            await check_address_is_free(tx.account_id, values["email"], but=user.id)
        user.email = values["email"]
    if user.email is None and user.kind is not UserKind.PARTNER:
        raise InvalidInput("Agents and admins have an e-mail address.", field=("email",))
    user.name = values.get("name", user.name)
    await user.save()
    if "group_ids" in values:
        await put_into_groups(tx, user, values["group_ids"])
    if "organization_ids" in values:
        await put_into_organizations(tx, user, values["organization_ids"])


async def _set_kind(tx: Transaction, user: User, values: dict[str, Any]) -> None:
    kind = values.get("kind", user.kind)
    if kind is not user.kind and UserKind.PARTNER in (kind, user.kind):
        raise InvalidInput("A partner is a program and stays one; make somebody new.", field=("kind",))
    user.kind = kind
    if "role_id" in values:
        user.role_id = values["role_id"]
    elif kind is UserKind.ADMIN:
        user.role_id = None
    if kind is UserKind.ADMIN:
        if user.role_id is not None:
            raise InvalidInput("An admin may do everything and has no role.", field=("roleId",))
    elif user.role_id is None:
        raise InvalidInput("Agents and partners have a role.", field=("roleId",))
    elif not await hold_role(tx, user.role_id):
        raise NotFound("There is no such role.", field=("roleId",))


async def reactivate(call: Call, user_id: UUID) -> None:
    """Give an agent his account back. Tokens of before stay worthless. Raises Forbidden, NotFound."""

    async def change(tx: Transaction, user: User) -> None:
        if not user.active:
            await _revoke_tokens(tx, user)
        user.active = True
        await user.save(update_fields=["active"])

    async def work(tx: Transaction) -> None:
        check_can_manage_people(await confirm_actor(tx))
        await change_person(tx, await lock_staff(tx, user_id), change)

    await unit_of_work(call, work)


async def _revoke_tokens(tx: Transaction, user: User) -> None:
    """Whoever held one when he left does not come back with him."""
    for token in await Token.filter(user_id=user.id, revoked_at=None).order_by("id"):
        token.revoked_at = tx.now
        await token.save(update_fields=["revoked_at"])
        await tx.log("TOKEN_REVOKED", f"Token {token.id}", [])
        tx.record(EventType.TOKEN_REVOKED, token=str(token.id), user=str(user.id))
