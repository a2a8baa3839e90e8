"""Same question, same viewers: executed once, encoded once, by whatever an answer asks of its actor."""

from __future__ import annotations

from typing import Any

import pytest

from domain.actors import Actor
from domain.comments import post_comment
from domain.tickets import update_ticket
from domain.transactions import Call
from models import Channel, Event, Permission, TicketAccess
from schema.ids import encode_id
from subscriptions.cohorts import Index
from subscriptions.inbox import Inbox
from subscriptions.topics import Activity, Messages, NewTickets, SessionEnds
from tests.delivery.ears import Ear, Ears
from tests.delivery.stage import Stage, ticket_id, until
from tests.factories import AGENT, World
from tests.uploads import uploaded

PLAIN = "subscription ($after: String) { sessionEnded(after: $after) { cursor ticket { id subject } } }"
OF_ROLE = "subscription { sessionEnded { cursor ticket { requester { suspension } } } }"
COMPOSER = "subscription ($id: ID!) { ticketActivity(ticketId: $id) { cursor ticket { composer { actions } } } }"
FILES = """
subscription ($id: ID!) {
  ticketActivity(ticketId: $id) {
    cursor
    event { ... on TicketCommentAdded { comment { attachments { fileName url } } } }
  }
}
"""
MODEST = AGENT - {Permission.END_OTHERS_SESSIONS}


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was read stays fresh, however slow the machine is: answers are counted here."""
    monkeypatch.setattr("subscriptions.turns.FRESH_SECONDS", 60.0)


async def end_a_session(world: World) -> None:
    ticket = await world.live_ticket()
    await world.end(ticket, world.admin)


def told_once(ears: list[Ear]) -> bool:
    """Whether each was told one thing, and all of them the same object: encoded once, hence."""
    return {len(ear.tellings) for ear in ears} == {1} and len({id(ear.tellings[0]) for ear in ears}) == 1


async def test_one_question_of_many_is_executed_and_encoded_once(ears: Ears, stage: Stage) -> None:
    """Three agents of equal access with two connections each, and two subscriptions on one of them."""
    world = stage.world
    callers = [await ears.caller(agent) for agent in [await world.agent() for _ in range(3)] for _ in range(2)]
    heard = [await ears.listen(caller, PLAIN) for caller in [*callers, callers[0]]]
    before = stage.hub.counts.answers
    for count in (1, 2):
        await end_a_session(world)
        await ears.heard()
        assert stage.hub.counts.answers == before + count
    assert [len(ear.tellings) for ear in heard] == [2] * 7
    assert len({tuple(map(id, ear.tellings)) for ear in heard}) == 1


async def test_each_operation_gets_the_same_payload_under_its_own_id(stage: Stage) -> None:
    """On sockets of one agent and of another; the bytes behind the id are the same."""
    world = stage.world
    first, second = await world.agent(), await world.agent()
    async with (
        (await stage.client(first)).connected() as one,
        (await stage.client(first)).connected() as two,
        (await stage.client(second)).connected() as three,
    ):
        sockets = (one, two, three)
        for count, socket in enumerate(sockets, start=1):
            for _ in range(count):
                await socket.subscribe(PLAIN)
        await until(lambda: stage.feeds() == 6)
        before = stage.hub.counts.answers
        await end_a_session(world)
        await stage.settled()
        frames = [
            (await socket._from_server.get())["text"]
            for count, socket in enumerate(sockets, start=1)
            for _ in range(count)
        ]
    assert stage.hub.counts.answers == before + 1
    heads, bodies = zip(*(frame.split('"payload":', 1) for frame in frames), strict=True)
    assert len(set(bodies)) == 1
    assert [head.count(f'"id":"{name}"') for head, name in zip(sorted(heads), NAMES, strict=True)] == [1] * 6


NAMES = ["op1", "op1", "op1", "op2", "op2", "op3"]


async def test_two_questions_are_executed_twice(ears: Ears, stage: Stage) -> None:
    """Another text of the document. Lists that differ in their filters alone select the same of the same row: once."""
    world = stage.world
    agent = await world.agent()
    group = await world.group()
    asked: list[tuple[str, dict[str, Any]]] = [
        (PLAIN, {}),
        (PLAIN + " ", {}),
        ("Inbox", {}),
        ("Inbox", {"filter": {"channel": "MESSAGING"}}),
        ("Inbox", {"filter": {"groupId": encode_id("Group", group.id)}}),
    ]
    heard = [[await ears.hear(agent, text, **variables) for _ in range(2)] for text, variables in asked]
    ticket = await world.live_ticket()
    await ears.heard()
    before = stage.hub.counts.answers
    await world.end(ticket, world.admin)
    await ears.heard()
    events = await Event.filter(account_id=world.id, ticket_id=ticket.id).order_by("-position").limit(1)
    assert events[0].type == "MESSAGING_SESSION_ENDED"
    assert stage.hub.counts.answers == before + 3  # none for the group's inbox, which the ticket is not in
    assert [len({tuple(ear.frames) for ear in some}) for some in heard] == [1] * 5


async def test_an_answer_that_asks_nothing_of_its_actor_is_everybodys(ears: Ears, stage: Stage) -> None:
    """An admin, an agent, one of a group and a partner are other viewers, and still get one answer."""
    world = stage.world
    group = await world.group()
    people = [
        world.admin,
        await world.agent(),
        await world.agent(access=TicketAccess.GROUPS, groups=(group,)),
        await world.agent(permissions=MODEST),
    ]
    heard = [await ears.hear(actor, PLAIN) for actor in people]
    ticket = await world.live_ticket(group=group)
    before = stage.hub.counts.answers
    await world.end(ticket, world.admin)
    await ears.heard()
    assert stage.hub.counts.answers == before + 1
    assert told_once(heard)


async def test_an_answer_that_asks_for_the_role_is_made_once_for_each_kind_of_viewers(ears: Ears, stage: Stage) -> None:
    """What a customer's suspension is shown for depends on the kind of who asks, not on who he is."""
    world = stage.world
    admins = [await ears.hear(world.admin, OF_ROLE) for _ in range(2)]
    agents = [await ears.hear(await world.agent(), OF_ROLE) for _ in range(3)]
    before = stage.hub.counts.answers
    await end_a_session(world)
    await ears.heard()
    assert stage.hub.counts.answers == before + 2
    assert told_once(admins)
    assert told_once(agents)
    assert admins[0].frames == agents[0].frames


async def listening_twice(ears: Ears, people: list[Actor], operation: str, **variables: Any) -> list[list[Ear]]:
    return [[await ears.hear(actor, operation, **variables) for _ in range(2)] for actor in people]


async def test_a_composer_that_differs_by_assignee_is_made_for_each_person(ears: Ears, stage: Stage) -> None:
    """Two agents whose role may end only their own sessions; each of them has one answer on both sockets."""
    world = stage.world
    mine, other = await world.agent(permissions=MODEST), await world.agent(permissions=MODEST)
    assert mine.access == other.access
    ticket = await world.live_ticket(assignee=mine)
    heard = await listening_twice(ears, [mine, other], COMPOSER, id=ticket_id(ticket))
    await world.comment(ticket, world.admin)
    await ears.heard()
    before = stage.hub.counts.answers
    await world.comment(ticket, world.admin)
    await ears.heard()
    assert stage.hub.counts.answers == before + 2
    assert [ear.items[-1]["ticket"]["composer"]["actions"] for ear in heard[0]] == [["END_SESSION"]] * 2
    assert [ear.items[-1]["ticket"]["composer"]["actions"] for ear in heard[1]] == [[]] * 2
    for some in heard:
        assert len({tuple(map(id, ear.tellings)) for ear in some}) == 1
        assert len(some[0].tellings) == 2  # the one that found it out was told once, too


async def test_a_composer_is_personal_where_agents_do_not_collaborate(ears: Ears, stage: Stage) -> None:
    """The account's setting makes it so, for agents who may otherwise do the same."""
    world = stage.world
    mine, other = await world.agent(), await world.agent()
    ticket = await world.live_ticket(assignee=mine)
    text = COMPOSER.replace("actions", "channels { channel enabled }")
    heard = await listening_twice(ears, [mine, other, world.admin], text, id=ticket_id(ticket))
    before = stage.hub.counts.answers
    await world.comment(ticket, world.admin)
    await ears.heard()
    assert stage.hub.counts.answers == before + 2  # agents, and admins
    assert ears.tail.index.viewers(heard[0][0].question, mine).person is None
    await world.settings(agents_can_collaborate=False)
    await world.comment(ticket, world.admin)
    await ears.heard()
    enabled = [
        {each["channel"]: each["enabled"] for each in some[0].items[-1]["ticket"]["composer"]["channels"]}["MESSAGING"]
        for some in heard
    ]
    assert enabled == [True, False, True]


async def test_a_link_to_a_file_is_made_for_each_person(ears: Ears, stage: Stage) -> None:
    """It names its viewer. His sockets share it."""
    world = stage.world
    agents = [await world.agent(), await world.agent()]
    ticket = await world.live_ticket()
    heard = await listening_twice(ears, [*agents, world.admin], FILES, id=ticket_id(ticket))
    file = await uploaded(stage.app.state.deskwire.storage, world.admin)
    await post_comment(
        Call(world.admin), ticket.id, body="See there", channel=Channel.INTERNAL_NOTE, attachment_ids=[file.id]
    )
    await ears.heard()
    links = [[ear.items[-1]["event"]["comment"]["attachments"][0]["url"] for ear in some] for some in heard]
    assert all(len(set(some)) == 1 for some in links)
    assert len({some[0] for some in links}) == 3


# The index


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    """Which topics were asked what an event is to them, and for which viewers."""
    found: list[tuple[str, Any]] = []
    for topic in (Activity, Messages, NewTickets, SessionEnds, Inbox):
        items = topic.items

        async def noting(self: Any, scene: Any, event: Any, items: Any = items) -> Any:
            found.append((type(self).__name__, scene.viewers))
            return await items(self, scene, event)

        monkeypatch.setattr(topic, "items", noting)
    return found


async def test_an_event_touches_only_the_cohorts_that_may_see_it(
    ears: Ears, stage: Stage, asked: list[tuple[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten groups, organisations, assignees, tickets and customers; nobody else's topic is even asked."""
    found: list[set[Any]] = []
    concerned = Index.concerned

    def noting(self: Index, *arguments: Any) -> Any:
        cohorts = concerned(self, *arguments)
        found.append({cohort.viewers for cohort in cohorts})
        return cohorts

    monkeypatch.setattr(Index, "concerned", noting)
    world = stage.world
    groups = [await world.group(f"G{number}") for number in range(10)]
    organizations = [await world.organization(f"O{number}") for number in range(10)]
    of_groups = [await world.agent(access=TicketAccess.GROUPS, groups=(group,)) for group in groups]
    of_organizations = [
        await world.agent(access=TicketAccess.ORGANIZATIONS, organizations=(each,)) for each in organizations
    ]
    assigned = [await world.agent(access=TicketAccess.ASSIGNED) for _ in range(10)]
    everywhere = await world.agent()
    customers = [await world.customer() for _ in range(10)]
    tickets = [
        await world.live_ticket(
            customer=customer, group=groups[number], organization_id=organizations[number].id, assignee=assigned[number]
        )
        for number, customer in enumerate(customers)
    ]
    inboxes = {
        agent.id: await ears.hear(agent, "Inbox") for agent in [*of_groups, *of_organizations, *assigned, everywhere]
    }
    watching = {
        ticket.id: await ears.hear(everywhere, "TicketActivity", ticketId=ticket_id(ticket)) for ticket in tickets
    }
    threads = {customer.id: await ears.hear(customer, "MessageReceived") for customer in customers}

    async def touched(work: Any) -> tuple[set[Any], set[str]]:
        """The ears that were told something by it."""
        for ear in [*inboxes.values(), *watching.values(), *threads.values()]:
            ear.tellings.clear()
        found.clear()
        asked.clear()
        await work
        await ears.heard()
        told = {key for some in (inboxes, watching, threads) for key, ear in some.items() if ear.tellings}
        assert {viewers for _, viewers in asked} == {viewers for some in found for viewers in some}
        return told, {name for name, _ in asked}

    told, topics = await touched(world.comment(tickets[3], world.admin, "Hello", Channel.MESSAGING))
    mine = {of_groups[3].id, of_organizations[3].id, assigned[3].id, everywhere.id, tickets[3].id}
    assert told == mine | {customers[3].id}
    assert topics == {"Inbox", "Activity", "Messages"}
    assert len(asked) == 6
    # An internal note is nothing to customers: his cohort is not asked, as he is not named.
    told, topics = await touched(world.comment(tickets[4], world.admin))
    assert customers[4].id not in told
    assert len(asked) == 5
    # Between groups, it reaches both; and by its assignment, who had it and who has it.
    told, _ = await touched(update_ticket(Call(world.admin), tickets[3].id, {"group_id": groups[5].id}))
    assert told == mine | {of_groups[5].id}
    assert [item["change"] for item in inboxes[of_groups[3].id].items][:1] == ["REMOVED"]
    assert [item["change"] for item in inboxes[of_groups[5].id].items][:1] == ["ADDED"]
    told, _ = await touched(update_ticket(Call(world.admin), tickets[3].id, {"assignee_id": everywhere.id}))
    assert assigned[3].id in told
    assert not {each.id for each in assigned if each is not assigned[3]} & told


async def test_what_nobody_asks_for_is_not_even_looked_up(
    ears: Ears, stage: Stage, asked: list[tuple[str, Any]]
) -> None:
    """An event of a kind that no cohort follows; nor is anything left in the index when all have gone."""
    world = stage.world
    ticket = await world.live_ticket()
    ear = await ears.hear(world.admin, "TicketActivity", ticketId=ticket_id(ticket))
    other = await ears.hear(world.admin, "SessionEnded")
    another = await world.live_ticket()
    await world.comment(another, world.admin)
    await ears.heard()
    assert asked == []
    index = ears.tail.index
    ear.leave()
    other.leave()
    assert len(index) == 0
    assert dict(index._by_match) == {}
    assert dict(index._keys) == {}
