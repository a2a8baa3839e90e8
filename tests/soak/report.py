"""What came of a soak, as a table."""

from __future__ import annotations

import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from models import Event
from tests.delivery.checkers import lost
from tests.history.checkers import Evidence, place_of
from tests.history.records import Record, Stage
from tests.soak.plan import Plan

EXAMPLES = 5


@dataclass(frozen=True)
class Report:
    plan: Plan
    seconds: float
    events: int
    evidence: Evidence
    faults: dict[str, int]
    duplicates: int
    reconnects: int
    recoveries: Sequence[float]
    violations: dict[str, list[str]]
    kept: Path | None = None

    @property
    def is_good(self) -> bool:
        return not self.violations

    def lines(self) -> list[tuple[str, str]]:
        """The table."""
        heard = self.evidence.heard()
        told = [record for records in heard.values() for record in records]
        missing = sum(len(lost(owed, [*map(place_of, heard[name])])) for name, owed in self.evidence.owed.items())
        kinds = {name: len(found) for name, found in self.violations.items()}
        return [
            ("installation", _installation(self.plan)),
            ("seed", str(self.plan.seed)),
            ("seconds", f"{self.seconds:.0f}"),
            ("accounts, subscribers, writers", _clients(self.plan, self.evidence)),
            ("operations", _operations(self.evidence)),
            ("unknown outcomes", _unknown(self.evidence)),
            ("events", str(self.events)),
            ("deliveries", f"{len(told)} of {sum(map(len, self.evidence.owed.values()))} owed, and more"),
            ("faults", ", ".join(f"{count} {name}" for name, count in sorted(self.faults.items())) or "none"),
            ("reconnections", str(self.reconnects)),
            ("lost", str(missing)),
            ("repeated or out of order", str(kinds.get("dense_order", 0))),
            ("phantom", str(kinds.get("no_phantom", 0))),
            ("leaks", str(kinds.get("isolation", 0) + kinds.get("authz_time", 0))),
            ("wire duplicates", f"{self.duplicates} ({100 * self.duplicates / max(1, len(told)):.2f} %)"),
            ("recovery p95, max", _recovery(self.recoveries)),
            ("violations", ", ".join(f"{name} {count}" for name, count in kinds.items()) or "none"),
        ]

    def __str__(self) -> str:
        table = [f"{name:<32} {value}" for name, value in self.lines()]
        for name, found in self.violations.items():
            table += [f"  {name}: {sentence}" for sentence in found[:EXAMPLES]]
            table += [f"  {name}: … and {len(found) - EXAMPLES} more"] if len(found) > EXAMPLES else []
        table += [f"the history and the servers' logs are in {self.kept}"] if self.kept else []
        return "\n".join([*table, "PASSED" if self.is_good else "FAILED"])


def _installation(plan: Plan) -> str:
    name = "SQLite, memory, 1 server" if plan.back_end == "sqlite" else "PostgreSQL, Redis, 2 servers"
    return name + (f", bus {plan.bus}" if plan.bus else "") + (f", planted {plan.planted}" if plan.planted else "")


def _clients(plan: Plan, evidence: Evidence) -> str:
    return f"{plan.accounts}, {len(evidence.owed)}, {plan.accounts * plan.writers}"


def _operations(evidence: Evidence) -> str:
    keys = {record.key for record in evidence.of(Stage.INVOKE)}
    count = Counter(record.stage for record in evidence.records)
    return f"{len(keys)}: {count[Stage.OK]} ok, {count[Stage.FAIL]} refused, {count[Stage.INFO]} answers lost"


def _unknown(evidence: Evidence) -> str:
    """Operations whose last answer was none: the log says what became of each."""
    last = {record.key: record for record in evidence.of(Stage.OK, Stage.FAIL, Stage.INFO)}
    unknown = {key for key, record in last.items() if record.stage is Stage.INFO}
    happened = unknown & {fact.key for fact in evidence.facts}
    return f"{len(unknown)}, of which {len(happened)} happened, {len(unknown) - len(happened)} did not"


def recoveries(evidence: Evidence, logs: dict[str, list[Event]]) -> list[float]:
    """After each lost connection, the seconds until its subscriber was told of all that there was when he came back."""
    ahead = time.time_ns() - time.monotonic_ns()
    commits = {account: [_at(event) - ahead for event in events] for account, events in logs.items()}
    found = []
    for name, owed in evidence.owed.items():
        records = [record for record in evidence.records if record.process == name]
        if owed:
            account, _ = owed[0]
            found += _recovered(records, [position for _, position in owed], commits[account])
    return found


def _at(event: Event) -> int:
    return int(event.occurred_at.timestamp() * 1e9)


def _recovered(records: Sequence[Record], owed: Sequence[int], commits: Sequence[int]) -> list[float]:
    """`commits` are the moments of the account's events, by position from 1 on."""
    found = []
    left: int | None = None
    goals: list[tuple[int, int]] = []  # when the connection was lost, and the position that ends its recovery
    for record in records:
        if record.stage is Stage.DISCONNECT:
            left = left or record.at
        elif record.stage is Stage.CONNECT and left is not None:
            there = bisect_right(commits, record.at)
            place = bisect_right(owed, there)
            goal = owed[place - 1] if place else 0
            if (record.position or 0) >= goal:
                found.append((record.at - left) / 1e9)
            else:
                goals.append((left, goal))
            left = None
        elif record.stage is Stage.DELIVER:
            found += [(record.at - since) / 1e9 for since, goal in goals if (record.position or 0) >= goal]
            goals = [(since, goal) for since, goal in goals if (record.position or 0) < goal]
    return found


def _recovery(seconds: Sequence[float]) -> str:
    if not seconds:
        return "no connection was lost"
    ordered = sorted(seconds)
    return f"{ordered[int(0.95 * (len(ordered) - 1))]:.2f} s, {ordered[-1]:.2f} s (goals: 5 s, 15 s)"
