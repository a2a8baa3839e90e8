"""Surveys: offering one after a conversation, the customer's answer, and what all of them say."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from tortoise.functions import Count

from domain.actors import Actor
from domain.comments import check_body
from domain.conditions import Facts, Subject, facts_of, hold
from domain.errors import Forbidden, InvalidInput, NotFound
from domain.locks import confirm_actor, lock_ticket_of
from domain.transactions import Call, Transaction, unit_of_work
from domain.visibility import visible_tickets
from models import (
    AccountSettings,
    Conversation,
    EndReason,
    Event,
    EventType,
    MessagingSession,
    Permission,
    Score,
    SessionState,
    SkipReason,
    Survey,
    SurveyState,
    Ticket,
    Trigger,
    User,
    new_id,
)

LONGEST_COMMENT = 2000
SEND_SURVEY = "SEND_SURVEY"
AGAIN = "again"
"""The value of a SEND_SURVEY action that may offer more than one survey for a ticket."""


@dataclass(frozen=True, slots=True)
class Answered:
    """The verdict of `answer_survey`."""

    survey_id: UUID


@dataclass(frozen=True, slots=True)
class Satisfaction:
    """What the surveys of an account say. `offered` counts all that were sent, the answered ones among them."""

    offered: int
    answered: int
    skipped: int
    good: int
    bad: int
    skipped_by_reason: tuple[tuple[SkipReason, int], ...]


async def offer_survey(
    tx: Transaction,
    settings: AccountSettings,
    ticket: Ticket,
    session: MessagingSession | None,
    *,
    again: bool = False,
) -> Survey | None:
    """Offer a survey for a locked ticket, once unless `again` (R117), or note why not (R118).

    Returns None when the same reason as last time would be noted: history says a thing once.
    """
    earlier = await Survey.filter(ticket_id=ticket.id).order_by("-created_at", "-id")
    offered = sum(survey.number is not None for survey in earlier)
    requester = await User.get(id=ticket.requester_id)
    reason = skip_reason(settings, ticket, session, requester, offered=bool(offered) and not again)
    if reason is not None and earlier and earlier[0].skip_reason is reason:
        return None
    survey = await Survey.create(
        id=new_id(),
        account_id=tx.account_id,
        ticket_id=ticket.id,
        session_id=session.id if session else None,
        end_user_id=session.end_user_id if session else requester.id,
        number=None if reason else offered + 1,
        state=SurveyState.SKIPPED if reason else SurveyState.OFFERED,
        skip_reason=reason,
        question=settings.survey_question,
        created_at=tx.now,
    )
    _record(tx, ticket, survey, reason)
    return survey


def _record(tx: Transaction, ticket: Ticket, survey: Survey, reason: SkipReason | None) -> None:
    if reason is not None:
        tx.record(EventType.SURVEY_SKIPPED, ticket=ticket, survey=str(survey.id), reason=reason.value)
        return
    tx.record(
        EventType.SURVEY_OFFERED,
        ticket=ticket,
        session_id=survey.session_id,
        survey=str(survey.id),
        # Whose widget shows it: the stream of a customer is told from this alone.
        customer=str(survey.end_user_id),
    )


def skip_reason(
    settings: AccountSettings, ticket: Ticket, session: MessagingSession | None, requester: User, *, offered: bool
) -> SkipReason | None:
    """Why no survey is sent for this ticket now, or None if one is. `offered`: there was one, and once is enough."""
    if offered:
        return SkipReason.ALREADY_OFFERED
    if requester.suspension is not None:
        return SkipReason.USER_SUSPENDED
    if session is None:  # surveys are asked in the widget, and only a conversation over messaging has one
        return SkipReason.NO_REACHABLE_CHANNEL
    if not in_sample(ticket.id, settings.survey_sampling_percent):
        return SkipReason.SAMPLING
    return None


def in_sample(ticket_id: UUID, percent: int) -> bool:
    """Whether a ticket is among the so many percent that are asked: always the same answer for the same ticket."""
    digest = hashlib.sha256(ticket_id.bytes).digest()
    return int.from_bytes(digest[:8]) % 100 < percent


async def answer_survey(call: Call, survey_id: UUID, *, score: Score, comment: str | None = None) -> Answered:
    """The customer's answer, on the ticket that it is about, however long ago that ended (R119).

    A second answer replaces the first; the same one again changes nothing. Raises Forbidden, NotFound, InvalidInput.
    """
    said = _checked(comment)

    async def work(tx: Transaction) -> Answered:
        await tx.hold_settings()
        actor = await confirm_actor(tx)
        if not actor.is_customer:
            raise Forbidden("Surveys are answered by customers.")
        found = await _own_survey(actor, survey_id)
        # Not by what he may see: a ticket that got another requester since still has his answer.
        ticket = await lock_ticket_of(tx, (await Ticket.get(id=found.ticket_id)).conversation_id)
        assert ticket is not None
        survey = await Survey.get(id=survey_id)
        if (survey.score, survey.comment) == (score, said):
            return Answered(survey.id)
        amended = survey.state is SurveyState.ANSWERED
        answer = {"state": SurveyState.ANSWERED, "score": score, "comment": said, "answered_at": tx.now}
        survey.update_from_dict(answer)
        await survey.save()
        tx.record(EventType.SURVEY_ANSWERED, ticket=ticket, survey=str(survey.id), score=score.value, amended=amended)
        return Answered(survey.id)

    return await unit_of_work(call, work)


def _checked(comment: str | None) -> str | None:
    """The comment, or None for one without any visible character. Raises InvalidInput."""
    if comment is None or not comment.strip():
        return None
    check_body(comment, field="comment")
    if len(comment) > LONGEST_COMMENT:
        raise InvalidInput(f"A comment has at most {LONGEST_COMMENT} characters.", field=("comment",))
    return comment


async def _own_survey(customer: Actor, survey_id: UUID) -> Survey:
    survey = await Survey.get_or_none(id=survey_id, account_id=customer.account_id, end_user_id=customer.id)
    if survey is None or survey.state is SurveyState.SKIPPED:
        raise NotFound(field=("surveyId",))
    return survey


async def survey_of(customer: Actor, event: Event) -> tuple[Survey, Conversation] | None:
    """The survey that an event offers, with its conversation, if it is for this customer."""
    survey = await Survey.get_or_none(id=event.payload["survey"], end_user_id=customer.id)
    conversation = await Conversation.get_or_none(id=event.conversation_id, end_user_id=customer.id)
    return (survey, conversation) if survey is not None and conversation is not None else None


async def satisfaction(actor: Actor, since: datetime | None = None) -> Satisfaction:
    """What the surveys decided on since then say. Raises Forbidden."""
    if not (actor.is_staff and actor.may(Permission.MANAGE_TRIGGERS)):
        raise Forbidden
    surveys = Survey.filter(account_id=actor.account_id)
    if since is not None:
        surveys = surveys.filter(created_at__gte=since)
    grouped = surveys.annotate(count=Count("id")).group_by("state", "score", "skip_reason")
    return _summed(await grouped.values("state", "score", "skip_reason", "count"))


def _summed(rows: list[dict[str, Any]]) -> Satisfaction:
    states: Counter[SurveyState] = Counter()
    scores: Counter[str] = Counter()
    reasons: Counter[SkipReason] = Counter()
    for row in rows:
        states[SurveyState(row["state"])] += row["count"]
        if row["score"] is not None:
            scores[str(row["score"])] += row["count"]
        if row["skip_reason"] is not None:
            reasons[SkipReason(row["skip_reason"])] += row["count"]
    return Satisfaction(
        offered=states[SurveyState.OFFERED] + states[SurveyState.ANSWERED],
        answered=states[SurveyState.ANSWERED],
        skipped=states[SurveyState.SKIPPED],
        good=scores[Score.GOOD],
        bad=scores[Score.BAD],
        skipped_by_reason=tuple(sorted(reasons.items())),
    )


async def end_would_send_survey(actor: Actor, ticket_id: UUID) -> bool:
    """Whether a trigger would offer a survey if an agent ended the session of this ticket now.

    What other triggers would change before is not foreseen. False for what the actor may not see.
    """
    ticket = await visible_tickets(actor).get_or_none(id=ticket_id)
    if ticket is None:
        return False
    session = await MessagingSession.get_or_none(conversation_id=ticket.conversation_id)
    if session is None or session.state is SessionState.ENDED:
        return False
    facts = ended_by_agent(ticket, session)
    triggers = await Trigger.filter(account_id=actor.account_id, active=True)
    asking = [action for trigger in triggers if hold(trigger.conditions, facts) for action in trigger.actions]
    values = {action["value"] for action in asking if action["kind"] == SEND_SURVEY}
    if not values:
        return False
    settings = await AccountSettings.get(account_id=actor.account_id)
    requester = await User.get(id=ticket.requester_id)
    offered = AGAIN not in values and await Survey.exists(ticket_id=ticket.id, number__isnull=False)
    return skip_reason(settings, ticket, session, requester, offered=offered) is None


def ended_by_agent(ticket: Ticket, session: MessagingSession) -> Facts:
    """The facts as they would be right after an agent ended this live session."""
    payload = {"previous_state": session.state.value, "reason": EndReason.AGENT.value}
    event = Event(type=EventType.MESSAGING_SESSION_ENDED, ticket_id=ticket.id, payload=payload)
    facts = facts_of(ticket, session, (event,))
    ended = {
        Subject.SESSION_STATE: SessionState.ENDED.value,
        Subject.END_REASON: EndReason.AGENT.value,
        Subject.INACTIVE_REASON: None,
    }
    return replace(facts, values={**facts.values, **ended})
