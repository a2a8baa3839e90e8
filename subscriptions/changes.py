"""Whose access has changed lately: what somebody who comes back must be told that he lost or gained meanwhile."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from domain.actors import Access, access_from_json
from models import Event, EventType


@dataclass(frozen=True, slots=True)
class AccessChange:
    """That somebody's access changed, and what it was before."""

    position: int
    user_id: UUID
    before: Access

    @classmethod
    def of(cls, row: Event) -> AccessChange:
        return cls(row.position, UUID(row.payload["user"]), access_from_json(row.payload["before"]))


class AccessChanges:
    """Of one account, from some position on."""

    def __init__(self, account_id: UUID) -> None:
        self._account_id = account_id
        self._known: list[AccessChange] = []
        self._since = 0

    def begin_at(self, position: int) -> None:
        """What comes later is added; what was earlier is looked up when it is asked for."""
        self._since = position

    def add(self, change: AccessChange) -> None:
        self._known.append(change)

    def of(self, user_id: UUID | None, position: int) -> list[Access]:
        """What a user had before each of his changes since this position, which is known."""
        return [each.before for each in self._known if each.position > position and each.user_id == user_id]

    async def know(self, position: int) -> None:
        """Look up who changed since this position, once for all who come back to about there."""
        until = self._since
        if position >= until:
            return
        rows = await Event.filter(
            account_id=self._account_id,
            position__gt=position,
            position__lte=until,
            type=EventType.AGENT_ACCESS_CHANGED,
        ).order_by("position")
        if self._since != until:  # somebody was faster
            await self.know(position)
            return
        self._known[:0] = map(AccessChange.of, rows)
        self._since = position
