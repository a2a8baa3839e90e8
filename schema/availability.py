"""Whether agents take work, and how much they have."""

from __future__ import annotations

from uuid import UUID

import strawberry
from strawberry import ID

from domain.availability import ChannelWork, Work
from models import AgentStatus, Channel
from schema.context import Info


@strawberry.type(description="How much work an agent has, and may get by himself, on a channel.")
class ChannelAvailability:
    channel: Channel
    status: AgentStatus
    work_item_count: int
    max_capacity: int | None = strawberry.field(description="Null: not limited. Work by hand may exceed it.")

    @classmethod
    def of(cls, work: ChannelWork) -> ChannelAvailability:
        return cls(channel=work.channel, status=work.status, work_item_count=work.work, max_capacity=work.limit)


@strawberry.type(description="Whether and for what an agent is available.")
class Availability:
    status: AgentStatus
    channels: list[ChannelAvailability]

    @classmethod
    def of(cls, work: Work) -> Availability:
        return cls(status=work.status, channels=[ChannelAvailability.of(channel) for channel in work.channels])


async def availability_of(info: Info, agent_id: UUID) -> Availability | None:
    """The availability of an agent of the account."""
    work = await info.context.loaders.work.load(agent_id)
    return Availability.of(work) if work else None


@strawberry.input(description="The status on one channel, where it differs.")
class ChannelStatusInput:
    channel: Channel
    status: AgentStatus


@strawberry.input(description="Say whether one takes work.")
class SetAvailabilityInput:
    status: AgentStatus
    channels: list[ChannelStatusInput] = strawberry.field(
        default_factory=list, description="Channels with a status of their own. All others follow `status`."
    )
    agent_id: ID | None = strawberry.field(default=None, description="Somebody else: for the right to manage routing.")
    client_id: str | None = None
    client_mutation_id: str | None = None
