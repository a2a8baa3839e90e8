"""What an agent may do on a ticket, as his composer shows it. The same checks decide when he does it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from domain.actors import Actor
from domain.errors import (
    ChannelUnavailable,
    FeatureDisabled,
    Forbidden,
    NoMessagingSession,
    Refusal,
    SessionEnded,
    TicketClosed,
    UserSuspended,
)
from models import (
    ActorKind,
    Channel,
    MessagingSession,
    Permission,
    SessionState,
    Suspension,
    Ticket,
    TicketStatus,
    User,
)

CHANNELS = (Channel.MESSAGING, Channel.EMAIL, Channel.INTERNAL_NOTE)


class ComposerAction(StrEnum):
    """What the composer offers beside writing."""

    END_SESSION = "END_SESSION"


@dataclass(frozen=True, slots=True)
class Situation:
    """A ticket with all that decides what may be done on it. `can_end` and `collaborate` are account settings."""

    ticket: Ticket
    session: MessagingSession | None
    requester: User
    can_end: bool
    collaborate: bool


@dataclass(frozen=True, slots=True)
class ComposerChannel:
    """`reason` is the code of the refusal that using the channel would meet."""

    channel: Channel
    enabled: bool
    reason: str | None


@dataclass(frozen=True, slots=True)
class Composer:
    """What an agent may do on a ticket now. Without any enabled channel there is no default one."""

    default_channel: Channel | None
    actions: tuple[ComposerAction, ...]
    channels: tuple[ComposerChannel, ...]


def composer_for(actor: Actor, situation: Situation) -> Composer:
    """The composer of this actor on this ticket, which he may see."""
    channels = tuple(_channel(actor, situation, channel) for channel in CHANNELS if _offered(actor, situation, channel))
    enabled = [channel.channel for channel in channels if channel.enabled]
    actions = (ComposerAction.END_SESSION,) if _offers_end(actor, situation) else ()
    return Composer(_default_channel(situation, enabled), actions, channels)


def _default_channel(situation: Situation, enabled: list[Channel]) -> Channel | None:
    """The ticket's own channel while it can be used; after the end of a session the internal note (R66)."""
    if situation.ticket.channel in enabled:
        return situation.ticket.channel
    if Channel.INTERNAL_NOTE in enabled:
        return Channel.INTERNAL_NOTE
    return enabled[0] if enabled else None


def _offered(actor: Actor, situation: Situation, channel: Channel) -> bool:
    """Whether a channel is in the menu at all; one that is there but unusable is shown with its reason."""
    if channel is Channel.MESSAGING:
        return situation.session is not None and _writes_messages(actor)
    if channel is Channel.EMAIL:
        return actor.may(Permission.PUBLIC_COMMENTS)
    return actor.may(Permission.INTERNAL_NOTES)


def _channel(actor: Actor, situation: Situation, channel: Channel) -> ComposerChannel:
    refusal = _refusal_of(lambda: check_can_comment(actor, situation, channel))
    return ComposerChannel(channel, enabled=refusal is None, reason=refusal.code if refusal else None)


def _offers_end(actor: Actor, situation: Situation) -> bool:
    if situation.session is None or situation.session.state is SessionState.ENDED:
        return False
    return _refusal_of(lambda: check_can_end(actor, situation)) is None


def _refusal_of(check: object) -> Refusal | None:
    try:
        check()  # type: ignore[operator]
    except Refusal as refusal:
        return refusal
    return None


def _writes_messages(actor: Actor) -> bool:
    return actor.may(Permission.MESSAGING) and actor.may(Permission.PUBLIC_COMMENTS)


def _is_anothers(actor: Actor, ticket: Ticket) -> bool:
    return ticket.assignee_id is not None and ticket.assignee_id != actor.id


def check_can_end(actor: Actor, situation: Situation) -> None:
    """Raises a Refusal unless this actor may end the session of this ticket, which he may see (R11, R21–R24, R28)."""
    if actor.is_customer:
        raise Forbidden("A messaging session is ended by the people who answer, not by the customer.")
    if not (_writes_messages(actor) and actor.may(Permission.EDIT_TICKETS)):
        raise Forbidden
    if situation.session is None:
        raise NoMessagingSession
    if situation.ticket.status is TicketStatus.CLOSED:
        raise TicketClosed
    if not situation.can_end:
        raise FeatureDisabled
    # Who he is comes last: where it does not matter, one composer is everybody's of his role.
    if not actor.may(Permission.END_OTHERS_SESSIONS) and _is_anothers(actor, situation.ticket):
        raise Forbidden("This session is somebody else's. Your role may end only your own and unassigned ones.")


def check_can_comment(actor: Actor, situation: Situation, channel: Channel) -> None:
    """Raises a Refusal unless this actor may comment on this ticket, which he may see, over this channel."""
    if situation.ticket.status is TicketStatus.CLOSED:
        raise TicketClosed
    if channel is Channel.INTERNAL_NOTE:
        if not actor.may(Permission.INTERNAL_NOTES):
            raise Forbidden
    elif not actor.may(Permission.PUBLIC_COMMENTS):
        raise Forbidden
    elif channel is Channel.MESSAGING:
        _check_can_message(actor, situation)
    elif channel is Channel.EMAIL:
        if situation.requester.suspension is Suspension.ALL:
            raise UserSuspended(field=("channel",))
        if not (situation.requester.email and situation.requester.email_verified):
            raise ChannelUnavailable("The customer has no verified e-mail address.", field=("channel",))
    else:
        raise ChannelUnavailable("Agents cannot write over this channel.", field=("channel",))


def _check_can_message(actor: Actor, situation: Situation) -> None:
    if not actor.may(Permission.MESSAGING):
        raise Forbidden
    if situation.session is None:
        raise NoMessagingSession(field=("channel",))
    if situation.requester.suspension is not None:
        raise UserSuspended(field=("channel",))
    if situation.session.state is SessionState.ENDED:
        raise SessionEnded(field=("channel",))
    # With collaboration off, a conversation belongs to the one whom it is assigned to; admins may help out.
    if not situation.collaborate and actor.kind is not ActorKind.ADMIN and _is_anothers(actor, situation.ticket):
        raise Forbidden("Only the assignee writes to this customer: your account does not let agents collaborate.")
