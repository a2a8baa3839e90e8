"""Who takes work, how much of it, and what was offered to whom."""

from __future__ import annotations

from enum import StrEnum
from typing import Any
from uuid import UUID

from tortoise import fields
from tortoise.migrations.constraints import CheckConstraint, UniqueConstraint

from models.base import Row, account_key, link
from models.tickets import Channel


class AgentStatus(StrEnum):
    """Whether an agent takes work. AWAY takes e-mail only, TRANSFERS_ONLY nothing by itself."""

    ONLINE = "ONLINE"
    AWAY = "AWAY"
    TRANSFERS_ONLY = "TRANSFERS_ONLY"
    OFFLINE = "OFFLINE"


class OfferState(StrEnum):
    OPEN = "OPEN"
    ACCEPTED = "ACCEPTED"
    DECLINED = "DECLINED"
    EXPIRED = "EXPIRED"
    WITHDRAWN = "WITHDRAWN"


class LedgerReason(StrEnum):
    """Why a count of work changed."""

    ASSIGNMENT_CHANGED = "ASSIGNMENT_CHANGED"
    STATUS_CHANGED = "STATUS_CHANGED"
    SESSION_ENDED = "SESSION_ENDED"
    SESSION_BECAME_INACTIVE = "SESSION_BECAME_INACTIVE"
    SESSION_BECAME_ACTIVE = "SESSION_BECAME_ACTIVE"
    ROUTING_CHANNEL_CHANGED = "ROUTING_CHANNEL_CHANGED"
    TICKET_MERGED = "TICKET_MERGED"
    TICKET_DELETED = "TICKET_DELETED"
    TICKET_RESTORED = "TICKET_RESTORED"
    SETTINGS_CHANGED = "SETTINGS_CHANGED"
    CAPACITY_RULE_CHANGED = "CAPACITY_RULE_CHANGED"


class CapacityRule(Row):
    """How many work items an agent may get automatically at one time, per channel. None: not limited, not counted."""

    account: Any = account_key()
    account_id: UUID
    name = fields.CharField(max_length=100)
    # The rule of every agent who has none of his own.
    is_default = fields.BooleanField(default=False)
    messaging_limit = fields.IntField(null=True)
    email_limit = fields.IntField(null=True)
    created_at = fields.DatetimeField()

    class Meta:
        table = "capacity_rules"
        constraints = (
            UniqueConstraint(fields=("account_id", "name"), name="capacity_rule_names_are_unique"),
            UniqueConstraint(fields=("account_id",), name="one_default_capacity_rule", condition="is_default"),
            CheckConstraint(
                check="(messaging_limit IS NULL OR messaging_limit >= 0) AND (email_limit IS NULL OR email_limit >= 0)",
                name="limits_are_not_negative",
            ),
        )

    def limit(self, channel: Channel) -> int | None:
        """The most work items of a channel."""
        return self.messaging_limit if channel is Channel.MESSAGING else self.email_limit


class AgentAvailability(Row):
    """Whether an agent takes work, and how much he has: his row is the lock of his capacity.

    A count is None where no capacity rule tracks it (R91). `last_entry` numbers his lines of the ledger.
    """

    account: Any = account_key()
    account_id: UUID
    agent: Any = link("User")
    agent_id: UUID
    status = fields.CharEnumField(AgentStatus, max_length=16, default=AgentStatus.OFFLINE)
    # What he said for one channel alone; None follows `status`.
    messaging_status: Any = fields.CharEnumField(AgentStatus, max_length=16, null=True)
    email_status: Any = fields.CharEnumField(AgentStatus, max_length=16, null=True)
    changed_at = fields.DatetimeField()
    # When his last socket was lost; None while he has one, or never had.
    absent_since = fields.DatetimeField(null=True)
    capacity_rule: Any = link("CapacityRule", null=True)
    capacity_rule_id: UUID | None
    messaging_work = fields.IntField(null=True)
    email_work = fields.IntField(null=True)
    last_assigned_at = fields.DatetimeField(null=True)
    last_entry = fields.IntField(default=0)

    class Meta:
        table = "agent_availabilities"
        constraints = (
            UniqueConstraint(fields=("agent_id",), name="one_availability_per_agent"),
            # R96: a count never falls below nothing.
            CheckConstraint(
                check="(messaging_work IS NULL OR messaging_work >= 0) AND (email_work IS NULL OR email_work >= 0)",
                name="work_is_never_negative",
            ),
        )
        indexes = (("account_id", "status"),)

    def work(self, channel: Channel) -> int | None:
        """How many work items of a channel he has; None where nobody counts."""
        return self.messaging_work if channel is Channel.MESSAGING else self.email_work

    def set_work(self, channel: Channel, count: int | None) -> None:
        if channel is Channel.MESSAGING:
            self.messaging_work = count
        else:
            self.email_work = count

    def status_on(self, channel: Channel) -> AgentStatus:
        """His status on a channel. Who is away still takes e-mail."""
        own: AgentStatus | None = self.messaging_status if channel is Channel.MESSAGING else self.email_status
        if own is not None and self.status is not AgentStatus.OFFLINE:
            return own
        if self.status is AgentStatus.AWAY and channel is Channel.EMAIL:
            return AgentStatus.ONLINE
        return self.status


class LedgerEntry(Row):
    """One change of one count by one (R99). Append-only. `sequence` numbers the lines of an agent."""

    account: Any = account_key()
    account_id: UUID
    agent: Any = link("User")
    agent_id: UUID
    sequence = fields.IntField()
    channel = fields.CharEnumField(Channel, max_length=16)
    change = fields.IntField()
    count_after = fields.IntField()
    reason = fields.CharEnumField(LedgerReason, max_length=32)
    ticket: Any = link("Ticket")
    ticket_id: UUID
    audit_id = fields.UUIDField()
    at = fields.DatetimeField()

    class Meta:
        table = "capacity_ledger"
        constraints = (
            UniqueConstraint(fields=("agent_id", "sequence"), name="ledger_lines_are_in_one_order"),
            CheckConstraint(check="change IN (-1, 1)", name="a_slot_is_one"),
            CheckConstraint(check="count_after >= 0", name="no_ledger_line_is_negative"),
        )
        indexes = (("account_id", "ticket_id"),)


class Offer(Row):
    """A ticket that waits for an agent's word. Automatic assignment is an offer that is accepted at once."""

    account: Any = account_key()
    account_id: UUID
    ticket: Any = link("Ticket")
    ticket_id: UUID
    agent: Any = link("User")
    agent_id: UUID
    channel = fields.CharEnumField(Channel, max_length=16)
    state = fields.CharEnumField(OfferState, max_length=16, default=OfferState.OPEN)
    created_at = fields.DatetimeField()
    expires_at = fields.DatetimeField(null=True)
    decided_at = fields.DatetimeField(null=True)

    class Meta:
        table = "offers"
        constraints = (
            UniqueConstraint(fields=("ticket_id", "agent_id"), name="one_open_offer", condition="state = 'OPEN'"),
            CheckConstraint(check="(state = 'OPEN') = (decided_at IS NULL)", name="decided_offers_say_when"),
        )
        indexes = (("account_id", "state", "expires_at"), ("agent_id", "state"), ("ticket_id", "state"))


class RoutingQueue(Row):
    """Which tickets go to which groups. The first queue whose conditions match takes a ticket.

    `conditions` is a list of {"match": "ALL" | "ANY", "rules": [{"subject", "operator", "value"}]}, as in triggers.
    """

    account: Any = account_key()
    account_id: UUID
    name = fields.CharField(max_length=100)
    place = fields.IntField(default=0)
    active = fields.BooleanField(default=True)
    conditions: list[dict[str, Any]] = fields.JSONField()
    group_ids: list[str] = fields.JSONField()
    created_at = fields.DatetimeField()

    class Meta:
        table = "routing_queues"
        constraints = (UniqueConstraint(fields=("account_id", "name"), name="queue_names_are_unique"),)


class Presence(Row):
    """The sockets of one user on one server process. A row that nobody renews is of a process that died."""

    account: Any = account_key()
    account_id: UUID
    user: Any = link("User")
    user_id: UUID
    process_id = fields.UUIDField()
    renewed_at = fields.DatetimeField()

    class Meta:
        table = "presences"
        constraints = (UniqueConstraint(fields=("user_id", "process_id"), name="one_presence_per_process"),)
        indexes = (("process_id",), ("renewed_at",))
