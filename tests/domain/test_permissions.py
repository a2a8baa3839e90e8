"""Rules 3.2: who may end a session, and who may see a ticket."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

import pytest

from domain.actors import Actor
from domain.comments import comment_on_request, post_comment
from domain.composer import ComposerAction
from domain.deletion import delete_ticket, restore_ticket
from domain.errors import Forbidden, NotFound, Refusal, Unauthenticated
from domain.lifecycle import close_ticket
from domain.macros import MacroAction, MacroActionKind, apply_macro, save_macro
from domain.merging import merge_tickets
from domain.messages import send_message
from domain.people import deactivate, issue_token, revoke_token, set_groups, set_organizations, set_role, update_role
from domain.revisions import delete_message, edit_message, mark_read, react_to_message, redact_comment
from domain.sessions import end_session, mark_inactive, preview_end, takes_typing
from domain.suspension import lift_suspension, suspend_user
from domain.tickets import update_ticket
from domain.transactions import Call
from domain.visibility import visible_tickets
from models import (
    Channel,
    Comment,
    Event,
    EventType,
    InactiveReason,
    Permission,
    Role,
    SessionState,
    Suspension,
    Ticket,
    TicketAccess,
    TicketStatus,
    User,
    new_id,
    utc_now,
)
from tests.factories import AGENT, LIGHT, World

T = TypeVar("T")

READ_ONLY = frozenset({Permission.PUBLIC_COMMENTS, Permission.INTERNAL_NOTES, Permission.MESSAGING})
OWN_ONLY = AGENT - {Permission.END_OTHERS_SESSIONS}


async def refused_end(world: World, by: Actor, ticket: Ticket, refusal: type[Refusal]) -> None:
    """R30 goes with every refusal for want of permission: one line in the log, nothing else anywhere."""
    async with world.refuses(refusal, logged=1) as caught:
        await world.end(ticket, by)
    entry = (await world.log())[-1]
    assert (entry.action, entry.target) == ("SESSION_END_REFUSED", f"Ticket {ticket.id}")
    assert (entry.actor_kind, entry.actor_id) == (by.kind.value, by.id)
    assert entry.changes == [{"field": "reason", "from": None, "to": caught.value.code.value}]


async def ends(world: World, by: Actor, ticket: Ticket) -> None:
    end = await world.end(ticket, by)
    assert end.outcome == "ENDED"
    event = (await world.events(ticket))[-1]
    assert (event.id, event.type) == (end.event_id, EventType.MESSAGING_SESSION_ENDED)
    assert (event.actor_kind, event.actor_id) == (by.kind, by.id)


async def test_an_agent_of_groups_ends_in_his_groups_only(world: World) -> None:
    """R17."""
    mine, also_mine, others = [await world.group(name) for name in ("First line", "Returns", "Billing")]
    agent = await world.agent(access=TicketAccess.GROUPS, groups=(mine, also_mine))
    for group in (others, None):
        await refused_end(world, agent, await world.live_ticket(group=group, assignee=agent), NotFound)
    for group in (mine, also_mine):
        await ends(world, agent, await world.live_ticket(group=group))


async def test_an_agent_of_organizations_ends_for_their_people_only(world: World) -> None:
    """R18."""
    mine, others = [await world.organization(name) for name in ("Initech", "Umbrella")]
    agent = await world.agent(access=TicketAccess.ORGANIZATIONS, organizations=(mine,))
    for organization in (others, None):
        customer = await world.customer(organization=organization)
        await refused_end(world, agent, await world.live_ticket(customer=customer, assignee=agent), NotFound)
    await ends(world, agent, await world.live_ticket(customer=await world.customer(organization=mine)))


async def test_an_agent_of_assigned_tickets_ends_his_own_only(world: World) -> None:
    """R19."""
    group = await world.group()
    agent = await world.agent(access=TicketAccess.ASSIGNED, groups=(group,))
    for assignee in (await world.agent(), None):
        await refused_end(world, agent, await world.live_ticket(group=group, assignee=assignee), NotFound)
    await ends(world, agent, await world.live_ticket(assignee=agent))


async def test_an_agent_of_all_tickets_ends_every_live_session(world: World) -> None:
    """R20."""
    agent, colleague = await world.agent(), await world.agent()
    group, organization = await world.group(), await world.organization()
    await ends(world, agent, await world.live_ticket())
    await ends(world, agent, await world.live_ticket(group=group, assignee=colleague))
    await ends(world, agent, await world.live_ticket(customer=await world.customer(organization=organization)))


@pytest.mark.parametrize("permissions", [LIGHT, READ_ONLY], ids=["light", "read-only"])
async def test_who_may_not_edit_may_not_end(world: World, permissions: frozenset[Permission]) -> None:
    """R21."""
    agent = await world.agent(permissions=permissions)
    ticket = await world.live_ticket(assignee=agent)
    assert (await world.composer(ticket, agent)).actions == ()
    await refused_end(world, agent, ticket, Forbidden)
    assert await visible_tickets(agent).count() == 1


@pytest.mark.parametrize("missing", [Permission.MESSAGING, Permission.PUBLIC_COMMENTS])
async def test_who_may_not_write_messages_is_offered_neither_them_nor_the_end(
    world: World, missing: Permission
) -> None:
    """R22."""
    agent = await world.agent(permissions=AGENT - {missing})
    ticket = await world.live_ticket(assignee=agent)
    composer = await world.composer(ticket, agent)
    assert composer.actions == ()
    assert Channel.MESSAGING not in [channel.channel for channel in composer.channels]
    await refused_end(world, agent, ticket, Forbidden)
    with_it = await world.composer(ticket, await world.agent())
    assert with_it.actions == (ComposerAction.END_SESSION,)
    assert next(channel.channel for channel in with_it.channels if channel.enabled) is Channel.MESSAGING


@pytest.mark.parametrize("collaborate", [True, False])
async def test_a_colleague_s_session_is_ended_with_the_right_to_it_only(world: World, collaborate: bool) -> None:
    """R23 and R24."""
    await world.settings(agents_can_collaborate=collaborate)
    own_only, others_too, colleague = (
        await world.agent(permissions=OWN_ONLY),
        await world.agent(),
        await world.agent(),
    )
    ticket = await world.live_ticket(assignee=colleague)
    assert (await world.composer(ticket, own_only)).actions == ()
    await refused_end(world, own_only, ticket, Forbidden)
    await ends(world, others_too, ticket)
    await ends(world, world.admin, await world.live_ticket(assignee=colleague))
    await ends(world, own_only, await world.live_ticket(assignee=own_only))
    await ends(world, own_only, await world.live_ticket())


async def test_without_collaboration_the_end_of_a_colleague_s_session_says_nothing(world: World) -> None:
    """R24: who may end it may still not write to the colleague's customer, and then nothing happens."""
    await world.settings(agents_can_collaborate=False)
    agent = await world.agent()
    ticket = await world.live_ticket(assignee=await world.agent())
    async with world.refuses(Forbidden, logged=1):
        await world.end(ticket, agent, closing_message="Good-bye.")
    await ends(world, agent, ticket)


async def test_an_admin_ends_every_session_and_the_event_names_him(world: World) -> None:
    """R29."""
    ticket = await world.live_ticket(group=await world.group(), assignee=await world.agent())
    await ends(world, world.admin, ticket)
    session = await world.session(ticket)
    assert (session.ended_by_kind, session.ended_by_id) == ("ADMIN", world.admin.id)


async def test_a_customer_ends_nothing(world: World) -> None:
    """R28: and learns nothing about tickets that are not his."""
    customer = await world.customer()
    mine, anothers = await world.live_ticket(customer=customer), await world.live_ticket()
    for ticket in (mine, anothers, Ticket(id=new_id())):
        await refused_end(world, customer, ticket, Forbidden)
    assert len({entry.changes[0]["to"] for entry in await world.log()}) == 1


async def test_each_refused_end_is_logged_once(world: World) -> None:
    """R30."""
    agent = await world.agent(permissions=LIGHT)
    ticket = await world.live_ticket()
    history = await world.history(ticket)
    for _ in range(2):
        await refused_end(world, agent, ticket, Forbidden)
    assert await world.history(ticket) == history
    assert len(await world.log()) == 2


async def test_a_refusal_for_another_reason_is_no_matter_of_security(world: World) -> None:
    """R30: only the want of permission is logged."""
    with pytest.raises(Refusal):
        await world.end(await world.email_ticket(), await world.agent())
    assert await world.log() == []


Lose = Callable[[World, Actor], Coroutine[Any, Any, None]]


async def lose_group(world: World, agent: Actor) -> None:
    assert agent.id
    await set_groups(Call(world.admin), agent.id, frozenset())


async def lose_role(world: World, agent: Actor) -> None:
    assert agent.id
    light = await world.role(TicketAccess.GROUPS, LIGHT)
    await set_role(Call(world.admin), agent.id, light.id)


async def lose_right_of_role(world: World, agent: Actor) -> None:
    user = await User.get(id=agent.id)
    assert user.role_id
    await update_role(Call(world.admin), user.role_id, ticket_access=TicketAccess.GROUPS, permissions=LIGHT)


async def lose_account(world: World, agent: Actor) -> None:
    assert agent.id
    await deactivate(Call(world.admin), agent.id)


LOSSES: list[tuple[Lose, type[Refusal]]] = [
    (lose_group, NotFound),
    (lose_role, Forbidden),
    (lose_right_of_role, Forbidden),
    (lose_account, Unauthenticated),
]
each_loss = pytest.mark.parametrize(("lose", "refusal"), LOSSES, ids=[lose.__name__ for lose, _ in LOSSES])


@each_loss
async def test_what_was_lost_after_the_request_no_longer_ends(world: World, lose: Lose, refusal: type[Refusal]) -> None:
    """R25: the permission as of the transaction decides, though the request was made with the old one."""
    group = await world.group()
    agent = await world.agent(access=TicketAccess.GROUPS, groups=(group,))
    ticket = await world.live_ticket(group=group, assignee=agent)
    await lose(world, agent)
    await refused_end(world, agent, ticket, refusal)
    assert (await world.session(ticket)).state is SessionState.ACTIVE


async def after(milliseconds: float, work: Coroutine[Any, Any, T]) -> T:
    await asyncio.sleep(milliseconds / 1000)
    return await work


async def outcome_of_end(by: Actor, ticket: Ticket) -> str:
    try:
        return (await end_session(Call(by), ticket.id)).outcome
    except Refusal as refusal:
        return refusal.code.value


@each_loss
async def test_a_permission_lost_at_the_same_moment_comes_wholly_before_or_wholly_after(
    world: World, lose: Lose, refusal: type[Refusal]
) -> None:
    """R25: in each round with another head start. In the last rounds one is clearly first: to his first lock whoever
    ends has fewer statements, and on a busy machine each of them takes as long as the shorter head starts."""
    group = await world.group()
    role = await world.role(TicketAccess.GROUPS)
    seen: set[str] = set()
    for lead in (*range(-12, 12, 2), -300, 300):
        await Role.filter(id=role.id).update(permissions=sorted(AGENT))
        agent = await world.agent(access=TicketAccess.GROUPS, groups=(group,))
        ticket = await world.live_ticket(group=group, assignee=agent)
        before = await world.history(ticket)
        outcome, _ = await asyncio.gather(after(lead, outcome_of_end(agent, ticket)), after(-lead, lose(world, agent)))
        new = (await world.events(ticket))[len(before) :]
        # Whoever leaves gives his tickets back, too (R149).
        told = [event for event in new if event.payload.get("field") != "assignee"]
        assert len(new) - len(told) == (lose is lose_account)
        if outcome == "ENDED":
            [end] = told
            assert end.position < await position_of_loss(agent)
        else:
            assert told == []
            assert "SESSION_END_REFUSED" in [entry.action for entry in (await world.log())[-2:]]
        seen.add(outcome)
    assert seen == {"ENDED", refusal.code.value}


async def position_of_loss(agent: Actor) -> int:
    changes = await Event.filter(account_id=agent.account_id, type=EventType.AGENT_ACCESS_CHANGED)
    [loss] = [event for event in changes if event.payload["user"] == str(agent.id)]
    position: int = loss.position
    return position


class Statements(logging.Handler):
    """The SQL statements that are run meanwhile, without their values."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        assert isinstance(record.args, tuple)
        self.texts.append(str(record.args[0]))


@pytest.fixture
def statements() -> Iterator[Statements]:
    logger, handler = logging.getLogger("tortoise.db_client"), Statements()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield handler
    logger.setLevel(level)
    logger.removeHandler(handler)


async def test_missing_and_inaccessible_tickets_look_alike(
    world: World, other_world: World, statements: Statements
) -> None:
    """R26 and R27: the same class, code, text and field, after the same statements."""
    mine = await world.group()
    agent = await world.agent(access=TicketAccess.GROUPS, groups=(mine,))
    inaccessible, foreign = await world.live_ticket(group=await world.group("Billing")), await other_world.live_ticket()
    seen = []
    for ticket_id in (new_id(), inaccessible.id, foreign.id):
        statements.texts.clear()
        with pytest.raises(Refusal) as caught:
            await end_session(Call(agent), ticket_id)
        said = str(caught.value), caught.value.message, caught.value.code.value, caught.value.field
        seen.append((caught.type, said, tuple(statements.texts)))
    assert len(set(seen)) == 1
    kind, said, texts = seen[0]
    assert (kind, said[2], said[3]) == (NotFound, "NOT_FOUND", ())
    assert len(texts) > 5


@dataclass
class Abroad:
    ticket: Ticket
    comment: Comment
    session_id: UUID
    agent_id: Any
    customer_id: Any
    group_id: UUID
    organization_id: UUID
    role_id: UUID
    macro_id: UUID
    token_id: UUID


@pytest.fixture
async def abroad(world: World, other_world: World) -> Abroad:
    """What the other account has, seen from ours."""
    customer = await other_world.customer()
    ticket = await other_world.live_ticket(customer=customer, assignee=await other_world.agent())
    notice = [MacroAction(MacroActionKind.PUBLIC_REPLY, "Good-bye.")]
    macro = await save_macro(Call(other_world.admin), title="Theirs", actions=notice, shared=True)
    token = await issue_token(await User.get(id=other_world.admin.id), "Theirs", utc_now())
    return Abroad(
        ticket=ticket,
        comment=await Comment.get(conversation_id=ticket.conversation_id),
        session_id=(await other_world.session(ticket)).id,
        agent_id=ticket.assignee_id,
        customer_id=customer.id,
        group_id=(await other_world.group()).id,
        organization_id=(await other_world.organization()).id,
        role_id=(await other_world.role()).id,
        macro_id=macro.macro_id,
        token_id=token.token_id,
    )


async def test_a_foreign_id_is_no_id(world: World, other_world: World, abroad: Abroad) -> None:
    """R27: whatever the verb, for people who may do everything at home."""
    admin, customer = Call(world.admin), Call(await world.customer())
    home = await world.live_ticket(customer=customer.actor, assignee=await world.agent())
    end = [MacroAction(MacroActionKind.END_SESSION)]
    own = await save_macro(admin, title="Ours", actions=end, shared=True)
    [mine] = await Comment.filter(conversation_id=home.conversation_id)
    theirs = abroad.ticket.id
    verbs: dict[str, Callable[[], Awaitable[Any]]] = {
        "end_session": lambda: end_session(admin, theirs),
        "post_comment": lambda: post_comment(admin, theirs, body="…", channel=Channel.INTERNAL_NOTE),
        "comment_on_request": lambda: comment_on_request(customer, theirs, body="…"),
        "edit_message": lambda: edit_message(customer, abroad.comment.id, body="…"),
        "delete_message": lambda: delete_message(customer, abroad.comment.id),
        "react_to_message": lambda: react_to_message(customer, abroad.comment.id, reaction="👍"),
        "redact_comment": lambda: redact_comment(admin, abroad.comment.id),
        "mark_read": lambda: mark_read(admin, abroad.comment.id),
        "mark_read as customer": lambda: mark_read(customer, abroad.comment.id),
        "update_ticket": lambda: update_ticket(admin, theirs, {"status": TicketStatus.OPEN}),
        "update_ticket's assignee": lambda: update_ticket(admin, home.id, {"assignee_id": abroad.agent_id}),
        "update_ticket's group": lambda: update_ticket(admin, home.id, {"group_id": abroad.group_id}),
        "close_ticket": lambda: close_ticket(Call(world.system), theirs),
        "delete_ticket": lambda: delete_ticket(admin, theirs),
        "restore_ticket": lambda: restore_ticket(admin, theirs),
        "merge_tickets's source": lambda: merge_tickets(admin, theirs, home.id),
        "merge_tickets's target": lambda: merge_tickets(admin, home.id, theirs),
        "suspend_user": lambda: suspend_user(admin, abroad.ticket.requester_id, Suspension.ALL),
        "lift_suspension": lambda: lift_suspension(admin, abroad.ticket.requester_id),
        "update_ticket's requester": lambda: update_ticket(
            admin, home.id, {"requester_id": abroad.ticket.requester_id}
        ),
        "apply_macro": lambda: apply_macro(admin, theirs, own.macro_id),
        "apply_macro's macro": lambda: apply_macro(admin, home.id, abroad.macro_id),
        "save_macro": lambda: save_macro(admin, title="…", actions=end, shared=True, macro_id=abroad.macro_id),
        "send_message": lambda: send_message(customer, body="…", conversation_id=abroad.ticket.conversation_id),
        "mark_inactive": lambda: mark_inactive(admin, abroad.session_id, InactiveReason.NO_REPLY),
        "takes_typing": lambda: takes_typing(world.admin, abroad.ticket.conversation_id),
        "takes_typing as customer": lambda: takes_typing(customer.actor, abroad.ticket.conversation_id),
        "set_groups": lambda: set_groups(admin, abroad.agent_id, frozenset()),
        "set_groups's group": lambda: set_groups(admin, some(home.assignee_id), frozenset({abroad.group_id})),
        "set_organizations": lambda: set_organizations(admin, abroad.agent_id, frozenset()),
        "set_organizations's": lambda: set_organizations(
            admin, some(home.assignee_id), frozenset({abroad.organization_id})
        ),
        "set_role": lambda: set_role(admin, abroad.agent_id, abroad.role_id),
        "set_role's role": lambda: set_role(admin, some(home.assignee_id), abroad.role_id),
        "update_role": lambda: update_role(
            admin, abroad.role_id, ticket_access=TicketAccess.ALL, permissions=frozenset()
        ),
        "deactivate": lambda: deactivate(admin, abroad.agent_id),
        "revoke_token": lambda: revoke_token(admin, abroad.token_id),
    }
    there = await other_world.fingerprint(), len(await other_world.log())
    for name, verb in verbs.items():
        async with world.refuses(NotFound, logged=1 if name == "end_session" else 0):
            await verb()
    assert await preview_end(world.admin, theirs) is None
    assert (await other_world.fingerprint(), len(await other_world.log())) == there
    assert (await Comment.get(id=mine.id)).body == mine.body
    assert await visible_tickets(world.admin).values_list("id", flat=True) == [home.id]


def some(identifier: UUID | None) -> UUID:
    assert identifier is not None
    return identifier


async def test_being_copied_in_or_mentioned_reaches_nothing(world: World) -> None:
    """R31: that no stream delivers anything is tested with the streams."""
    agent = await world.agent("Mona Mentioned", access=TicketAccess.GROUPS, groups=(await world.group(),))
    ticket = await world.live_ticket(
        group=await world.group("Billing"), cc_ids=[str(agent.id)], follower_ids=[str(agent.id)]
    )
    note = await world.comment(ticket, world.admin, "@Mona Mentioned, please look.")
    assert await visible_tickets(agent).count() == 0
    assert await preview_end(agent, ticket.id) is None
    await refused_end(world, agent, ticket, NotFound)
    async with world.refuses(NotFound):
        await world.comment(ticket, agent, "On it.")
    async with world.refuses(NotFound):
        await mark_read(Call(agent), note)
    async with world.refuses(NotFound):
        await takes_typing(agent, ticket.conversation_id)
