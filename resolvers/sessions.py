"""Ending sessions."""

from __future__ import annotations

from uuid import UUID

from strawberry import ID

from domain.conversations import end_conversation
from domain.errors import InvalidInput, Refusal, Unauthenticated
from domain.sessions import MOST_AT_ONCE, EndOutcome, SessionEnd, end_session, preview_end
from domain.surveys import end_would_send_survey
from resolvers.answers import answering, staff
from schema.context import Info
from schema.errors import CallWarning, UserError
from schema.events import event_of
from schema.ids import decode_id, decode_optional
from schema.payloads import (
    EndSessionInput,
    EndSessionPayload,
    EndSessionsInput,
    EndSessionsPayload,
    EndSessionsResult,
)
from schema.sessions import MessagingSession, SessionEndPreview
from schema.tickets import Ticket


async def session_end_preview(info: Info, ticket_id: ID) -> SessionEndPreview | None:
    actor, identifier = staff(info), decode_id("Ticket", ticket_id, field="ticketId")
    preview = await preview_end(actor, identifier)
    if preview is None:
        return None
    asks = preview.allowed and await end_would_send_survey(actor, identifier)
    return SessionEndPreview.of(preview, survey_will_be_sent=asks)


@answering(EndSessionPayload)
async def resolve_end_session(info: Info, input: EndSessionInput) -> EndSessionPayload:
    return await _payload(info, await _end(info, input))


async def _end(info: Info, input: EndSessionInput) -> SessionEnd:
    call = info.context.call(client_id=input.client_id, idempotency_key=input.idempotency_key)
    closing, version = input.closing_message, input.expected_version
    ticket_id = decode_optional("Ticket", input.ticket_id, field="ticketId")
    conversation_id = decode_optional("Conversation", input.conversation_id, field="conversationId")
    if ticket_id is not None and conversation_id is None:
        return await end_session(call, ticket_id, closing_message=closing, expected_version=version)
    if conversation_id is not None and ticket_id is None:
        return await end_conversation(call, conversation_id, closing_message=closing, expected_version=version)
    raise InvalidInput("Name either the ticket or the conversation.", field=("ticketId",))


async def _payload(info: Info, end: SessionEnd) -> EndSessionPayload:
    loaders = info.context.loaders
    ticket = await loaders.tickets.load(end.ticket_id) if end.ticket_id else None
    payload = EndSessionPayload(
        outcome=EndOutcome(end.outcome), warnings=[CallWarning.of(code) for code in end.warnings]
    )
    # If the caller lost the ticket since, the outcome is all that he may know.
    if ticket is not None or end.ticket_id is None:
        session = await loaders.sessions_by_id.load(end.session_id)
        event = await loaders.events.load(end.event_id)
        payload.ticket = Ticket.of(ticket) if ticket else None
        payload.session = MessagingSession.of(session) if session else None
        payload.event = event_of(event) if event else None
    return payload


@answering(EndSessionsPayload)
async def resolve_end_sessions(info: Info, input: EndSessionsInput) -> EndSessionsPayload:
    if not 1 <= len(input.ticket_ids) <= MOST_AT_ONCE:
        raise InvalidInput(f"Name 1 to {MOST_AT_ONCE} tickets.", field=("ticketIds",))
    # One after the other: each is a transaction of its own, and they share the account's log anyway.
    return EndSessionsPayload(results=[await _end_one(info, input, ticket_id) for ticket_id in input.ticket_ids])


async def _end_one(info: Info, input: EndSessionsInput, ticket_id: ID) -> EndSessionsResult:
    try:
        identifier: UUID = decode_id("Ticket", ticket_id, field="ticketIds")
        call = info.context.call(client_id=input.client_id)
        end = await end_session(call, identifier, closing_message=input.closing_message)
    except Unauthenticated:
        raise
    except Refusal as refusal:
        return EndSessionsResult(ticket_id=ticket_id, user_errors=[UserError.of(refusal)])
    return EndSessionsResult(ticket_id=ticket_id, outcome=EndOutcome(end.outcome))
