"""What the end of a session does to the capacity of the agent who had it (rules, section 2.5)."""

from __future__ import annotations

from enum import StrEnum

from domain.capacity import BUSY, Rules, slot_taken
from models import AccountSettings, Channel, EndReason, MessagingSession, RoutingMode, SessionState, Ticket


class RoutingOutcome(StrEnum):
    """What becomes of the slot that the session took of its assignee.

    UNCHANGED: nobody had it, or its slot was free already. NOT_TRACKED: standard routing counts no capacity.
    NOT_CONFIGURED: no capacity rule applies to the agent.
    """

    RELEASED = "RELEASED"
    KEPT = "KEPT"
    MOVED_TO_EMAIL = "MOVED_TO_EMAIL"
    UNCHANGED = "UNCHANGED"
    NOT_TRACKED = "NOT_TRACKED"
    NOT_CONFIGURED = "NOT_CONFIGURED"


def becomes_email(settings: AccountSettings, ticket: Ticket, reason: EndReason) -> bool:
    """Whether the ticket is routed as e-mail from this end on (R86): only sessions that agents end are."""
    return (
        settings.routing_mode is RoutingMode.OMNICHANNEL
        and settings.route_agent_ended_sessions_as_email
        and reason is EndReason.AGENT
        and ticket.routing_channel is not Channel.EMAIL
    )


def keeps_slot(settings: AccountSettings) -> bool:
    """Whether an ended session goes on counting: decided once, by the settings at its end (R84, R98)."""
    return settings.routing_mode is RoutingMode.OMNICHANNEL and settings.count_inactive_toward_capacity


async def routing_outcome(
    settings: AccountSettings, ticket: Ticket | None, session: MessagingSession, reason: EndReason
) -> RoutingOutcome:
    """What ending this live session does, by the table of rules 2.5."""
    if settings.routing_mode is RoutingMode.STANDARD:
        return RoutingOutcome.NOT_TRACKED
    if ticket is None or ticket.assignee_id is None:
        return RoutingOutcome.UNCHANGED
    rules = await Rules.load(ticket.account_id, [ticket.assignee_id])
    held = slot_taken(settings, rules, ticket, session)
    moves = becomes_email(settings, ticket, reason) and ticket.status in BUSY
    if moves and rules.limit(ticket.assignee_id, Channel.EMAIL) is not None:
        return RoutingOutcome.MOVED_TO_EMAIL
    if rules.limit(ticket.assignee_id, Channel.MESSAGING) is None:
        return RoutingOutcome.NOT_CONFIGURED
    if moves:
        return _released(held is not None)
    if held is None or held.channel is Channel.EMAIL:
        return RoutingOutcome.UNCHANGED
    if keeps_slot(settings):
        return RoutingOutcome.KEPT
    return _released(session.state is not SessionState.ENDED)


def _released(held: bool) -> RoutingOutcome:
    return RoutingOutcome.RELEASED if held else RoutingOutcome.UNCHANGED
