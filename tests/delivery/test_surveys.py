"""Rules R53, R108, R109, R115, R119: of all that an end brings about, the customer's stream holds the survey alone."""

from __future__ import annotations

from domain.triggers import TriggerAction
from models import Survey
from schema.ids import encode_id
from tests.automation import ENDED_BY_AGENT, SURVEY, Kind, every, settle, trigger
from tests.delivery.stage import Stage


async def test_a_survey_reaches_the_customer_and_nothing_else_of_the_end_does(stage: Stage) -> None:
    """R53, R108, R109: live, and again for a stream that is resumed; another customer hears nothing."""
    world = stage.world
    await trigger(
        world,
        every(ENDED_BY_AGENT),
        SURVEY,
        TriggerAction(Kind.INTERNAL_NOTE, "…"),
        TriggerAction(Kind.SET_STATUS, "SOLVED"),
        TriggerAction(Kind.SET_ROUTING_CHANNEL, "EMAIL"),
    )
    customer, other = await world.customer(), await world.customer()
    ticket = await world.live_ticket(customer=customer)
    cursor = await stage.cursor()
    async with (
        stage.hearing(customer, "MessageReceived") as stream,
        stage.hearing(other, "MessageReceived") as elsewhere,
    ):
        await world.end(ticket, world.admin)
        await stage.silent(stream)
        await settle()
        item = await stream.next()
        survey = await Survey.get(ticket_id=ticket.id)
        assert item == {
            "cursor": item["cursor"],
            "conversation": {"id": encode_id("Conversation", ticket.conversation_id)},
            "message": None,
            "survey": {"id": encode_id("Survey", survey.id), "question": "How was your conversation?"},
        }
        payload = await stage.do(customer, "RateConversation", surveyId=item["survey"]["id"], score="GOOD")
        assert payload["rating"] == {"score": "GOOD", "comment": None}
        await stage.silent(stream)
        await stage.silent(elsewhere)
    client = await stage.client(customer)
    async with client.listening("MessageReceived", after=cursor) as resumed:
        assert await resumed.next() == item
        await stage.silent(resumed)


async def test_staff_hear_of_the_survey_on_the_open_ticket(stage: Stage) -> None:
    """R115, R118: as facts of the ticket, in order."""
    world = stage.world
    await trigger(world, every(ENDED_BY_AGENT), SURVEY)
    customer = await world.customer()
    ticket = await world.live_ticket(customer=customer)
    async with stage.hearing(world.admin, "TicketActivity", ticketId=encode_id("Ticket", ticket.id)) as stream:
        await world.end(ticket, world.admin)
        await settle()
        survey = await Survey.get(ticket_id=ticket.id)
        await stage.do(customer, "RateConversation", surveyId=encode_id("Survey", survey.id), score="BAD")
        types = [(await stream.next())["event"]["type"] for _ in range(3)]
        assert types == ["MESSAGING_SESSION_ENDED", "SURVEY_OFFERED", "SURVEY_ANSWERED"]
