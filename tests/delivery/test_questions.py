"""What is asked: parsed, validated and understood once per process, and resumed from wherever the cursor stands."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from execution import engine as engines
from execution.errors import RequestError
from models import TicketAccess
from subscriptions.questions import Resume, resume_of
from tests.client import OPERATIONS
from tests.delivery.ears import Ear, Ears
from tests.delivery.stage import Stage, ticket_id

BODY = "{ cursor ticket { id } }"


async def test_a_document_is_parsed_and_validated_once(
    ears: Ears, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many ask it, with whatever variables, over connections, reconnections, sockets and responses."""
    counts = {"parse": 0, "validate": 0}
    for name in counts:
        done = getattr(engines, name)

        def noting(*arguments: Any, done: Any = done, name: str = name, **more: Any) -> Any:
            counts[name] += 1
            return done(*arguments, **more)

        monkeypatch.setattr(engines, name, noting)
    world = stage.world
    tickets = [await world.live_ticket() for _ in range(3)]
    people = [world.admin, *[await world.agent() for _ in range(3)]]
    for actor in people:
        for ticket in tickets:
            async with stage.hearing(actor, "TicketActivity", ticketId=ticket_id(ticket)) as stream:
                await world.comment(ticket, world.admin)
                await stream.next()
            await ears.hear(actor, "TicketActivity", ticketId=ticket_id(ticket))
    # The limits are a validation of their own.
    assert counts == {"parse": 1, "validate": 2}


FORMS: dict[str, tuple[str, Resume]] = {
    "absent": (f"subscription {{ sessionEnded {BODY} }}", Resume(shared=True)),
    "a variable": (
        f"subscription ($after: String) {{ sessionEnded(after: $after) {BODY} }}",
        Resume(shared=True, variable="after"),
    ),
    "a variable of another name": (
        f"subscription ($c: String) {{ sessionEnded(after: $c) {BODY} }}",
        Resume(shared=True, variable="c"),
    ),
    "a variable that must be given": (
        f"subscription ($after: String!) {{ sessionEnded(after: $after) {BODY} }}",
        Resume(shared=True, variable="after", required=True),
    ),
    "with an alias": (
        f"subscription ($after: String) {{ it: sessionEnded(after: $after) {BODY} }}",
        Resume(shared=True, variable="after"),
    ),
    "the literal null": (f"subscription {{ sessionEnded(after: null) {BODY} }}", Resume(shared=False)),
    "a literal": (f'subscription {{ sessionEnded(after: "CURSOR") {BODY} }}', Resume(shared=False)),
    "a default value": (
        f'subscription ($after: String = "CURSOR") {{ sessionEnded(after: $after) {BODY} }}',
        Resume(shared=False),
    ),
    "a default value of null": (
        f"subscription ($after: String = null) {{ sessionEnded(after: $after) {BODY} }}",
        Resume(shared=False),
    ),
    "used twice": (
        "subscription ($after: String) { sessionEnded(after: $after) "
        "{ cursor ticket { id comments(first: 1, after: $after) { edges { cursor } } } } }",
        Resume(shared=False),
    ),
    "used twice, once in a fragment": (
        "subscription ($after: String) { sessionEnded(after: $after) { cursor ticket { ...T } } } "
        "fragment T on Ticket { id comments(first: 1, after: $after) { edges { cursor } } }",
        Resume(shared=False),
    ),
    "used for something else only": (
        "subscription ($after: String) { sessionEnded "
        "{ cursor ticket { id comments(first: 1, after: $after) { edges { cursor } } } } }",
        Resume(shared=True),
    ),
    "a fragment at the root": (
        f"subscription ($after: String) {{ ...S }} fragment S on Subscription {{ sessionEnded(after: $after) {BODY} }}",
        Resume(shared=False),
    ),
    "an inline fragment at the root": (
        f"subscription ($after: String) {{ ... on Subscription {{ sessionEnded(after: $after) {BODY} }} }}",
        Resume(shared=False),
    ),
    "the field twice": (
        "subscription ($after: String) "
        f"{{ sessionEnded(after: $after) {{ cursor }} sessionEnded(after: $after) {BODY} }}",
        Resume(shared=False),
    ),
    "beside another operation": (
        f"query Q {{ viewer {{ permissions }} }} "
        f"subscription S($after: String) {{ sessionEnded(after: $after) {BODY} }}",
        Resume(shared=True, variable="after"),
    ),
    "beside another operation with a variable of that name": (
        "subscription T($after: String) { ticketCreated(after: $after) { cursor } } "
        f"subscription S($after: String) {{ sessionEnded(after: $after) {BODY} }}",
        Resume(shared=True, variable="after"),
    ),
}
NAMES = {"beside another operation": "S", "beside another operation with a variable of that name": "S"}


def given_to(form: str, cursors: list[str]) -> list[tuple[dict[str, Any], int | None]]:
    """Variables, and how many of the two later events they bring; None where they are refused."""
    if form in ("absent", "the literal null", "used for something else only"):
        return [({}, 0), ({}, 0)]
    if form == "a literal":
        return [({}, 1), ({}, 1)]
    variable = "c" if form == "a variable of another name" else "after"
    missing = None if form == "a variable that must be given" else 0
    return [
        ({variable: cursors[0]}, 2),
        ({}, 1 if form == "a default value" else missing),
        ({variable: None}, missing),
        ({variable: cursors[1]}, 1),
    ]


@pytest.mark.parametrize("form", FORMS)
async def test_every_form_of_a_cursor_resumes(ears: Ears, stage: Stage, form: str) -> None:
    """R157: from its place, also for whoever asks the same later with another cursor, or with none."""
    world = stage.world
    engine = stage.app.state.deskwire.engine
    text, resume = FORMS[form]
    cursors = [await stage.cursor()]
    for _ in range(2):
        ticket = await world.live_ticket()
        await world.end(ticket, world.admin)
        cursors.append(await stage.cursor())
    text = text.replace("CURSOR", cursors[1])
    operation = engine.prepare(text, NAMES.get(form))
    assert resume_of(operation) == resume
    caller = await ears.caller(world.admin)
    live = stage.app.state.deskwire.live
    questions = set()
    for variables, expected in given_to(form, cursors):
        asking = live.questions.ask(operation, variables, partial(live.context_for, caller.actor))
        if expected is None:
            with pytest.raises(RequestError):
                await asking
            continue
        asked = await asking
        ear = Ear(caller, asked.question)
        questions.add(asked.question)
        await caller.tail.join(ear, asked.after)
        await ears.heard()
        assert len(ear.tellings) == expected, variables
    assert len(questions) == (1 if resume.shared else len(questions))


async def test_what_is_no_cursor_is_refused_as_if_nobody_had_asked_before(ears: Ears, stage: Stage) -> None:
    """The same refusal, whether the question is known or not."""
    caller = await ears.caller(stage.world.admin)
    bad: list[Any] = [7, True, ["x"], {"x": 1}]
    text = OPERATIONS["SessionEnded"]
    for known in (False, True):
        for value in bad:
            with pytest.raises(RequestError) as refused:
                await ears.ask(caller, text, after=value)
            assert refused.value.errors[0].extensions == {"code": "BAD_USER_INPUT"}, known
        await ears.ask(caller, text)


async def test_questions_are_told_apart_by_the_values_of_their_variables(ears: Ears, stage: Stage) -> None:
    """As JSON tells them apart, and Python may not; nothing and null are two. Their order is no matter."""
    caller = await ears.caller(stage.world.admin)
    text = "subscription ($f: TicketFilter) { inbox(filter: $f) { cursor } }"
    first = (await ears.ask(caller, text, f={"unassigned": True, "channel": "EMAIL"})).question
    assert (await ears.ask(caller, text, f={"channel": "EMAIL", "unassigned": True})).question is first
    different: list[dict[str, Any]] = [
        {},
        {"f": None},
        {"f": {}},
        {"f": {"unassigned": None}},
        {"f": {"unassigned": False}},
        {"f": {"unassigned": True}},
        {"f": {"unassigned": True, "channel": None}},
    ]
    questions = {(await ears.ask(caller, text, **variables)).question for variables in different}
    assert len(questions) == len(different)
    with pytest.raises(RequestError):
        await ears.ask(caller, text, f={"unassigned": 1})


async def test_who_may_not_ask_is_refused_also_when_the_question_is_known(ears: Ears, stage: Stage) -> None:
    """R153: what is known of a question says nothing of who asks it now."""
    world = stage.world
    ticket = await world.live_ticket()
    stranger = await world.agent(access=TicketAccess.ASSIGNED)
    customer = await world.customer()
    asked: list[tuple[str, dict[str, Any], dict[Any, str]]] = [
        ("TicketActivity", {"ticketId": ticket_id(ticket)}, {stranger: "NOT_FOUND", customer: "FORBIDDEN"}),
        ("Inbox", {}, {customer: "FORBIDDEN"}),
        ("SessionEnded", {}, {customer: "FORBIDDEN"}),
        ("TicketCreated", {}, {customer: "FORBIDDEN"}),
    ]
    for operation, variables, refused in asked:
        await ears.hear(world.admin, operation, **variables)
        for actor, code in refused.items():
            with pytest.raises(Exception) as caught:
                await ears.hear(actor, operation, **variables)
            assert getattr(caught.value, "code", None) == code
    await ears.hear(customer, "MessageReceived")
    with pytest.raises(Exception) as caught:
        await ears.hear(world.admin, "MessageReceived")
    assert getattr(caught.value, "code", None) == "FORBIDDEN"
