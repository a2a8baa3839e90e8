"""What surveys say, for those who evaluate them. What the customer sees of a survey is in schema/customers.py."""

from __future__ import annotations

import strawberry

from domain import surveys
from models import SkipReason


@strawberry.type(description="How many surveys were not sent for a reason.")
class SkippedSurveys:
    reason: SkipReason
    count: int


@strawberry.type(description="What the surveys of the account say.")
class Satisfaction:
    offered: int = strawberry.field(description="All that were sent, the answered ones among them.")
    answered: int
    skipped: int
    good: int
    bad: int
    skipped_by_reason: list[SkippedSurveys]

    @classmethod
    def of(cls, figures: surveys.Satisfaction) -> Satisfaction:
        return cls(
            offered=figures.offered,
            answered=figures.answered,
            skipped=figures.skipped,
            good=figures.good,
            bad=figures.bad,
            skipped_by_reason=[
                SkippedSurveys(reason=reason, count=count) for reason, count in figures.skipped_by_reason
            ],
        )
