"""All that a resolver is given."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

import strawberry
from strawberry.dataloader import DataLoader

import models
from domain.actors import Actor
from domain.availability import Work
from domain.composer import Composer
from domain.transactions import Call
from models import utc_now

Batches = Callable[[], Callable[[list[Any]], Awaitable[list[Any]]]]
"""Makes what a loader loads with."""


@dataclass(frozen=True, slots=True)
class Slice:
    """A piece of a gap-free sequence: those of `owner` from `first` to `last`, both included."""

    owner: UUID
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Tailpiece:
    """The newest `count` messages of a conversation before a sequence, or the oldest ones after one."""

    conversation_id: UUID
    count: int
    before: int | None = None
    after: int | None = None
    newest: bool = True


class Loaders:
    """Batched reads for one operation, or for some events that are told at once: never kept.

    Each loader is made when it is first asked for, from the sources: those of the account answer everybody alike,
    those of the actor answer him. A name is in one of them only.
    """

    users: DataLoader[UUID, models.User | None]
    people: DataLoader[UUID, models.User | None]
    groups: DataLoader[UUID, models.Group | None]
    roles: DataLoader[UUID, models.Role | None]
    groups_of: DataLoader[UUID, list[models.Group]]
    organizations: DataLoader[UUID, models.Organization | None]
    organizations_of: DataLoader[UUID, list[models.Organization]]
    members_of: DataLoader[UUID, list[models.User]]
    holders_of: DataLoader[UUID, int]
    tokens: DataLoader[UUID, models.Token | None]
    tickets: DataLoader[UUID, models.Ticket | None]
    tickets_of: DataLoader[UUID, models.Ticket | None]
    continuations: DataLoader[UUID, models.Ticket | None]
    conversations: DataLoader[UUID, models.Conversation | None]
    sessions: DataLoader[UUID, models.MessagingSession | None]
    sessions_by_id: DataLoader[UUID, models.MessagingSession | None]
    comments: DataLoader[UUID, models.Comment | None]
    events: DataLoader[UUID, models.Event | None]
    event_slices: DataLoader[Slice, list[models.Event]]
    comment_slices: DataLoader[Slice, list[models.Comment]]
    messages: DataLoader[Tailpiece, list[models.Comment]]
    macros: DataLoader[UUID, models.Macro | None]
    attachments: DataLoader[UUID, models.Attachment | None]
    attachments_of: DataLoader[UUID, list[models.Attachment]]
    bots: DataLoader[UUID, models.Bot | None]
    composers: DataLoader[UUID, Composer | None]
    work: DataLoader[UUID, Work | None]
    capacity_rules: DataLoader[UUID, models.CapacityRule | None]
    queues: DataLoader[UUID, models.RoutingQueue | None]
    merged_tickets: DataLoader[UUID, list[models.Ticket]]
    triggers: DataLoader[UUID, models.Trigger | None]
    surveys: DataLoader[UUID, models.Survey | None]
    open_surveys: DataLoader[UUID, models.Survey | None]
    webhooks: DataLoader[UUID, models.Webhook | None]
    deliveries: DataLoader[tuple[UUID, int], list[models.OutboundCall]]
    follow_ups: DataLoader[UUID, list[models.Ticket]]
    emails: DataLoader[UUID, models.OutboundEmail | None]

    def __init__(self, *sources: Mapping[str, Batches]) -> None:
        self._sources = sources

    def __getattr__(self, name: str) -> Any:
        """Called by Python for what is not there yet."""
        for source in self._sources:
            if name in source:
                loader = DataLoader(source[name]())
                setattr(self, name, loader)
                return loader
        raise AttributeError(name)


@dataclass(frozen=True, slots=True)
class Signal:
    """Something ephemeral that happened in a conversation: best effort, never stored, never replayed."""

    account_id: UUID
    conversation_id: UUID
    kind: str
    user_id: UUID
    user_kind: str


class Feeds(Protocol):
    """The live side, as `deskwire` fills it in."""

    async def sync_cursor(self, actor: Actor) -> str:
        """Where the actor's log stands now. Read before a snapshot, it joins the snapshot and the stream."""

    def signals(self, account_id: UUID, conversation_id: UUID) -> AsyncIterator[Signal]:
        """The signals of a conversation, from now on."""

    async def signal(self, signal: Signal) -> None:
        """Pass a signal on to whoever listens, in any process."""


class Links(Protocol):
    """Addresses of attachments, as `deskwire` makes them."""

    def url(self, actor: Actor, attachment_id: UUID, now: datetime) -> str:
        """Where this actor opens an attachment without a token, for a short time."""


@dataclass(slots=True)
class Context:
    """Who asks, and the means to answer him."""

    actor: Actor
    loaders: Loaders
    feeds: Feeds
    links: Links
    clock: Callable[[], datetime] = utc_now

    def call(self, *, client_id: str | None = None, idempotency_key: str | None = None) -> Call:
        """The envelope of a verb of the domain."""
        return Call(self.actor, client_id=client_id, idempotency_key=idempotency_key, clock=self.clock)


Info = strawberry.Info[Context, None]
