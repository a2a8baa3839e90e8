"""Batched reads for one actor. With the hub, the only place outside the domain where tables are queried.

Every loader answers within the actor's account; tickets, and what is reached by a ticket's id, only where he may see
the ticket. What belongs to a row that was already let through (its comments, its session) is not asked about again.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

from tortoise.connection import get_connection
from tortoise.expressions import Q
from tortoise.queryset import QuerySet

from domain.actors import Actor
from domain.attachments import readable_attachments
from domain.availability import work_of
from domain.composer import Composer, Situation, composer_for
from domain.end_users import known_people
from domain.macros import usable_macros
from domain.settings import may_agents_end_sessions
from domain.visibility import visible_tickets
from domain.webhooks import last_deliveries
from models import (
    AccountSettings,
    Attachment,
    Bot,
    CapacityRule,
    Channel,
    Comment,
    Conversation,
    Event,
    Group,
    GroupMembership,
    MessagingSession,
    Organization,
    OrganizationMembership,
    OutboundCall,
    OutboundEmail,
    Role,
    RoutingQueue,
    Survey,
    SurveyState,
    Ticket,
    Token,
    Trigger,
    User,
    Visibility,
    Webhook,
)
from models.base import Row
from models.database import READER
from models.prepared import rows_by
from schema.context import Batches, Loaders, Slice, Tailpiece

RowT = TypeVar("RowT", bound=Row)
KeyT = TypeVar("KeyT", bound=Hashable)
ValueT = TypeVar("ValueT")
MOST_PIECES = 200
"""Of one statement: SQLite joins at most 500 SELECTs."""

MOST_FOLLOW_UPS = 100

Batch = Callable[[list[KeyT]], Awaitable[list[ValueT]]]


def loaders_for(actor: Actor) -> Loaders:
    """Fresh loaders for one operation."""
    return Loaders(of_account(actor.account_id), of_actor(actor))


def of_account(account: UUID) -> dict[str, Batches]:
    """What answers everybody alike who was let through to it."""
    return {
        "users": lambda: _by(User, account),
        "groups": lambda: _by(Group, account),
        "roles": lambda: _by(Role, account),
        "groups_of": lambda: _groups_of(account),
        "organizations": lambda: _by(Organization, account),
        "organizations_of": lambda: _organizations_of(account),
        "members_of": lambda: _members_of(account),
        "holders_of": lambda: _holders_of(account),
        "tokens": lambda: _by(Token, account),
        "conversations": lambda: _by(Conversation, account),
        "sessions": lambda: _by(MessagingSession, account, "conversation_id"),
        "sessions_by_id": lambda: _by(MessagingSession, account),
        "comments": lambda: _by(Comment, account),
        "events": lambda: _by(Event, account),
        "event_slices": lambda: _event_slices(account),
        "comment_slices": lambda: _comment_slices(account),
        "messages": lambda: _messages(account),
        "attachments_of": lambda: _attachments_of(account),
        "bots": lambda: _by(Bot, account),
        "capacity_rules": lambda: _by(CapacityRule, account),
        "queues": lambda: _by(RoutingQueue, account),
        "merged_tickets": lambda: _merged_tickets(account),
        "triggers": lambda: _by(Trigger, account),
        "surveys": lambda: _by(Survey, account),
        "open_surveys": lambda: _open_surveys(account),
        "webhooks": lambda: _by(Webhook, account),
        "deliveries": lambda: _deliveries(account),
        "emails": lambda: _by(OutboundEmail, account, "comment_id"),
    }


def of_actor(actor: Actor) -> dict[str, Batches]:
    """What depends on who asks."""
    return {
        "people": lambda: _people(actor),
        "tickets": lambda: _among(visible_tickets(actor)),
        "tickets_of": lambda: _among(visible_tickets(actor), "conversation_id"),
        "continuations": lambda: _among(visible_tickets(actor), "continuation_of_id"),
        "macros": lambda: _among(usable_macros(actor)),
        "attachments": lambda: _found(partial(readable_attachments, actor)),
        "composers": lambda: _composers(actor),
        "work": lambda: _found(partial(work_of, actor)),
        "follow_ups": lambda: _follow_ups(actor),
    }


def _by(model: type[RowT], account: UUID, column: str = "id") -> Batch[UUID, RowT | None]:
    async def batch(keys: list[UUID]) -> list[RowT | None]:
        found = {getattr(row, column): row for row in await rows_by(model, account, keys, column)}
        return [found.get(key) for key in keys]

    return batch


def _among(rows: QuerySet[RowT], column: str = "id") -> Batch[UUID, RowT | None]:
    async def batch(keys: list[UUID]) -> list[RowT | None]:
        found = {getattr(row, column): row for row in await rows.filter(**{f"{column}__in": keys})}
        return [found.get(key) for key in keys]

    return batch


def _found(find: Callable[[list[UUID]], Awaitable[Mapping[UUID, ValueT]]]) -> Batch[UUID, ValueT | None]:
    async def batch(keys: list[UUID]) -> list[ValueT | None]:
        found = await find(keys)
        return [found.get(key) for key in keys]

    return batch


def _people(actor: Actor) -> Batch[UUID, User | None]:
    """Whom the actor may look up by an id alone."""

    async def batch(keys: list[UUID]) -> list[User | None]:
        found = {user.id: user for user in await known_people(actor, keys)}
        return [found.get(key) for key in keys]

    return batch


def _follow_ups(actor: Actor) -> Batch[UUID, list[Ticket]]:
    async def batch(tickets: list[UUID]) -> list[list[Ticket]]:
        rows = await visible_tickets(actor).filter(follow_up_of_id__in=tickets).order_by("number")
        of_ticket = _grouped(rows, "follow_up_of_id")
        return [of_ticket[ticket][-MOST_FOLLOW_UPS:] for ticket in tickets]

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


def _organizations_of(account: UUID) -> Batch[UUID, list[Organization]]:
    async def batch(users: list[UUID]) -> list[list[Organization]]:
        memberships = await OrganizationMembership.filter(account_id=account, user_id__in=users)
        rows = await Organization.filter(id__in=[each.organization_id for each in memberships]).order_by("name")
        members = {(each.user_id, each.organization_id) for each in memberships}
        return [[row for row in rows if (user, row.id) in members] for user in users]

    return batch


def _attachments_of(account: UUID) -> Batch[UUID, list[Attachment]]:
    """The files of comments that were let through, in the order in which they were uploaded."""

    async def batch(comments: list[UUID]) -> list[list[Attachment]]:
        rows = await Attachment.filter(account_id=account, comment_id__in=comments).order_by("created_at", "id")
        of_comment = _grouped(rows, "comment_id")
        return [of_comment[comment] for comment in comments]

    return batch


def _members_of(account: UUID) -> Batch[UUID, list[User]]:
    """Who is in a group, by name; without those who are gone."""

    async def batch(groups: list[UUID]) -> list[list[User]]:
        memberships = await GroupMembership.filter(account_id=account, group_id__in=groups)
        rows = await User.filter(id__in=[each.user_id for each in memberships], active=True).order_by("name", "id")
        members = {(each.group_id, each.user_id) for each in memberships}
        return [[row for row in rows if (group, row.id) in members] for group in groups]

    return batch


def _holders_of(account: UUID) -> Batch[UUID, int]:
    """How many have a role, the deactivated ones included."""

    async def batch(roles: list[UUID]) -> list[int]:
        found = await User.filter(account_id=account, role_id__in=roles).values_list("role_id", flat=True)
        counts = Counter(found)
        return [counts[role] for role in roles]  # type: ignore[index]  # values_list(flat=True) is typed as rows

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
        of_ticket = _grouped(rows, "ticket_id")
        return [
            [row for row in of_ticket[each.owner] if each.first <= (row.ticket_sequence or 0) <= each.last]
            for each in slices
        ]

    return batch


def _comment_slices(account: UUID) -> Batch[Slice, list[Comment]]:
    async def batch(slices: list[Slice]) -> list[list[Comment]]:
        condition = _any_of(slices, "conversation_id", "sequence")
        rows = await Comment.filter(condition, account_id=account).order_by("sequence")
        of_conversation = _grouped(rows, "conversation_id")
        return [
            [row for row in of_conversation[each.owner] if each.first <= row.sequence <= each.last] for each in slices
        ]

    return batch


def _grouped(rows: Iterable[RowT], column: str) -> dict[UUID, list[RowT]]:
    groups: dict[UUID, list[RowT]] = defaultdict(list)
    for row in rows:
        groups[getattr(row, column)].append(row)
    return groups


def _messages(account: UUID) -> Batch[Tailpiece, list[Comment]]:
    """What the customer sees: the messages of his conversations, never a note. Two statements for all of them.

    Messages are numbered among all comments of their conversation, so a piece is no range of numbers. Each is a
    SELECT with a LIMIT of its own: a window over whole conversations would read them to their beginning.
    """

    async def batch(pieces: list[Tailpiece]) -> list[list[Comment]]:
        ids = [each for some in _portions(pieces) for each in await _message_ids(account, some)]
        rows = await Comment.filter(id__in=ids).order_by("sequence")
        of_conversation = _grouped(rows, "conversation_id")
        return [_piece(of_conversation[each.conversation_id], each) for each in pieces]

    return batch


def _portions(pieces: list[Tailpiece]) -> Iterable[list[Tailpiece]]:
    return (pieces[start : start + MOST_PIECES] for start in range(0, len(pieces), MOST_PIECES))


async def _message_ids(account: UUID, pieces: list[Tailpiece]) -> list[UUID]:
    connection = get_connection(READER)
    parts = [_part(account, piece) for piece in pieces]
    statement = " UNION ALL ".join(text for text, _ in parts)
    if connection.capabilities.dialect != "sqlite":
        statement = statement.replace("?", "%s")
    rows = await connection.execute_query_dict(statement, [value for _, values in parts for value in values])
    return [UUID(str(row["id"])) for row in rows]


def _part(account: UUID, piece: Tailpiece) -> tuple[str, list[Any]]:
    """The SELECT of one piece, and its values."""
    conditions: list[tuple[str, Any]] = [
        ("account_id =", str(account)),
        ("conversation_id =", str(piece.conversation_id)),
        ("channel =", Channel.MESSAGING.value),
        ("visibility =", Visibility.PUBLIC.value),
    ]
    if piece.before is not None:
        conditions.append(("sequence <", piece.before))
    if piece.after is not None:
        conditions.append(("sequence >", piece.after))
    where = " AND ".join(f"{condition} ?" for condition, _ in conditions)
    ordered = f"{where} ORDER BY sequence {'DESC' if piece.newest else 'ASC'} LIMIT ?"
    text = f"SELECT id FROM (SELECT id FROM comments WHERE {ordered}) AS piece"  # noqa: S608  # names of ours
    return text, [*(value for _, value in conditions), piece.count]


def _piece(rows: list[Comment], piece: Tailpiece) -> list[Comment]:
    """Other pieces of the same conversation may have brought more rows than this one wants."""
    mine = [
        row
        for row in rows
        if (piece.before is None or row.sequence < piece.before) and (piece.after is None or row.sequence > piece.after)
    ]
    return mine[-piece.count :] if piece.newest else mine[: piece.count]


def _merged_tickets(account: UUID) -> Batch[UUID, list[Ticket]]:
    """What was merged into tickets that the actor sees: by them, and not by his access to each (R147)."""

    async def batch(targets: list[UUID]) -> list[list[Ticket]]:
        merged = Ticket.filter(account_id=account, merged_into_id__in=targets, deleted_at__isnull=True)
        of_target = _grouped(await merged.order_by("number"), "merged_into_id")
        return [of_target[target] for target in targets]

    return batch


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


def _open_surveys(account: UUID) -> Batch[UUID, Survey | None]:
    """Of each conversation, the survey that waits for its answer."""

    async def batch(conversations: list[UUID]) -> list[Survey | None]:
        waiting = Survey.filter(account_id=account, state=SurveyState.OFFERED)
        rows = (
            await waiting.filter(session__conversation_id__in=conversations)
            .order_by("number")
            .select_related("session")
        )
        found = {row.session.conversation_id: row for row in rows}
        return [found.get(conversation) for conversation in conversations]

    return batch


def _deliveries(account: UUID) -> Batch[tuple[UUID, int], list[OutboundCall]]:
    """Of each webhook, its last so many deliveries."""

    async def batch(keys: list[tuple[UUID, int]]) -> list[list[OutboundCall]]:
        rows = await last_deliveries(account, [webhook for webhook, _ in keys], max(most for _, most in keys))
        of_webhook = _grouped(rows, "webhook_id")
        return [of_webhook[webhook][-most:] for webhook, most in keys]

    return batch
