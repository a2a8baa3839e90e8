"""Reads the demonstration content: who there is, and what they said to each other, without ids or clock times.

People and things refer to each other by key. Staff keys are the users that the seed makes: admin, agent, agent2,
group_agent and light_agent.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from importlib.resources import files
from itertools import accumulate
from typing import Any


class DemoChannel(StrEnum):
    MESSAGING = "MESSAGING"
    EMAIL = "EMAIL"


class DemoStatus(StrEnum):
    """The statuses that a script sets."""

    OPEN = "OPEN"
    PENDING = "PENDING"
    ON_HOLD = "ON_HOLD"
    SOLVED = "SOLVED"


class DemoActionKind(StrEnum):
    PUBLIC_REPLY = "PUBLIC_REPLY"
    INTERNAL_NOTE = "INTERNAL_NOTE"
    SET_STATUS = "SET_STATUS"
    ADD_TAGS = "ADD_TAGS"
    END_SESSION = "END_SESSION"


class StepKind(StrEnum):
    """What happens in a step. `CUSTOMER` writes in the conversation's channel, `AGENT` in messaging."""

    CUSTOMER = "customer"
    AGENT = "agent"
    NOTE = "note"
    EMAIL_REPLY = "email_reply"
    END_SESSION = "end_session"
    STATUS = "status"


@dataclass(frozen=True, slots=True)
class DemoGroup:
    """A group; `members` are staff keys."""

    key: str
    name: str
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DemoOrganization:
    key: str
    name: str


@dataclass(frozen=True, slots=True)
class DemoEndUser:
    """A customer; `organization` is the key of one."""

    key: str
    name: str
    email: str | None
    email_verified: bool
    organization: str | None


@dataclass(frozen=True, slots=True)
class DemoAction:
    kind: DemoActionKind
    value: str | None


@dataclass(frozen=True, slots=True)
class DemoMacro:
    """A macro that everyone shares."""

    key: str
    title: str
    actions: tuple[DemoAction, ...]


@dataclass(frozen=True, slots=True)
class DemoStep:
    """One step, `after_minutes` after the step before it. A note may have another author than the assignee."""

    by: StepKind
    after_minutes: int
    text: str | None
    author: str | None

    @property
    def words(self) -> str:
        """The text of a step that says something."""
        if self.text is None:
            raise ValueError(f"a step of kind {self.by} has no text")
        return self.text

    @property
    def status(self) -> DemoStatus:
        """The status that a status step sets."""
        return DemoStatus(self.words)


@dataclass(frozen=True, slots=True)
class DemoConversation:
    """One conversation with its ticket. `assignee` is a staff key, `continues` the key of an earlier conversation."""

    key: str
    requester: str
    channel: DemoChannel
    group: str | None
    assignee: str | None
    tags: tuple[str, ...]
    minutes_ago: int
    continues: str | None
    script: tuple[DemoStep, ...]

    @property
    def ended(self) -> bool:
        """Whether an agent ends the session in the course of the script."""
        return any(step.by is StepKind.END_SESSION for step in self.script)

    def timeline(self) -> Iterator[tuple[int, DemoStep]]:
        """Each step with the number of minutes that it lies in the past."""
        passed = accumulate(step.after_minutes for step in self.script)
        return ((self.minutes_ago - minutes, step) for minutes, step in zip(passed, self.script, strict=True))

    def author_of(self, step: DemoStep) -> str:
        """The key of whoever takes the step: the requester, the note's own author, or the assignee."""
        author = self.requester if step.by is StepKind.CUSTOMER else step.author or self.assignee
        if author is None:
            raise ValueError(f"nobody takes the step {step.by} of {self.key}")
        return author


@dataclass(frozen=True, slots=True)
class DemoContent:
    """Everything. Conversations are in the order of their beginnings, the oldest first."""

    groups: tuple[DemoGroup, ...]
    organizations: tuple[DemoOrganization, ...]
    end_users: tuple[DemoEndUser, ...]
    macros: tuple[DemoMacro, ...]
    conversations: tuple[DemoConversation, ...]


def load_content() -> DemoContent:
    """The content of the file beside this module; an unknown field, kind, channel or status is an error."""
    raw = json.loads(files(__package__).joinpath("content.json").read_text(encoding="utf-8"))
    return DemoContent(
        groups=tuple(_group(row) for row in raw["groups"]),
        organizations=tuple(DemoOrganization(**row) for row in raw["organizations"]),
        end_users=tuple(DemoEndUser(**row) for row in raw["end_users"]),
        macros=tuple(_macro(row) for row in raw["macros"]),
        conversations=tuple(_conversation(row) for row in raw["conversations"]),
    )


def _group(row: dict[str, Any]) -> DemoGroup:
    return DemoGroup(**row | {"members": tuple(row["members"])})


def _macro(row: dict[str, Any]) -> DemoMacro:
    return DemoMacro(**row | {"actions": tuple(_action(action) for action in row["actions"])})


def _action(row: dict[str, Any]) -> DemoAction:
    return DemoAction(**row | {"kind": DemoActionKind(row["kind"])})


def _conversation(row: dict[str, Any]) -> DemoConversation:
    parsed = {
        "channel": DemoChannel(row["channel"]),
        "tags": tuple(row["tags"]),
        "script": tuple(_step(step) for step in row["script"]),
    }
    return DemoConversation(**row | parsed)


def _step(row: dict[str, Any]) -> DemoStep:
    step = DemoStep(**{"author": None} | row | {"by": StepKind(row["by"])})
    if step.by is StepKind.STATUS:
        DemoStatus(step.words)
    return step
