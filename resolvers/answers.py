"""How a resolver answers: who may ask at all, and refusals as payloads."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from domain.actors import Actor
from domain.errors import Forbidden, Refusal, StaleVersion, Unauthenticated
from schema.context import Info
from schema.errors import UserError
from schema.payloads import Payload
from schema.tickets import Ticket

PayloadT = TypeVar("PayloadT", bound=Payload)
Resolver = Callable[..., Awaitable[PayloadT]]

# What became of the mutations of this process, for its metrics: OK, or the code of the refusal. Codes are few.
outcomes: Counter[str] = Counter()


def staff(info: Info) -> Actor:
    """The actor, if he works in the account. Raises Forbidden."""
    if not info.context.actor.is_staff:
        raise Forbidden("This is for the people who answer.")
    return info.context.actor


def customer(info: Info) -> Actor:
    """The actor, if he is an end user. Raises Forbidden."""
    if not info.context.actor.is_customer:
        raise Forbidden("This is for customers.")
    return info.context.actor


def answering(payload: type[PayloadT]) -> Callable[[Resolver[PayloadT]], Resolver[PayloadT]]:
    """Make refusals of a mutation `userErrors` of its payload. Only a caller who is nobody gets a top-level error."""

    def decorate(resolver: Resolver[PayloadT]) -> Resolver[PayloadT]:
        @functools.wraps(resolver)
        async def answered(info: Info, input: Any) -> PayloadT:
            try:
                answer = await resolver(info, input)
                outcomes["OK"] += 1
            except Unauthenticated:
                raise
            except Refusal as refusal:
                outcomes[refusal.code.value] += 1
                answer = payload(user_errors=[UserError.of(refusal)])
                if isinstance(refusal, StaleVersion):
                    await _show_current(info, answer, refusal)
            answer.client_mutation_id = input.client_mutation_id
            return answer

        return answered

    return decorate


async def _show_current(info: Info, answer: Payload, refusal: StaleVersion) -> None:
    """A stale caller gets the ticket as it is now, to decide again (R38)."""
    if refusal.ticket_id is not None and hasattr(answer, "ticket"):
        row = await info.context.loaders.tickets.load(refusal.ticket_id)
        answer.ticket = Ticket.of(row) if row else None
