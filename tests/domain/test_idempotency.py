"""The same call again: with an idempotency key (R37), or with a client's message id (R75)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from domain.comments import post_comment
from domain.errors import IdempotencyConflict, InvalidInput, SessionEnded
from domain.messages import send_message
from domain.sessions import SessionEnd, end_session
from domain.tickets import update_ticket
from domain.transactions import Call
from models import Channel, Comment, IdempotencyRecord, MessagingSession, OutboundEmail, Ticket
from tests.databases import sabotaged
from tests.factories import World, later
from tests.invariants import assert_consistent


async def test_a_retry_gets_the_first_answer(world: World) -> None:
    """R37: the very same verdict, warnings included, and nothing happens again."""
    ticket = await world.live_ticket()
    call = Call(world.admin, idempotency_key="end-1")
    first = await end_session(call, ticket.id)
    before = await world.fingerprint()
    assert await end_session(call, ticket.id) == first
    assert (first.outcome, first.warnings) == ("ENDED", ("CUSTOMER_NOT_TOLD",))
    assert await world.fingerprint() == before
    assert await IdempotencyRecord.all().count() == 1


async def test_a_retry_gets_the_first_answer_although_the_world_has_moved_on(world: World) -> None:
    """R37: the message was sent while the session lived; today it would be refused."""
    ticket = await world.live_ticket()
    call = Call(world.admin, idempotency_key="reply-1")

    async def reply(call: Call) -> Any:
        return await post_comment(call, ticket.id, body="On its way", channel=Channel.MESSAGING)

    first = await reply(call)
    await world.end(ticket, world.admin)
    assert await reply(call) == first
    async with world.refuses(SessionEnded):
        await reply(Call(world.admin, idempotency_key="reply-2"))
    assert await world.thread(ticket) == ["Hello, my order is late.", "On its way"]


async def test_a_key_with_other_input_is_refused(world: World) -> None:
    """R37: other text, another ticket, another operation."""
    ticket, other = await world.live_ticket(), await world.live_ticket()
    call = Call(world.admin, idempotency_key="k")
    await end_session(call, ticket.id)
    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: end_session(call, ticket.id, closing_message="Goodbye!"),
        lambda: end_session(call, other.id),
        lambda: update_ticket(call, ticket.id, {"subject": "Another"}),
    ]
    for again in calls:
        async with world.refuses(IdempotencyConflict) as refusal:
            await again()
        assert refusal.value.field == ("idempotencyKey",)


async def test_each_caller_has_keys_of_his_own(world: World, other_world: World) -> None:
    """R37: two agents, and two accounts, may choose the same key."""
    ticket, foreign = await world.live_ticket(), await other_world.live_ticket()
    agents = [await world.agent("One"), await world.agent("Two")]
    for agent in agents:
        await post_comment(
            Call(agent, idempotency_key="k"), ticket.id, body=f"{agent.id}", channel=Channel.INTERNAL_NOTE
        )
    assert (await world.thread(ticket))[1:] == [str(agent.id) for agent in agents]
    assert (await end_session(Call(other_world.admin, idempotency_key="k"), foreign.id)).outcome == "ENDED"


async def test_a_refused_call_leaves_its_key_free(world: World) -> None:
    """R37: what did not happen has no verdict to repeat."""
    ticket = await world.ended_ticket()
    call = Call(world.admin, idempotency_key="k")
    async with world.refuses(SessionEnded):
        await post_comment(call, ticket.id, body="Hello", channel=Channel.MESSAGING)
    assert await IdempotencyRecord.all().count() == 0
    await post_comment(call, ticket.id, body="Hello", channel=Channel.EMAIL)


async def test_an_error_leaves_the_key_free(world: World) -> None:
    """R33, R37: record and effect are one transaction."""
    ticket = await world.live_ticket()
    call = Call(world.admin, idempotency_key="k")
    async with sabotaged("events", "INSERT"):
        with pytest.raises(Exception, match="nowhere"):
            await end_session(call, ticket.id)
    assert await IdempotencyRecord.all().count() == 0
    assert (await end_session(call, ticket.id)).outcome == "ENDED"


async def test_a_key_is_kept_for_three_days(world: World) -> None:
    """R37: at least a day; afterwards it may be used again, and is then kept anew."""
    ticket = await world.live_ticket()

    async def note(minutes: int) -> Any:
        call = Call(world.admin, idempotency_key="k", clock=later(minutes))
        return await post_comment(call, ticket.id, body="Called him", channel=Channel.INTERNAL_NOTE)

    three_days = int(timedelta(hours=72).total_seconds()) // 60
    first = await note(0)
    assert await note(24 * 60) == await note(three_days - 1) == first
    again = await note(three_days + 1)
    assert again != first
    assert await note(three_days + 2) == again
    assert len(await world.thread(ticket)) == 3
    assert await IdempotencyRecord.all().count() == 1


@pytest.mark.parametrize("key", ["", "k" * 201])
async def test_a_key_has_a_length(world: World, key: str) -> None:
    """R37."""
    ticket = await world.live_ticket()
    async with world.refuses(InvalidInput):
        await end_session(Call(world.admin, idempotency_key=key), ticket.id)


async def test_equal_keys_at_once_have_one_effect_and_one_answer(world: World) -> None:
    """R37: twenty ends with a closing message, all with one key, all told that they ended the session."""
    ticket = await world.live_ticket()
    call = Call(world.admin, idempotency_key="k")
    ends = await asyncio.gather(*(end_session(call, ticket.id, closing_message="Goodbye!") for _ in range(20)))
    assert len(set(ends)) == 1
    assert (ends[0].outcome, await world.thread(ticket)) == ("ENDED", ["Hello, my order is late.", "Goodbye!"])
    assert await IdempotencyRecord.all().count() == 1
    await assert_consistent(world)


async def test_equal_keys_at_once_queue_one_email(world: World) -> None:
    """R37, R60: a reply that somebody sends twice goes out once."""
    tickets = [await world.ended_ticket() for _ in range(5)]
    for ticket in tickets:
        call = Call(world.admin, idempotency_key=f"reply to {ticket.id}")
        replies = (post_comment(call, ticket.id, body="Refunded", channel=Channel.EMAIL) for _ in range(8))
        assert len(set(await asyncio.gather(*replies))) == 1
    assert await OutboundEmail.all().count() == 5
    await assert_consistent(world)


async def test_equal_keys_with_other_input_at_once_let_one_through(world: World) -> None:
    """R37."""
    ticket = await world.live_ticket()
    call = Call(world.admin, idempotency_key="k")
    notes = (post_comment(call, ticket.id, body=f"Note {n}", channel=Channel.INTERNAL_NOTE) for n in range(10))
    results = await asyncio.gather(*notes, return_exceptions=True)
    assert sum(isinstance(result, IdempotencyConflict) for result in results) == 9
    assert len(await world.thread(ticket)) == 2
    await assert_consistent(world)


async def test_a_message_sent_again_is_not_stored_again(world: World) -> None:
    """R75: not even with other words."""
    customer = await world.customer()
    first = await send_message(Call(customer), body="Hello", client_message_id="m1")
    before = await world.fingerprint()
    assert await send_message(Call(customer), body="Hello", client_message_id="m1") == first
    assert await send_message(Call(customer), body="Other words", client_message_id="m1") == first
    assert await world.fingerprint() == before


async def test_a_message_sent_again_after_the_end_is_where_it_was(world: World) -> None:
    """R75: the widget did not hear the answer, the session ended, the widget tries again. No new session begins."""
    customer = await world.customer()
    first = await send_message(Call(customer), body="Hello", client_message_id="m1")
    ticket = await Ticket.get(conversation_id=first.conversation_id)
    await world.end(ticket, world.admin)
    before = await world.fingerprint()
    assert await send_message(Call(customer), body="Hello", client_message_id="m1") == first
    assert await world.fingerprint() == before
    assert await MessagingSession.all().count() == 1


async def test_each_customer_has_message_ids_of_his_own(world: World) -> None:
    """R75: nobody can swallow or find another's message by guessing its id."""
    one, two = await world.customer("One"), await world.customer("Two")
    sent = [await send_message(Call(c), body="Hello", client_message_id="m1") for c in (one, two)]
    assert sent[0].comment_id != sent[1].comment_id
    assert sent[0].conversation_id != sent[1].conversation_id


@pytest.mark.parametrize("ended", [False, True], ids=["first contact", "after an end"])
async def test_equal_message_ids_at_once_are_one_message(world: World, ended: bool) -> None:
    """R73, R75: five messages, each sent four times at once, begin one session and are five messages."""
    customer = await world.customer()
    if ended:
        await world.end(await world.live_ticket(customer=customer), world.admin)
    tickets = await Ticket.all().count()
    sending = (send_message(Call(customer), body=f"{n % 5}", client_message_id=f"m{n % 5}") for n in range(20))
    sent = await asyncio.gather(*sending)
    assert [len(set(sent[n::5])) for n in range(5)] == [1] * 5
    [conversation_id] = {message.conversation_id for message in sent}
    assert sorted(await world.thread(await Ticket.get(conversation_id=conversation_id))) == list("01234")
    assert await Ticket.all().count() == tickets + 1
    await assert_consistent(world)


async def test_a_message_sent_twice_beside_an_end_is_one_message(world: World) -> None:
    """R75, R124: before the end or after it, but once, and both answers name the same place."""
    for n in range(15):
        customer = await world.customer()
        ticket = await world.live_ticket(customer=customer)
        call, key = Call(customer), f"m{n}"
        end, *sent = await asyncio.gather(
            end_session(Call(world.admin), ticket.id),
            send_message(call, body="Hello?", client_message_id=key),
            send_message(call, body="Hello?", client_message_id=key),
        )
        assert isinstance(end, SessionEnd)
        assert len(set(sent)) == 1
        assert await Comment.filter(client_message_id=key).count() == 1
    await assert_consistent(world)
