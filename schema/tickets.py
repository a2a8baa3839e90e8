"""Tickets, their composer and their lists."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import strawberry
from strawberry import ID

import models
from domain.composer import Composer as ComposerState
from domain.composer import ComposerAction
from domain.views import TicketFilter as View
from domain.views import tickets_in
from models import Channel, SessionState, TicketPriority, TicketStatus, TicketType
from schema.comments import Comment
from schema.context import Info, Slice
from schema.events import TicketEvent, event_of
from schema.ids import decode_optional, encode_id
from schema.merging import MergedTicket, merged_into
from schema.paging import Connection, Edge, PageInfo, sequence_page, window
from schema.people import Group, Node, User
from schema.sessions import MessagingSession


@strawberry.type(description="A way to write on this ticket. Disabled ones say why.")
class ComposerChannel:
    channel: Channel
    enabled: bool
    reason: str | None = strawberry.field(description="The code of the refusal that using it would meet.")


@strawberry.type(description="What the viewer may do on this ticket now.")
class Composer:
    default_channel: Channel | None
    actions: list[ComposerAction]
    channels: list[ComposerChannel]

    @classmethod
    def of(cls, state: ComposerState) -> Composer:
        channels = [
            ComposerChannel(channel=each.channel, enabled=each.enabled, reason=each.reason) for each in state.channels
        ]
        return cls(default_channel=state.default_channel, actions=list(state.actions), channels=channels)


@strawberry.type(description="A request that people work on.")
class Ticket(Node):
    row: strawberry.Private[models.Ticket]
    number: int = strawberry.field(description="Counts the tickets of the account.")
    subject: str
    status: TicketStatus
    priority: TicketPriority | None
    type: TicketType | None
    channel: Channel
    tags: list[str]
    version: int = strawberry.field(description="Rises with every change; send it back as expectedVersion.")
    created_at: datetime
    updated_at: datetime
    solved_at: datetime | None

    @classmethod
    def of(cls, row: models.Ticket) -> Ticket:
        return cls(
            id=encode_id("Ticket", row.id),
            row=row,
            number=row.number,
            subject=row.subject,
            status=row.status,
            priority=row.priority,
            type=row.type,
            channel=row.channel,
            tags=list(row.tags),
            version=row.version,
            created_at=row.created_at,
            updated_at=row.updated_at,
            solved_at=row.solved_at,
        )

    @strawberry.field(description="The customer.")
    async def requester(self, info: Info) -> User:
        user = await info.context.loaders.users.load(self.row.requester_id)
        assert user is not None, "a ticket names a requester who is gone"
        return User.of(user)

    @strawberry.field(description="Who answers.")
    async def assignee(self, info: Info) -> User | None:
        if self.row.assignee_id is None:
            return None
        user = await info.context.loaders.users.load(self.row.assignee_id)
        return User.of(user) if user else None

    @strawberry.field(description="Whose ticket it is.")
    async def group(self, info: Info) -> Group | None:
        if self.row.group_id is None:
            return None
        group = await info.context.loaders.groups.load(self.row.group_id)
        return Group.of(group) if group else None

    @strawberry.field(description="The messaging session, if it came over messaging.")
    async def session(self, info: Info) -> MessagingSession | None:
        row = await info.context.loaders.sessions.load(self.row.conversation_id)
        return MessagingSession.of(row) if row else None

    @strawberry.field(description="What the viewer may do.")
    async def composer(self, info: Info) -> Composer:
        state = await info.context.loaders.composers.load(self.row.id)
        return Composer.of(state) if state else Composer(default_channel=None, actions=[], channels=[])

    @strawberry.field(description="The ticket whose ended session this one continues, if the viewer may see it.")
    async def continuation_of(self, info: Info) -> Ticket | None:
        if self.row.continuation_of_id is None:
            return None
        row = await info.context.loaders.tickets.load(self.row.continuation_of_id)
        return Ticket.of(row) if row else None

    @strawberry.field(description="The ticket that continues this one, if the viewer may see it.")
    async def continued_by(self, info: Info) -> Ticket | None:
        row = await info.context.loaders.continuations.load(self.row.id)
        return Ticket.of(row) if row else None

    @strawberry.field(description="The ticket that this one was merged into, if the viewer may see it.")
    async def merged_into(self, info: Info) -> Ticket | None:
        if self.row.merged_into_id is None:
            return None
        row = await info.context.loaders.tickets.load(self.row.merged_into_id)
        return Ticket.of(row) if row else None

    @strawberry.field(description="The tickets that were merged into this one, by number.")
    async def merged_tickets(self, info: Info) -> list[MergedTicket]:
        return await merged_into(info, self.row)

    @strawberry.field(description="The closed ticket that a mail answered, if the viewer may see it.")
    async def follow_up_of(self, info: Info) -> Ticket | None:
        if self.row.follow_up_of_id is None:
            return None
        row = await info.context.loaders.tickets.load(self.row.follow_up_of_id)
        return Ticket.of(row) if row else None

    @strawberry.field(
        description="The tickets that mails to this closed one began: those that the viewer may see, the last 100."
    )
    async def follow_ups(self, info: Info) -> list[Ticket]:
        return [Ticket.of(row) for row in await info.context.loaders.follow_ups.load(self.row.id)]

    @strawberry.field(description="The thread, in order.")
    async def comments(
        self,
        info: Info,
        first: int | None = None,
        after: str | None = None,
        last: int | None = None,
        before: str | None = None,
    ) -> Connection[Comment]:
        conversation = await info.context.loaders.conversations.load(self.row.conversation_id)
        piece = window(conversation.last_comment_sequence if conversation else 0, first, after, last, before)
        rows = await info.context.loaders.comment_slices.load(Slice(self.row.conversation_id, piece.first, piece.last))
        return sequence_page(rows, piece, lambda row: row.sequence, Comment.of)

    @strawberry.field(description="The history, in order.")
    async def events(
        self,
        info: Info,
        first: int | None = None,
        after: str | None = None,
        last: int | None = None,
        before: str | None = None,
    ) -> Connection[TicketEvent]:
        piece = window(self.row.last_sequence, first, after, last, before)
        rows = await info.context.loaders.event_slices.load(Slice(self.row.id, piece.first, piece.last))
        return sequence_page(rows, piece, lambda row: row.ticket_sequence or 0, event_of)


@strawberry.enum(description="What tickets are ordered by.")
class TicketOrderField(StrEnum):
    UPDATED_AT = "UPDATED_AT"
    CREATED_AT = "CREATED_AT"
    NUMBER = "NUMBER"


@strawberry.enum(description="Which end comes first.")
class OrderDirection(StrEnum):
    ASC = "ASC"
    DESC = "DESC"


@strawberry.input(description="The order of a list of tickets. Default: the latest change first.")
class TicketOrder:
    field: TicketOrderField = TicketOrderField.UPDATED_AT
    direction: OrderDirection = OrderDirection.DESC


@strawberry.input(description="Which tickets. All conditions hold together; none means all that the viewer may see.")
class TicketFilter:
    statuses: list[TicketStatus] | None = None
    assignee_id: ID | None = None
    unassigned: bool | None = strawberry.field(default=None, description="Only tickets without (false: with) assignee.")
    group_id: ID | None = None
    requester_id: ID | None = None
    channel: Channel | None = None
    session_states: list[SessionState] | None = None

    def view(self) -> View:
        """Raises InvalidId."""
        return View(
            statuses=frozenset(self.statuses) if self.statuses is not None else None,
            assignee_id=decode_optional("User", self.assignee_id, field="assigneeId"),
            unassigned=self.unassigned,
            group_id=decode_optional("Group", self.group_id, field="groupId"),
            requester_id=decode_optional("User", self.requester_id, field="requesterId"),
            channel=self.channel,
            session_states=frozenset(self.session_states) if self.session_states is not None else None,
        )


@strawberry.type(description="A page of tickets.")
class TicketConnection:
    edges: list[Edge[Ticket]]
    page_info: PageInfo
    sync_cursor: str = strawberry.field(
        description="Where the event log stood when this page was read: subscribe with it, and nothing is missed."
    )
    view: strawberry.Private[View]

    @strawberry.field(description="How many tickets there are in all.")
    async def total_count(self, info: Info) -> int:
        return await tickets_in(info.context.actor, self.view).count()
