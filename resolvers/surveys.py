"""Surveys: the customer's answer, and what all answers say."""

from __future__ import annotations

from datetime import UTC, datetime

from domain.errors import InvalidInput
from domain.surveys import answer_survey
from domain.surveys import satisfaction as figures
from resolvers.answers import answering, customer, staff
from schema.context import Info
from schema.customers import RateConversationInput, RateConversationPayload, Rating
from schema.ids import decode_id
from schema.surveys import Satisfaction


async def satisfaction(info: Info, since: datetime | None = None) -> Satisfaction:
    return Satisfaction.of(await figures(staff(info), _in_utc(since)))


def _in_utc(moment: datetime | None) -> datetime | None:
    """A moment without an offset is taken as UTC. Raises InvalidInput for one that no calendar here holds."""
    if moment is None or moment.tzinfo is None:
        return moment and moment.replace(tzinfo=UTC)
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise InvalidInput("This moment is out of range.", field=("since",)) from None


@answering(RateConversationPayload)
async def resolve_rate_conversation(info: Info, input: RateConversationInput) -> RateConversationPayload:
    customer(info)
    answered = await answer_survey(
        info.context.call(),
        decode_id("Survey", input.survey_id, field="surveyId"),
        score=input.score,
        comment=input.comment,
    )
    row = await info.context.loaders.surveys.load(answered.survey_id)
    return RateConversationPayload(rating=Rating(score=row.score, comment=row.comment) if row else None)
