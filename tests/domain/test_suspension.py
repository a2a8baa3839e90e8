"""Rules R139–R143: a suspended customer."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest

from domain.actors import Actor
from domain.comments import comment_on_request, post_comment
from domain.errors import (
    ChannelUnavailable,
    Forbidden,
    InvalidInput,
    NotFound,
    SessionEnded,
    TicketClosed,
    UserSuspended,
)
from domain.lifecycle import close_ticket
from domain.messages import SentMessage, send_message
from domain.revisions import delete_message, edit_message, mark_read, react_to_message
from domain.sessions import takes_typing
from domain.suspended_messages import as_if_sent
from domain.suspension import ChangedSuspension, lift_suspension, suspend_user, suspended_messages_page
from domain.transactions import Call
from models import (
    Audit,
    Channel,
    Comment,
    Conversation,
    EndReason,
    Event,
    EventType,
    FirstResponder,
    MessagingSession,
    Permission,
    SessionState,
    SuspendedMessage,
    Suspension,
    Ticket,
    TicketAccess,
    TicketCreation,
    TicketStatus,
    User,
    new_id,
    utc_now,
)
from tests.factories import AGENT, World
from tests.invariants import assert_consistent

EDITOR = AGENT | {Permission.EDIT_END_USERS}


async def suspend(
    world: World, customer: Actor, scope: Suspension = Suspension.MESSAGING, by: Actor | None = None
) -> bool:
    assert customer.id is not None
    return (await suspend_user(Call(by or world.admin), customer.id, scope)).changed


async def lift(world: World, customer: Actor, by: Actor | None = None) -> bool:
    assert customer.id is not None
    return (await lift_suspension(Call(by or world.admin), customer.id)).changed


async def kept(world: World) -> list[SuspendedMessage]:
    return await SuspendedMessage.filter(account_id=world.id).order_by("received_at", "id")


@pytest.mark.parametrize("scope", Suspension)
async def test_a_suspension_ends_the_live_session_with_it(world: World, scope: Suspension) -> None:
    """R139, R52: in one audit that names the agent; the end is nobody's command, hence the system's."""
    customer, agent = await world.customer(), await world.agent(permissions=EDITOR)
    ticket = await world.live_ticket(customer=customer, assignee=agent, status=TicketStatus.OPEN)
    assert await suspend(world, customer, scope, agent)
    user, session = await User.get(id=customer.id), await world.session(ticket)
    assert (user.suspension, user.suspended_at) == (scope, session.ended_at)
    assert (session.state, session.end_reason) == (SessionState.ENDED, EndReason.USER_SUSPENDED)
    assert (session.ended_by_kind, session.ended_by_id) == ("SYSTEM", None)
    (told, ended), audits = (await world.events(ticket))[-2:], await Audit.all().order_by("-created_at")
    assert (told.type, told.actor_kind.value, told.actor_id) == (EventType.USER_SUSPENDED, "AGENT", agent.id)
    assert told.payload == {"user": str(customer.id), "scope": scope.value}
    assert (ended.type, ended.actor_kind.value, ended.actor_id) == (EventType.MESSAGING_SESSION_ENDED, "SYSTEM", None)
    assert (ended.payload["reason"], ended.payload["previous_state"]) == ("USER_SUSPENDED", "ACTIVE")
    assert told.audit_id == ended.audit_id == audits[0].id
    assert (audits[0].actor_kind.value, audits[0].actor_id) == ("AGENT", agent.id)
    ticket = await Ticket.get(id=ticket.id)
    assert (ticket.status, ticket.assignee_id) == (TicketStatus.OPEN, agent.id)
    await assert_consistent(world)


async def test_every_open_ticket_of_the_customer_is_told_and_the_account_once(world: World) -> None:
    """R139: each composer changes; a closed ticket is history, and other people's tickets are not concerned."""
    customer = await world.customer()
    closed = await world.live_ticket(customer=customer)
    await close_ticket(Call(world.system), closed.id)
    mail, live = await world.email_ticket(customer), await world.live_ticket(customer=customer)
    other = await world.live_ticket()
    before = await world.history(closed), await world.history(other)
    await suspend(world, customer)
    told = await Event.filter(type=EventType.USER_SUSPENDED).order_by("position")
    assert {event.ticket_id for event in told} == {None, mail.id, live.id}
    assert (len(told), told[0].ticket_id, len({event.audit_id for event in told})) == (3, None, 1)
    assert (await world.history(closed), await world.history(other)) == before
    assert (await world.session(other)).state is SessionState.ACTIVE


async def test_the_log_of_the_account_says_who_suspended_whom(world: World) -> None:
    """R143."""
    customer, agent = await world.customer(), await world.agent(permissions=EDITOR)
    await suspend(world, customer, Suspension.MESSAGING, agent)
    await suspend(world, customer, Suspension.ALL, agent)
    await lift(world, customer)
    assert [(line.action, line.actor_id, line.target, line.changes) for line in await world.log()] == [
        (action, by.id, f"User {customer.id}", [{"field": "suspension", "from": old, "to": new}])
        for action, by, old, new in [
            ("USER_SUSPENDED", agent, None, "MESSAGING"),
            ("USER_SUSPENDED", agent, "MESSAGING", "ALL"),
            ("USER_UNSUSPENDED", world.admin, "ALL", None),
        ]
    ]


async def test_suspending_and_lifting_twice_change_nothing_the_second_time(world: World) -> None:
    """R139, R142."""
    customer = await world.customer()
    ticket = await world.live_ticket(customer=customer)
    assert await suspend(world, customer)
    since = (await User.get(id=customer.id)).suspended_at
    before, lines = await world.fingerprint(), len(await world.log())
    assert not await suspend(world, customer)
    assert (await world.fingerprint(), len(await world.log())) == (before, lines)
    assert await suspend(world, customer, Suspension.ALL)
    assert (await User.get(id=customer.id)).suspended_at == since
    assert await lift(world, customer)
    assert (await User.get(id=customer.id)).suspended_at is None
    before = await world.fingerprint()
    assert not await lift(world, customer)
    assert await world.fingerprint() == before
    assert (await world.history(ticket))[-4:] == [
        "USER_SUSPENDED",
        "MESSAGING_SESSION_ENDED",
        "USER_SUSPENDED",
        "USER_UNSUSPENDED",
    ]
    await assert_consistent(world)


async def test_a_retry_with_the_same_key_says_what_the_first_did(world: World) -> None:
    """R37."""
    customer = await world.customer()
    assert customer.id is not None
    call = Call(world.admin, idempotency_key="k")
    first = await suspend_user(call, customer.id, Suspension.ALL)
    await lift(world, customer)
    assert (
        await suspend_user(call, customer.id, Suspension.ALL) == first == ChangedSuspension(customer.id, changed=True)
    )
    assert (await User.get(id=customer.id)).suspension is None


async def test_only_who_may_edit_end_users_may_suspend(world: World, other_world: World) -> None:
    """R143, R26: FORBIDDEN for a customer whom he can see, NOT_FOUND for everybody else."""
    customer, group = await world.customer(), await world.group()
    ticket = await world.live_ticket(customer=customer, group=group)
    agent = await world.agent()
    for call in (suspend, lift):
        for caller in (agent, customer):
            async with world.refuses(Forbidden):
                await call(world, customer, by=caller)
        outsider = await world.agent(access=TicketAccess.GROUPS, permissions=EDITOR)
        for caller, whom in (
            (outsider, customer),
            (world.admin, agent),
            (other_world.admin, customer),
            (world.admin, world.admin),
        ):
            async with world.refuses(NotFound):
                await call(world, whom, by=caller)
    insider = await world.agent(access=TicketAccess.GROUPS, permissions=EDITOR, groups=(group,))
    assert await suspend(world, customer, by=insider)
    assert (await world.session(ticket)).state is SessionState.ENDED
    with pytest.raises(NotFound):
        await suspend_user(Call(world.admin), new_id(), Suspension.ALL)


async def test_a_session_that_a_bot_has_alone_ends_too(world: World) -> None:
    """R139: there is no ticket yet."""
    customer = await world.customer()
    await world.settings(first_responder=FirstResponder.BOT, ticket_creation=TicketCreation.AT_HANDOFF)
    sent = await send_message(Call(customer), body="Hello")
    await suspend(world, customer)
    session = await MessagingSession.get(conversation_id=sent.conversation_id)
    assert (session.state, session.end_reason) == (SessionState.ENDED, EndReason.USER_SUSPENDED)
    event = await Event.get(type=EventType.MESSAGING_SESSION_ENDED)
    assert (event.ticket_id, event.session_id, event.conversation_id) == (None, session.id, sent.conversation_id)
    await assert_consistent(world)


def channels(composer: object) -> dict[str, str | None]:
    return {each.channel.value: each.reason for each in composer.channels}  # type: ignore[attr-defined]


async def test_the_composer_says_so_on_every_ticket_of_the_customer(world: World) -> None:
    """R139, R141: messaging is off, also where the session had ended before; e-mail with all channels only."""
    customer = await world.customer()
    old = await world.ended_ticket(customer=customer)
    live = await world.live_ticket(customer=customer)
    mail = await world.email_ticket(customer)
    await suspend(world, customer)
    for ticket in (old, live):
        composer = await world.composer(ticket, world.admin)
        assert channels(composer) == {"MESSAGING": "USER_SUSPENDED", "EMAIL": None, "INTERNAL_NOTE": None}
        assert (composer.actions, composer.default_channel) == ((), Channel.INTERNAL_NOTE)
    assert channels(await world.composer(mail, world.admin)) == {"EMAIL": None, "INTERNAL_NOTE": None}
    await suspend(world, customer, Suspension.ALL)
    for ticket, messaging in ((old, {"MESSAGING": "USER_SUSPENDED"}), (mail, {})):
        composer = await world.composer(ticket, world.admin)
        assert channels(composer) == {**messaging, "EMAIL": "USER_SUSPENDED", "INTERNAL_NOTE": None}
    await lift(world, customer)
    expected = {"MESSAGING": "SESSION_ENDED", "EMAIL": None, "INTERNAL_NOTE": None}
    assert channels(await world.composer(live, world.admin)) == expected


async def test_agents_cannot_write_where_the_composer_says_so(world: World) -> None:
    """R139, R141: a note always, an e-mail to who is suspended from messaging only, a message never."""
    customer = await world.customer()
    ticket = await world.live_ticket(customer=customer)
    await suspend(world, customer)
    async with world.refuses(UserSuspended):
        await world.comment(ticket, world.admin, "Still there?", Channel.MESSAGING)
    await world.comment(ticket, world.admin, "By mail then", Channel.EMAIL)
    await suspend(world, customer, Suspension.ALL)
    async with world.refuses(UserSuspended):
        await world.comment(ticket, world.admin, "And again", Channel.EMAIL)
    await world.comment(ticket, world.admin, "He is suspended")
    assert await world.thread(ticket) == ["Hello, my order is late.", "By mail then", "He is suspended"]


async def test_what_a_suspended_customer_writes_is_kept_aside(world: World) -> None:
    """R140: no session, no ticket, no event; he is told of the conversation that he has before him."""
    customer = await world.customer()
    ticket = await world.live_ticket(customer=customer)
    await suspend(world, customer)
    before = await world.fingerprint()
    sent = [await send_message(Call(customer), body=body) for body in ("Hello?", "Hello??")]
    assert await world.fingerprint() == before
    assert [(each.id, each.body, each.conversation_id, each.channel) for each in await kept(world)] == [
        (one.comment_id, body, ticket.conversation_id, Channel.MESSAGING)
        for one, body in zip(sent, ("Hello?", "Hello??"), strict=True)
    ]
    assert await world.thread(ticket) == ["Hello, my order is late."]
    await assert_consistent(world)


async def test_he_is_answered_like_anybody(world: World) -> None:
    """R140: a message and a conversation that look like real ones, the same conversation each time."""
    customer = await world.customer()
    await suspend(world, customer)
    sent = [await send_message(Call(customer), body=body) for body in ("One", "Two")]
    assert len({each.conversation_id for each in sent}) == 1
    assert len({each.comment_id for each in sent}) == 2
    first, second = [await as_if_sent(customer, each.comment_id) for each in sent]
    assert [message.body for message, _ in (first, second)] == ["One", "Two"]
    assert first[0].author_id == customer.id
    assert {conversation.id for _, conversation in (first, second)} == {sent[0].conversation_id}
    assert first[1].started_at == second[1].started_at == first[0].created_at
    assert not await Conversation.filter(account_id=world.id).exists()
    # The widget sends the conversation that it was told, also after the suspension.
    again = await send_message(Call(customer), body="Three", conversation_id=sent[0].conversation_id)
    assert again.conversation_id == sent[0].conversation_id
    await lift(world, customer)
    real = await send_message(Call(customer), body="Four", conversation_id=sent[0].conversation_id)
    assert real.conversation_id != sent[0].conversation_id
    assert await Conversation.exists(id=real.conversation_id)


async def test_he_learns_nothing_from_what_he_may_not_do_either(world: World) -> None:
    """R140: the refusals are those of everybody."""
    customer, other = await world.customer(), await world.customer()
    foreign = await world.live_ticket(customer=other)
    await suspend(world, customer)
    async with world.refuses(InvalidInput):
        await send_message(Call(customer), body=" ")
    async with world.refuses(NotFound):
        await send_message(Call(customer), body="x", conversation_id=foreign.conversation_id)
    await world.settings(messaging_enabled=False)
    async with world.refuses(ChannelUnavailable):
        await send_message(Call(customer), body="x")
    assert await kept(world) == []


async def test_a_message_id_is_kept_once(world: World) -> None:
    """R75, R140: also at the same moment; and what was sent before the suspension stays where it is."""
    customer = await world.customer()
    before = await send_message(Call(customer), body="Before", client_message_id="a")
    await suspend(world, customer)
    assert await send_message(Call(customer), body="Before", client_message_id="a") == before
    assert await kept(world) == []
    at_once = [send_message(Call(customer), body="After", client_message_id="b") for _ in range(8)]
    assert len({(sent.comment_id, sent.conversation_id) for sent in await asyncio.gather(*at_once)}) == 1
    assert [each.body for each in await kept(world)] == ["After"]


async def test_typing_and_marks_and_changes_come_to_nothing(world: World) -> None:
    """R140, R62, R63: what is done to a kept message looks like what is done to a message of an ended session."""
    customer, stranger = await world.customer(), await world.customer()
    await suspend(world, customer)
    sent = await send_message(Call(customer), body="Hello?")
    assert not await takes_typing(customer, sent.conversation_id)
    assert not (await mark_read(Call(customer), sent.comment_id)).is_message
    changes: list[Callable[[], Awaitable[object]]] = [
        lambda: edit_message(Call(customer), sent.comment_id, body="Hallo?"),
        lambda: delete_message(Call(customer), sent.comment_id),
        lambda: react_to_message(Call(customer), sent.comment_id, reaction="👍"),
    ]
    for change in changes:
        async with world.refuses(SessionEnded):
            await change()
    for who in (stranger, world.admin):
        async with world.refuses(NotFound):
            await mark_read(Call(who), sent.comment_id)
        with pytest.raises(NotFound):
            await takes_typing(who, sent.conversation_id)
    assert [each.body for each in await kept(world)] == ["Hello?"]


async def test_the_mark_of_a_suspended_customer_is_noted_and_not_passed_on(world: World) -> None:
    """R63, R140."""
    customer = await world.customer()
    ticket = await world.live_ticket(customer=customer)
    message = await Comment.get(conversation_id=ticket.conversation_id)
    assert (await mark_read(Call(customer), message.id)).is_message
    await suspend(world, customer)
    assert not (await mark_read(Call(customer), message.id)).is_message
    assert (await mark_read(Call(world.admin), message.id)).is_message


async def test_the_help_centre_is_closed_to_who_is_suspended_from_all(world: World) -> None:
    """R140, R80: kept aside, the request is not reopened; from messaging alone it is not touched."""
    customer = await world.customer()
    ticket = await world.email_ticket(customer, status=TicketStatus.SOLVED)
    await suspend(world, customer)
    await comment_on_request(Call(customer), ticket.id, body="Not yet")
    await suspend(world, customer, Suspension.ALL)
    before = await world.fingerprint()
    call = Call(customer, idempotency_key="k")
    first = await comment_on_request(call, ticket.id, body="Are you there?")
    assert await comment_on_request(call, ticket.id, body="Are you there?") == first
    assert (first.ticket_id, await world.fingerprint()) == (ticket.id, before)
    (one,) = await kept(world)
    assert (one.id, one.channel, one.conversation_id) == (first.comment_id, Channel.HELP_CENTER, ticket.conversation_id)
    assert await world.thread(ticket) == ["Dear all, …", "Not yet"]
    foreign = await world.email_ticket()
    async with world.refuses(NotFound):
        await comment_on_request(Call(customer), foreign.id, body="x")
    await close_ticket(Call(world.system), ticket.id)
    async with world.refuses(TicketClosed):
        await comment_on_request(Call(customer), ticket.id, body="x")


async def test_after_the_suspension_the_next_message_begins_a_new_session(world: World) -> None:
    """R142: the old one stays ended, and what was kept stays aside."""
    customer = await world.customer()
    old = await world.live_ticket(customer=customer)
    await suspend(world, customer)
    await send_message(Call(customer), body="Hello?")
    assert await lift(world, customer)
    new = await world.message(customer, "I am back")
    assert (new.id != old.id, new.continuation_of_id, await world.thread(new)) == (True, old.id, ["I am back"])
    states = [(await world.session(ticket)).state for ticket in (old, new)]
    assert states == [SessionState.ENDED, SessionState.ACTIVE]
    assert [each.body for each in await kept(world)] == ["Hello?"]
    assert (await world.history(old))[-1] == "USER_UNSUSPENDED"
    await assert_consistent(world)


async def test_the_kept_messages_are_for_those_who_may_edit_end_users(world: World, other_world: World) -> None:
    """R140, R143: the newest first, by pages, and of the customers whom they may know of."""
    group, start = await world.group(), utc_now()
    mine, theirs = await world.customer("Mine"), await world.customer("Theirs")
    await world.live_ticket(customer=mine, group=group)
    for minute, customer in enumerate([mine, theirs, mine]):
        await suspend(world, customer)
        clock = lambda minute=minute: start + timedelta(minutes=minute)  # noqa: E731
        await send_message(Call(customer, clock=clock), body=f"Number {minute}")
    agent = await world.agent(access=TicketAccess.GROUPS, groups=(group,), permissions=EDITOR)

    async def texts(actor: Actor, first: int = 9, after: object = None) -> list[str]:
        return [each.body for each in await suspended_messages_page(actor, first, after)]  # type: ignore[arg-type]

    assert await texts(world.admin) == ["Number 2", "Number 1", "Number 0"]
    newest = (await kept(world))[-1]
    assert await texts(world.admin, 1, (newest.received_at, newest.id)) == ["Number 1", "Number 0"]
    assert await texts(agent) == ["Number 2", "Number 0"]
    assert await texts(other_world.admin) == []
    for nobody in (await world.agent(), mine):
        with pytest.raises(Forbidden):
            await texts(nobody)


async def test_a_message_and_a_suspension_at_once(world: World) -> None:
    """R139, R140: the message is in the ticket before the end, or kept aside; never lost, never in both."""
    chance, told = random.Random(139), Counter[str]()
    customers = [await world.customer(f"Customer {n}") for n in range(12)]
    for lap in range(4):
        for number, customer in enumerate(customers):
            ticket = await world.message(customer, "Opening")
            late_message, late_end = chance.choice([0, 0, 0.003]), chance.choice([0, 0.002])
            # On a busy machine a statement takes as long; once in a lap each is clearly first.
            late_message, late_end = {0: (0.2, 0), 1: (0, 0.2)}.get(number, (late_message, late_end))

            async def write(customer: Actor = customer, lap: int = lap, seconds: float = late_message) -> SentMessage:
                await asyncio.sleep(seconds)
                return await send_message(Call(customer), body=f"{lap} of {customer.id}")

            async def end(customer: Actor = customer, seconds: float = late_end) -> bool:
                await asyncio.sleep(seconds)
                return await suspend(world, customer)

            sent, changed = await asyncio.gather(write(), end())
            assert changed
            real = await Comment.filter(id=sent.comment_id).count()
            aside = await SuspendedMessage.filter(id=sent.comment_id).count()
            assert (real + aside, sent.conversation_id) == (1, ticket.conversation_id)
            told["real" if real else "aside"] += 1
            await lift(world, customer)
    assert told.total() == 48
    assert min(told["real"], told["aside"]) > 0
    await assert_consistent(world)


async def test_an_agents_message_and_a_suspension_at_once(world: World) -> None:
    """R127, R139: before the end, or refused; two suspensions at once are one."""
    for _ in range(6):
        customer = await world.customer()
        ticket = await world.live_ticket(customer=customer)
        writing = post_comment(Call(world.admin), ticket.id, body="Hold on", channel=Channel.MESSAGING)
        done = await asyncio.gather(writing, suspend(world, customer), suspend(world, customer), return_exceptions=True)
        assert sorted(map(str, done[1:])) == ["False", "True"]
        assert isinstance(done[0], UserSuspended) or "Hold on" in await world.thread(ticket)
        assert (await world.history(ticket)).count("MESSAGING_SESSION_ENDED") == 1
    await assert_consistent(world)
