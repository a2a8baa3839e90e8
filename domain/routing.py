"""What the end of a session does to the capacity of the agent who had it (rules, section 2.5)."""

from __future__ import annotations

from enum import StrEnum

from models import AccountSettings, RoutingMode, SessionState, Ticket


class RoutingOutcome(StrEnum):
    """What becomes of the slot that the session took."""

    NOT_TRACKED = "NOT_TRACKED"
    NOT_CONFIGURED = "NOT_CONFIGURED"


def routing_outcome(settings: AccountSettings, ticket: Ticket, state: SessionState) -> RoutingOutcome:
    """Standard routing keeps no capacity ledger (R88); without a capacity rule there is nothing to release (R91)."""
    if settings.routing_mode is RoutingMode.STANDARD:
        return RoutingOutcome.NOT_TRACKED
    return RoutingOutcome.NOT_CONFIGURED
