"""Rules 3.5: what an agent can still say after the end, and what his composer shows of it."""

from __future__ import annotations

import asyncio
import random

import pytest

from domain.comments import post_comment
from domain.composer import Composer, ComposerAction
from domain.errors import ChannelUnavailable, NoMessagingSession, NotFound, SessionEnded, StaleVersion
from domain.lifecycle import close_ticket
from domain.revisions import mark_read
from domain.sessions import takes_typing
from domain.tickets import update_ticket
from domain.transactions import Call
from models import Channel, Comment, OutboundEmail, ReadMark, Ticket, User, Visibility
from tests.factories import LIGHT, World, columns
from tests.invariants import assert_consistent

ALL_OPEN = {"MESSAGING": None, "EMAIL": None, "INTERNAL_NOTE": None}
MESSAGING_OVER = {**ALL_OPEN, "MESSAGING": "SESSION_ENDED"}


def shown(composer: Composer) -> dict[str, str | None]:
    """Each channel of the menu, with the reason why it cannot be used."""
    assert all(channel.enabled == (channel.reason is None) for channel in composer.channels)
    return {channel.channel.value: channel.reason for channel in composer.channels}


async def test_on_a_live_session_everything_is_open(world: World) -> None:
    """R57: what the end will change."""
    agent = await world.agent()
    composer = await world.composer(await world.live_ticket(), agent)
    assert shown(composer) == ALL_OPEN
    assert (composer.default_channel, composer.actions) == (Channel.MESSAGING, (ComposerAction.END_SESSION,))


async def test_after_the_end_messaging_is_shown_but_closed(world: World) -> None:
    """R57, R66: for whoever ended it and for every other agent; the next thing to write is a note."""
    ticket = await world.ended_ticket()
    for actor in (world.admin, await world.agent()):
        composer = await world.composer(ticket, actor)
        assert shown(composer) == MESSAGING_OVER
        assert (composer.default_channel, composer.actions) == (Channel.INTERNAL_NOTE, ())


async def test_other_tickets_keep_their_composers(world: World) -> None:
    """R57: those of other customers, and the next one of the same customer."""
    agent, customer = await world.agent(), await world.customer()
    other = await world.live_ticket()
    old = await world.live_ticket(customer=customer)
    await world.end(old, agent)
    following = await world.message(customer, "One more thing")
    assert shown(await world.composer(other, agent)) == ALL_OPEN
    assert shown(await world.composer(following, agent)) == ALL_OPEN
    assert shown(await world.composer(old, agent)) == MESSAGING_OVER


async def test_a_ticket_without_a_session_offers_neither_messaging_nor_an_end(world: World) -> None:
    """R40."""
    ticket = await world.email_ticket()
    composer = await world.composer(ticket, world.admin)
    assert shown(composer) == {"EMAIL": None, "INTERNAL_NOTE": None}
    assert (composer.default_channel, composer.actions) == (Channel.EMAIL, ())
    async with world.refuses(NoMessagingSession):
        await world.comment(ticket, world.admin, channel=Channel.MESSAGING)


async def test_a_closed_ticket_shows_why_nothing_can_be_written(world: World) -> None:
    """R41."""
    ticket = await world.ended_ticket()
    await close_ticket(Call(world.system), ticket.id)
    composer = await world.composer(ticket, world.admin)
    assert set(shown(composer).values()) == {"TICKET_CLOSED"}
    assert (composer.default_channel, composer.actions) == (None, ())


async def test_a_message_after_the_end_is_refused(world: World) -> None:
    """R58: nothing is stored, from the assignee, another agent or an admin, once or again."""
    agent = await world.agent()
    ticket = await world.live_ticket(assignee=agent)
    await world.end(ticket, agent)
    for actor in (agent, await world.agent("Other"), world.admin, agent):
        async with world.refuses(SessionEnded) as refusal:
            await world.comment(ticket, actor, "One more thing", Channel.MESSAGING)
        assert refusal.value.field == ("channel",)
    assert await world.thread(ticket) == ["Hello, my order is late."]


async def test_a_note_after_the_end_is_stored_and_internal(world: World) -> None:
    """R59: also by who may write nothing but notes."""
    ticket = await world.ended_ticket()
    for author in (await world.agent(), await world.agent("Light", permissions=LIGHT)):
        comment = await Comment.get(id=await world.comment(ticket, author, f"By {author.id}"))
        event = (await world.events(ticket))[-1]
        assert (comment.visibility, comment.author_id) == (Visibility.INTERNAL, author.id)
        said = (event.comment_id, event.payload["channel"], event.payload["visibility"])
        assert said == (comment.id, "INTERNAL_NOTE", "INTERNAL")
    assert await OutboundEmail.all().count() == 0
    await assert_consistent(world)


async def test_an_email_after_the_end_is_a_public_comment_and_queued_once(world: World) -> None:
    """R60."""
    customer = await world.customer()
    ticket = await world.live_ticket(customer=customer)
    await world.end(ticket, world.admin)
    comment = await Comment.get(id=await world.comment(ticket, world.admin, "Your refund is on its way", Channel.EMAIL))
    [queued] = await OutboundEmail.all()
    assert (comment.visibility, comment.conversation_id) == (Visibility.PUBLIC, ticket.conversation_id)
    assert (queued.comment_id, queued.sent_at) == (comment.id, None)
    assert queued.to_address == (await User.get(id=customer.id)).email
    assert (await Ticket.get(id=ticket.id)).first_replied_at == comment.created_at


@pytest.mark.parametrize("address", [{"email": None}, {"email_verified": False}], ids=["none", "unverified"])
async def test_without_a_verified_address_email_is_closed_and_says_so(
    world: World, address: dict[str, bool | None]
) -> None:
    """R61."""
    customer = await world.customer()
    ticket = await world.live_ticket(customer=customer)
    await User.filter(id=customer.id).update(**address)
    await world.end(ticket, world.admin)
    composer = await world.composer(ticket, world.admin)
    assert shown(composer) == {**MESSAGING_OVER, "EMAIL": "CHANNEL_UNAVAILABLE"}
    assert composer.default_channel is Channel.INTERNAL_NOTE
    async with world.refuses(ChannelUnavailable):
        await world.comment(ticket, world.admin, channel=Channel.EMAIL)
    assert await OutboundEmail.all().count() == 0


async def test_agents_cannot_write_into_the_help_centre(world: World) -> None:
    """R61."""
    ticket = await world.ended_ticket()
    async with world.refuses(ChannelUnavailable):
        await world.comment(ticket, world.admin, channel=Channel.HELP_CENTER)


async def test_typing_goes_nowhere_after_the_end(world: World) -> None:
    """R62: from either side; a stranger is not even told that there is a conversation."""
    agent, customer, stranger = await world.agent(), await world.customer(), await world.customer("Stranger")
    ticket = await world.live_ticket(customer=customer)
    both = (agent, customer)
    assert [await takes_typing(actor, ticket.conversation_id) for actor in both] == [True, True]
    await world.end(ticket, agent)
    assert [await takes_typing(actor, ticket.conversation_id) for actor in both] == [False, False]
    with pytest.raises(NotFound):
        await takes_typing(stranger, ticket.conversation_id)


async def test_reading_after_the_end_is_noted_and_changes_nothing(world: World) -> None:
    """R63."""
    customer = await world.customer()
    ticket = await world.live_ticket(customer=customer)
    comment_id = await world.comment(ticket, world.admin, "On its way", Channel.MESSAGING)
    await world.end(ticket, world.admin)
    before, session = await world.fingerprint(), await world.session(ticket)
    for _ in range(2):
        assert (await mark_read(Call(customer), comment_id)).conversation_id == ticket.conversation_id
    [mark] = await ReadMark.all()
    assert (mark.reader_id, mark.sequence) == (customer.id, 2)
    assert await world.fingerprint() == before
    assert columns(await world.session(ticket)) == columns(session)


async def test_a_read_mark_never_moves_back(world: World) -> None:
    """R63: not by an older message that is read later, nor by one that is read at the same moment."""
    customer = await world.customer()
    ticket = await world.live_ticket(customer=customer)
    ids = [await world.comment(ticket, world.admin, f"{n}", Channel.MESSAGING) for n in range(60)]
    chance = random.Random(63)
    for start in range(0, 60, 6):
        windows = chance.sample(ids[start : start + 6], 6)
        await asyncio.gather(*(mark_read(Call(customer), comment_id) for comment_id in windows))
        assert (await ReadMark.get(reader_id=customer.id)).sequence == start + 7
    await mark_read(Call(customer), ids[3])
    assert (await ReadMark.get(reader_id=customer.id)).sequence == 61


async def test_a_new_agent_finds_messaging_closed_too(world: World) -> None:
    """R67: after a reassignment and a move to another group."""
    old, new = await world.agent("Old"), await world.agent("New")
    ticket = await world.live_ticket(assignee=old)
    await world.end(ticket, old)
    group = await world.group("Second line")
    await update_ticket(Call(world.admin), ticket.id, {"assignee_id": new.id, "group_id": group.id})
    assert shown(await world.composer(ticket, new)) == MESSAGING_OVER
    async with world.refuses(SessionEnded):
        await world.comment(ticket, new, channel=Channel.MESSAGING)


async def test_the_menu_says_what_the_call_would_say(world: World) -> None:
    """R57, R58, R61: on every kind of ticket, a channel is open exactly when writing over it succeeds."""
    unreachable = await world.customer(email=False)
    tickets = [
        await world.live_ticket(),
        await world.ended_ticket(),
        await world.live_ticket(customer=unreachable),
        await world.email_ticket(),
    ]
    for ticket in tickets:
        for channel, reason in shown(await world.composer(ticket, world.admin)).items():
            assert await _outcome(world, ticket, Channel(channel)) == reason


async def _outcome(world: World, ticket: Ticket, channel: Channel) -> str | None:
    try:
        await world.comment(ticket, world.admin, channel=channel)
    except (SessionEnded, ChannelUnavailable) as refusal:
        return refusal.code.value
    return None


async def test_a_reply_to_a_ticket_that_has_changed_is_refused(world: World) -> None:
    """R38, R58: the author has not seen what he would answer."""
    ticket = await world.ended_ticket()
    async with world.refuses(StaleVersion):
        await post_comment(
            Call(world.admin), ticket.id, body="…", channel=Channel.EMAIL, expected_version=ticket.version - 1
        )
    assert await OutboundEmail.all().count() == 0
