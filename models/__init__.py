"""WHAT IS STORED. Tables, their constraints, and what one row knows about itself."""

from models.accounts import (
    Account,
    AccountSettings,
    AuditLogEntry,
    Deployment,
    FirstResponder,
    IdempotencyRecord,
    RoutingMethod,
    RoutingMode,
    TicketCounter,
    TicketCreation,
    Token,
)
from models.base import new_id, utc_now
from models.comments import Comment, OutboundEmail, ReadMark, Visibility
from models.events import ActorKind, Audit, Event, EventType
from models.macros import Macro
from models.people import (
    Group,
    GroupMembership,
    Organization,
    OrganizationMembership,
    Permission,
    Role,
    TicketAccess,
    User,
    UserKind,
)
from models.sessions import EndReason, InactiveReason, MessagingSession, SessionState
from models.tickets import Channel, Conversation, Ticket, TicketPriority, TicketStatus, TicketType

__all__ = [
    "Account",
    "AccountSettings",
    "ActorKind",
    "Audit",
    "AuditLogEntry",
    "Channel",
    "Comment",
    "Conversation",
    "Deployment",
    "EndReason",
    "Event",
    "EventType",
    "FirstResponder",
    "Group",
    "GroupMembership",
    "IdempotencyRecord",
    "InactiveReason",
    "Macro",
    "MessagingSession",
    "Organization",
    "OrganizationMembership",
    "OutboundEmail",
    "Permission",
    "ReadMark",
    "Role",
    "RoutingMethod",
    "RoutingMode",
    "SessionState",
    "Ticket",
    "TicketAccess",
    "TicketCounter",
    "TicketCreation",
    "TicketPriority",
    "TicketStatus",
    "TicketType",
    "Token",
    "User",
    "UserKind",
    "Visibility",
    "new_id",
    "utc_now",
]
