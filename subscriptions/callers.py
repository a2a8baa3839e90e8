"""Who listens to an account: one caller for each connection, kept as he stands now."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

from domain.actors import Actor

if TYPE_CHECKING:
    from subscriptions.cohorts import Member
    from subscriptions.tail import Tail


class Gone(Protocol):
    """Tells a connection that its caller is known no longer: it must close, and says why."""

    def __call__(self, *, expired: bool) -> None: ...


class Caller:
    """Who opened a connection. The tail keeps `actor` as he stands."""

    __slots__ = ("actor", "expires_at", "gone", "members", "tail", "token_id")

    def __init__(self, tail: Tail, actor: Actor, gone: Gone) -> None:
        self.tail = tail
        self.gone = gone
        self.members: set[Member] = set()
        self.authenticated(actor)

    def authenticated(self, actor: Actor) -> None:
        """He has shown this token: at first, or a fresh one on a living connection."""
        self.actor = actor
        self.token_id: UUID | None = actor.token_id
        self.expires_at: datetime | None = actor.token_expires_at

    @property
    def user_id(self) -> UUID:
        assert self.actor.id is not None
        return self.actor.id


class Callers:
    """The callers of one account."""

    def __init__(self) -> None:
        self._by_user: defaultdict[UUID, set[Caller]] = defaultdict(set)
        self._next_expiry: datetime | None = None

    def __contains__(self, caller: Caller) -> bool:
        return caller in self._by_user.get(caller.user_id, ())

    def of(self, user_id: UUID) -> list[Caller]:
        """A user's connections."""
        return list(self._by_user.get(user_id, ()))

    def add(self, caller: Caller) -> None:
        self._by_user[caller.user_id].add(caller)
        self.expect_expiry(caller)

    def discard(self, caller: Caller) -> None:
        self._by_user[caller.user_id].discard(caller)
        if not self._by_user[caller.user_id]:
            del self._by_user[caller.user_id]

    def expect_expiry(self, caller: Caller) -> None:
        """His token is good until then."""
        if caller.expires_at is not None:
            self._next_expiry = min(self._next_expiry or caller.expires_at, caller.expires_at)

    def expired(self, now: datetime) -> list[Caller]:
        """Those whose token has expired."""
        if self._next_expiry is None or now < self._next_expiry:
            return []
        callers = [each for some in self._by_user.values() for each in some]
        later = [each.expires_at for each in callers if each.expires_at is not None and each.expires_at > now]
        self._next_expiry = min(later, default=None)
        return [each for each in callers if each.expires_at is not None and each.expires_at <= now]
