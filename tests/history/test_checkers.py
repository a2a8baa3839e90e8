"""The checkers, on seeded bad histories: each finds its fault, none finds one in a good history."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.history.checkers import CHECKERS, Evidence, violations
from tests.history.records import Fact, Record, Recorder, Stage, read

ACCOUNTS = ("acme", "globex")
MARKS = {"acme": "mark-acme", "globex": "mark-globex"}
SEEDS = range(5)


def good(seed: int) -> Evidence:
    """Two accounts with twenty updates each, and two subscribers each, who reconnect once."""
    chance = random.Random(seed)
    records: list[Record] = []
    facts: list[Fact] = []
    for account in ACCOUNTS:
        for number in range(20):
            records += _operation(account, number, chance)
            facts += _facts(account, number)
    # The last is asked again after an unknown outcome; one more never happened, and one was refused.
    lost = Record("postComment", "writer", Stage.INVOKE, "acme", key="acme-lost", at=10_000)
    no = Record("endSession", "writer", Stage.INVOKE, "acme", key="acme-refused", at=10_010)
    records += [lost, replace(lost, stage=Stage.INFO, at=10_005), no, replace(no, stage=Stage.FAIL, at=10_015)]
    owed = {}
    for account in ACCOUNTS:
        mine = [fact for fact in facts if fact.account == account]
        for name in (f"{account}: agent", f"{account}: admin"):
            records += _heard(name, mine, chance.randrange(5, 35))
            owed[name] = [(fact.account, fact.position) for fact in mine]
    rows = {name: {"ticket-1": {"version": 7}, "ticket-2": {"version": 9}} for name in owed}
    log = "2026-11-25 17:00:00,000 INFO deskwire: serving\n"
    return Evidence(records, facts, owed, {"acme: agent": 40}, rows, dict(rows), MARKS, {"server": log})


def _operation(account: str, number: int, chance: random.Random) -> list[Record]:
    began = 100 * number + chance.randrange(20)
    invoke = Record("postComment", "writer", Stage.INVOKE, account, key=f"{account}-{number}", at=began)
    if number % 5 == 4:
        again = [replace(invoke, stage=Stage.INFO, at=began + 10), replace(invoke, at=began + 20)]
        return [invoke, *again, replace(invoke, stage=Stage.OK, at=began + 30)]
    return [invoke, replace(invoke, stage=Stage.OK, at=began + 30)]


def _facts(account: str, number: int) -> list[Fact]:
    """Two events of one update."""
    audit, key = f"audit-{account}-{number}", f"{account}-{number}"
    return [
        Fact(account, position, "TICKET_FIELD_CHANGED", audit, f"{account}-ticket-{number % 3}", key)
        for position in (2 * number + 1, 2 * number + 2)
    ]


def _heard(name: str, facts: list[Fact], broken_at: int) -> list[Record]:
    account = facts[0].account
    heard = [Record("Inbox", name, Stage.CONNECT, account, position=0, connection=1)]
    for place, fact in enumerate(facts):
        connection = 1 + (place >= broken_at)
        if place == broken_at:
            heard.append(Record("Inbox", name, Stage.CONNECT, account, position=place, connection=2))
        heard.append(
            Record(
                "Inbox",
                name,
                Stage.DELIVER,
                account,
                fact.ticket,
                fact.key,
                fact.position,
                connection=connection,
                what=f"event-{account}-{fact.position}",
                marks=(MARKS[account],),
            )
        )
    return heard


Fault = Callable[[Evidence, random.Random], Evidence]


def _delivered(evidence: Evidence, name: str = "acme: agent") -> list[int]:
    """The places of this subscriber's deliveries among the records."""
    return [
        place
        for place, record in enumerate(evidence.records)
        if record.stage is Stage.DELIVER and record.process == name
    ]


def drops_one(evidence: Evidence, chance: random.Random) -> Evidence:
    dropped = chance.choice(_delivered(evidence))
    return replace(evidence, records=[*evidence.records[:dropped], *evidence.records[dropped + 1 :]])


def repeats_one(evidence: Evidence, chance: random.Random) -> Evidence:
    place = chance.choice(_delivered(evidence))
    return replace(evidence, records=[*evidence.records[:place], evidence.records[place], *evidence.records[place:]])


def swaps_two(evidence: Evidence, chance: random.Random) -> Evidence:
    places = [p for p in _delivered(evidence) if evidence.records[p + 1 : p + 2] and p + 1 in _delivered(evidence)]
    place = chance.choice(places)
    records = list(evidence.records)
    records[place], records[place + 1] = records[place + 1], records[place]
    return replace(evidence, records=records)


def leaks_one(evidence: Evidence, chance: random.Random) -> Evidence:
    """A subscriber gets the next item of the other account, at its place in his own."""
    place = chance.choice(_delivered(evidence))
    leaked = replace(evidence.records[place], marks=(MARKS["globex"],))
    return replace(evidence, records=[*evidence.records[:place], leaked, *evidence.records[place + 1 :]])


def tells_of_a_foreign_row(evidence: Evidence, chance: random.Random) -> Evidence:
    """Without a word of what is in it."""
    told = Record("Inbox", "acme: agent", Stage.TOLD, "acme", ticket="globex-ticket-1", has_content=False)
    return replace(evidence, records=[*evidence.records, told])


def resumes_too_early(evidence: Evidence, chance: random.Random) -> Evidence:
    """The first item behind a reconnection is the last one before it."""
    second = next(p for p in _delivered(evidence) if evidence.records[p].connection == 2)
    again = replace(evidence.records[second], position=(evidence.records[second].position or 0) - 1)
    again = replace(again, key=None, ticket=None, what=None)
    return replace(evidence, records=[*evidence.records[:second], again, *evidence.records[second:]])


def forgets_an_answer(evidence: Evidence, chance: random.Random) -> Evidence:
    """An answered update is not in the log, nor was it delivered; the log closes the gap."""
    return replace(evidence, facts=[replace(f, key=None) if f.key == "acme-3" else f for f in evidence.facts])


def invents_one(evidence: Evidence, chance: random.Random) -> Evidence:
    last = _delivered(evidence)[-1]
    invented = replace(evidence.records[last], position=41, key=None, ticket=None, what=None, has_content=False)
    return replace(evidence, records=[*evidence.records[: last + 1], invented, *evidence.records[last + 1 :]])


def does_what_it_refused(evidence: Evidence, chance: random.Random) -> Evidence:
    done = replace(evidence.facts[-1], key="acme-refused", position=41, audit="audit-refused")
    return replace(evidence, facts=[*evidence.facts, done])


def does_what_nobody_asked(evidence: Evidence, chance: random.Random) -> Evidence:
    done = replace(evidence.facts[-1], key="acme-nobody", position=41, audit="audit-nobody")
    return replace(evidence, facts=[*evidence.facts, done])


def does_it_twice(evidence: Evidence, chance: random.Random) -> Evidence:
    key = chance.choice(evidence.facts[:30]).key
    last = next(fact for fact in reversed(evidence.facts) if fact.key == key)
    return replace(evidence, facts=[replace(f, audit="audit-again") if f is last else f for f in evidence.facts])


def leaves_a_gap(evidence: Evidence, chance: random.Random) -> Evidence:
    """A position that nobody took: everything behind it stands one further."""
    moved = [replace(fact, position=fact.position + 1) if fact.position == 40 else fact for fact in evidence.facts]
    records = [_moved(each) for each in evidence.records]
    return replace(evidence, facts=moved, records=records, owed=_owed(evidence), revoked={})


def _moved(record: Record) -> Record:
    return replace(record, position=41) if record.position == 40 else record


def _owed(evidence: Evidence) -> dict[str, list[tuple[str, int]]]:
    return {name: [(a, p + (p == 40)) for a, p in owed] for name, owed in evidence.owed.items()}


def tells_two_stories(evidence: Evidence, chance: random.Random) -> Evidence:
    place = chance.choice(_delivered(evidence))
    other = replace(evidence.records[place], what="event-of-something-else")
    return replace(evidence, records=[*evidence.records[:place], other, *evidence.records[place + 1 :]])


def overtakes(evidence: Evidence, chance: random.Random) -> Evidence:
    """Two updates stand in the log the wrong way round, though one was answered before the other began."""
    number = chance.randrange(18)
    one, two = f"acme-{number}", f"acme-{number + 1}"
    swapped = {one: two, two: one}
    facts = [replace(fact, key=swapped.get(fact.key or "", fact.key)) for fact in evidence.facts]
    records = [
        replace(each, key=swapped.get(each.key or "", each.key)) if each.stage is Stage.DELIVER else each
        for each in evidence.records
    ]
    return replace(evidence, facts=facts, records=records)


def folds_wrongly(evidence: Evidence, chance: random.Random) -> Evidence:
    folded = dict(evidence.folded) | {"acme: agent": {"ticket-1": {"version": 6}, "ticket-2": {"version": 9}}}
    return replace(evidence, folded=folded)


def keeps_a_lost_row(evidence: Evidence, chance: random.Random) -> Evidence:
    return replace(evidence, fetched=dict(evidence.fetched) | {"acme: agent": {"ticket-1": {"version": 7}}})


def shows_too_much(evidence: Evidence, chance: random.Random) -> Evidence:
    return replace(evidence, revoked={"acme: agent": chance.randrange(10, 39)})


def logs_a_traceback(evidence: Evidence, chance: random.Random) -> Evidence:
    line = "2026-11-25 17:00:01,000 ERROR deskwire: internal error\nTraceback (most recent call last):\n"
    return replace(evidence, logs={"server": evidence.logs["server"] + line})


def forgets_a_task(evidence: Evidence, chance: random.Random) -> Evidence:
    line = "2026-11-25 17:00:01,000 WARNING asyncio: Task exception was never retrieved\n"
    return replace(evidence, logs={"server": evidence.logs["server"] + line})


FAULTS: dict[Fault, set[str]] = {
    drops_one: {"acked_not_lost"},
    repeats_one: {"dense_order"},
    swaps_two: {"dense_order"},
    leaks_one: {"isolation"},
    tells_of_a_foreign_row: {"isolation"},
    resumes_too_early: {"dense_order"},
    forgets_an_answer: {"acked_not_lost"},
    invents_one: {"no_phantom"},
    does_what_it_refused: {"no_phantom"},
    does_what_nobody_asked: {"no_phantom"},
    does_it_twice: {"unique_effect"},
    leaves_a_gap: {"dense_order"},
    tells_two_stories: {"agreement"},
    overtakes: {"realtime"},
    folds_wrongly: {"converge"},
    keeps_a_lost_row: {"converge"},
    shows_too_much: {"authz_time"},
    logs_a_traceback: {"no_dirty_error"},
    forgets_a_task: {"no_dirty_error"},
}


@pytest.mark.parametrize("seed", SEEDS)
def test_a_good_history_passes(seed: int) -> None:
    assert violations(good(seed)) == {}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_bad_history_is_caught_by_its_checker_and_no_other(fault: Fault, seed: int) -> None:
    assert set(violations(fault(good(seed), random.Random(seed)))) == FAULTS[fault]


def test_every_checker_has_a_fault_that_it_catches() -> None:
    assert set().union(*FAULTS.values()) == set(CHECKERS)


def test_nothing_is_wrong_with_nothing() -> None:
    assert violations(Evidence([], [])) == {}


def test_a_subscriber_who_was_told_nothing_has_lost_everything() -> None:
    owed = {"acme: agent": [("acme", 1), ("acme", 2)]}
    facts = [Fact("acme", 1, "X", "a"), Fact("acme", 2, "X", "a")]
    assert len(violations(Evidence([], facts, owed))["acked_not_lost"]) == 2


def test_an_error_that_a_fault_explains_is_allowed_with_its_traceback() -> None:
    log = "2026-11-25 17:00:01,000 ERROR deskwire.hub: polling failed\nTraceback (most recent call last):\n"
    assert violations(Evidence([], [], logs={"server": log}, allowed=["hub: polling failed"])) == {}


def test_a_history_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    recorder = Recorder(path)
    recorder.note("postComment", "writer", Stage.INVOKE, "acme", key="k")
    recorder.note("Inbox", "agent", Stage.DELIVER, "acme", position=1, cursor="c", marks=("mark-acme",))
    recorder.close()
    assert list(read(path)) == recorder.records
    assert recorder.records[0].at < recorder.records[1].at
