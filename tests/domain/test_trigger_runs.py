"""Rules R52, R102, R104, R121, R122: triggers run after updates, once, and what fails is written down."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from domain.errors import Refusal
from domain.lifecycle import close_ticket
from domain.messages import send_message
from domain.sessions import mark_inactive
from domain.tickets import update_ticket
from domain.transactions import Call
from domain.trigger_runs import MOST_ATTEMPTS, retry_triggers, run_triggers
from domain.triggers import TriggerAction, delete_trigger, save_trigger
from models import (
    ActorKind,
    AuditLogEntry,
    Channel,
    Comment,
    EndReason,
    Event,
    EventType,
    InactiveReason,
    LogReader,
    OutboundEmail,
    RunState,
    SessionState,
    Suspension,
    Ticket,
    TicketStatus,
    Trigger,
    TriggerRun,
    User,
    Webhook,
    utc_now,
)
from tests.automation import (
    END,
    ENDED_BY_AGENT,
    SOLVE,
    SOLVED,
    SURVEY,
    Kind,
    every,
    only,
    rule,
    runs,
    settle,
    surveys,
    trigger,
)
from tests.factories import World, columns, later
from tests.invariants import assert_consistent

NOTE = TriggerAction(Kind.INTERNAL_NOTE, "A trigger was here.")
TAGGED = rule("TAGS", "CHANGED")


async def solve(world: World, ticket: Ticket) -> None:
    await update_ticket(Call(world.admin), ticket.id, {"status": TicketStatus.SOLVED})


async def tag(world: World, ticket: Ticket, *tags: str) -> None:
    await update_ticket(Call(world.admin), ticket.id, {"tags": list(tags)})


async def test_a_trigger_that_solves_on_end_makes_a_second_audit(world: World) -> None:
    """R104, R52: the status is changed by the trigger, which the history names, and not by the end."""
    rule_of_account = await trigger(world, every(ENDED_BY_AGENT), SOLVE)
    ticket = await world.live_ticket()
    await world.end(ticket, world.admin)
    assert (await Ticket.get(id=ticket.id)).status is TicketStatus.NEW
    assert await settle() == 1
    assert (await Ticket.get(id=ticket.id)).status is TicketStatus.SOLVED
    end = await only(ticket, EventType.MESSAGING_SESSION_ENDED)
    change = await only(ticket, EventType.TICKET_FIELD_CHANGED)
    assert change.audit_id != end.audit_id
    assert (change.actor_kind, change.actor_id) == (ActorKind.TRIGGER, rule_of_account.id)
    assert change.payload == {"field": "status", "from": "NEW", "to": "SOLVED"}
    (run,) = await runs(rule_of_account)
    assert (run.state, run.audit_id, run.effect_audit_id) == (RunState.DONE, end.audit_id, change.audit_id)
    assert (run.depth, run.attempts, run.ticket_id) == (1, 1, ticket.id)
    await assert_consistent(world)


async def test_a_trigger_s_end_is_no_agent_s(world: World) -> None:
    """R121, R52, R14: reason TRIGGER, by the trigger; also where agents may not end. AGENT does not match."""
    await world.settings(agents_can_end_sessions=False)
    ender = await trigger(world, every(rule("STATUS", "CHANGED_TO", "PENDING")), END)
    for_agents = await trigger(world, every(ENDED_BY_AGENT), NOTE)
    ticket = await world.live_ticket()
    await update_ticket(Call(world.admin), ticket.id, {"status": TicketStatus.PENDING})
    assert await settle() == 1
    session = await world.session(ticket)
    assert (session.state, session.end_reason) == (SessionState.ENDED, EndReason.TRIGGER)
    assert (session.ended_by_kind, session.ended_by_id) == ("TRIGGER", ender.id)
    end = await only(ticket, EventType.MESSAGING_SESSION_ENDED)
    assert (end.actor_kind, end.actor_id, end.payload["reason"]) == (ActorKind.TRIGGER, ender.id, "TRIGGER")
    assert await runs(for_agents) == []


async def test_an_update_is_acted_on_once_by_two_processes_and_after_a_crash(world: World) -> None:
    """R121: two readers at the same moment, and one that forgot how far it had come."""
    noting = await trigger(world, every(ENDED_BY_AGENT), NOTE)
    tickets = [await world.live_ticket() for _ in range(3)]
    for ticket in tickets:
        await world.end(ticket, world.admin)
    assert sum(await asyncio.gather(*(run_triggers() for _ in range(4)))) == 3
    await LogReader.filter(name="triggers").update(position=0)
    assert await settle() == 0
    assert len(await runs(noting)) == 3
    for ticket in tickets:
        assert (await world.thread(ticket)).count("A trigger was here.") == 1
    assert (await LogReader.get(name="triggers")).position == (await world.positions())[-1]
    await assert_consistent(world)


async def test_ending_twice_runs_once(world: World) -> None:
    """R35: the second end is no update."""
    noting = await trigger(world, every(ENDED_BY_AGENT), NOTE)
    ticket = await world.live_ticket()
    await world.end(ticket, world.admin)
    await world.end(ticket, world.admin)
    await settle()
    assert len(await runs(noting)) == 1


async def test_triggers_that_start_each_other_come_to_rest(world: World) -> None:
    """R121: the sixth in a row is not run, and that is written down."""
    ping = await trigger(world, every(rule("STATUS", "CHANGED_TO", "OPEN")), TriggerAction(Kind.SET_STATUS, "ON_HOLD"))
    pong = await trigger(world, every(rule("STATUS", "CHANGED_TO", "ON_HOLD")), TriggerAction(Kind.SET_STATUS, "OPEN"))
    ticket = await world.live_ticket()
    await update_ticket(Call(world.admin), ticket.id, {"status": TicketStatus.OPEN})
    assert await settle() == 5
    depths = [(run.depth, run.state, run.error) for run in await TriggerRun.all().order_by("depth")]
    assert depths == [*((depth, RunState.DONE, None) for depth in range(1, 6)), (6, RunState.FAILED, "DEPTH")]
    failed = await only(ticket, EventType.TRIGGER_FAILED)
    assert failed.payload == {"trigger": str(pong.id), "code": "DEPTH"}
    assert (await Ticket.get(id=ticket.id)).status is TicketStatus.ON_HOLD
    assert len(await runs(ping)) == 3


async def test_triggers_that_run_after_everything_do_not_multiply(world: World) -> None:
    """R121: six of them, each after each update of each: without a limit of breadth they were thousands."""
    noting = [await trigger(world, every(rule("STATUS", "IS", "NEW")), NOTE, title=f"{number}") for number in range(6)]
    ticket = await world.live_ticket()
    await settle(limit=50)
    for one in noting:
        states = [run.state for run in await runs(one)]
        assert states.count(RunState.DONE) <= 5
    failures = await Event.filter(ticket_id=ticket.id, type=EventType.TRIGGER_FAILED)
    assert sorted(event.payload["trigger"] for event in failures) == sorted(str(one.id) for one in noting)
    await assert_consistent(world)


async def test_what_a_trigger_does_can_start_another_in_the_order_of_their_places(world: World) -> None:
    """R121: each is a unit of its own, and sees what the ones before it did."""
    second = await trigger(world, every(ENDED_BY_AGENT, rule("TAGS", "INCLUDES", "first")), NOTE, place=7)
    first = await trigger(world, every(ENDED_BY_AGENT), TriggerAction(Kind.ADD_TAGS, "first"), place=3)
    after = await trigger(world, every(TAGGED), SOLVE, place=1)
    ticket = await world.live_ticket()
    await world.end(ticket, world.admin)
    assert await settle() == 3
    assert [run.depth for each in (first, second, after) for run in await runs(each)] == [1, 1, 2]
    assert (await Ticket.get(id=ticket.id)).status is TicketStatus.SOLVED


async def test_conditions_are_asked_again_when_the_ticket_is_locked(world: World) -> None:
    """R121: two triggers after one update, of which the first makes the second needless."""
    solving = await trigger(world, every(TAGGED, rule("STATUS", "IS", "NEW")), SOLVE)
    noting = await trigger(world, every(TAGGED, rule("STATUS", "IS", "NEW")), NOTE)
    ticket = await world.live_ticket()
    await tag(world, ticket, "vip")
    await settle()
    assert (len(await runs(solving)), len(await runs(noting))) == (1, 0)


async def test_what_finds_nothing_to_change_leaves_no_event(world: World) -> None:
    ticket = await world.live_ticket(tags=["vip"], routing_channel=Channel.EMAIL)
    idle = await trigger(
        world,
        every(rule("STATUS", "CHANGED")),
        TriggerAction(Kind.ADD_TAGS, "vip"),
        TriggerAction(Kind.REMOVE_TAGS, "unknown"),
        TriggerAction(Kind.SET_ROUTING_CHANNEL, "EMAIL"),
        TriggerAction(Kind.SET_GROUP),
        TriggerAction(Kind.SET_ASSIGNEE),
    )
    await update_ticket(Call(world.admin), ticket.id, {"status": TicketStatus.OPEN})
    before = await world.fingerprint()
    assert await settle() == 1
    assert await world.fingerprint() == before
    assert [run.state for run in await runs(idle)] == [RunState.DONE]


async def test_all_actions(world: World) -> None:
    group, agent = await world.group(), await world.agent()
    ticket = await world.live_ticket(tags=["old"])
    await trigger(
        world,
        every(rule("STATUS", "CHANGED_TO", "OPEN")),
        TriggerAction(Kind.ADD_TAGS, "new, newer"),
        TriggerAction(Kind.REMOVE_TAGS, "old"),
        TriggerAction(Kind.SET_GROUP, str(group.id)),
        TriggerAction(Kind.SET_ASSIGNEE, str(agent.id)),
        TriggerAction(Kind.PUBLIC_REPLY, "Hello {{ticket.requester.first_name}}, this is {{ticket.id}}."),
        TriggerAction(Kind.INTERNAL_NOTE, "About {{ticket.subject}}"),
        TriggerAction(Kind.SET_STATUS, "PENDING"),
        END,
    )
    await update_ticket(Call(world.admin), ticket.id, {"status": TicketStatus.OPEN})
    await settle()
    now = await Ticket.get(id=ticket.id)
    assert (now.tags, now.group_id, now.assignee_id) == (["new", "newer"], group.id, agent.id)
    assert (now.status, now.first_replied_at) == (TicketStatus.PENDING, None)
    assert (await world.session(ticket)).end_reason is EndReason.TRIGGER
    hello, about = (await world.thread(ticket))[-2:]
    assert (hello, about) == (f"Hello Cleo, this is {ticket.number}.", f"About {ticket.subject}")
    reply = await Comment.get(body=hello)
    assert (reply.channel, reply.author_kind) == (Channel.MESSAGING, "TRIGGER")
    await assert_consistent(world)


async def test_a_reply_goes_by_mail_after_the_end_and_nowhere_without_an_address(world: World) -> None:
    replying = await trigger(world, every(ENDED_BY_AGENT), TriggerAction(Kind.PUBLIC_REPLY, "How was it?"), NOTE)
    by_mail, unreachable = (
        await world.live_ticket(),
        await world.live_ticket(customer=await world.customer(email=False)),
    )
    suspended = await world.live_ticket()
    await User.filter(id=suspended.requester_id).update(suspension=Suspension.ALL)
    for ticket in (by_mail, unreachable, suspended):
        await world.end(ticket, world.admin)
    await settle()
    assert [mail.to_address for mail in await OutboundEmail.all()] == [(await User.get(id=by_mail.requester_id)).email]
    failed = await only(unreachable, EventType.TRIGGER_FAILED)
    assert failed.payload == {"trigger": str(replying.id), "code": "SESSION_ENDED"}
    assert "A trigger was here." not in await world.thread(unreachable)
    waiting = await TriggerRun.get(ticket_id=suspended.id)
    assert (waiting.state, waiting.error) == (RunState.RETRYING, "USER_SUSPENDED")


async def test_the_routing_channel_moves_while_messaging_stays_usable(world: World) -> None:
    """R102: an inactive session whose ticket is routed as e-mail from now on."""
    routing = await trigger(
        world,
        every(rule("INACTIVE_REASON", "CHANGED_TO", "NO_REPLY")),
        TriggerAction(Kind.SET_ROUTING_CHANNEL, "EMAIL"),
    )
    agent = await world.agent()
    customer = await world.customer()
    ticket = await world.live_ticket(customer=customer, assignee=agent)
    await mark_inactive(Call(world.system), (await world.session(ticket)).id, InactiveReason.NO_REPLY)
    await settle()
    now = await Ticket.get(id=ticket.id)
    assert (now.channel, now.routing_channel) == (Channel.MESSAGING, Channel.EMAIL)
    event = await only(ticket, EventType.ROUTING_CHANNEL_CHANGED)
    assert event.payload == {"from": "MESSAGING", "to": "EMAIL"}
    assert (event.actor_kind, event.actor_id) == (ActorKind.TRIGGER, routing.id)
    await world.comment(ticket, agent, "Still there?", Channel.MESSAGING)
    assert (await send_message(Call(customer), body="Yes")).conversation_id == ticket.conversation_id


async def test_a_refusal_that_stays_is_final_at_once_and_the_end_stands(world: World) -> None:
    """R122: nothing of the trigger happened but the note that it failed, in the history and in the log."""
    noting = await trigger(world, every(rule("STATUS", "CHANGED_TO", "CLOSED")), SURVEY, NOTE)
    ticket = await world.live_ticket()
    lines = len(await world.log())
    await close_ticket(Call(world.system), ticket.id)
    assert await settle() == 0
    assert (await world.session(ticket)).state is SessionState.ENDED
    (run,) = await runs(noting)
    assert (run.state, run.error, run.attempts, run.next_attempt_at) == (RunState.FAILED, "TICKET_CLOSED", 1, None)
    failed = await only(ticket, EventType.TRIGGER_FAILED)
    assert failed.payload == {"trigger": str(noting.id), "code": "TICKET_CLOSED"}
    assert (failed.actor_kind, failed.actor_id) == (ActorKind.TRIGGER, noting.id)
    assert await surveys(ticket) == []
    (line,) = (await world.log())[lines:]
    assert (line.action, line.target) == ("TRIGGER_FAILED", f"Trigger {noting.id}")
    assert await retry_triggers(later(600)) == 0
    await assert_consistent(world)


async def test_a_failure_is_tried_again_and_then_succeeds(world: World) -> None:
    """R122: the webhook comes back before the attempts are used up; what came before it in the actions is done once."""
    webhook = await Webhook.create(
        account_id=world.id, url="https://x.example", event_types=[], secret="s", created_at=utc_now()
    )
    failing = await trigger(world, every(ENDED_BY_AGENT), NOTE, TriggerAction(Kind.NOTIFY_WEBHOOK, str(webhook.id)))
    await Webhook.filter(id=webhook.id).update(active=False)
    ticket = await world.live_ticket()
    await world.end(ticket, world.admin)
    end = columns(await world.session(ticket))
    assert sum(await asyncio.gather(*(run_triggers() for _ in range(3)))) == 0
    (run,) = await runs(failing)
    assert (run.state, run.error, run.attempts) == (RunState.RETRYING, "NOT_FOUND", 1)
    assert run.next_attempt_at == run.at + timedelta(seconds=10)
    assert await retry_triggers() == 0  # not yet
    assert await retry_triggers(later(1)) == 0
    assert [run.attempts for run in await runs(failing)] == [2]
    await Webhook.filter(id=webhook.id).update(active=True)
    assert sum(await asyncio.gather(*(retry_triggers(later(5)) for _ in range(3)))) == 1
    (run,) = await runs(failing)
    assert (run.state, run.error, run.attempts, run.next_attempt_at) == (RunState.DONE, None, 2, None)
    assert (await world.thread(ticket)).count("A trigger was here.") == 1
    assert "TRIGGER_FAILED" not in await world.history(ticket)
    assert columns(await world.session(ticket)) == end


async def test_what_fails_too_often_is_given_up(world: World) -> None:
    """R122: after five attempts."""
    gone = await world.agent()
    failing = await trigger(world, every(ENDED_BY_AGENT), NOTE, TriggerAction(Kind.SET_ASSIGNEE, str(gone.id)))
    await User.filter(id=gone.id).update(active=False)
    ticket = await world.live_ticket()
    await world.end(ticket, world.admin)
    await settle()
    for attempt in range(1, MOST_ATTEMPTS):
        assert [(run.attempts, run.state) for run in await runs(failing)] == [(attempt, RunState.RETRYING)]
        await asyncio.gather(*(retry_triggers(later(100 * attempt)) for _ in range(2)))
    (run,) = await runs(failing)
    assert (run.attempts, run.state, run.error) == (MOST_ATTEMPTS, RunState.FAILED, "NOT_FOUND")
    assert (await only(ticket, EventType.TRIGGER_FAILED)).payload["code"] == "NOT_FOUND"
    assert await AuditLogEntry.filter(account_id=world.id, action="TRIGGER_FAILED").count() == 1
    assert "A trigger was here." not in await world.thread(ticket)


async def test_a_defect_of_one_trigger_stops_no_other(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """R122: it is logged, retried and given up, and tells nobody what the defect was."""
    broken = await trigger(world, every(ENDED_BY_AGENT), NOTE)
    await Trigger.filter(id=broken.id).update(actions=[{"kind": "SING", "value": None}])
    good = await trigger(world, every(ENDED_BY_AGENT), NOTE)
    ticket = await world.live_ticket()
    await world.end(ticket, world.admin)
    assert await settle() == 1
    (run,) = await runs(broken)
    assert (run.state, run.error) == (RunState.RETRYING, "INTERNAL_SERVER_ERROR")
    assert len(await runs(good)) == 1
    assert len([record for record in caplog.records if record.name == "deskwire.triggers"]) == 1


async def test_inactive_and_deleted_triggers_do_nothing_more(world: World) -> None:
    inactive = await trigger(world, every(ENDED_BY_AGENT), NOTE, active=False)
    deleted = await trigger(world, every(ENDED_BY_AGENT), NOTE)
    ticket = await world.live_ticket()
    await world.end(ticket, world.admin)
    await delete_trigger(Call(world.admin), deleted.id)
    assert await settle() == 0
    assert await runs(inactive) == []
    again = await world.ended_ticket()
    done = await trigger(world, every(SOLVED), NOTE)
    await solve(world, again)
    assert await settle() == 1
    await delete_trigger(Call(world.admin), done.id)
    assert await TriggerRun.filter(trigger_id=done.id).count() == 0
    assert await Event.filter(actor_id=done.id).count() == 1  # what it did stays


async def test_a_run_that_waits_is_dropped_when_its_trigger_is_switched_off(world: World) -> None:
    gone = await world.agent()
    failing = await trigger(world, every(ENDED_BY_AGENT), TriggerAction(Kind.SET_ASSIGNEE, str(gone.id)))
    await User.filter(id=gone.id).update(active=False)
    ticket = await world.live_ticket()
    await world.end(ticket, world.admin)
    await settle()
    await Trigger.filter(id=failing.id).update(active=False)
    assert await retry_triggers(later(5)) == 0
    (run,) = await runs(failing)
    assert (run.state, run.effect_audit_id) == (RunState.DONE, None)
    assert "TRIGGER_FAILED" not in await world.history(ticket)


async def test_accounts_do_not_meet(world: World, other_world: World) -> None:
    """R16, R27: a trigger runs on tickets of its account alone."""
    await trigger(other_world, every(ENDED_BY_AGENT), NOTE)
    mine = await world.ended_ticket()
    theirs = await other_world.ended_ticket()
    assert await settle() == 1
    assert "A trigger was here." not in await world.thread(mine)
    assert "A trigger was here." in await other_world.thread(theirs)


async def test_an_end_and_a_customer_s_message_while_triggers_run(world: World) -> None:
    """R121, R124: whatever comes first, the log stays consistent, and each update is acted on once."""
    ender = await trigger(world, every(rule("STATUS", "CHANGED_TO", "PENDING")), END)
    customers = [await world.customer() for _ in range(4)]
    tickets = [await world.live_ticket(customer=customer) for customer in customers]
    for ticket in tickets:
        await update_ticket(Call(world.admin), ticket.id, {"status": TicketStatus.PENDING})

    async def write(customer: Any) -> None:
        await send_message(Call(customer), body="Wait!")

    await asyncio.gather(run_triggers(), run_triggers(), *(write(customer) for customer in customers))
    await settle()
    assert len(await runs(ender)) == 4
    assert {(await world.session(ticket)).state for ticket in tickets} == {SessionState.ENDED}
    await assert_consistent(world)


async def test_a_trigger_saved_while_it_runs_is_the_one_that_runs(world: World) -> None:
    saved = await trigger(world, every(ENDED_BY_AGENT), NOTE)
    ticket = await world.ended_ticket()
    actions = [TriggerAction(Kind.ADD_TAGS, "other")]
    try:
        await asyncio.gather(
            run_triggers(),
            save_trigger(
                Call(world.admin),
                title="Other",
                conditions=[every(ENDED_BY_AGENT)],
                actions=actions,
                trigger_id=saved.id,
            ),
        )
    except Refusal:
        pytest.fail("neither is in the way of the other")
    await settle()
    noted, tagged = "A trigger was here." in await world.thread(ticket), (await Ticket.get(id=ticket.id)).tags != []
    assert noted is not tagged
