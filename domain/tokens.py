"""API tokens: made once, listed without their secret."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from domain.actors import EVERYTHING, Actor, load_access
from domain.authority import check_can_manage_people, check_within
from domain.errors import Forbidden, InvalidInput, NotFound
from domain.idempotency import once
from domain.keyset import beyond
from domain.locks import confirm_actor, lock_user
from domain.names import clean_name
from domain.people import LONGEST_LIFE, TOKEN_PREFIX, IssuedToken, issue_token
from domain.transactions import Call, Transaction
from models import Permission, Role, Token, User, UserKind


@dataclass(frozen=True, slots=True)
class CreatedToken:
    """The verdict of `create_api_token`. Not its secret: verdicts are stored."""

    token_id: UUID


def public_part(token: Token) -> str:
    """How a token begins: enough to recognise one that was found somewhere, and worth nothing."""
    return f"{TOKEN_PREFIX}_{token.id.hex}"


def scopes_of(user: User, role: Role | None) -> list[Permission]:
    """What a token of this user may do now: tokens have no rights of their own."""
    if user.kind is UserKind.ADMIN:
        return sorted(EVERYTHING.permissions)
    return sorted(Permission(each) for each in role.permissions) if role else []


async def create_api_token(
    call: Call, *, name: str, days: int = 90, user_id: UUID | None = None
) -> tuple[UUID, str | None]:
    """A new token for oneself, or for an integration partner: its id, and the whole token, which is told this once.

    The token is None when a call is repeated with its idempotency key. Raises Forbidden, NotFound, InvalidInput.
    """
    name = clean_name(name, longest=200)
    if not 1 <= days <= LONGEST_LIFE.days:
        raise InvalidInput(f"A token lives for 1 to {LONGEST_LIFE.days} days.", field=("expiresInDays",))
    made: list[IssuedToken] = []

    async def work(tx: Transaction) -> CreatedToken:
        actor = await confirm_actor(tx)
        if not actor.is_staff or actor.id is None:
            raise Forbidden
        owner = await _owner(tx, actor, user_id or actor.id)
        token = await issue_token(owner, name, tx.now, life=timedelta(days=days))
        made.append(token)
        changes: list[dict[str, Any]] = [
            {"field": "user", "from": None, "to": str(owner.id)},
            {"field": "expiresInDays", "from": None, "to": days},
        ]
        await tx.log("TOKEN_CREATED", f"Token {token.token_id}", changes)
        return CreatedToken(token.token_id)

    inputs = {"name": name, "days": days, "user_id": str(user_id)}
    created = await once(call, "createApiToken", inputs, CreatedToken, work)
    # An attempt that was rolled back has left a secret, too, which opens nothing.
    secrets = {token.token_id: token.secret for token in made}
    return created.token_id, secrets.get(created.token_id)


async def _owner(tx: Transaction, actor: Actor, user_id: UUID) -> User:
    """Oneself or a partner, held until the commit."""
    if user_id == actor.id:
        return await User.get(id=user_id)
    check_can_manage_people(actor)
    user = await lock_user(tx, user_id)
    if user.kind is UserKind.END_USER or not user.active:
        raise NotFound
    if user.kind is not UserKind.PARTNER:
        raise Forbidden("Tokens are made for integration partners and for oneself, not for other people.")
    check_within(actor, user.kind, await load_access(user))
    return user


async def tokens_page(actor: Actor, first: int, after: tuple[datetime, UUID] | None) -> list[Token]:
    """Up to first + 1 tokens of those who work here, the newest first; one's own for who does not manage people."""
    rows = Token.filter(account_id=actor.account_id).exclude(user__kind=UserKind.END_USER)
    if not actor.may(Permission.MANAGE_PEOPLE):
        rows = rows.filter(user_id=actor.id)
    return (
        await rows.filter(beyond("created_at", after, descending=True)).order_by("-created_at", "-id").limit(first + 1)
    )
