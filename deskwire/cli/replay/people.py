"""The agents and customers of a replay, made anew for each in the database of the server."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID, uuid4

from tortoise.exceptions import IntegrityError

from domain.people import issue_token
from models import Account, Permission, Role, TicketAccess, User, UserKind, new_id, utc_now


@dataclass(frozen=True, slots=True)
class Someone:
    """A user with his token."""

    id: UUID
    name: str
    token: str


async def make_people(account: Account, agents: int, customers: int) -> tuple[list[Someone], list[Someone]]:
    """So many agents, and so many customers."""
    role, mark = await _role(account), uuid4().hex[:8]
    answering = [
        await _made(account, UserKind.AGENT, f"Replay agent {number}", mark, role.id) for number in range(1, agents + 1)
    ]
    made = [
        await _made(account, UserKind.END_USER, f"Replay customer {number}", mark) for number in range(1, customers + 1)
    ]
    return answering, made


async def _role(account: Account) -> Role:
    mine = Role.filter(account_id=account.id, name="Replay agent")
    if found := await mine.get_or_none():
        return found
    try:
        return await Role.create(
            account_id=account.id,
            name="Replay agent",
            ticket_access=TicketAccess.ALL,
            permissions=sorted(Permission),
        )
    except IntegrityError:
        return await mine.get()  # another replay was faster


async def _made(account: Account, kind: UserKind, name: str, mark: str, role_id: UUID | None = None) -> Someone:
    now = utc_now()
    user = await User.create(
        id=new_id(),
        account_id=account.id,
        kind=kind,
        name=name,
        email=f"{name.lower().replace(' ', '.')}.{mark}@replay.example",
        email_verified=True,
        role_id=role_id,
        created_at=now,
    )
    return Someone(user.id, name, (await issue_token(user, "replay", now)).secret)
