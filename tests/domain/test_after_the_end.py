"""Rules 3.6: the customer after the end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from domain.comments import comment_on_request
from domain.errors import ChannelUnavailable, Forbidden, InvalidInput, NotFound, SessionEnded, TicketClosed
from domain.lifecycle import close_ticket
from domain.messages import send_message
from domain.revisions import ChangedMessage, customer_message, delete_message, edit_message, react_to_message
from domain.transactions import Call, Transaction, unit_of_work
from domain.visibility import visible_tickets
from models import (
    Channel,
    Comment,
    Conversation,
    MessagingSession,
    SessionState,
    Ticket,
    TicketPriority,
    TicketStatus,
    User,
    new_id,
    utc_now,
)
from tests.factories import World, columns
from tests.invariants import assert_consistent


async def test_the_next_message_begins_a_new_session_and_leaves_the_old_ticket_alone(world: World) -> None:
    """R68, R69: one new session, one new ticket; the old one has neither the message nor a new event or version."""
    customer = await world.customer()
    old = await world.live_ticket(customer=customer)
    await world.end(old, world.admin)
    old = await Ticket.get(id=old.id)
    history = await world.history(old)
    new = await world.message(customer, "One more thing")
    assert [ticket.id for ticket in await Ticket.all().order_by("number")] == [old.id, new.id]
    assert (await world.thread(old), await world.thread(new)) == (["Hello, my order is late."], ["One more thing"])
    assert await world.history(old) == history
    assert (await Ticket.get(id=old.id)).version == old.version
    states = [(await world.session(ticket)).state for ticket in (old, new)]
    assert (states, await MessagingSession.all().count()) == ([SessionState.ENDED, SessionState.ACTIVE], 2)
    await assert_consistent(world)


async def test_the_first_message_makes_one_audit_of_ticket_session_and_message(world: World) -> None:
    """R69."""
    ticket = await world.live_ticket()
    events = await world.events(ticket)
    assert [e.type.value for e in events] == ["TICKET_CREATED", "MESSAGING_SESSION_STARTED", "TICKET_COMMENT_ADDED"]
    assert len({event.audit_id for event in events}) == 1


async def test_the_new_ticket_takes_requester_organisation_and_channel_and_nothing_else(world: World) -> None:
    """R71: even the organisation that the customer has left meanwhile, because that was the old ticket's."""
    organization, agent, group = await world.organization(), await world.agent(), await world.group()
    customer = await world.customer(organization=organization)
    old = await world.live_ticket(
        customer=customer,
        assignee=agent,
        group=group,
        status=TicketStatus.OPEN,
        custom_status="Waiting for parts",
        priority=TicketPriority.URGENT,
        tags=["vip"],
        custom_fields={"order": 7},
        cc_ids=[str(agent.id)],
        follower_ids=[str(agent.id)],
    )
    await world.end(old, agent)
    await User.filter(id=customer.id).update(organization_id=None)
    new = await world.message(customer, "One more thing\nwith details")
    assert (new.requester_id, new.organization_id, new.channel) == (customer.id, organization.id, Channel.MESSAGING)
    assert (new.status, new.assignee_id, new.group_id) == (TicketStatus.NEW, None, None)
    assert not any((new.priority, new.custom_status, new.solved_at))
    assert (new.tags, new.custom_fields, new.cc_ids, new.follower_ids) == ([], {}, [], [])
    assert (new.number, new.subject) == (old.number + 1, "One more thing")


async def test_each_ticket_continues_the_one_before(world: World) -> None:
    """R72: a chain, and e-mail tickets in between are no part of it."""
    customer = await world.customer()
    chain = [await world.message(customer, "One")]
    for text in ("Two", "Three"):
        await world.end(chain[-1], world.admin)
        await world.email_ticket(customer)
        chain.append(await world.message(customer, text))
    assert [t.continuation_of_id for t in chain] == [None, chain[0].id, chain[1].id]
    created = [(await world.events(ticket))[0].payload["continuation_of"] for ticket in chain]
    assert created == [None, str(chain[0].id), str(chain[1].id)]


async def test_clocks_that_disagree_do_not_break_the_chain(world: World) -> None:
    """R68, R72: servers whose clocks are a minute apart take the customer's messages in turn; none is lost."""
    customer = await world.customer()
    chain: list[Ticket] = []
    for minutes in (1, 0, -1, 2, 0):
        call = Call(customer, clock=lambda m=minutes: utc_now() + timedelta(minutes=m))  # type: ignore[misc]
        sent = await send_message(call, body=f"On {minutes}")
        chain.append(await Ticket.get(conversation_id=sent.conversation_id))
        await world.end(chain[-1], world.admin)
    assert [t.continuation_of_id for t in chain] == [None, *(t.id for t in chain[:-1])]


async def test_messages_sent_quickly_one_after_the_other_stay_in_order(world: World) -> None:
    """R73."""
    customer = await world.customer()
    old = await world.live_ticket(customer=customer)
    await world.end(old, world.admin)
    texts = [f"Message {n}" for n in range(10)]
    sent = [await send_message(Call(customer), body=text) for text in texts]
    [conversation_id] = {message.conversation_id for message in sent}
    new = await Ticket.get(conversation_id=conversation_id)
    assert await world.thread(new) == texts
    assert await MessagingSession.all().count() == 2
    await assert_consistent(world)


async def test_two_customers_never_share_a_session(world: World) -> None:
    """R74."""
    one, two = await world.customer("One"), await world.customer("Two")
    await asyncio.gather(*(send_message(Call(c), body="Hello") for c in (one, two) * 5))
    sessions = await MessagingSession.all()
    assert {session.end_user_id for session in sessions} == {one.id, two.id}
    assert len(sessions) == await Ticket.all().count() == 2
    await assert_consistent(world)


async def test_a_stale_widget_is_taken_to_the_present_conversation(world: World) -> None:
    """R76: whichever of his conversations it names, first the new one begins and then it goes on."""
    customer = await world.customer()
    old = await world.live_ticket(customer=customer)
    await world.end(old, world.admin)
    sent = [
        await send_message(Call(customer), body=f"To the old one {n}", conversation_id=old.conversation_id)
        for n in range(2)
    ]
    [conversation_id] = {message.conversation_id for message in sent}
    assert conversation_id != old.conversation_id
    assert await world.thread(old) == ["Hello, my order is late."]
    assert await world.thread(await Ticket.get(conversation_id=conversation_id)) == [
        "To the old one 0",
        "To the old one 1",
    ]


async def test_a_widget_that_names_somebody_elses_conversation_is_refused(world: World) -> None:
    """R76."""
    ticket, stranger = await world.live_ticket(), await world.customer("Stranger")
    for conversation_id in (ticket.conversation_id, new_id()):
        async with world.refuses(NotFound):
            await send_message(Call(stranger), body="Let me in", conversation_id=conversation_id)
    assert await MessagingSession.filter(end_user_id=stranger.id).count() == 0


async def test_the_old_messages_can_still_be_read(world: World) -> None:
    """R77: by him, and by no other customer."""
    customer, stranger = await world.customer(), await world.customer("Stranger")
    old = await world.live_ticket(customer=customer)
    await world.end(old, world.admin)
    await world.message(customer, "One more thing")
    [comment] = await Comment.filter(conversation_id=old.conversation_id)

    async def read(tx: Transaction) -> str:
        return (await customer_message(tx, comment.id)).body

    assert await unit_of_work(Call(customer), read) == "Hello, my order is late."
    assert await visible_tickets(customer).filter(id=old.id).exists()
    async with world.refuses(NotFound):
        await unit_of_work(Call(stranger), read)
    assert not await visible_tickets(stranger).exists()


CHANGES: list[Callable[[Call, Comment], Any]] = [
    lambda call, comment: edit_message(call, comment.id, body="I never said that"),
    lambda call, comment: delete_message(call, comment.id),
    lambda call, comment: react_to_message(call, comment.id, reaction="👍"),
]


async def test_on_a_live_session_the_customer_can_edit_react_and_delete(world: World) -> None:
    """R78: what the end takes away. Each is one event, and none is a new message."""
    customer = await world.customer()
    ticket = await world.live_ticket(customer=customer)
    [comment] = await Comment.filter(conversation_id=ticket.conversation_id)
    edit, delete, react = CHANGES
    for change in (edit, react, delete):
        assert await change(Call(customer), comment) == ChangedMessage(comment.id)
    assert [e.payload["change"] for e in (await world.events(ticket))[3:]] == ["EDITED", "REACTED", "DELETED"]
    [comment] = await Comment.filter(conversation_id=ticket.conversation_id)
    assert (comment.body, comment.reaction) == ("", "👍")
    async with world.refuses(NotFound):
        await edit(Call(customer), comment)


async def test_messages_of_an_ended_session_stay_as_they_are(world: World) -> None:
    """R78: also while the customer has a new session."""
    customer = await world.customer()
    old = await world.live_ticket(customer=customer)
    await world.end(old, world.admin)
    [comment] = await Comment.filter(conversation_id=old.conversation_id)
    for _ in range(2):
        for change in CHANGES:
            async with world.refuses(SessionEnded):
                await change(Call(customer), comment)
        await world.message(customer, "One more thing")
    assert columns(await Comment.get(id=comment.id)) == columns(comment)


async def test_nobody_changes_anothers_message(world: World) -> None:
    """R78: not the agent's, not another customer's."""
    customer, stranger = await world.customer(), await world.customer("Stranger")
    ticket = await world.live_ticket(customer=customer)
    mine = await Comment.get(conversation_id=ticket.conversation_id)
    agents = await Comment.get(id=await world.comment(ticket, world.admin, "On its way", Channel.MESSAGING))
    note = await Comment.get(id=await world.comment(ticket, world.admin, "Grumpy one"))
    for change in CHANGES[:2]:
        async with world.refuses(Forbidden):
            await change(Call(customer), agents)
    for change in CHANGES:
        async with world.refuses(NotFound):
            await change(Call(customer), note)
        async with world.refuses(NotFound):
            await change(Call(stranger), mine)


async def test_through_the_help_centre_he_still_reaches_the_old_ticket(world: World) -> None:
    """R80: the ticket is reopened, its session stays ended, and no new one begins."""
    customer = await world.customer()
    old = await world.live_ticket(customer=customer, status=TicketStatus.SOLVED)
    await world.end(old, world.admin)
    posted = await comment_on_request(Call(customer), old.id, body="It broke again")
    comment = await Comment.get(id=posted.comment_id)
    assert (posted.ticket_id, comment.channel, comment.author_id) == (old.id, Channel.HELP_CENTER, customer.id)
    assert (await Ticket.get(id=old.id)).status is TicketStatus.OPEN
    assert (await world.session(old)).state is SessionState.ENDED
    assert (await world.history(old))[-2:] == ["TICKET_COMMENT_ADDED", "TICKET_FIELD_CHANGED"]
    assert await MessagingSession.all().count() == await Ticket.all().count() == 1
    await assert_consistent(world)


async def test_the_help_centre_takes_comments_of_the_requester_only_and_none_on_closed_tickets(world: World) -> None:
    """R80."""
    customer, stranger = await world.customer(), await world.customer("Stranger")
    ticket = await world.live_ticket(customer=customer)
    async with world.refuses(NotFound):
        await comment_on_request(Call(stranger), ticket.id, body="Mine too")
    async with world.refuses(Forbidden):
        await comment_on_request(Call(world.admin), ticket.id, body="By the back door")
    await close_ticket(Call(world.system), ticket.id)
    async with world.refuses(TicketClosed):
        await comment_on_request(Call(customer), ticket.id, body="It broke again")


async def test_a_message_after_the_end_does_not_reopen_the_solved_ticket(world: World) -> None:
    """R81."""
    customer = await world.customer()
    old = await world.live_ticket(customer=customer, status=TicketStatus.SOLVED)
    await world.end(old, world.admin)
    new = await world.message(customer, "It broke again")
    assert (await Ticket.get(id=old.id)).status is TicketStatus.SOLVED
    assert (new.id != old.id, new.status) == (True, TicketStatus.NEW)


async def test_a_message_before_the_end_reopens_the_ticket_that_waits(world: World) -> None:
    """R82: solved, pending or on hold, it is the same ticket, which is open again."""
    for waiting in (TicketStatus.SOLVED, TicketStatus.PENDING, TicketStatus.ON_HOLD):
        customer = await world.customer()
        ticket = await world.live_ticket(customer=customer, status=waiting)
        again = await world.message(customer, "It broke again")
        assert (again.id, again.status, again.solved_at) == (ticket.id, TicketStatus.OPEN, None)
    assert await Ticket.all().count() == 3
    await assert_consistent(world)


async def test_a_new_or_open_ticket_keeps_its_status(world: World) -> None:
    """R82."""
    customer = await world.customer()
    ticket = await world.live_ticket(customer=customer)
    again = await world.message(customer, "Hello?")
    assert (again.id, again.status) == (ticket.id, TicketStatus.NEW)


async def test_a_message_that_cannot_be_taken_begins_nothing(world: World) -> None:
    """R68: neither an unfit text nor an agent nor messaging that is switched off leaves a conversation behind."""
    customer = await world.customer()
    old = await world.live_ticket(customer=customer)
    await world.end(old, world.admin)
    for text in ("", "   ", "x" * 10_001):
        async with world.refuses(InvalidInput):
            await send_message(Call(customer), body=text)
    async with world.refuses(Forbidden):
        await send_message(Call(world.admin), body="As a customer")
    await world.settings(messaging_enabled=False)
    async with world.refuses(ChannelUnavailable):
        await send_message(Call(customer), body="Hello?")
    assert await Conversation.all().count() == 1
