"""A whole list of tickets from one stream: the rows that enter it, change, or leave it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from strawberry import ID

from domain.actors import Access, access_from_json
from domain.errors import CursorExpired
from domain.transactions import attributes_of
from domain.views import MOST_MOVED, TicketFilter, holds, moved_by_access, session_states, shows
from models import Event, EventType, SessionState, Ticket
from schema.ids import encode_id
from schema.live import InboxChange, InboxItem
from schema.tickets import Ticket as TicketType
from subscriptions.questions import TICKETS, Key
from subscriptions.scenes import Scene
from subscriptions.topics import Stateless


class FormerAccesses:
    """By which accesses, beside his present one, a list may have shown the actor a row.

    A row is shown as it stands when its event is delivered, so an access that is lost by now may have shown it. That
    can be so for what happened until the loss was delivered, and the rows that it moved were told; of what happens
    to a lost ticket later he must not learn (R154).
    """

    def __init__(self) -> None:
        self._until: dict[Access, int | None] = {}

    def __bool__(self) -> bool:
        return bool(self._until)

    def __iter__(self) -> Iterator[Access]:
        return iter(self._until)

    def note(self, access: Access) -> None:
        """He had it; how it ended is yet to be delivered."""
        self._until[access] = None

    def end(self, access: Access, head: int) -> None:
        """A change from this access, or whatever is noted, was delivered when the log stood at `head`."""
        ended = {access, *(each for each, until in self._until.items() if until is None)}
        self._until |= dict.fromkeys(ended, head)

    def pass_by(self, position: int) -> None:
        """Forget those that can have shown nothing that an event at this position changes."""
        self._until = {access: until for access, until in self._until.items() if until is None or position <= until}


@dataclass(slots=True)
class InboxState:
    """What is remembered from event to event."""

    former: FormerAccesses = field(default_factory=FormerAccesses)
    removed: tuple[UUID, UUID | None] | None = None
    """The update that took a row away: several events of one do that once."""

    def had(self, access: Access) -> None:
        """The list may have been shown by this access, too."""
        self.former.note(access)

    def is_plain(self, position: int) -> bool:
        """Whether it could as well be forgotten, once the event at this position is told."""
        self.former.pass_by(position + 1)
        return not self.former


@dataclass(frozen=True, slots=True)
class Inbox(Stateless):
    """The rows of a view."""

    view: TicketFilter
    heeds_access = True
    # A conversation that a bot has alone has no ticket yet, and no row.
    keys: Collection[Key] = (TICKETS,)

    def state(self) -> InboxState:
        return InboxState()

    async def items(self, scene: Scene, event: Event) -> Sequence[InboxItem]:
        if event.type is EventType.AGENT_ACCESS_CHANGED:
            return await self._access_changed(scene, event)
        state: InboxState = scene.state
        state.former.pass_by(event.position)
        items = await self._items(scene, event)
        removal = (event.audit_id, event.ticket_id) if items and items[0].ticket is None else None
        if removal is not None and removal == state.removed:
            return ()
        state.removed = removal or (state.removed if not items else None)
        return items

    async def _items(self, scene: Scene, event: Event) -> Sequence[InboxItem]:
        """What an event does to the list: by the ticket as it is now, and as it was just before the event."""
        assert event.ticket_id is not None
        state: InboxState = scene.state
        session, session_before = await self._sessions(scene, event)
        was_shown = event.ticket_before is not None and shows(
            scene.actor, [scene.actor.access, *state.former], self.view, event.ticket_before, session_before
        )
        ticket = await scene.ticket(event.ticket_id)
        if ticket is not None and holds(self.view, attributes_of(ticket), session):
            change = InboxChange.UPDATED if was_shown else InboxChange.ADDED
            return [
                scene.moment.item(
                    (Inbox, change, event.position), lambda: _row(scene.cursor(event), event.client_id, change, ticket)
                )
            ]
        if was_shown:
            identifier = encode_id("Ticket", event.ticket_id)
            return [
                scene.moment.item(
                    (Inbox, InboxChange.REMOVED, event.position),
                    lambda: _removal(scene.cursor(event), event.client_id, identifier),
                )
            ]
        return ()

    async def _sessions(self, scene: Scene, event: Event) -> tuple[SessionState | None, SessionState | None]:
        if self.view.session_states is None:
            return None, None
        return await scene.moment.read(("session", event.position), lambda: session_states(self.view, event))

    async def _access_changed(self, scene: Scene, event: Event) -> Sequence[InboxItem]:
        """What a change of his own access does to his list. Raises CursorExpired when too much was moved."""
        state: InboxState = scene.state
        head = await scene.moment.head()
        before = access_from_json(event.payload["before"])
        lost = {before, *state.former} - {scene.actor.access}
        items = [item for access in lost for item in await self._moved(scene, access, event)]
        for item in items[:-1]:
            # Who has seen but some of them resumes before it: a repeated row does no harm, a lost one does.
            item.cursor = scene.cursor_before(event)
        state.former.end(before, head)
        return items

    async def _moved(self, scene: Scene, before: Access, event: Event) -> list[InboxItem]:
        cursor = scene.cursor(event)
        gained, lost = await moved_by_access(scene.actor, before, self.view)
        if len(gained) > MOST_MOVED or len(lost) > MOST_MOVED:
            raise CursorExpired
        added = [_row(cursor, None, InboxChange.ADDED, ticket) for ticket in gained]
        return added + [_removal(cursor, None, encode_id("Ticket", identifier)) for identifier in lost]


def _row(cursor: str, client_id: str | None, change: InboxChange, ticket: Ticket) -> InboxItem:
    return InboxItem(
        cursor=cursor,
        client_id=client_id,
        change=change,
        ticket_id=encode_id("Ticket", ticket.id),
        ticket=TicketType.of(ticket),
    )


def _removal(cursor: str, client_id: str | None, ticket_id: ID) -> InboxItem:
    """Content-free: who lost a row learns only that he did."""
    return InboxItem(cursor=cursor, client_id=client_id, change=InboxChange.REMOVED, ticket_id=ticket_id, ticket=None)
