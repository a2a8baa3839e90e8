"""People: making accounts and users, and changing what somebody may reach."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from tortoise.expressions import Q, Subquery

from domain.actors import Access, Actor, access_to_json, load_access, load_actors
from domain.authority import check_can_manage_people, check_within
from domain.changes import access_of, changes_between, person_to_json, role_to_json
from domain.errors import Forbidden, NotFound
from domain.locks import confirm_actor, hold_role, lock_sessions, lock_tickets, lock_user
from domain.names import check_name_is_free, clean_name
from domain.tickets import set_field
from domain.transactions import Call, Transaction, unit_of_work
from domain.withdrawal import withdraw
from models import (
    Account,
    AccountSettings,
    CapacityRule,
    EventType,
    Group,
    GroupMembership,
    MessagingSession,
    Offer,
    Organization,
    OrganizationMembership,
    Permission,
    Role,
    SessionState,
    Ticket,
    TicketAccess,
    TicketCounter,
    TicketStatus,
    Token,
    User,
    UserKind,
    new_id,
)
from models.prepared import rows_anywhere_by

TOKEN_PREFIX = "dw"  # noqa: S105  # the public part
LONGEST_LIFE = timedelta(days=366)
LONGEST_TOKEN = 200
# What an agent gets by himself until an admin says otherwise.
DEFAULT_CHATS = 3
DEFAULT_EMAILS = 10


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """A new bearer token. `secret` is shown this once; only its hash is stored."""

    token_id: UUID
    secret: str


async def create_account(
    slug: str, name: str, now: datetime, *, messaging_enabled: bool = True, capacity: bool = True
) -> Account:
    """An account with its settings and counter, and (`capacity`) a default capacity rule.

    Called inside a unit of work or on an empty installation.
    """
    account = await Account.create(id=new_id(), slug=slug, name=name, created_at=now)
    await TicketCounter.create(id=new_id(), account_id=account.id)
    await AccountSettings.create(
        id=new_id(),
        account_id=account.id,
        messaging_enabled=messaging_enabled,
        messaging_enabled_at=now if messaging_enabled else None,
        messaging_updated_at=now,
        routing_updated_at=now,
    )
    if capacity:
        await CapacityRule.create(
            account_id=account.id,
            name="Default",
            is_default=True,
            messaging_limit=DEFAULT_CHATS,
            email_limit=DEFAULT_EMAILS,
            created_at=now,
        )
    return account


async def set_groups(call: Call, user_id: UUID, group_ids: frozenset[UUID]) -> None:
    """Put an agent into exactly these groups."""

    async def change(tx: Transaction, user: User) -> None:
        await put_into_groups(tx, user, group_ids)

    await _change_access(call, user_id, change)


async def set_organizations(call: Call, user_id: UUID, organization_ids: frozenset[UUID]) -> None:
    """Let an agent look after exactly these organisations."""

    async def change(tx: Transaction, user: User) -> None:
        await put_into_organizations(tx, user, organization_ids)

    await _change_access(call, user_id, change)


async def put_into_groups(tx: Transaction, user: User, group_ids: frozenset[UUID]) -> None:
    """The memberships of a locked agent, anew. Raises NotFound."""
    found = await Group.filter(id__in=list(group_ids), account_id=tx.account_id).count()
    if found != len(group_ids):
        raise NotFound("There is no such group.", field=("groupIds",))
    await GroupMembership.filter(user_id=user.id).delete()
    for group_id in sorted(group_ids):
        await GroupMembership.create(account_id=tx.account_id, user_id=user.id, group_id=group_id)


async def put_into_organizations(tx: Transaction, user: User, organization_ids: frozenset[UUID]) -> None:
    """The organisations that a locked agent looks after, anew. Raises NotFound."""
    found = await Organization.filter(id__in=list(organization_ids), account_id=tx.account_id).count()
    if found != len(organization_ids):
        raise NotFound("There is no such organisation.", field=("organizationIds",))
    await OrganizationMembership.filter(user_id=user.id).delete()
    for organization_id in sorted(organization_ids):
        await OrganizationMembership.create(account_id=tx.account_id, user_id=user.id, organization_id=organization_id)


async def set_role(call: Call, user_id: UUID, role_id: UUID) -> None:
    """Give an agent another role."""

    async def change(tx: Transaction, user: User) -> None:
        if not await hold_role(tx, role_id):
            raise NotFound("There is no such role.", field=("roleId",))
        user.role_id = role_id
        await user.save(update_fields=["role_id"])

    await _change_access(call, user_id, change)


async def deactivate(call: Call, user_id: UUID) -> None:
    """Take an agent's account away. His sockets close, his next call is refused.

    His unsolved tickets go back to the queue, and so do those whose session lives, which it goes on doing (R149).
    """

    async def change(tx: Transaction, user: User) -> None:
        user.active = False
        await user.save(update_fields=["active"])

    await _change_access(call, user_id, change, then=_return_tickets)


async def _return_tickets(tx: Transaction, user: User) -> None:
    """Nobody can be given another ticket of his at the same moment: whoever names an assignee holds him (his row)."""
    live = MessagingSession.filter(account_id=tx.account_id).exclude(state=SessionState.ENDED)
    unfinished = ~Q(status__in=[TicketStatus.SOLVED, TicketStatus.CLOSED]) | Q(
        conversation_id__in=Subquery(live.values("conversation_id"))
    )
    tickets = Ticket.filter(unfinished, assignee_id=user.id, account_id=tx.account_id)
    await lock_sessions(tx, MessagingSession.filter(conversation_id__in=Subquery(tickets.values("conversation_id"))))
    for ticket in await lock_tickets(tx, tickets):
        set_field(tx, ticket, "assignee_id", None)


async def _change_access(
    call: Call,
    user_id: UUID,
    change: Callable[[Transaction, User], Awaitable[None]],
    *,
    then: Callable[[Transaction, User], Awaitable[None]] | None = None,
) -> None:
    """`change_person` in a unit of work. `then` does what follows from it: his streams learn of the change first."""

    async def work(tx: Transaction) -> None:
        await tx.hold_settings()
        check_can_manage_people(await confirm_actor(tx))
        user = await lock_staff(tx, user_id)
        await change_person(tx, user, change)
        if then is not None:
            await then(tx, user)

    await unit_of_work(call, work)


async def lock_staff(tx: Transaction, user_id: UUID) -> User:
    """Somebody who works in the account, to change him. Raises NotFound."""
    user = await lock_user(tx, user_id)
    if user.kind is UserKind.END_USER:
        raise NotFound
    return user


async def change_person(
    tx: Transaction,
    user: User,
    change: Callable[[Transaction, User], Awaitable[None]],
    *,
    action: str = "ACCESS_CHANGED",
) -> None:
    """Change a locked agent: logged, and told to his live streams by an event in the same transaction.

    Raises Forbidden for what the actor may neither give nor take.
    """
    access, before = await load_access(user), await person_to_json(user)
    check_within(tx.actor, user.kind, access)
    await change(tx, user)
    now, after = await load_access(user), await person_to_json(user)
    check_within(tx.actor, user.kind, now)
    await _check_stays(tx, user, before)
    changes = changes_between(before, after)
    if changes:
        await tx.log(action, f"User {user.id}", changes)
    if access != now or before["active"] != user.active:
        await record_access(tx, user, access)


async def record_access(tx: Transaction, user: User, before: Access) -> None:
    """Tell an agent's live streams that what he reaches is no longer what it was; take back what was offered to him."""
    tx.record(EventType.AGENT_ACCESS_CHANGED, user=str(user.id), before=access_to_json(before), active=user.active)
    await withdraw(Offer.filter(agent_id=user.id), tx.now)


async def _check_stays(tx: Transaction, user: User, before: dict[str, Any]) -> None:
    """Nobody shuts himself out, and somebody can always administer the account. Raises Forbidden.

    Two admins who take each other away wait for each other's rows: one of them finds himself gone.
    """
    if user.active and user.kind.value == before["kind"]:
        return
    if user.id == tx.actor.id:
        raise Forbidden("You cannot deactivate yourself or change what you are. Ask another admin.")
    if before["kind"] == UserKind.ADMIN and before["active"]:
        admins = User.filter(account_id=tx.account_id, kind=UserKind.ADMIN, active=True)
        if not await admins.exclude(id=user.id).exists():
            raise Forbidden("An account keeps at least one active admin.")


async def update_role(
    call: Call,
    role_id: UUID,
    *,
    ticket_access: TicketAccess | None = None,
    permissions: frozenset[Permission] | None = None,
    name: str | None = None,
) -> None:
    """Change a role, for everybody who has it: one event for each of them. What is None stays.

    Raises NotFound, Forbidden, InvalidInput.
    """
    name = None if name is None else clean_name(name)

    async def work(tx: Transaction) -> None:
        check_can_manage_people(await confirm_actor(tx))
        # The users first, in the order of their ids, then the role: the order in which `confirm_actor` holds them.
        holders = User.filter(role_id=role_id, account_id=tx.account_id).order_by("id").select_for_update()
        await holders
        role = await Role.filter(id=role_id, account_id=tx.account_id).select_for_update().get_or_none()
        if role is None:
            raise NotFound
        check_within(tx.actor, UserKind.AGENT, access_of(role))
        # Again: whoever got the role before it was ours alone needs his event, too.
        before = {user: await load_access(user) for user in await holders}
        changes = await _change_role(tx, role, ticket_access, permissions, name)
        if changes:
            await tx.log("ROLE_CHANGED", f"Role {role.id}", changes)
        for user, access in before.items():
            now = await load_access(user)
            check_within(tx.actor, user.kind, now)
            if now != access:
                await record_access(tx, user, access)

    await unit_of_work(call, work)


async def _change_role(
    tx: Transaction,
    role: Role,
    ticket_access: TicketAccess | None,
    permissions: frozenset[Permission] | None,
    name: str | None,
) -> list[dict[str, Any]]:
    before = role_to_json(role)
    if name is not None and name != role.name:
        await check_name_is_free(Role.filter(account_id=tx.account_id), name, but=role.id)
    role.name = role.name if name is None else name
    role.ticket_access = ticket_access or role.ticket_access
    role.permissions = role.permissions if permissions is None else sorted(permissions)
    check_within(tx.actor, UserKind.AGENT, access_of(role))
    await role.save()
    return changes_between(before, role_to_json(role), personal=())


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


async def issue_token(user: User, name: str, now: datetime, *, life: timedelta = timedelta(days=90)) -> IssuedToken:
    """A new bearer token `dw_<id>_<secret>` for a user, valid for `life` (at most LONGEST_LIFE)."""
    secret = secrets.token_hex(32)
    token = await Token.create(
        id=new_id(),
        account_id=user.account_id,
        user_id=user.id,
        name=name,
        secret_sha256=_digest(secret),
        created_at=now,
        expires_at=now + min(life, LONGEST_LIFE),
    )
    return IssuedToken(token.id, f"{TOKEN_PREFIX}_{token.id.hex}_{secret}")


async def authenticate_all(bearers: Sequence[str], now: datetime) -> list[Actor | None]:
    """The actors behind bearer tokens, with at most five statements.

    None for each that is unknown, expired, revoked, or of somebody who is gone.
    """
    ids = {bearer: _token_id(bearer) for bearer in bearers}
    found: dict[UUID | None, Token] = {
        token.id: token for token in await rows_anywhere_by(Token, [*filter(None, ids.values())])
    }
    good = {bearer: token for bearer, name in ids.items() if (token := _good_token(bearer, found.get(name), now))}
    users = await rows_anywhere_by(User, [*{token.user_id for token in good.values()}])
    actors = {actor.id: actor for actor in await load_actors([user for user in users if user.active])}
    return [
        _with_token(actors.get(good[bearer].user_id), good[bearer]) if bearer in good else None for bearer in bearers
    ]


def _token_id(bearer: str) -> UUID | None:
    parts = bearer.split("_")
    if len(parts) != 3 or parts[0] != TOKEN_PREFIX or len(bearer) > LONGEST_TOKEN:
        return None
    try:
        return UUID(hex=parts[1])
    except ValueError:
        return None


def _good_token(bearer: str, token: Token | None, now: datetime) -> Token | None:
    # Compared even when there is no such token, so that both take the same time.
    secret = bearer[-LONGEST_TOKEN:].rpartition("_")[2]
    right = hmac.compare_digest(token.secret_sha256 if token else _digest(""), _digest(secret))
    if token is None or not right or token.revoked_at is not None or token.expires_at <= now:
        return None
    return token


def _with_token(actor: Actor | None, token: Token) -> Actor | None:
    return actor and replace(actor, token_id=token.id, token_expires_at=token.expires_at)


async def revoke_token(call: Call, token_id: UUID) -> None:
    """End a token at once: calls are refused, and an event closes its sockets. One's own, or with MANAGE_PEOPLE."""

    async def work(tx: Transaction) -> None:
        actor = await confirm_actor(tx)
        token = await Token.get_or_none(id=token_id, account_id=tx.account_id)
        if token is None or (token.user_id != actor.id and not actor.may(Permission.MANAGE_PEOPLE)):
            raise NotFound
        if token.revoked_at is None:
            token.revoked_at = tx.now
            await token.save(update_fields=["revoked_at"])
            await tx.log("TOKEN_REVOKED", f"Token {token.id}", [])
            tx.record(EventType.TOKEN_REVOKED, token=str(token.id), user=str(token.user_id))

    await unit_of_work(call, work)
