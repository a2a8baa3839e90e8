"""Rules R8, R116, R123: who may save triggers, which are taken, and what an admin is told of them."""

from __future__ import annotations

from typing import Any

import pytest

from domain.errors import FeatureDisabled, Forbidden, InvalidInput, NotFound, Refusal
from domain.transactions import Call
from domain.trigger_hints import (
    AGENTS_DO_NOT_END,
    CONTRADICTION,
    END_AND_SOLVED_AT_ONCE,
    EVERY_UPDATE,
    SURVEY_NEEDS_END,
    agents_can_end,
    hints_of,
)
from domain.triggers import TriggerAction, delete_trigger, save_trigger, triggers_page
from models import Permission, Trigger, new_id
from tests.automation import (
    END,
    ENDED_BY_AGENT,
    IN_MESSAGING,
    SOLVE,
    SOLVED,
    SURVEY,
    Entry,
    Kind,
    either,
    every,
    rule,
    trigger,
)
from tests.factories import AGENT, World

MANAGER = AGENT | {Permission.MANAGE_TRIGGERS}


async def test_a_trigger_is_saved_replaced_and_deleted_and_the_account_s_log_says_so(world: World) -> None:
    saved = await trigger(world, [every(ENDED_BY_AGENT)], SURVEY, title="  Ask  ")
    assert (saved.title, saved.active, saved.place) == ("Ask", True, 1)
    assert saved.conditions == [{"match": "ALL", "rules": [ENDED_BY_AGENT]}]
    assert saved.actions == [{"kind": "SEND_SURVEY", "value": None}]
    other = await trigger(world, every(SOLVED), SOLVE)
    assert other.place == 2
    again = await trigger(world, either(SOLVED, ENDED_BY_AGENT), SURVEY, END, trigger_id=saved.id, active=False)
    assert (again.id, again.title, again.active, again.place) == (saved.id, "A trigger", False, 1)
    await delete_trigger(Call(world.admin), saved.id)
    assert [row.id for row in await Trigger.all()] == [other.id]
    lines = [line for line in await world.log() if line.target == f"Trigger {saved.id}"]
    assert [line.action for line in lines] == ["TRIGGER_SAVED", "TRIGGER_SAVED", "TRIGGER_DELETED"]
    assert lines[0].changes == [
        {"field": "title", "from": None, "to": "Ask"},
        {"field": "active", "from": None, "to": True},
        {"field": "place", "from": None, "to": 1},
        {"field": "actions", "from": None, "to": ["SEND_SURVEY"]},
    ]
    assert [change["field"] for change in lines[1].changes] == ["title", "active", "actions"]


async def test_triggers_are_listed_in_the_order_in_which_they_run(world: World) -> None:
    last = await trigger(world, every(SOLVED), SOLVE, place=9)
    first = await trigger(world, every(SOLVED), SOLVE, place=2)
    new = await trigger(world, every(SOLVED), SOLVE)
    page = await triggers_page(world.admin, 2, None)
    assert [row.id for row in page] == [first.id, last.id, new.id]
    assert [row.id for row in await triggers_page(world.admin, 2, (9, last.id))] == [new.id]


@pytest.mark.parametrize("who", ["agent", "customer"])
async def test_triggers_are_for_those_who_may_manage_them(world: World, who: str) -> None:
    """R8 in spirit: FORBIDDEN, and nothing changed."""
    mine = await trigger(world, every(SOLVED), SOLVE)
    actor = await (world.agent() if who == "agent" else world.customer())
    async with world.refuses(Forbidden):
        await save_trigger(Call(actor), title="Mine", conditions=[every(SOLVED)], actions=[SOLVE])
    async with world.refuses(Forbidden):
        await delete_trigger(Call(actor), mine.id)
    async with world.refuses(Forbidden):
        await triggers_page(actor, 9, None)
    manager = await world.agent(permissions=MANAGER)
    await save_trigger(Call(manager), title="Mine", conditions=[every(SOLVED)], actions=[SOLVE], trigger_id=mine.id)
    assert (await Trigger.get()).title == "Mine"


async def test_a_trigger_of_another_account_is_unknown(world: World, other_world: World) -> None:
    """R27."""
    theirs = await trigger(other_world, every(SOLVED), SOLVE)
    async with world.refuses(NotFound):
        await save_trigger(
            Call(world.admin), title="x", conditions=[every(SOLVED)], actions=[SOLVE], trigger_id=theirs.id
        )
    async with world.refuses(NotFound):
        await delete_trigger(Call(world.admin), theirs.id)
    assert (await Trigger.get(id=theirs.id)).title == "A trigger"


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Kind.SEND_SURVEY, "twice"),
        (Kind.ADD_TAGS, ""),
        (Kind.ADD_TAGS, " , "),
        (Kind.REMOVE_TAGS, "x" * 65),
        (Kind.SET_STATUS, None),
        (Kind.SET_STATUS, "CLOSED"),
        (Kind.SET_STATUS, "NEW"),
        (Kind.SET_GROUP, "first line"),
        (Kind.INTERNAL_NOTE, " "),
        (Kind.PUBLIC_REPLY, "Hello {{agent.name}}"),
        (Kind.PUBLIC_REPLY, "{{ticket.secret}}"),
        (Kind.END_SESSION, "now"),
        (Kind.SET_ROUTING_CHANNEL, "HELP_CENTER"),
        (Kind.NOTIFY_WEBHOOK, None),
        (Kind.NOTIFY_WEBHOOK, "https://x.example"),
    ],
)
async def test_actions_that_cannot_be_are_refused(world: World, kind: Kind, value: str | None) -> None:
    async with world.refuses(InvalidInput) as refusal:
        await trigger(world, every(SOLVED), TriggerAction(kind, value))
    assert refusal.value.field == ("actions",)


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"title": " "}, "title"),
        ({"title": "x" * 201}, "title"),
        ({"place": 0}, "place"),
        ({"conditions": []}, "conditions"),
        ({"actions": []}, "actions"),
        ({"actions": [SOLVE] * 21}, "actions"),
    ],
)
async def test_a_trigger_has_a_title_conditions_and_actions(world: World, given: dict[str, Any], field: str) -> None:
    whole = {"title": "A trigger", "conditions": [every(SOLVED)], "actions": [SOLVE]}
    async with world.refuses(InvalidInput) as refusal:
        await save_trigger(Call(world.admin), **(whole | given))
    assert refusal.value.field == (field,)


async def test_whom_a_trigger_names_the_account_has(world: World, other_world: World) -> None:
    """R27: a group, agent or webhook of another account is as unknown as none."""
    foreign, gone = str((await other_world.group()).id), await world.agent()
    customer = str((await world.customer()).id)
    for action in (
        TriggerAction(Kind.SET_GROUP, foreign),
        TriggerAction(Kind.SET_ASSIGNEE, customer),
        TriggerAction(Kind.SET_ASSIGNEE, str(other_world.admin.id)),
        TriggerAction(Kind.NOTIFY_WEBHOOK, str(new_id())),
    ):
        async with world.refuses(NotFound) as refusal:
            await trigger(world, every(SOLVED), action)
        assert refusal.value.field == ("actions",)
    for one in (rule("GROUP", "IS", foreign), rule("ASSIGNEE", "CHANGED_TO", customer)):
        async with world.refuses(NotFound) as refusal:
            await trigger(world, every(one), SOLVE)
        assert refusal.value.field == ("conditions",)
    await trigger(world, every(rule("ASSIGNEE", "IS", str(gone.id))), TriggerAction(Kind.SET_ASSIGNEE, str(gone.id)))


@pytest.mark.parametrize(
    "conditions",
    [
        [every(ENDED_BY_AGENT)],
        [either(SOLVED, rule("SESSION_STATE", "CHANGED_TO", "ENDED"))],
        [every(SOLVED), either(rule("EVENT", "IS", "MESSAGING_SESSION_ENDED"), IN_MESSAGING)],
    ],
)
async def test_surveys_at_the_end_are_part_of_a_plan(world: World, conditions: list[Entry]) -> None:
    """R123: refused with a reason that names the plan; everything else is taken."""
    await world.settings(customizable_surveys=False)
    async with world.refuses(FeatureDisabled) as refusal:
        await trigger(world, conditions, SOLVE, SURVEY)
    assert "customizable surveys" in refusal.value.message
    assert refusal.value.field == ("conditions",)
    await trigger(world, conditions, SOLVE)
    await trigger(world, every(SOLVED, IN_MESSAGING), SURVEY)
    await world.settings(customizable_surveys=True)
    await trigger(world, conditions, SOLVE, SURVEY)


def hints(conditions: list[Entry], *actions: TriggerAction, agents_can_end: bool = True) -> list[str]:
    stored = [{"kind": action.kind.value, "value": action.value} for action in actions]
    return hints_of(conditions, stored, agents_can_end=agents_can_end)


def test_the_default_survey_trigger_needs_the_end() -> None:
    """R116: the admin is told, until one of the conditions is about the end."""
    assert hints([every(SOLVED, IN_MESSAGING)], SURVEY) == [SURVEY_NEEDS_END]
    assert hints([every(SOLVED, IN_MESSAGING)], SOLVE) == []
    assert hints([every(SOLVED)], SURVEY) == []
    assert hints([every(IN_MESSAGING), either(SOLVED, ENDED_BY_AGENT)], SURVEY) == []


def test_an_end_and_solved_do_not_come_together() -> None:
    assert hints([every(SOLVED, ENDED_BY_AGENT)], SURVEY) == [END_AND_SOLVED_AT_ONCE]
    assert hints([every(SOLVED), either(ENDED_BY_AGENT)], SURVEY) == [END_AND_SOLVED_AT_ONCE]


async def test_waiting_for_agents_who_may_not_end_is_pointed_out(world: World) -> None:
    conditions = [either(SOLVED, ENDED_BY_AGENT)]
    assert hints(conditions, SURVEY, agents_can_end=False) == [AGENTS_DO_NOT_END]
    assert await agents_can_end(world.admin) is True
    await world.settings(agents_can_end_sessions=False)
    assert await agents_can_end(world.admin) is False


@pytest.mark.parametrize(
    "rules",
    [
        (rule("STATUS", "IS", "OPEN"), rule("STATUS", "IS", "NEW")),
        (rule("STATUS", "IS", "OPEN"), rule("STATUS", "IS_NOT", "OPEN")),
        (rule("STATUS", "CHANGED_TO", "OPEN"), rule("STATUS", "IS", "NEW")),
        (rule("STATUS", "CHANGED_TO", "OPEN"), rule("STATUS", "CHANGED_TO", "NEW")),
        (rule("STATUS", "CHANGED_TO", "OPEN"), rule("STATUS", "IS_NOT", "OPEN")),
        (rule("STATUS", "CHANGED_FROM", "OPEN"), rule("STATUS", "CHANGED_TO", "OPEN")),
        (rule("EVENT", "IS", "TICKET_CREATED"), rule("EVENT", "IS_NOT", "TICKET_CREATED")),
        (rule("TAGS", "INCLUDES", "a"), rule("TAGS", "EXCLUDES", "a,b"), SOLVED),
    ],
)
def test_contradictions_are_pointed_out(rules: tuple[dict[str, str | None], ...]) -> None:
    assert CONTRADICTION in hints([every(*rules)], SOLVE)
    assert CONTRADICTION in hints([either(rules[1]), every(rules[0])], SOLVE)
    assert CONTRADICTION not in hints([either(*rules)], SOLVE)


@pytest.mark.parametrize(
    "rules",
    [
        (rule("EVENT", "IS", "TICKET_CREATED"), rule("EVENT", "IS", "TICKET_COMMENT_ADDED")),
        (rule("STATUS", "CHANGED_FROM", "NEW"), rule("STATUS", "CHANGED_TO", "OPEN"), rule("STATUS", "IS", "OPEN")),
        (rule("TAGS", "INCLUDES", "a,b"), rule("TAGS", "EXCLUDES", "a"), rule("TAGS", "CHANGED")),
        (SOLVED, rule("PRIORITY", "IS", None), rule("GROUP", "IS", None)),
    ],
)
def test_what_can_hold_together_is_no_contradiction(rules: tuple[dict[str, str | None], ...]) -> None:
    assert hints([every(*rules)], SOLVE) == []


def test_what_runs_after_every_update_is_pointed_out() -> None:
    assert hints([every(rule("STATUS", "IS", "NEW"))], SOLVE) == [EVERY_UPDATE]
    assert hints([every(rule("EVENT", "IS_NOT", "TICKET_CREATED"))], SOLVE) == [EVERY_UPDATE]


async def test_a_text_for_the_customer_knows_placeholders_but_no_agent(world: World) -> None:
    for name in ("ticket.id", "ticket.subject", "ticket.requester.name", "ticket.requester.first_name"):
        await trigger(world, every(SOLVED), TriggerAction(Kind.PUBLIC_REPLY, f"Hi {{{{ {name} }}}}"))
    with pytest.raises(Refusal) as refusal:
        await trigger(world, every(SOLVED), TriggerAction(Kind.INTERNAL_NOTE, "{{agent.name}}"))
    assert "'agent.name'" in refusal.value.message
