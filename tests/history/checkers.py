"""What can be wrong with a history, as pure functions. Each returns sentences, none for a faultless history.

The method is that of Jepsen: clients note what they asked, what they were told, and what reached them; in the end
the log is read, and the notes are held against it. What the names of streams compare is in tests/delivery/checkers.py.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.delivery.checkers import lost, out_of_order, phantom, repeated
from tests.history.records import Fact, Record, Stage

Place = tuple[str, int]
Rows = Mapping[str, Any]


@dataclass(frozen=True)
class Evidence:
    """All that the checkers look at.

    owed       which places of the log each subscriber must have been told of
    revoked    where the log takes a subscriber's access away
    folded     what each subscriber made of what he was told; `fetched` is what he would load now
    marks      the mark of each account, which stands in its texts and in no other's
    logs       what each server wrote, and which of its lines may be errors
    """

    records: Sequence[Record]
    facts: Sequence[Fact]
    owed: Mapping[str, Sequence[Place]] = field(default_factory=dict)
    revoked: Mapping[str, int] = field(default_factory=dict)
    folded: Mapping[str, Rows] = field(default_factory=dict)
    fetched: Mapping[str, Rows] = field(default_factory=dict)
    marks: Mapping[str, str] = field(default_factory=dict)
    logs: Mapping[str, str] = field(default_factory=dict)
    allowed: Sequence[str] = ()

    def of(self, *stages: Stage) -> list[Record]:
        return [record for record in self.records if record.stage in stages]

    def heard(self) -> dict[str, list[Record]]:
        """What reached each subscriber, in the order of its arrival."""
        found: dict[str, list[Record]] = {name: [] for name in self.owed}
        for record in self.of(Stage.DELIVER):
            found.setdefault(record.process, []).append(record)
        return found


def place_of(record: Record) -> Place:
    assert record.position is not None
    return record.account, record.position


def acked_not_lost(evidence: Evidence) -> list[str]:
    """What was answered is in the log, and what is in the log has reached all whom it concerns."""
    keys = {fact.key for fact in evidence.facts}
    unwritten = [record for record in evidence.of(Stage.OK) if record.key not in keys]
    found = [f"{record.op} {record.key} was answered and is not in the log" for record in unwritten]
    heard = evidence.heard()
    for name, owed in evidence.owed.items():
        found += [f"{name} was not told of {place}" for place in lost(owed, [*map(place_of, heard[name])])]
    return found


def no_phantom(evidence: Evidence) -> list[str]:
    """What was delivered, or has an effect, was written, asked for and not refused."""
    places = [(fact.account, fact.position) for fact in evidence.facts]
    told = [place_of(record) for record in evidence.of(Stage.DELIVER)]
    found = [f"{place} was delivered and is not in the log" for place in phantom(places, told)]
    keys = {fact.key for fact in evidence.facts} - {None}
    found += [f"{record.op} {record.key} was refused and is in the log" for record in refused(evidence, keys)]
    asked = {record.key for record in evidence.of(Stage.INVOKE)}
    return found + [f"{key} is in the log and was never asked for" for key in sorted(map(str, keys - asked))]


def refused(evidence: Evidence, keys: Collection[str | None]) -> list[Record]:
    """The refused operations among these. Where an earlier try is unknown, it may have happened after the refusal."""
    unknown = {record.key for record in evidence.of(Stage.INFO, Stage.OK)}
    return [record for record in evidence.of(Stage.FAIL) if record.key in keys and record.key not in unknown]


def unique_effect(evidence: Evidence) -> list[str]:
    """One key, one update."""
    updates = {(fact.key, fact.audit) for fact in evidence.facts if fact.key is not None}
    return [f"{key} took effect more than once" for key in repeated([key for key, _ in updates])]


def dense_order(evidence: Evidence) -> list[str]:
    """The log has no gaps; each connection tells its places in their order, each once, from where it resumed."""
    found = []
    for account, positions in positions_by_account(evidence.facts).items():
        if positions != list(range(1, len(positions) + 1)):
            found.append(f"the log of {account} has gaps")
    for (name, connection), told in deliveries(evidence.records).items():
        twice, wrong = repeated(told), out_of_order(sorted(set(told)), told)
        found += [f"{name} was told of {place} twice on connection {connection}" for place in twice]
        found += [f"{name} was told of {place} too late on connection {connection}" for place in wrong]
    return found


def positions_by_account(facts: Iterable[Fact]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = defaultdict(list)
    for fact in facts:
        found[fact.account].append(fact.position)
    return {account: sorted(positions) for account, positions in found.items()}


def deliveries(records: Iterable[Record]) -> dict[tuple[str, int], list[int]]:
    """The places that each connection told, with the one that it resumed behind at their beginning."""
    found: dict[tuple[str, int], list[int]] = defaultdict(list)
    for record in records:
        if record.stage in (Stage.CONNECT, Stage.DELIVER) and record.position is not None:
            found[record.process, record.connection].append(record.position)
    return found


def agreement(evidence: Evidence) -> list[str]:
    """Whoever is told of a place is told of the same event."""
    said: dict[tuple[Place, str], set[str]] = defaultdict(set)
    for record in evidence.of(Stage.DELIVER):
        for name in ("ticket", "key", "what"):
            if (value := getattr(record, name)) is not None:
                said[place_of(record), name].add(value)
    return [f"{place} has more than one {name}" for (place, name), values in said.items() if len(values) > 1]


def realtime(evidence: Evidence) -> list[str]:
    """What was answered before another operation was asked for stands before it in the log of their account."""
    places: dict[str, list[int]] = defaultdict(list)
    for fact in evidence.facts:
        if fact.key is not None:
            places[fact.key].append(fact.position)
    # An operation that is asked for again may have had its effect before: only its first time counts.
    asked = {record.key: record for record in reversed(evidence.of(Stage.INVOKE))}
    moments = [*asked.values(), *evidence.of(Stage.OK)]
    answered: dict[str, int] = defaultdict(int)
    found = []
    for record in sorted(moments, key=lambda record: record.at):
        positions = places.get(str(record.key), [])
        if positions and record.stage is Stage.OK:
            answered[record.account] = max(answered[record.account], *positions)
        elif positions and min(positions) < answered[record.account]:
            found.append(f"{record.key} stands before what was answered when it was asked for")
    return found


def converge(evidence: Evidence) -> list[str]:
    """What was folded from a stream is what would be loaded now."""
    found = []
    for name, fetched in evidence.fetched.items():
        folded = evidence.folded[name]
        wrong = sorted(key for key in {*folded, *fetched} if folded.get(key) != fetched.get(key))
        found += [f"{name} has another row of {key} than there is" for key in wrong]
    return found


def isolation(evidence: Evidence) -> list[str]:
    """No byte of an account reaches another: not its mark, and no id of its tickets."""
    owners = {mark: account for account, mark in evidence.marks.items()}
    tickets = {fact.ticket: fact.account for fact in evidence.facts if fact.ticket}
    found = [
        f"{record.process} of {record.account} was told something of {owners.get(mark, mark)}"
        for record in evidence.records
        for mark in record.marks
        if owners.get(mark) != record.account
    ]
    return found + [
        f"{record.process} of {record.account} was told of {record.ticket}, which is another's"
        for record in evidence.of(Stage.DELIVER, Stage.TOLD)
        if record.ticket and tickets.get(record.ticket, record.account) != record.account
    ]


def authz_time(evidence: Evidence) -> list[str]:
    """Nothing that happened after somebody lost his access is shown to him."""
    return [
        f"{record.process} was shown {place_of(record)}, after he had lost his access"
        for record in evidence.of(Stage.DELIVER)
        if record.has_content and place_of(record)[1] > evidence.revoked.get(record.process, place_of(record)[1])
    ]


DIRTY = re.compile(r"Traceback|was never retrieved|was never awaited| (ERROR|CRITICAL) ")


def no_dirty_error(evidence: Evidence) -> list[str]:
    """No server logs a defect. An error that a fault explains is allowed by a pattern; that it gave up never is."""
    return [
        f"{name}: {entry.splitlines()[0]}"
        for name, log in evidence.logs.items()
        for entry in entries(log)
        if DIRTY.search(entry)
        and (" CRITICAL " in entry or not any(re.search(pattern, entry) for pattern in evidence.allowed))
    ]


def entries(log: str) -> list[str]:
    """The entries of a log, each with the lines that belong to it."""
    return [entry for entry in re.split(r"^(?=\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)", log, flags=re.MULTILINE) if entry]


Checker = Callable[[Evidence], list[str]]
CHECKERS: dict[str, Checker] = {
    checker.__name__: checker
    for checker in (
        acked_not_lost,
        no_phantom,
        unique_effect,
        dense_order,
        agreement,
        realtime,
        converge,
        isolation,
        authz_time,
        no_dirty_error,
    )
}


def violations(evidence: Evidence) -> dict[str, list[str]]:
    """All that is wrong, by the name of the checker; empty for a faultless history."""
    found = {name: checker(evidence) for name, checker in CHECKERS.items()}
    return {name: sentences for name, sentences in found.items() if sentences}
