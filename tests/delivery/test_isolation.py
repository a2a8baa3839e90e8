"""No person's data reaches another's frame: of every field that a subscription can select, for every kind of person.

What each is told among all the others is held against what is made for him alone, with his own actor and loaders that
nobody else has used: byte for byte. A new field is covered without an edit here.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from deskwire.attachments.links import Links
from domain.actors import Actor, load_actor
from domain.comments import post_comment
from domain.transactions import Call, Transaction, unit_of_work
from models import (
    Channel,
    Event,
    EventType,
    MessagingSession,
    Permission,
    Survey,
    Ticket,
    TicketAccess,
    UserKind,
    new_id,
)
from resolvers.loaders import loaders_for
from schema.context import Loaders
from subscriptions.questions import Question, keys_of
from subscriptions.scenes import Moment, Scene, _Noting
from subscriptions.viewers import Anyone, Viewers
from tests.automation import ENDED_BY_AGENT, SURVEY, every, settle, trigger
from tests.delivery.ears import Ear, Ears, held_back
from tests.delivery.selections import Selection, reachable, selections
from tests.delivery.stage import Stage, ticket_id
from tests.factories import AGENT
from tests.uploads import uploaded

log = logging.getLogger("tests.isolation")

HEADS = {
    "ticketActivity": "subscription ($id: ID!) { ticketActivity(ticketId: $id)",
    "inbox": "subscription { inbox",
    "messageReceived": "subscription { messageReceived",
    "sessionEnded": "subscription { sessionEnded",
    "ticketCreated": "subscription { ticketCreated",
}
NO_TOPICS = {"conversationSignals"}
"""Of no log, and never shared: each subscriber executes his own."""

MODEST = AGENT - {Permission.END_OTHERS_SESSIONS}
NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)


@dataclass
class Cast:
    """Who listens, and to what happens on which ticket."""

    stage: Stage
    people: dict[str, Actor]
    ticket: Ticket
    his_own: Ticket
    before: int = 0
    events: list[Event] = field(default_factory=list)


@pytest.fixture
async def cast(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> Cast:
    """A ticket of a group and an assignee, tied to tickets that not everybody sees. Nobody but he answers in it."""
    url = Links.url
    monkeypatch.setattr(Links, "url", lambda self, actor, attachment_id, now: url(self, actor, attachment_id, NOON))
    world = stage.world
    await world.settings(agents_can_collaborate=False)
    await trigger(world, every(ENDED_BY_AGENT), SURVEY)
    group = await world.group()
    people = {
        "assignee": await world.agent("Anna", permissions=MODEST),
        "his equal": await world.agent("Ben", permissions=MODEST),
        "admin": world.admin,
        "of the group": await world.agent("Carl", access=TicketAccess.GROUPS, groups=(group,)),
        "of his own": await world.agent("Dora", access=TicketAccess.ASSIGNED),
        "partner": await world.agent("Mill", kind=UserKind.PARTNER),
        "customer": await world.customer("Cleo"),
        "another customer": await world.customer("Cora"),
    }
    ticket = await world.live_ticket(customer=people["customer"], assignee=people["assignee"], group=group)
    hidden = await world.live_ticket(assignee=people["of his own"])
    ties = {"continuation_of_id": hidden.id, "follow_up_of_id": hidden.id}
    await Ticket.filter(id=ticket.id).update(**ties)
    behind = await world.live_ticket()
    await Ticket.filter(id=behind.id).update(continuation_of_id=ticket.id, follow_up_of_id=ticket.id)
    return Cast(stage, people, await Ticket.get(id=ticket.id), hidden, (await world.positions())[-1])


async def play(cast: Cast) -> None:
    """Something of every kind happens, most of it on the one ticket."""
    world = cast.stage.world
    storage = cast.stage.app.state.deskwire.storage
    for channel in (Channel.MESSAGING, Channel.INTERNAL_NOTE):
        file = await uploaded(storage, world.admin)
        await post_comment(Call(world.admin), cast.ticket.id, body="See", channel=channel, attachment_ids=[file.id])
    await world.comment(cast.his_own, world.admin)
    ended = await world.live_ticket(customer=cast.people["another customer"], group_id=cast.ticket.group_id)
    await world.end(ended, world.admin)
    await settle()
    await world.message(cast.people["customer"], "And another thing")
    await record(cast, await Survey.get(ticket_id=ended.id))
    cast.events = await Event.filter(account_id=world.id, position__gt=cast.before).order_by("position")


async def record(cast: Cast, survey: Survey) -> None:
    """One fact of each kind that has fields of its own."""
    session = await MessagingSession.get(conversation_id=cast.ticket.conversation_id)
    comment = (await Event.filter(ticket_id=cast.ticket.id, comment_id__isnull=False).order_by("-position"))[0]
    agent, ids = str(cast.people["assignee"].id), {"comment_id": comment.comment_id}
    ending = {"reason": "AGENT", "previous_state": "ACTIVE", "routing_outcome": "RELEASED"}
    facts: list[tuple[EventType, dict[str, Any]]] = [
        (EventType.MESSAGING_SESSION_ENDED, ending | {"session_id": session.id}),
        (
            EventType.MESSAGING_SESSION_STATE_CHANGED,
            {"previous_state": "ACTIVE", "state": "INACTIVE", "session_id": session.id},
        ),
        (EventType.TICKET_COMMENT_CHANGED, ids | {"change": "EDITED"}),
        (EventType.EMAIL_FAILED, ids),
        (EventType.TICKET_FIELD_CHANGED, {"field": "assignee", "from": agent, "to": None}),
        (EventType.TICKET_MERGED, {"source": str(new_id()), "target": str(cast.ticket.id)}),
        (EventType.USER_SUSPENDED, {"scope": "ALL"}),
        (EventType.ROUTING_CHANNEL_CHANGED, {"from": "MESSAGING", "to": "EMAIL"}),
        (EventType.TICKET_OFFERED, {"agents": [agent], "channel": "MESSAGING", "expires_at": None}),
        (EventType.OFFER_CLOSED, {"agent": agent, "state": "ACCEPTED"}),
        (EventType.SURVEY_OFFERED, {"survey": str(survey.id)}),
        (EventType.SURVEY_SKIPPED, {"reason": "ALREADY_OFFERED"}),
        (EventType.SURVEY_ANSWERED, {"survey": str(survey.id), "score": "GOOD", "amended": False}),
        (EventType.TRIGGER_FAILED, {"trigger": str(new_id()), "code": "FORBIDDEN"}),
        (EventType.MACRO_APPLIED, {"macro": "", "title": ""}),
    ]

    async def work(tx: Transaction) -> None:
        row = await Ticket.filter(id=cast.ticket.id).select_for_update().get()
        tx.follow(row)
        for type, payload in facts:
            tx.record(type, ticket=row, **payload)

    await unit_of_work(Call(cast.stage.world.system), work)


def variables_of(selection: Selection, cast: Cast) -> dict[str, Any]:
    return {"id": ticket_id(cast.ticket)} if "$id" in selection.text else {}


async def listening(ears: Ears, cast: Cast, chosen: list[Selection]) -> dict[tuple[str, Selection], Ear]:
    """Everybody listens to all of them that he may."""
    heard = {}
    for name, actor in cast.people.items():
        caller = await ears.caller(actor)
        for selection in chosen:
            try:
                heard[name, selection] = await ears.listen(caller, selection.text, **variables_of(selection, cast))
            except Exception as error:
                assert getattr(error, "code", None) in ("FORBIDDEN", "NOT_FOUND"), selection  # noqa: PT017
    return heard


@dataclass
class Alone:
    """One person, as if there were nobody else: what every event brings him."""

    cast: Cast
    actor: Actor
    moment: Moment
    loaders: Loaders
    items: dict[Any, list[Any]] = field(default_factory=dict)

    @classmethod
    async def of(cls, cast: Cast, actor: Actor) -> Alone:
        assert actor.id is not None
        real = await load_actor(actor.account_id, actor.id)
        assert real is not None
        return cls(cast, real, Moment(actor.account_id, cast.stage.hub._means), loaders_for(real))

    async def frames(self, question: Question, cursor: Callable[[int], str]) -> list[bytes]:
        deskwire = self.cast.stage.app.state.deskwire
        context = deskwire._context(self.actor, self.loaders)
        if question.topic not in self.items:
            self.items[question.topic] = await self._items(question, cursor)
        found = []
        for item in self.items[question.topic]:
            result = await deskwire.engine.respond(question.operation, question.variables, item, context)
            assert result.errors is None, result.errors
            found.append(orjson.dumps(deskwire.engine.formatted(result)))
        return found

    async def _items(self, question: Question, cursor: Callable[[int], str]) -> list[Any]:
        viewers = Viewers.of(self.actor, personal=True)
        scene = Scene(self.moment, viewers, cursor, question.topic.state())
        concerned = [event for event in self.cast.events if any(key in question.topic.keys for key in keys_of(event))]
        return [item for event in concerned for item in await question.topic.items(scene, event)]


async def differences(ears: Ears, cast: Cast, chosen: list[Selection]) -> tuple[list[str], int]:
    """Whose frames are not those that are made for him alone; and how many frames were looked at."""
    heard = await listening(ears, cast, chosen)
    async with held_back(cast.stage):
        await play(cast)
    await ears.heard()
    cursor, found, frames = ears.tail.cursor, [], 0
    for name, actor in cast.people.items():
        alone = await Alone.of(cast, actor)
        for selection in chosen:
            ear = heard.get((name, selection))
            if ear is None:
                continue
            frames += len(ear.frames)
            assert ear.errors is None, (name, selection, ear.errors)
            if ear.frames != await alone.frames(ear.question, cursor):
                found.append(f"{name}: {selection.type}.{selection.field} of {selection.root}")
    check_that_all_happened(cast, heard)
    return found, frames


def check_that_all_happened(cast: Cast, heard: dict[tuple[str, Selection], Ear]) -> None:
    """Else nothing is proved: everybody was told something, and of every kind of fact."""
    assert {name for (name, _), ear in heard.items() if ear.frames} == {name for name, _ in heard}
    schema = cast.stage.app.state.deskwire.engine._schema
    told = {frame for ear in heard.values() for frame in ear.frames}
    for kind in schema.get_possible_types(schema.type_map["TicketEvent"]):
        assert any(f'"__typename":"{kind.name}"'.encode() in frame for frame in told), kind.name


def chosen_of(stage: Stage) -> list[Selection]:
    """Each field by at most two of the roots: what is below a ticket is the same below all of them."""
    kept: dict[tuple[str, str], list[Selection]] = {}
    for selection in selections(stage.app.state.deskwire.engine._schema, HEADS):
        kept.setdefault(selection.name, []).append(selection)
    return [selection for some in kept.values() for selection in some[:2]]


async def test_no_persons_data_reaches_anothers_frame(ears: Ears, cast: Cast) -> None:
    """P12, R153: every field of every type below every root field that follows the log."""
    schema = cast.stage.app.state.deskwire.engine._schema
    assert set(schema.subscription_type.fields) == set(HEADS) | NO_TOPICS
    chosen = chosen_of(cast.stage)
    covered = {selection.name for selection in chosen}
    assert covered == reachable(schema, list(HEADS)), f"{len(covered)} fields are covered"
    before = cast.stage.hub.counts.answers
    found, frames = await differences(ears, cast, chosen)
    assert found == []
    made = cast.stage.hub.counts.answers - before
    log.info("%s fields, %s documents, %s answers for %s frames", len(covered), len(chosen), made, frames)
    assert made < frames / 2


class Unnoted:
    """Ways to forget that an answer asked something of its actor."""

    @staticmethod
    def id(patched: pytest.MonkeyPatch, cast: Cast) -> None:
        patched.setattr(Anyone, "id", property(lambda self: self._viewers.person or cast.people["assignee"].id))

    @staticmethod
    def role(patched: pytest.MonkeyPatch, cast: Cast) -> None:
        patched.setattr(Anyone, "kind", property(lambda self: self._viewers.kind))
        patched.setattr(Anyone, "access", property(lambda self: self._viewers.access))

    @staticmethod
    def loaders(patched: pytest.MonkeyPatch, cast: Cast) -> None:
        patched.setattr(_Noting, "used", property(lambda self: [], lambda self, value: None), raising=False)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("name", ["id", "role", "loaders"])
async def test_the_proof_notices_when_noting_is_broken(
    ears: Ears, cast: Cast, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each way to share too much is caught."""
    with monkeypatch.context() as patched:
        getattr(Unnoted, name)(patched, cast)
        chosen = [selection for selection in chosen_of(cast.stage) if selection.root == "ticketActivity"]
        found, _ = await differences(ears, cast, chosen)
    assert found
