"""Batched reads for one actor. With the hub, the only place outside the domain where tables are queried.

Every loader answers within the actor's account; tickets, and what is reached by a ticket's id, only where he may see
the ticket. What belongs to a row that was already let through (its comments, its session) is not asked about again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Hashable, Iterable
from typing import Any, TypeVar
from uuid import UUID

from strawberry.dataloader import DataLoader
from tortoise.expressions import Q
from tortoise.queryset import QuerySet

from domain.actors import Actor
from domain.composer import Composer, Situation, composer_for
from domain.macros import usable_macros
from domain.settings import may_agents_end_sessions
from domain.visibility import visible_tickets
from models import (
    AccountSettings,
    Channel,
    Comment,
    Conversation,
    Event,
    Group,
    GroupMembership,
    MessagingSession,
    Role,
    Ticket,
    User,
    Visibility,
)
from models.base import Row
from schema.context import Loaders, Slice, Tailpiece

RowT = TypeVar("RowT", bound=Row)
KeyT = TypeVar("KeyT", bound=Hashable)
ValueT = TypeVar("ValueT")
Batch = Callable[[list[KeyT]], Awaitable[list[ValueT]]]


def loaders_for(actor: Actor) -> Loaders:
    """Fresh loaders for one operation, or one event."""
    account = actor.account_id
    return Loaders(
        users=DataLoader(_by(User.filter(account_id=account))),
        groups=DataLoader(_by(Group.filter(account_id=account))),
        roles=DataLoader(_by(Role.filter(account_id=account))),
        groups_of=DataLoader(_groups_of(account)),
        tickets=DataLoader(_by(visible_tickets(actor))),
        tickets_of=DataLoader(_by(visible_tickets(actor), "conversation_id")),
        continuations=DataLoader(_by(visible_tickets(actor), "continuation_of_id")),
        conversations=DataLoader(_by(Conversation.filter(account_id=account))),
        sessions=DataLoader(_by(MessagingSession.filter(account_id=account), "conversation_id")),
        sessions_by_id=DataLoader(_by(MessagingSession.filter(account_id=account))),
        comments=DataLoader(_by(Comment.filter(account_id=account))),
        events=DataLoader(_by(Event.filter(account_id=account))),
        event_slices=DataLoader(_event_slices(account)),
        comment_slices=DataLoader(_comment_slices(account)),
        messages=DataLoader(_messages(account)),
        macros=DataLoader(_by(usable_macros(actor))),
        composers=DataLoader(_composers(actor)),
    )


def _by(rows: QuerySet[RowT], column: str = "id") -> Batch[UUID, RowT | None]:
    async def batch(keys: list[UUID]) -> list[RowT | None]:
        found = {getattr(row, column): row for row in await rows.filter(**{f"{column}__in": keys})}
        return [found.get(key) for key in keys]

    return batch


def _groups_of(account: UUID) -> Batch[UUID, list[Group]]:
    async def batch(users: list[UUID]) -> list[list[Group]]:
        memberships = await GroupMembership.filter(account_id=account, user_id__in=users)
        groups = {group.id: group for group in await Group.filter(id__in=[each.group_id for each in memberships])}
        of_user: dict[UUID, list[Group]] = defaultdict(list)
        for membership in memberships:
            of_user[membership.user_id].append(groups[membership.group_id])
        return [sorted(of_user[user], key=lambda group: group.name) for user in users]

    return batch


def _any_of(slices: Iterable[Slice], owner: str, sequence: str) -> Q:
    def condition(piece: Slice) -> Q:
        bounds: dict[str, Any] = {
            owner: piece.owner,
            f"{sequence}__gte": piece.first,
            f"{sequence}__lte": piece.last,
        }
        return Q(**bounds)

    return Q(*map(condition, slices), join_type="OR")


def _event_slices(account: UUID) -> Batch[Slice, list[Event]]:
    async def batch(slices: list[Slice]) -> list[list[Event]]:
        condition = _any_of(slices, "ticket_id", "ticket_sequence")
        rows = await Event.filter(condition, account_id=account).order_by("ticket_sequence")
        return [
            [
                row
                for row in rows
                if row.ticket_id == each.owner and each.first <= (row.ticket_sequence or 0) <= each.last
            ]
            for each in slices
        ]

    return batch


def _comment_slices(account: UUID) -> Batch[Slice, list[Comment]]:
    async def batch(slices: list[Slice]) -> list[list[Comment]]:
        condition = _any_of(slices, "conversation_id", "sequence")
        rows = await Comment.filter(condition, account_id=account).order_by("sequence")
        return [
            [row for row in rows if row.conversation_id == each.owner and each.first <= row.sequence <= each.last]
            for each in slices
        ]

    return batch


def _messages(account: UUID) -> Batch[Tailpiece, list[Comment]]:
    """What the customer sees: the messages of his conversations, never a note. One statement for all of them."""

    async def batch(pieces: list[Tailpiece]) -> list[list[Comment]]:
        visible = Comment.filter(account_id=account, channel=Channel.MESSAGING, visibility=Visibility.PUBLIC)
        rows = await visible.filter(Q(*map(_reach, pieces), join_type="OR")).order_by("sequence")
        return [_piece(rows, each) for each in pieces]

    return batch


def _reach(piece: Tailpiece) -> Q:
    condition = Q(conversation_id=piece.conversation_id)
    if piece.before is not None:
        condition &= Q(sequence__lt=piece.before)
    if piece.after is not None:
        condition &= Q(sequence__gt=piece.after)
    return condition


def _piece(rows: list[Comment], piece: Tailpiece) -> list[Comment]:
    mine = [
        row
        for row in rows
        if row.conversation_id == piece.conversation_id
        and (piece.before is None or row.sequence < piece.before)
        and (piece.after is None or row.sequence > piece.after)
    ]
    return mine[-piece.count :] if piece.newest else mine[: piece.count]


def _composers(actor: Actor) -> Batch[UUID, Composer | None]:
    """The composers of tickets. Four statements, whatever their number."""

    async def batch(ticket_ids: list[UUID]) -> list[Composer | None]:
        settings = await AccountSettings.get(account_id=actor.account_id)
        can_end = await may_agents_end_sessions(settings)
        tickets = {ticket.id: ticket for ticket in await visible_tickets(actor).filter(id__in=ticket_ids)}
        sessions = {
            session.conversation_id: session
            for session in await MessagingSession.filter(
                conversation_id__in=[ticket.conversation_id for ticket in tickets.values()]
            )
        }
        requesters = {
            user.id: user for user in await User.filter(id__in=[ticket.requester_id for ticket in tickets.values()])
        }

        def composer(ticket: Ticket | None) -> Composer | None:
            if ticket is None:
                return None
            return composer_for(
                actor,
                Situation(
                    ticket=ticket,
                    session=sessions.get(ticket.conversation_id),
                    requester=requesters[ticket.requester_id],
                    can_end=can_end,
                    collaborate=settings.agents_can_collaborate,
                ),
            )

        return [composer(tickets.get(ticket_id)) for ticket_id in ticket_ids]

    return batch
