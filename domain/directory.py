"""Reading the account: its people, groups, roles, macros, settings and log, for those who may."""

from __future__ import annotations

from datetime import datetime
from typing import TypeVar
from uuid import UUID

from tortoise.queryset import QuerySet

from domain.actors import Actor
from domain.errors import Forbidden, NotFound
from domain.keyset import beyond
from domain.macros import usable_macros
from domain.organizations import known_organizations
from domain.settings import check_can_read_settings
from models import (
    Account,
    AccountSettings,
    AuditLogEntry,
    Group,
    LedgerEntry,
    Macro,
    Organization,
    Permission,
    Role,
    User,
    UserKind,
)
from models.base import Row

RowT = TypeVar("RowT", bound=Row)
Named = tuple[str, UUID] | None


async def account_of(actor: Actor) -> Account:
    """The account that the actor acts in."""
    return await Account.get(id=actor.account_id)


async def user_of(actor: Actor) -> User:
    """The user that the actor is."""
    return await User.get(id=actor.id, account_id=actor.account_id)


async def settings_of(actor: Actor) -> AccountSettings:
    """The account's settings. Raises Forbidden."""
    check_can_read_settings(actor)
    return await AccountSettings.get(account_id=actor.account_id)


async def _by_name(rows: QuerySet[RowT], first: int, after: Named, column: str = "name") -> list[RowT]:
    rows = rows.filter(beyond(column, after, descending=False))
    return await rows.order_by(column, "id").limit(first + 1)


async def agents_page(
    actor: Actor, first: int, after: Named, *, active: bool = True, partners: bool = False
) -> list[User]:
    """Up to first + 1 of those who answer, by name; or of the integration partners, or of those who are deactivated.

    Raises Forbidden for those two, which are for who manages people.
    """
    if (partners or not active) and not actor.may(Permission.MANAGE_PEOPLE):
        raise Forbidden
    kinds = [UserKind.PARTNER] if partners else [UserKind.AGENT, UserKind.ADMIN]
    return await _by_name(User.filter(account_id=actor.account_id, active=active, kind__in=kinds), first, after)


async def agent_of(actor: Actor, user_id: UUID) -> User | None:
    """Somebody of `agents_page`, or None."""
    staff = User.filter(account_id=actor.account_id).exclude(kind=UserKind.END_USER)
    if not actor.may(Permission.MANAGE_PEOPLE):
        staff = staff.filter(active=True, kind__in=[UserKind.AGENT, UserKind.ADMIN])
    return await staff.get_or_none(id=user_id)


async def organizations_page(actor: Actor, first: int, after: Named) -> list[Organization]:
    """Up to first + 1 of the organisations that the actor knows, by name."""
    return await _by_name(known_organizations(actor), first, after)


async def groups_page(actor: Actor, first: int, after: Named) -> list[Group]:
    """Up to first + 1 groups, by name."""
    return await _by_name(Group.filter(account_id=actor.account_id), first, after)


async def macros_page(actor: Actor, first: int, after: Named) -> list[Macro]:
    """Up to first + 1 of the macros that the actor may use, by title."""
    return await _by_name(usable_macros(actor), first, after, column="title")


async def roles_of(actor: Actor) -> list[Role]:
    """All roles of the account, by name."""
    return await Role.filter(account_id=actor.account_id).order_by("name")


async def audit_log_page(actor: Actor, first: int, after: tuple[datetime, UUID] | None) -> list[AuditLogEntry]:
    """Up to first + 1 lines of the account's log, the newest first. Raises Forbidden."""
    if not actor.may(Permission.VIEW_AUDIT_LOG):
        raise Forbidden
    lines = AuditLogEntry.filter(account_id=actor.account_id).filter(beyond("at", after, descending=True))
    return await lines.order_by("-at", "-id").limit(first + 1)


async def capacity_ledger_page(actor: Actor, agent_id: UUID, first: int, before: int | None) -> list[LedgerEntry]:
    """Up to first + 1 lines of an agent's capacity ledger, the newest first: one's own, or with MANAGE_ROUTING (R99).

    Raises Forbidden, NotFound.
    """
    if agent_id != actor.id and not actor.may(Permission.MANAGE_ROUTING):
        raise Forbidden
    if not await User.exists(id=agent_id, account_id=actor.account_id):
        raise NotFound(field=("agentId",))
    lines = LedgerEntry.filter(account_id=actor.account_id, agent_id=agent_id)
    if before is not None:
        lines = lines.filter(sequence__lt=before)
    return await lines.order_by("-sequence").limit(first + 1)
