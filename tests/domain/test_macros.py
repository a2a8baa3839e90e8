"""Rules 3.9: macros, by which an admin provides the notice, and which may end the session themselves."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest

from domain.actors import Actor
from domain.errors import (
    ChannelUnavailable,
    FeatureDisabled,
    Forbidden,
    InvalidInput,
    NoMessagingSession,
    NotFound,
    Refusal,
    SessionEnded,
    StaleVersion,
    TicketClosed,
)
from domain.macros import (
    AppliedMacro,
    MacroAction,
    MacroActionKind,
    apply_macro,
    delete_macro,
    save_macro,
    usable_macros,
)
from domain.transactions import Call
from models import (
    Channel,
    Comment,
    EndReason,
    EventType,
    Macro,
    OutboundEmail,
    Permission,
    SessionState,
    Ticket,
    TicketStatus,
    User,
    UserKind,
    Visibility,
    new_id,
)
from tests.factories import AGENT, LIGHT, World, columns

NOTICE = "I end this conversation now. What you write afterwards becomes a new request."
MANAGER = AGENT | {Permission.MANAGE_MACROS}
OWN_ONLY = AGENT - {Permission.END_OTHERS_SESSIONS}

TELL = MacroAction(MacroActionKind.PUBLIC_REPLY, NOTICE)
NOTE = MacroAction(MacroActionKind.INTERNAL_NOTE, "Ended by macro.")
SOLVE = MacroAction(MacroActionKind.SET_STATUS, "SOLVED")
TAG = MacroAction(MacroActionKind.ADD_TAGS, "refund, done,")
END = MacroAction(MacroActionKind.END_SESSION)


async def saved(world: World, *actions: MacroAction, by: Actor | None = None, shared: bool = True) -> Macro:
    verdict = await save_macro(Call(by or world.admin), title="Macro", actions=list(actions), shared=shared)
    return await Macro.get(id=verdict.macro_id)


async def applied(macro: Macro, ticket: Ticket, by: Actor) -> AppliedMacro:
    return await apply_macro(Call(by), ticket.id, macro.id)


async def refused(world: World, macro: Macro, ticket: Ticket, by: Actor, refusal: type[Refusal]) -> None:
    """Nothing of the macro happened: not what came before the refused action either."""
    thread, history, session = await world.thread(ticket), await world.history(ticket), await world.session(ticket)
    async with world.refuses(refusal):
        await applied(macro, ticket, by)
    assert await world.thread(ticket) == thread
    assert await world.history(ticket) == history
    assert columns(await world.session(ticket)) == columns(session)


async def test_a_notice_is_a_public_message_in_the_agent_s_name_and_ends_nothing(world: World) -> None:
    """R110."""
    agent = await world.agent()
    ticket = await world.live_ticket(assignee=agent)
    macro = await saved(world, TELL)
    done = await applied(macro, ticket, agent)
    assert (done.ticket_id, done.end_outcome) == (ticket.id, None)
    comment = await Comment.get(id=done.comment_id)
    assert (comment.body, comment.channel, comment.visibility) == (NOTICE, Channel.MESSAGING, Visibility.PUBLIC)
    assert (comment.author_kind, comment.author_id) == ("AGENT", agent.id)
    used, said = (await world.events(ticket))[-2:]
    assert (used.type, used.payload) == (EventType.MACRO_APPLIED, {"macro": str(macro.id), "title": "Macro"})
    assert (said.type, said.comment_id) == (EventType.TICKET_COMMENT_ADDED, comment.id)
    assert used.audit_id == said.audit_id
    assert (await world.session(ticket)).state is SessionState.ACTIVE
    assert (await world.end(ticket, agent)).warnings == ()


async def test_on_an_e_mail_ticket_the_notice_goes_by_e_mail(world: World) -> None:
    """R110: where the ticket came from."""
    ticket = await world.email_ticket()
    done = await applied(await saved(world, TELL), ticket, world.admin)
    assert (await Comment.get(id=done.comment_id)).channel is Channel.EMAIL
    assert await OutboundEmail.filter(comment_id=done.comment_id).count() == 1
    unreachable, macro = await world.email_ticket(await world.customer(email=False)), await saved(world, NOTE, TELL)
    async with world.refuses(ChannelUnavailable):
        await applied(macro, unreachable, world.admin)


async def test_message_and_end_of_a_macro_are_one_audit(world: World) -> None:
    """R112: in the order of the actions."""
    agent = await world.agent()
    ticket = await world.live_ticket(assignee=agent, tags=["vip"])
    count = len(await world.events(ticket))
    done = await applied(await saved(world, TELL, NOTE, TAG, SOLVE, END), ticket, agent)
    events = (await world.events(ticket))[count:]
    assert [event.type.value for event in events] == [
        "MACRO_APPLIED",
        "TICKET_COMMENT_ADDED",
        "TICKET_COMMENT_ADDED",
        "TICKET_FIELD_CHANGED",
        "TICKET_FIELD_CHANGED",
        "MESSAGING_SESSION_STATE_CHANGED",
        "MESSAGING_SESSION_ENDED",
    ]
    assert len({event.audit_id for event in events}) == 1
    assert {(event.actor_kind, event.actor_id) for event in events} == {(agent.kind, agent.id)}
    assert done.end_outcome == "ENDED"
    session = await world.session(ticket)
    assert (session.state, session.end_reason, session.ended_by_id) == (SessionState.ENDED, EndReason.AGENT, agent.id)
    assert (await world.thread(ticket))[-2:] == [NOTICE, "Ended by macro."]
    now = await Ticket.get(id=ticket.id)
    assert (now.status, now.tags, now.version) == (TicketStatus.SOLVED, ["done", "refund", "vip"], ticket.version + 1)


async def test_a_macro_s_end_meets_the_checks_of_an_end(world: World) -> None:
    """R112: who may not end does not send the message either."""
    macro = await saved(world, TELL, END)
    ticket = await world.live_ticket(assignee=await world.agent())
    await refused(world, macro, ticket, await world.agent(permissions=OWN_ONLY), Forbidden)
    await refused(world, macro, ticket, await world.agent(permissions=AGENT - {Permission.EDIT_TICKETS}), Forbidden)
    await refused(world, macro, ticket, await world.agent(permissions=AGENT - {Permission.MESSAGING}), Forbidden)
    await refused(world, macro, ticket, await world.customer(), Forbidden)
    await world.settings(agents_can_end_sessions=False)
    await refused(world, macro, ticket, world.admin, FeatureDisabled)
    await world.settings(agents_can_end_sessions=True, agents_can_collaborate=False)
    await refused(world, macro, ticket, await world.agent(), Forbidden)
    assert (await applied(macro, ticket, world.admin)).end_outcome == "ENDED"


async def test_a_macro_is_done_wholly_or_not_at_all(world: World) -> None:
    """R112: whichever of its actions is refused."""
    agent, light = await world.agent(), await world.agent(permissions=LIGHT)
    ticket = await world.live_ticket(assignee=agent, tags=[f"tag {number}" for number in range(49)])
    gone, group = await world.agent("Gone"), await world.group()
    # They were there when the macros were saved.
    to_nobody = await saved(world, TELL, MacroAction(MacroActionKind.SET_ASSIGNEE, str(gone.id)))
    to_no_group = await saved(world, TELL, MacroAction(MacroActionKind.SET_GROUP, str(group.id)), END)
    await User.filter(id=gone.id).update(active=False)
    await group.delete()
    await refused(world, await saved(world, NOTE, TELL), ticket, light, Forbidden)
    await refused(world, await saved(world, NOTE, SOLVE), ticket, light, Forbidden)
    await refused(world, to_nobody, ticket, agent, NotFound)
    await refused(world, to_no_group, ticket, agent, NotFound)
    await refused(world, await saved(world, TELL, SOLVE, TAG, END), ticket, agent, InvalidInput)
    own_only = await world.agent(permissions=OWN_ONLY)
    await refused(world, await saved(world, TELL, SOLVE, END), ticket, own_only, Forbidden)
    await refused(world, await saved(world, NOTE, END, TELL), ticket, agent, SessionEnded)
    assert (await applied(await saved(world, END, NOTE), ticket, agent)).end_outcome == "ENDED"


async def test_a_macro_s_end_where_nothing_can_end(world: World) -> None:
    """R112, R35, R40, R41: the states of affairs of an end."""
    end_and_note, tell_and_end = await saved(world, END, NOTE), await saved(world, TELL, END)
    ended = await world.ended_ticket(tags=[])
    session, ends = columns(await world.session(ended)), (await world.history(ended)).count("MESSAGING_SESSION_ENDED")
    assert (await applied(end_and_note, ended, world.admin)).end_outcome == "ALREADY_ENDED"
    assert (await world.history(ended)).count("MESSAGING_SESSION_ENDED") == ends == 1
    assert columns(await world.session(ended)) == session
    await refused(world, tell_and_end, ended, world.admin, SessionEnded)
    email = await world.email_ticket()
    async with world.refuses(NoMessagingSession):
        await applied(end_and_note, email, world.admin)
    await Ticket.filter(id=ended.id).update(status=TicketStatus.CLOSED)
    await refused(world, end_and_note, ended, world.admin, TicketClosed)


async def test_a_macro_with_a_retried_key_is_applied_once(world: World) -> None:
    """R112 and R37."""
    ticket, macro = await world.live_ticket(), await saved(world, TELL, END)
    call = Call(world.admin, idempotency_key="once")
    first = await apply_macro(call, ticket.id, macro.id)
    before = await world.fingerprint()
    assert await apply_macro(call, ticket.id, macro.id) == first
    assert await world.fingerprint() == before


async def test_a_macro_for_a_ticket_that_has_changed_is_refused(world: World) -> None:
    """R112 and R38."""
    ticket, macro = await world.live_ticket(), await saved(world, TELL, END)
    async with world.refuses(StaleVersion):
        await apply_macro(Call(world.admin), ticket.id, macro.id, expected_version=ticket.version - 1)
    done = await apply_macro(Call(world.admin), ticket.id, macro.id, expected_version=ticket.version)
    assert done.end_outcome == "ENDED"


async def test_only_who_manages_macros_makes_or_changes_shared_ones(world: World) -> None:
    """R113."""
    agent, manager, customer = await world.agent(), await world.agent(permissions=MANAGER), await world.customer()
    shared = await saved(world, TELL, by=manager)
    own = await saved(world, TELL, by=agent, shared=False)
    lines, before = len(await world.log()), [columns(macro) for macro in await Macro.all().order_by("id")]
    for by, share, macro_id in [
        (agent, True, None),
        (agent, True, shared.id),
        (agent, False, shared.id),  # nobody takes a shared macro for himself
        (agent, True, own.id),
        (customer, True, None),
        (customer, False, None),
    ]:
        with pytest.raises(Forbidden):
            await save_macro(Call(by), title="New", actions=[END], shared=share, macro_id=macro_id)
    with pytest.raises(NotFound):
        await save_macro(Call(manager), title="New", actions=[END], shared=False, macro_id=own.id)
    assert [columns(macro) for macro in await Macro.all().order_by("id")] == before
    assert len(await world.log()) == lines == 2
    for by in (manager, world.admin):
        verdict = await save_macro(Call(by), title=" New ", actions=[END], shared=True, macro_id=shared.id)
        assert verdict.macro_id == shared.id
    changed = await Macro.get(id=shared.id)
    assert (changed.owner_id, changed.title) == (None, "New")
    assert changed.actions == [{"kind": "END_SESSION", "value": None}]
    assert await Macro.all().count() == 2


async def test_saving_a_macro_is_logged(world: World) -> None:
    """R113."""
    macro = await saved(world, TELL)
    await save_macro(Call(world.admin), title="Renamed", actions=[TELL], shared=True, macro_id=macro.id)
    log = await world.log()
    assert [(entry.action, entry.target, entry.actor_id) for entry in log] == [
        ("MACRO_SAVED", f"Macro {macro.id}", world.admin.id)
    ] * 2
    assert [entry.changes for entry in log] == [
        [
            {"field": "title", "from": None, "to": "Macro"},
            {"field": "shared", "from": None, "to": True},
            {"field": "active", "from": None, "to": True},
            {"field": "actions", "from": None, "to": ["PUBLIC_REPLY"]},
        ],
        [{"field": "title", "from": "Macro", "to": "Renamed"}],
    ]


async def test_only_what_changed_of_a_macro_is_logged(world: World) -> None:
    """R113: never a text, nothing for nothing, and of somebody's own macro not even its title."""
    macro, agent = await saved(world, TELL, END), await world.agent()
    again = partial(save_macro, Call(world.admin), title="Macro", macro_id=macro.id)
    await again(actions=[TELL, END], shared=True)
    assert len(await world.log()) == 1
    await again(actions=[replace(TELL, value="Other words"), END], shared=True)
    await again(actions=[replace(TELL, value="Other words")], shared=True, active=False)
    own = await saved(world, NOTE, by=agent, shared=False)
    await save_macro(Call(agent), title="Secret plans", actions=[NOTE], shared=False, macro_id=own.id)
    await delete_macro(Call(agent), own.id)
    kinds = ["PUBLIC_REPLY", "END_SESSION"]
    _, reworded, switched, made, renamed, deleted = [entry.changes for entry in await world.log()]
    assert reworded == [{"field": "actions", "from": kinds, "to": kinds}]
    assert switched == [
        {"field": "active", "from": True, "to": False},
        {"field": "actions", "from": kinds, "to": kinds[:1]},
    ]
    assert [change["field"] for change in made] == ["title", "shared", "active", "actions"]
    assert made[0] == {"field": "title", "from": None, "to": None}
    assert renamed == [{"field": "title", "from": None, "to": None}]
    assert deleted[0] == {"field": "title", "from": None, "to": None}


async def test_a_macro_is_deleted_by_who_may_change_it(world: World, other_world: World) -> None:
    """R113: gone for everybody, and its line is in the log; others' own ones are invisible, also to admins."""
    agent, manager = await world.agent(), await world.agent(permissions=MANAGER)
    shared, own = await saved(world, TELL), await saved(world, TELL, by=agent, shared=False)
    foreign = await saved(other_world, TELL)
    for by, macro, refusal in [
        (agent, shared, Forbidden),
        (await world.customer(), shared, Forbidden),
        (world.admin, own, NotFound),
        (manager, own, NotFound),
        (world.admin, foreign, NotFound),
        (world.admin, Macro(id=new_id()), NotFound),
    ]:
        async with world.refuses(refusal):
            await delete_macro(Call(by), macro.id)
    assert await Macro.all().count() == 3
    await delete_macro(Call(agent), own.id)
    await delete_macro(Call(manager), shared.id)
    entry = (await world.log())[-1]
    assert (entry.action, entry.target, entry.actor_id) == ("MACRO_DELETED", f"Macro {shared.id}", manager.id)
    assert entry.changes[0] == {"field": "title", "from": "Macro", "to": None}
    for by, macro in ((agent, own), (manager, shared)):
        async with world.refuses(NotFound):
            await delete_macro(Call(by), macro.id)
    assert await Macro.filter(account_id=world.id).count() == 0


async def test_inactive_shared_macros_are_for_who_manages_them(world: World) -> None:
    """R113: to switch them on again; one's own stays one's own."""
    agent, manager = await world.agent(), await world.agent(permissions=MANAGER)
    shared, own = await saved(world, TELL), await saved(world, TELL, by=agent, shared=False)
    await Macro.filter(id__in=[shared.id, own.id]).update(active=False)
    assert set(await usable_macros(agent).values_list("id", flat=True)) == {own.id}
    assert set(await usable_macros(manager).values_list("id", flat=True)) == {shared.id}
    ticket = await world.live_ticket()
    for by, macro in ((agent, own), (manager, shared)):
        await refused(world, macro, ticket, by, NotFound)


async def test_a_macro_that_names_nobody_is_not_saved(world: World, other_world: World) -> None:
    """R110: a new owner is somebody who can have tickets, a group is one of the account; nobody is fine."""
    gone, partner = await world.agent(), await world.agent(kind=UserKind.PARTNER)
    await User.filter(id=gone.id).update(active=False)
    customer, foreign = await world.customer(), await other_world.agent()
    nobody = [(MacroActionKind.SET_ASSIGNEE, each.id) for each in (gone, partner, customer, foreign)]
    no_group = [(MacroActionKind.SET_GROUP, each) for each in ((await other_world.group()).id, new_id())]
    for kind, identifier in nobody + no_group:
        async with world.refuses(NotFound) as caught:
            await saved(world, TELL, MacroAction(kind, str(identifier)))
        assert caught.value.field == ("actions",)
    somebody, group = await world.agent(), await world.group()
    macro = await saved(
        world,
        MacroAction(MacroActionKind.SET_ASSIGNEE, str(somebody.id)),
        MacroAction(MacroActionKind.SET_GROUP, str(group.id)),
        MacroAction(MacroActionKind.SET_ASSIGNEE),
    )
    ticket = await world.live_ticket()
    await applied(macro, ticket, world.admin)
    now = await Ticket.get(id=ticket.id)
    assert (now.assignee_id, now.group_id) == (None, group.id)


async def test_a_macro_with_a_retried_key_is_saved_once(world: World) -> None:
    """R37."""
    call = Call(world.admin, idempotency_key="once")
    for _ in range(2):
        await save_macro(call, title="Macro", actions=[TELL], shared=True)
    assert await Macro.filter(account_id=world.id).count() == 1
    assert len(await world.log()) == 1


async def test_everybody_uses_shared_macros_and_his_own_while_they_are_active(world: World, other_world: World) -> None:
    """R113."""
    agent, colleague = await world.agent(), await world.agent()
    ticket = await world.live_ticket()
    shared = await saved(world, TELL)
    own, colleague_s = [await saved(world, NOTE, by=by, shared=False) for by in (agent, colleague)]
    foreign = await saved(other_world, TELL)
    assert set(await usable_macros(agent).values_list("id", flat=True)) == {shared.id, own.id}
    for macro in (shared, own):
        assert (await applied(macro, ticket, agent)).comment_id is not None
    await Macro.filter(id=own.id).update(active=False)
    for macro in (own, colleague_s, foreign, Macro(id=new_id())):
        await refused(world, macro, ticket, agent, NotFound)


@pytest.mark.parametrize(
    ("title", "actions"),
    [
        (" ", [TELL]),
        ("t" * 201, [TELL]),
        ("Macro", []),
        ("Macro", [TELL] * 21),
        ("Macro", [MacroAction(MacroActionKind.PUBLIC_REPLY)]),
        ("Macro", [MacroAction(MacroActionKind.PUBLIC_REPLY, "Dear {{ticket.requester.nmae}}")]),
        ("Macro", [MacroAction(MacroActionKind.INTERNAL_NOTE, "{{}}")]),
        ("Macro", [MacroAction(MacroActionKind.SET_STATUS, "DONE")]),
        ("Macro", [MacroAction(MacroActionKind.SET_STATUS, "CLOSED")]),
        ("Macro", [MacroAction(MacroActionKind.ADD_TAGS, "t" * 65)]),
        ("Macro", [MacroAction(MacroActionKind.SET_ASSIGNEE, "Alex")]),
        ("Macro", [TELL, MacroAction(MacroActionKind.SET_GROUP, "First line")]),
    ],
)
async def test_a_macro_that_could_not_be_applied_is_not_saved(
    world: World, title: str, actions: list[MacroAction]
) -> None:
    """R110."""
    async with world.refuses(InvalidInput):
        await save_macro(Call(world.admin), title=title, actions=actions, shared=True)
    assert await Macro.all().count() == 0


async def test_placeholders_are_filled_once_from_the_ticket(world: World) -> None:
    """R110: what a customer calls himself is text, also when it looks like a placeholder."""
    agent = await world.agent("Alex Agent")
    text = "{{ticket.requester.first_name}}|{{ ticket.requester.name }}|{{ticket.id}}|{{ticket.subject}}|{{agent.name}}"
    macro = await saved(world, replace(TELL, value=text + "|{{|{x}"))
    cleo = await world.live_ticket(customer=await world.customer("Cleo  Customer"))
    sly = await world.live_ticket(customer=await world.customer("{{agent.name}} Sly"))
    for ticket, first, name in [
        (cleo, "Cleo", "Cleo  Customer"),
        (sly, "{{agent.name}}", "{{agent.name}} Sly"),
    ]:
        await applied(macro, ticket, agent)
        expected = f"{first}|{name}|{ticket.number}|Hello, my order is late.|Alex Agent|{{{{|{{x}}"
        assert (await world.thread(ticket))[-1] == expected


async def test_a_nameless_customer_has_an_empty_first_name(world: World) -> None:
    """R110."""
    macro = await saved(world, replace(TELL, value="Hello {{ticket.requester.first_name}}!"))
    ticket = await world.live_ticket(customer=await world.customer(" "))
    await applied(macro, ticket, world.admin)
    assert (await world.thread(ticket))[-1] == "Hello !"


@pytest.mark.parametrize(
    ("text", "name"),
    [("{{ticket.requester.name}}" * 300, "n" * 100), ("{{ticket.requester.name}}", " ")],
    ids=["too-long", "empty"],
)
async def test_a_text_that_its_placeholders_spoil_is_refused_with_all_the_rest(
    world: World, text: str, name: str
) -> None:
    """R112: too long, or empty."""
    macro = await saved(world, NOTE, replace(TELL, value=text), END)
    ticket = await world.live_ticket(customer=await world.customer(name))
    await refused(world, macro, ticket, world.admin, InvalidInput)
