"""Rules R115–R119: when the customer is asked, when not and why, and his answer."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from domain.errors import Forbidden, InvalidInput, NotFound
from domain.lifecycle import close_ticket
from domain.macros import MacroAction, MacroActionKind, apply_macro, save_macro
from domain.surveys import Satisfaction, answer_survey, end_would_send_survey, in_sample, satisfaction
from domain.tickets import update_ticket
from domain.transactions import Call
from domain.trigger_runs import run_triggers
from domain.triggers import TriggerAction
from models import (
    ActorKind,
    EventType,
    MessagingSession,
    Permission,
    Score,
    SkipReason,
    Survey,
    SurveyState,
    Suspension,
    Ticket,
    TicketStatus,
    User,
    new_id,
    utc_now,
)
from tests.automation import (
    ENDED_BY_AGENT,
    IN_MESSAGING,
    SOLVED,
    SURVEY,
    Kind,
    either,
    every,
    only,
    rule,
    runs,
    settle,
    surveys,
    trigger,
)
from tests.factories import AGENT, World, columns
from tests.invariants import assert_consistent

OFFERED, ANSWERED, SKIPPED = SurveyState.OFFERED, SurveyState.ANSWERED, SurveyState.SKIPPED


async def solve(world: World, ticket: Ticket, status: TicketStatus = TicketStatus.SOLVED) -> None:
    await update_ticket(Call(world.admin), ticket.id, {"status": status})


async def asked(world: World, **more: Any) -> tuple[Ticket, Survey]:
    """A ticket whose session ended, and the survey about it."""
    await trigger(world, every(ENDED_BY_AGENT), SURVEY)
    ticket = await world.ended_ticket(**more)
    await settle()
    return ticket, await Survey.get(ticket_id=ticket.id)


async def test_a_survey_is_offered_when_an_agent_ends(world: World) -> None:
    """R115."""
    await world.settings(survey_question="Well?")
    asking = await trigger(world, every(ENDED_BY_AGENT), SURVEY)
    ticket = await world.live_ticket()
    await settle()
    assert await surveys(ticket) == []
    await world.end(ticket, await world.agent())
    assert await settle() == 1
    (survey,) = await surveys(ticket)
    session = await world.session(ticket)
    assert (survey.state, survey.number, survey.question, survey.session_id) == (OFFERED, 1, "Well?", session.id)
    event = await only(ticket, EventType.SURVEY_OFFERED)
    assert (event.actor_kind, event.actor_id) == (ActorKind.TRIGGER, asking.id)
    assert event.payload == {"survey": str(survey.id), "customer": str(ticket.requester_id)}
    assert (event.session_id, event.conversation_id) == (session.id, ticket.conversation_id)
    await assert_consistent(world)


async def test_solving_after_the_end_is_not_in_messaging(world: World) -> None:
    """R116: the default trigger fires for what is solved in messaging, and not after an agent's end."""
    await trigger(world, every(SOLVED, IN_MESSAGING), SURVEY)
    live, ended = await world.live_ticket(), await world.ended_ticket()
    for ticket in (live, ended):
        await solve(world, ticket)
    assert await settle() == 1
    assert [survey.state for survey in await surveys(live)] == [OFFERED]
    assert await surveys(ended) == []


async def test_solved_before_the_end_is_in_messaging_even_if_looked_at_later(world: World) -> None:
    """R116: the channel of the update decides, not that of the moment in which the trigger comes to it."""
    await trigger(world, every(SOLVED, IN_MESSAGING), SURVEY)
    ticket = await world.live_ticket()
    await solve(world, ticket)
    await world.end(ticket, world.admin)
    assert await settle() == 1


async def test_the_end_and_then_solving_make_one_survey(world: World) -> None:
    """R117: once per ticket; the second time history says why not, and a third time it says nothing new (R118)."""
    asking = await trigger(world, either(ENDED_BY_AGENT, SOLVED), SURVEY)
    ticket = await world.ended_ticket()
    await solve(world, ticket)
    await settle()
    assert [(each.state, each.number, each.skip_reason) for each in await surveys(ticket)] == [
        (OFFERED, 1, None),
        (SKIPPED, None, SkipReason.ALREADY_OFFERED),
    ]
    await solve(world, ticket, TicketStatus.OPEN)
    await solve(world, ticket)
    await settle()
    assert len(await surveys(ticket)) == 2
    assert len(await runs(asking)) == 3
    skipped = await only(ticket, EventType.SURVEY_SKIPPED)
    assert skipped.payload["reason"] == "ALREADY_OFFERED"
    assert "customer" not in skipped.payload


async def test_an_end_that_also_solves_makes_one_survey(world: World) -> None:
    """R117: a macro does both in one update."""
    asking = await trigger(world, either(ENDED_BY_AGENT, SOLVED), SURVEY)
    actions = [MacroAction(MacroActionKind.SET_STATUS, "SOLVED"), MacroAction(MacroActionKind.END_SESSION)]
    macro = await save_macro(Call(world.admin), title="Done", actions=actions, shared=True)
    ticket = await world.live_ticket()
    await apply_macro(Call(world.admin), ticket.id, macro.macro_id)
    await settle()
    assert [each.state for each in await surveys(ticket)] == [OFFERED]
    assert len(await runs(asking)) == 1


async def test_two_triggers_at_the_same_moment_make_one_survey(world: World) -> None:
    """R117: also with two processes."""
    for _ in range(2):
        await trigger(world, every(ENDED_BY_AGENT), SURVEY)
    tickets = [await world.ended_ticket() for _ in range(3)]
    await asyncio.gather(run_triggers(), run_triggers(), run_triggers())
    for ticket in tickets:
        assert [each.number for each in await surveys(ticket)] == [1, None]


async def test_again_asks_again(world: World) -> None:
    """R117: unless "again" is set."""
    await trigger(world, either(ENDED_BY_AGENT, SOLVED), TriggerAction(Kind.SEND_SURVEY, "again"))
    ticket = await world.ended_ticket()
    await solve(world, ticket)
    await settle()
    assert [(each.number, each.state) for each in await surveys(ticket)] == [(1, OFFERED), (2, OFFERED)]


async def test_why_a_survey_is_not_sent(world: World) -> None:
    """R118: each reason is in the history."""
    await trigger(world, either(ENDED_BY_AGENT, SOLVED), SURVEY)
    suspended, mailed = await world.live_ticket(), await world.email_ticket()
    await User.filter(id=suspended.requester_id).update(suspension=Suspension.MESSAGING)
    await world.end(suspended, world.admin)
    await solve(world, mailed)
    await settle()
    await world.settings(survey_sampling_percent=0)
    unlucky = await world.ended_ticket()
    await settle()
    for ticket, reason in (
        (suspended, SkipReason.USER_SUSPENDED),
        (mailed, SkipReason.NO_REACHABLE_CHANNEL),
        (unlucky, SkipReason.SAMPLING),
    ):
        (survey,) = await surveys(ticket)
        assert (survey.state, survey.number, survey.skip_reason) == (SKIPPED, None, reason)
        event = await only(ticket, EventType.SURVEY_SKIPPED)
        assert event.payload == {"survey": str(survey.id), "reason": reason.value}


def test_a_sample_is_of_its_size_and_always_the_same() -> None:
    """R118: the ticket decides, not the moment."""
    tickets = [new_id() for _ in range(2000)]
    drawn = [ticket for ticket in tickets if in_sample(ticket, 30)]
    assert 450 < len(drawn) < 750
    assert [ticket for ticket in tickets if in_sample(ticket, 30)] == drawn
    assert set(drawn) <= {ticket for ticket in tickets if in_sample(ticket, 60)}
    assert all(in_sample(ticket, 100) and not in_sample(ticket, 0) for ticket in tickets)


async def test_an_answer_is_kept_on_the_ended_ticket_and_starts_nothing(world: World) -> None:
    """R119: no new session, no new ticket, nothing changed in the old ones."""
    customer = await world.customer()
    ticket, survey = await asked(world, customer=customer)
    fields = columns(await Ticket.get(id=ticket.id))
    session = columns(await world.session(ticket))
    await answer_survey(Call(customer), survey.id, score=Score.GOOD, comment="Quick!\nThanks.")
    kept = await Survey.get(id=survey.id)
    assert (kept.state, kept.score, kept.comment) == (ANSWERED, Score.GOOD, "Quick!\nThanks.")
    event = await only(ticket, EventType.SURVEY_ANSWERED)
    assert (event.actor_kind, event.actor_id) == (ActorKind.END_USER, customer.id)
    assert event.payload == {"survey": str(survey.id), "score": "GOOD", "amended": False}
    assert await Ticket.all().count() == await MessagingSession.all().count() == 1
    assert columns(await world.session(ticket)) == session
    now = columns(await Ticket.get(id=ticket.id))
    changed = {name for name in now if now[name] != fields[name]}
    assert changed == {"version", "last_sequence", "updated_at"}
    await assert_consistent(world)


async def test_a_second_answer_replaces_the_first_and_the_same_one_changes_nothing(world: World) -> None:
    """R119."""
    customer = await world.customer()
    ticket, survey = await asked(world, customer=customer)
    await answer_survey(Call(customer), survey.id, score=Score.GOOD)
    before = await world.fingerprint()
    await answer_survey(Call(customer), survey.id, score=Score.GOOD, comment=" ")
    assert await world.fingerprint() == before
    await answer_survey(Call(customer), survey.id, score=Score.BAD, comment="It broke again.")
    kept = await Survey.get(id=survey.id)
    assert (kept.score, kept.comment, kept.state) == (Score.BAD, "It broke again.", ANSWERED)
    answers = [event.payload for event in await world.events(ticket) if event.type is EventType.SURVEY_ANSWERED]
    assert [(payload["score"], payload["amended"]) for payload in answers] == [("GOOD", False), ("BAD", True)]


async def test_a_survey_can_be_answered_when_everything_is_over(world: World) -> None:
    """R119: while the ticket is closed, while a new conversation lives, and after the requester was changed."""
    customer = await world.customer()
    ticket, survey = await asked(world, customer=customer)
    await close_ticket(Call(world.system), ticket.id)
    new = await world.message(customer)
    await Ticket.filter(id=ticket.id).update(requester_id=(await world.customer()).id)
    await answer_survey(Call(customer), survey.id, score=Score.BAD)
    assert (await world.history(ticket))[-1] == "SURVEY_ANSWERED"
    assert "SURVEY_ANSWERED" not in await world.history(new)
    assert (await Ticket.get(id=ticket.id)).status is TicketStatus.CLOSED


async def test_at_the_same_moment_one_answer_is_first(world: World) -> None:
    """R119: two tabs; none is lost, and the history tells both."""
    customer = await world.customer()
    ticket, survey = await asked(world, customer=customer)
    await asyncio.gather(*(answer_survey(Call(customer), survey.id, score=score) for score in Score))
    answers = [event.payload for event in await world.events(ticket) if event.type is EventType.SURVEY_ANSWERED]
    assert [payload["amended"] for payload in answers] == [False, True]
    assert (await Survey.get(id=survey.id)).score == answers[-1]["score"]
    await assert_consistent(world)


async def test_who_was_not_asked_cannot_answer(world: World, other_world: World) -> None:
    """R27, R119: somebody else's survey, one that was skipped, and none are the same."""
    customer = await world.customer()
    _, survey = await asked(world, customer=customer)
    await world.settings(survey_sampling_percent=0)
    skipped_of = await world.customer()
    await world.ended_ticket(customer=skipped_of)
    await settle()
    skipped = await Survey.get(state=SKIPPED)
    for actor, identifier in (
        (await world.customer(), survey.id),
        (await other_world.customer(), survey.id),
        (skipped_of, skipped.id),
        (customer, new_id()),
    ):
        async with world.refuses(NotFound):
            await answer_survey(Call(actor), identifier, score=Score.GOOD)
    async with world.refuses(Forbidden):
        await answer_survey(Call(world.admin), survey.id, score=Score.GOOD)
    for comment in ("x" * 2001, "a\x07b"):
        async with world.refuses(InvalidInput) as refusal:
            await answer_survey(Call(customer), survey.id, score=Score.GOOD, comment=comment)
        assert refusal.value.field == ("comment",)
    assert (await Survey.get(id=survey.id)).state is OFFERED


async def test_an_answer_can_start_a_trigger(world: World) -> None:
    """EVENT IS SURVEY_ANSWERED: what a customer thinks can be acted on."""
    await trigger(world, every(rule("EVENT", "IS", "SURVEY_ANSWERED")), TriggerAction(Kind.ADD_TAGS, "rated"))
    customer = await world.customer()
    ticket, survey = await asked(world, customer=customer)
    await answer_survey(Call(customer), survey.id, score=Score.BAD)
    await settle()
    assert (await Ticket.get(id=ticket.id)).tags == ["rated"]


async def test_what_all_surveys_say(world: World, other_world: World) -> None:
    """R118, R119: counted by the database, for those who may manage triggers, of their account alone."""
    await asked(other_world)
    assert await satisfaction(world.admin) == Satisfaction(0, 0, 0, 0, 0, ())
    await trigger(world, either(ENDED_BY_AGENT, SOLVED), SURVEY)
    customers = [await world.customer() for _ in range(4)]
    tickets = [await world.ended_ticket(customer=customer) for customer in customers]
    await settle()
    for customer, ticket, score in zip(customers, tickets, (Score.GOOD, Score.GOOD, Score.BAD), strict=False):
        (survey,) = await surveys(ticket)
        await answer_survey(Call(customer), survey.id, score=score)
    for ticket in (tickets[0], await world.email_ticket(), await world.email_ticket()):
        await solve(world, ticket)
    await settle()
    reasons = ((SkipReason.ALREADY_OFFERED, 1), (SkipReason.NO_REACHABLE_CHANNEL, 2))
    assert await satisfaction(world.admin) == Satisfaction(4, 3, 3, 2, 1, reasons)
    assert await satisfaction(world.admin, utc_now() + timedelta(minutes=1)) == Satisfaction(0, 0, 0, 0, 0, ())
    first = await Survey.filter(account_id=world.id).order_by("-created_at").first()
    assert first is not None
    assert (await satisfaction(world.admin, first.created_at)).skipped >= 1
    manager = await world.agent(permissions=AGENT | {Permission.MANAGE_TRIGGERS})
    assert (await satisfaction(manager)).offered == 4
    for actor in (await world.agent(), customers[0]):
        with pytest.raises(Forbidden):
            await satisfaction(actor)


async def test_the_preview_knows_whether_a_survey_will_be_sent(world: World) -> None:
    """D9: computed as the end would have it, without doing anything."""
    ticket = await world.live_ticket()
    agent = await world.agent()
    assert await end_would_send_survey(agent, ticket.id) is False
    asking = await trigger(world, [every(IN_MESSAGING), either(ENDED_BY_AGENT, SOLVED)], SURVEY)
    before = await world.fingerprint()
    assert await end_would_send_survey(agent, ticket.id) is True
    assert await world.fingerprint() == before
    assert await surveys(ticket) == []
    await User.filter(id=ticket.requester_id).update(suspension=Suspension.MESSAGING)
    assert await end_would_send_survey(agent, ticket.id) is False
    await User.filter(id=ticket.requester_id).update(suspension=None)
    await world.settings(survey_sampling_percent=0)
    assert await end_would_send_survey(agent, ticket.id) is False
    await world.settings(survey_sampling_percent=100)
    await solve(world, ticket)
    await settle()
    assert await end_would_send_survey(agent, ticket.id) is False  # asked already
    await trigger(world, every(ENDED_BY_AGENT), TriggerAction(Kind.SEND_SURVEY, "again"), trigger_id=asking.id)
    assert await end_would_send_survey(agent, ticket.id) is True
    await world.end(ticket, agent)
    assert await end_would_send_survey(agent, ticket.id) is False
    assert await end_would_send_survey(agent, (await world.email_ticket()).id) is False
    assert await end_would_send_survey(agent, new_id()) is False
