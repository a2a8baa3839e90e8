"""Whose access changed, and what it was before: by it, streams that come back may have been shown what is lost now."""

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
    """Those of one account, from a position on that moves back as far as somebody needs it."""

    def __init__(self, account_id: UUID) -> None:
        self._account_id = account_id
        self._known: list[AccessChange] = []
        self._since = 0

    def begin(self, position: int) -> None:
        """What happens from here on is added."""
        self._since = position

    def add(self, change: AccessChange) -> None:
        self._known.append(change)

    def accesses(self, user_id: UUID | None, after: int) -> list[Access]:
        """What somebody had before each change behind this position."""
        return [each.before for each in self._known if each.position > after and each.user_id == user_id]

    async def reach_back(self, position: int) -> None:
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
        if self._since == until:  # or somebody was faster
            self._known[:0] = map(AccessChange.of, rows)
            self._since = position
        else:
            await self.reach_back(position)
