"""Refusals, as the API shows them."""

from __future__ import annotations

from enum import StrEnum

import strawberry

from domain.errors import ErrorCode, Refusal


@strawberry.enum(description="What the caller should know, although the call succeeded.")
class WarningCode(StrEnum):
    CUSTOMER_NOT_TOLD = "CUSTOMER_NOT_TOLD"


WARNINGS = {
    WarningCode.CUSTOMER_NOT_TOLD: "Nobody told the customer lately that the session ends. "
    "His next message opens a new conversation and a new ticket."
}


@strawberry.type(description="An expected refusal. Nothing was changed.")
class UserError:
    code: ErrorCode = strawberry.field(description="For programs.")
    message: str = strawberry.field(description="For people.")
    field: list[str] = strawberry.field(
        description="The path to the argument at fault, from the input object; or empty."
    )

    @classmethod
    def of(cls, refusal: Refusal) -> UserError:
        return cls(code=refusal.code, message=refusal.message, field=list(refusal.field))


@strawberry.type(name="Warning", description="A remark on a call that succeeded.")
class CallWarning:
    code: WarningCode
    message: str

    @classmethod
    def of(cls, code: str) -> CallWarning:
        return cls(code=WarningCode(code), message=WARNINGS[WarningCode(code)])
