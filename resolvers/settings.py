"""Settings and the account's log."""

from __future__ import annotations

from typing import Any

from domain.directory import audit_log_page, settings_of
from domain.settings import may_agents_end_sessions, update_messaging_settings, update_routing_settings
from resolvers.answers import answering, staff
from schema.context import Info
from schema.paging import Connection, check_first, decode_moment, keyset_page
from schema.payloads import given
from schema.settings import (
    AuditLogEntry,
    MessagingSettings,
    RoutingSettings,
    UpdateMessagingSettingsInput,
    UpdateMessagingSettingsPayload,
    UpdateRoutingSettingsInput,
    UpdateRoutingSettingsPayload,
)


async def messaging_settings(info: Info) -> MessagingSettings:
    row = await settings_of(staff(info))
    return MessagingSettings.of(row, can_end=await may_agents_end_sessions(row))


async def routing_settings(info: Info) -> RoutingSettings:
    return RoutingSettings.of(await settings_of(staff(info)))


def _call(info: Info, input: Any) -> Any:
    return info.context.call(client_id=input.client_id, idempotency_key=input.idempotency_key)


@answering(UpdateMessagingSettingsPayload)
async def resolve_update_messaging_settings(
    info: Info, input: UpdateMessagingSettingsInput
) -> UpdateMessagingSettingsPayload:
    values = given(
        messaging_enabled=input.enabled,
        agents_can_end_sessions=input.agents_can_end_sessions,
        agents_can_collaborate=input.agents_can_collaborate,
        remind_agents_to_notify=input.remind_agents_to_notify,
        remind_within_minutes=input.remind_within_minutes,
        inactive_after_minutes=input.inactive_after_minutes,
        inactive_unassigned_after_minutes=input.inactive_unassigned_after_minutes,
        ticket_creation=input.ticket_creation,
        first_responder=input.first_responder,
        customer_absence_seconds=input.customer_absence_seconds,
        close_solved_after_days=input.close_solved_after_days,
        survey_question=input.survey_question,
        survey_sampling_percent=input.survey_sampling_percent,
    )
    change = await update_messaging_settings(_call(info, input), values, expected_version=input.expected_version)
    return UpdateMessagingSettingsPayload(changed=change.changed, messaging_settings=await messaging_settings(info))


@answering(UpdateRoutingSettingsPayload)
async def resolve_update_routing_settings(
    info: Info, input: UpdateRoutingSettingsInput
) -> UpdateRoutingSettingsPayload:
    values = given(
        routing_mode=input.mode,
        routing_method=input.method,
        count_inactive_toward_capacity=input.count_inactive_toward_capacity,
        route_agent_ended_sessions_as_email=input.route_agent_ended_sessions_as_email,
        standard_distribution=input.standard_distribution,
        chat_limit=input.chat_limit,
        auto_accept=input.auto_accept,
        offer_seconds=input.offer_seconds,
        agent_absence_seconds=input.agent_absence_seconds,
    )
    change = await update_routing_settings(_call(info, input), values, expected_version=input.expected_version)
    return UpdateRoutingSettingsPayload(changed=change.changed, routing_settings=await routing_settings(info))


async def audit_log(info: Info, first: int, after: str | None = None) -> Connection[AuditLogEntry]:
    rows = await audit_log_page(staff(info), check_first(first), decode_moment(after))
    return keyset_page(rows, first, after=after is not None, key=lambda row: (row.at, row.id), node=AuditLogEntry.of)
