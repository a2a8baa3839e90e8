"""Customers as those who answer see them: finding them, making and changing them."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from tortoise.expressions import Q, Subquery
from tortoise.queryset import QuerySet

from domain.actors import Actor
from domain.agents import SavedPerson
from domain.changes import changes_between
from domain.errors import Forbidden, InvalidInput, NotFound
from domain.idempotency import once
from domain.keyset import beyond
from domain.locks import confirm_actor, lock_user
from domain.names import LONGEST_PERSON, check_address_is_free, clean_address, clean_name
from domain.organizations import known_organizations
from domain.transactions import Call, Transaction
from domain.visibility import visible_tickets
from models import Permission, User, UserKind, new_id

FIELDS = ("name", "email", "email_verified", "organization_id")
LONGEST_SEARCH = 200


def known_people(actor: Actor, among: list[UUID] | None = None) -> QuerySet[User]:
    """Whom the actor may look up (of these, or of all): those who work here, and customers of tickets that he may see.

    Who manages people knows all customers, also those who never wrote.
    """
    people, tickets = User.filter(account_id=actor.account_id), visible_tickets(actor)
    if among is not None:
        people, tickets = people.filter(id__in=among), tickets.filter(requester_id__in=among)
    if actor.is_staff and actor.may(Permission.MANAGE_PEOPLE):
        return people
    return people.filter(~Q(kind=UserKind.END_USER) | Q(id__in=Subquery(tickets.values("requester_id"))))


async def end_users_page(
    actor: Actor, first: int, after: tuple[str, UUID] | None, *, search: str | None = None
) -> list[User]:
    """Up to first + 1 of the customers whom the actor knows, by name; `search` is a part of a name or an address.

    Raises Forbidden, InvalidInput.
    """
    looks_up = (Permission.EDIT_TICKETS, Permission.EDIT_END_USERS, Permission.MANAGE_PEOPLE)
    if not (actor.is_staff and any(map(actor.may, looks_up))):
        raise Forbidden
    rows = known_people(actor).filter(beyond("name", after, descending=False), kind=UserKind.END_USER)
    if search is not None:
        text = search.strip()
        if not 0 < len(text) <= LONGEST_SEARCH:
            raise InvalidInput(f"Search for 1 to {LONGEST_SEARCH} characters.", field=("search",))
        rows = rows.filter(Q(name__icontains=text) | Q(email__icontains=text))
    return await rows.order_by("name", "id").limit(first + 1)


def check_can_edit_end_users(actor: Actor) -> None:
    """Raises Forbidden."""
    rights = (Permission.EDIT_END_USERS, Permission.MANAGE_PEOPLE)
    if not (actor.is_staff and any(map(actor.may, rights))):
        raise Forbidden


async def save_end_user(call: Call, values: dict[str, Any], *, user_id: UUID | None = None) -> SavedPerson:
    """Make a customer, or change one whom the actor knows. His tickets keep the organisation that they have.

    `values` maps names of FIELDS to new values; what is left out stays. A new address is not verified unless the
    same call says so. Raises Forbidden, NotFound, InvalidInput.
    """
    values = _checked(values, new=user_id is None)

    async def work(tx: Transaction) -> SavedPerson:
        actor = await confirm_actor(tx)
        check_can_edit_end_users(actor)
        user = User(id=new_id(), account_id=tx.account_id, kind=UserKind.END_USER, name="", created_at=tx.now)
        before: dict[str, Any] = {"emailVerified": False}
        if user_id is not None:
            user = await _lock_known(tx, user_id)
            before = _stored(user)
        await _set(tx, user, values)
        changes = changes_between(before, _stored(user))
        if changes:
            await user.save()
            action = "END_USER_CREATED" if user_id is None else "END_USER_CHANGED"
            await tx.log(action, f"User {user.id}", changes)
        return SavedPerson(user.id)

    inputs = {"user_id": str(user_id), "values": {name: str(value) for name, value in values.items()}}
    return await once(call, "saveEndUser", inputs, SavedPerson, work)


async def _lock_known(tx: Transaction, user_id: UUID) -> User:
    if not await known_people(tx.actor, [user_id]).filter(kind=UserKind.END_USER).exists():
        raise NotFound
    return await lock_user(tx, user_id)


def _checked(values: dict[str, Any], *, new: bool) -> dict[str, Any]:
    checked = dict(values)
    if new or "name" in values:
        checked["name"] = clean_name(values.get("name"), longest=LONGEST_PERSON)
    if values.get("email") is not None:
        checked["email"] = clean_address(values["email"])
    if "email_verified" in values and values["email_verified"] is None:
        raise InvalidInput("An address is verified or not.", field=("emailVerified",))
    return checked


async def _set(tx: Transaction, user: User, values: dict[str, Any]) -> None:
    user.name = values.get("name", user.name)
    if "email" in values and values["email"] != user.email:
        if values["email"] is not None:
            await check_address_is_free(tx.account_id, values["email"], but=user.id)
        user.email, user.email_verified = values["email"], False
    user.email_verified = values.get("email_verified", user.email_verified)
    if user.email_verified and user.email is None:
        raise InvalidInput("There is no address that could be verified.", field=("emailVerified",))
    if "organization_id" in values:
        user.organization_id = values["organization_id"]
        known = known_organizations(tx.actor).filter(id=user.organization_id)
        if user.organization_id is not None and not await known.exists():
            raise NotFound("There is no such organisation.", field=("organizationId",))


def _stored(user: User) -> dict[str, Any]:
    return {
        "name": user.name,
        "email": user.email,
        "emailVerified": user.email_verified,
        "organization": str(user.organization_id) if user.organization_id else None,
    }
