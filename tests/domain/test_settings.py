"""Rules 3.1: the setting, its default, and who may change it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any, TypeVar

import pytest

from domain.actors import Actor, load_actor
from domain.composer import ComposerAction
from domain.errors import FeatureDisabled, Forbidden, InvalidInput, Refusal, StaleVersion
from domain.lifecycle import close_ticket
from domain.people import create_account
from domain.sessions import end_session, mark_inactive
from domain.settings import (
    SettingsChange,
    ending_sessions_since,
    may_agents_end_sessions,
    update_messaging_settings,
)
from domain.transactions import Call
from models import (
    Account,
    AccountSettings,
    ActorKind,
    Deployment,
    EndReason,
    Event,
    EventType,
    InactiveReason,
    Permission,
    SessionState,
    Ticket,
    TicketAccess,
    TicketStatus,
    User,
    UserKind,
    new_id,
    utc_now,
)
from models.database import migrate, opened
from tests.factories import AGENT, LIGHT, World, columns

T = TypeVar("T")

SECOND = timedelta(seconds=1)
YEAR = timedelta(days=365)


async def save(by: Actor, *, at: datetime | None = None, **values: Any) -> SettingsChange:
    clock = (lambda: at) if at else utc_now
    return await update_messaging_settings(Call(by, clock=clock), values)


async def is_on(world: World) -> bool:
    """The setting as it is in force."""
    return await may_agents_end_sessions(await world.settings())


async def offers_end(world: World, ticket: Ticket, by: Actor) -> bool:
    return ComposerAction.END_SESSION in (await world.composer(ticket, by)).actions


async def settings_events(world: World) -> list[Event]:
    return await Event.filter(account_id=world.id, type=EventType.MESSAGING_SETTINGS_CHANGED).order_by("position")


@pytest.mark.parametrize(
    ("after_release", "expected"),
    [
        pytest.param(SECOND, True, id="R1-after"),
        pytest.param(-SECOND, False, id="R2-before"),
        pytest.param(timedelta(microseconds=-1), False, id="R2-just-before"),
        pytest.param(timedelta(0), True, id="R4-exactly-at"),
    ],
)
async def test_the_moment_of_switching_messaging_on_decides_the_default(
    world: World, after_release: timedelta, expected: bool
) -> None:
    """R1, R2, R4."""
    await world.settings(messaging_enabled=False, messaging_enabled_at=None)
    release = await ending_sessions_since()
    assert await save(world.admin, at=release + after_release, messaging_enabled=True) == SettingsChange(changed=True)
    assert await is_on(world) is expected
    assert (await world.settings()).messaging_enabled_at == release + after_release


@pytest.mark.parametrize(("after_release", "expected"), [(-SECOND, False), (SECOND, True)])
async def test_an_account_that_begins_with_messaging_has_the_default_of_its_beginning(
    world: World, after_release: timedelta, expected: bool
) -> None:
    """R1, R2."""
    began = await ending_sessions_since() + after_release
    account = await create_account("initech", "Initech", began)
    settings = await AccountSettings.get(account_id=account.id)
    assert settings.agents_can_end_sessions is None
    assert await may_agents_end_sessions(settings) is expected


async def test_the_age_of_the_account_does_not_decide(world: World) -> None:
    """R3."""
    release = await ending_sessions_since()
    old = await create_account("initech", "Initech", release - YEAR, messaging_enabled=False)
    user = await User.create(account_id=old.id, kind=UserKind.ADMIN, name="Bill", created_at=release - YEAR)
    admin = await load_actor(old.id, user.id)
    assert admin is not None
    await save(admin, at=release + SECOND, messaging_enabled=True)
    assert (await Account.get(id=old.id)).created_at == release - YEAR
    assert await may_agents_end_sessions(await AccountSettings.get(account_id=old.id)) is True


@pytest.mark.parametrize("value", [True, False])
@pytest.mark.parametrize("since", [-SECOND, SECOND], ids=["old-account", "new-account"])
async def test_a_saved_value_survives_switching_messaging_off_and_on(
    world: World, value: bool, since: timedelta
) -> None:
    """R5: also the value that equals the default, of which nobody may later say that it was never saved."""
    release = await ending_sessions_since()
    await world.settings(messaging_enabled_at=release + since)
    await save(world.admin, agents_can_end_sessions=value)
    for switch in (False, True):
        assert (await save(world.admin, messaging_enabled=switch)).changed
        assert await is_on(world) is value
    assert (await world.settings()).messaging_enabled_at == release + since
    for moved in (-YEAR, YEAR):
        await Deployment.filter(id=1).update(ending_sessions_since=release + moved)
        assert await is_on(world) is value


async def test_switching_messaging_off_and_on_does_not_make_an_old_account_new(world: World) -> None:
    """R2."""
    await world.settings(messaging_enabled_at=await ending_sessions_since() - SECOND)
    for switch in (False, True):
        await save(world.admin, messaging_enabled=switch)
    assert await is_on(world) is False


async def test_a_saved_value_survives_a_restart_and_a_migration(database_url: str) -> None:
    """R5."""
    async with opened(database_url):
        world = await World.create("acme")
        await save(world.admin, agents_can_end_sessions=False)
        before = columns(await world.settings())
    async with opened(database_url):
        assert await migrate() == 0
        assert columns(await world.settings()) == before
        assert await is_on(world) is False


async def test_a_change_is_stored_and_logged_once(world: World) -> None:
    """R6."""
    at = datetime(2031, 5, 17, 12, 30, 0, 123456, tzinfo=UTC)
    assert await save(world.admin, at=at, agents_can_end_sessions=False) == SettingsChange(changed=True)
    settings = await world.settings()
    assert (settings.agents_can_end_sessions, settings.messaging_version) == (False, 2)
    assert settings.messaging_updated_at == at
    [entry] = await world.log()
    assert (entry.action, entry.target, entry.at) == ("SETTINGS_CHANGED", "MessagingSettings", at)
    assert (entry.actor_kind, entry.actor_id) == ("ADMIN", world.admin.id)
    assert entry.changes == [{"field": "agentsCanEndSessions", "from": True, "to": False}]
    [event] = await settings_events(world)
    assert (event.payload, event.actor_id, event.ticket_id) == ({"changes": entry.changes}, world.admin.id, None)


async def test_several_changes_of_one_call_are_one_entry(world: World) -> None:
    """R6."""
    await save(world.admin, agents_can_end_sessions=False, remind_within_minutes=3, agents_can_collaborate=True)
    [entry] = await world.log()
    assert entry.changes == [
        {"field": "agentsCanEndSessions", "from": True, "to": False},
        {"field": "remindWithinMinutes", "from": 10, "to": 3},
    ]
    assert (await world.settings()).messaging_version == 2


async def test_only_who_manages_channels_changes_the_setting(world: World) -> None:
    """R8."""
    manager = AGENT | {Permission.MANAGE_CHANNELS}
    callers = [
        await world.agent(),
        await world.agent(permissions=LIGHT),
        await world.customer(),
        await world.agent(permissions=manager, kind=UserKind.PARTNER),
        Actor(world.id, ActorKind.BOT, new_id()),
    ]
    for caller in callers:
        async with world.refuses(Forbidden):
            await save(caller, agents_can_end_sessions=False)
    assert await is_on(world) is True
    assert await save(await world.agent(permissions=manager), agents_can_end_sessions=False) == SettingsChange(True)


async def test_a_right_that_was_just_lost_no_longer_changes_the_setting(world: World) -> None:
    """R8: the role as of the transaction decides, not as of the request."""
    manager = await world.agent(permissions=AGENT | {Permission.MANAGE_CHANNELS})
    await User.filter(id=manager.id).update(role_id=(await world.role()).id)
    async with world.refuses(Forbidden):
        await save(manager, agents_can_end_sessions=False)


@pytest.mark.parametrize("stored", [True, False, None])
async def test_an_equal_value_changes_nothing(world: World, stored: bool | None) -> None:
    """R9."""
    await world.settings(agents_can_end_sessions=stored)
    in_force = await is_on(world)
    before = await world.fingerprint()
    assert await save(world.admin, agents_can_end_sessions=in_force) == SettingsChange(changed=False)
    assert await world.fingerprint() == before
    assert await world.log() == []
    settings = await world.settings()
    assert (settings.agents_can_end_sessions, settings.messaging_version) == (in_force, 1)


@pytest.mark.parametrize(
    ("values", "version", "refusal"),
    [
        ({"agents_can_end_sessions": None}, None, InvalidInput),
        ({"agents_can_end_session": False}, None, InvalidInput),
        ({"routing_mode": "OMNICHANNEL"}, None, InvalidInput),
        ({"agents_can_end_sessions": False, "remind_within_minutes": 0}, None, InvalidInput),
        ({"agents_can_end_sessions": False}, 2, StaleVersion),
    ],
)
async def test_a_refused_save_changes_nothing(
    world: World, values: dict[str, Any], version: int | None, refusal: type[Refusal]
) -> None:
    """R6: all or nothing."""
    async with world.refuses(refusal):
        await update_messaging_settings(Call(world.admin), values, expected_version=version)


async def test_the_composer_offers_the_end_of_a_session_until_it_has_ended(world: World) -> None:
    """R10."""
    agent = await world.agent()
    ticket = await world.live_ticket(assignee=agent)
    assert (await world.composer(ticket, agent)).actions == (ComposerAction.END_SESSION,)
    await world.end(ticket, agent)
    assert (await world.composer(ticket, agent)).actions == ()
    assert (await world.composer(await world.email_ticket(), agent)).actions == ()


async def test_while_it_is_off_no_end_is_offered_or_done(world: World) -> None:
    """R11."""
    agent = await world.agent()
    ticket = await world.live_ticket(assignee=agent)
    await save(world.admin, agents_can_end_sessions=False)
    history = await world.history(ticket)
    for caller in (agent, world.admin):
        assert (await world.composer(ticket, caller)).actions == ()
        async with world.refuses(FeatureDisabled):
            await world.end(ticket, caller)
        async with world.refuses(FeatureDisabled):
            await world.end(ticket, caller, closing_message="Good-bye.")
    assert await world.history(ticket) == history
    assert (await world.session(ticket)).state is SessionState.ACTIVE


async def test_switching_off_leaves_every_session_as_it_is(world: World) -> None:
    """R12: what the streams tell the composers is tested with the streams."""
    agent = await world.agent()
    active, inactive = await world.live_ticket(), await world.live_ticket()
    await mark_inactive(Call(world.system), (await world.session(inactive)).id, InactiveReason.NO_REPLY)
    ended = await world.ended_ticket(by=agent)
    tickets = (active, inactive, ended)
    sessions = [columns(await world.session(ticket)) for ticket in tickets]
    histories = [await world.history(ticket) for ticket in tickets]
    assert [await offers_end(world, ticket, agent) for ticket in tickets] == [True, True, False]

    await save(world.admin, agents_can_end_sessions=False)
    assert [columns(await world.session(ticket)) for ticket in tickets] == sessions
    assert [await world.history(ticket) for ticket in tickets] == histories
    assert [await offers_end(world, ticket, agent) for ticket in tickets] == [False, False, False]
    assert len(await settings_events(world)) == 1

    await save(world.admin, agents_can_end_sessions=True)
    assert [await offers_end(world, ticket, agent) for ticket in tickets] == [True, True, False]
    assert (await world.end(active, agent)).outcome == "ENDED"


async def after(milliseconds: float, work: Coroutine[Any, Any, T]) -> T:
    await asyncio.sleep(milliseconds / 1000)
    return await work


async def outcome_of_end(by: Actor, ticket: Ticket) -> str:
    try:
        return (await end_session(Call(by), ticket.id)).outcome
    except FeatureDisabled:
        return "DISABLED"


async def test_a_switch_off_comes_wholly_before_or_wholly_after_an_end(world: World) -> None:
    """R13: three ends and a switch-off at the same moment, in each round with another head start.

    In the last rounds one is clearly first: the other head starts are no longer than a busy machine's statements.
    """
    agent = await world.agent()
    seen: set[str] = set()
    for lead in (*range(-10, 10), -300, 300):
        await world.settings(agents_can_end_sessions=True)
        tickets = [await world.live_ticket() for _ in range(3)]
        ends = [after(lead + number, outcome_of_end(agent, ticket)) for number, ticket in enumerate(tickets)]
        outcomes, _ = await asyncio.gather(
            asyncio.gather(*ends), after(-lead, save(world.admin, agents_can_end_sessions=False))
        )
        last = (await settings_events(world))[-1].position
        for ticket, outcome in zip(tickets, outcomes, strict=True):
            event = await Event.get_or_none(ticket_id=ticket.id, type=EventType.MESSAGING_SESSION_ENDED)
            assert (event is not None) == (outcome == "ENDED")
            assert event is None or event.position < last
        seen |= set(outcomes)
    assert seen == {"ENDED", "DISABLED"}


async def test_closing_a_ticket_ends_its_session_while_the_setting_is_off(world: World) -> None:
    """R14 and R52: triggers, suspensions and deletions come with their own commands."""
    await save(world.admin, agents_can_end_sessions=False)
    ticket = await world.live_ticket(assignee=await world.agent())
    await close_ticket(Call(world.system), ticket.id)
    session = await world.session(ticket)
    assert (session.state, session.end_reason) == (SessionState.ENDED, EndReason.TICKET_CLOSED)
    assert (session.ended_by_kind, session.ended_by_id) == ("SYSTEM", None)
    changed, ended = (await world.events(ticket))[-2:]
    assert (changed.type, changed.payload["to"]) == (EventType.TICKET_FIELD_CHANGED, "CLOSED")
    assert (ended.type, ended.payload["reason"]) == (EventType.MESSAGING_SESSION_ENDED, "TICKET_CLOSED")
    assert (ended.actor_kind, ended.actor_id) == (ActorKind.SYSTEM, None)
    assert changed.audit_id == ended.audit_id


async def test_an_agent_may_end_at_any_time(world: World) -> None:
    """R15: every state that is not ended, assigned to him or to nobody, every status that is not closed."""
    agent = await world.agent()
    statuses = [status for status in TicketStatus if status is not TicketStatus.CLOSED]
    for status, assigned, inactive in product(statuses, (True, False), (True, False)):
        ticket = await world.live_ticket(assignee=agent if assigned else None, status=status)
        session = await world.session(ticket)
        if inactive:
            await mark_inactive(Call(world.system), session.id, InactiveReason.NO_REPLY)
        assert await offers_end(world, ticket, agent)
        assert (await world.end(ticket, agent)).outcome == "ENDED"
        event = (await world.events(ticket))[-1]
        assert event.payload["previous_state"] == ("INACTIVE" if inactive else "ACTIVE")
    assert await Event.filter(type=EventType.MESSAGING_SESSION_ENDED).count() == 20


async def test_one_account_s_setting_is_nothing_to_another(world: World, other_world: World) -> None:
    """R16."""
    theirs = await other_world.agent(access=TicketAccess.ALL)
    ticket = await other_world.live_ticket(assignee=theirs)
    before = (columns(await other_world.settings()), await other_world.fingerprint(), await other_world.positions())
    await save(world.admin, agents_can_end_sessions=False)
    assert (await is_on(world), await is_on(other_world)) == (False, True)
    assert before == (
        columns(await other_world.settings()),
        await other_world.fingerprint(),
        await other_world.positions(),
    )
    assert await other_world.log() == []
    assert await offers_end(other_world, ticket, theirs)
    assert (await other_world.end(ticket, theirs)).outcome == "ENDED"
