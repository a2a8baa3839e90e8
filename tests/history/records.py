"""A history: what clients did and what reached them, as JSON lines; and the facts that the log holds in the end."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import orjson


class Stage(StrEnum):
    """How far an operation is, and what became of a subscriber.

    INFO: nobody knows whether it happened (a time limit, a reset). TOLD: he got something that is not the delivery of
    one place of the log: errors, or that rows left his list with his access, of which several come at one place.
    """

    INVOKE = "invoke"
    OK = "ok"
    FAIL = "fail"
    INFO = "info"
    CONNECT = "connect"
    DELIVER = "deliver"
    TOLD = "told"
    DISCONNECT = "disconnect"


@dataclass(frozen=True, slots=True)
class Record:
    """One line.

    op          the mutation or the subscription
    process     who did it; a subscriber's name is his for all his connections
    key         of the operation: its idempotency key, echoed as clientId by what it causes
    position    of a delivered item; of a connection, where it resumed
    connection  which of the subscriber's connections it was
    what        the id of the delivered event, where the item names it
    has_content whether the item showed a ticket, or told that one is gone
    marks       the marks of accounts that the frame holds
    at          monotonic nanoseconds, the same clock for all processes of a machine
    """

    op: str
    process: str
    stage: Stage
    account: str
    ticket: str | None = None
    key: str | None = None
    position: int | None = None
    cursor: str | None = None
    connection: int = 0
    what: str | None = None
    has_content: bool = True
    marks: tuple[str, ...] = ()
    at: int = 0


@dataclass(frozen=True, slots=True)
class Fact:
    """A row of the event log, as it is read in the end."""

    account: str
    position: int
    type: str
    audit: str
    ticket: str | None = None
    key: str | None = None


class Recorder:
    """Writes a history while it happens, and keeps it."""

    def __init__(self, path: Path) -> None:
        self.records: list[Record] = []
        self._file = path.open("ab")

    def note(self, op: str, process: str, stage: Stage, account: str, **more: Any) -> Record:
        record = Record(op, process, stage, account, at=time.monotonic_ns(), **more)
        self.records.append(record)
        self._file.write(orjson.dumps(dataclasses.asdict(record)) + b"\n")
        return record

    def close(self) -> None:
        self._file.close()


def read(path: Path) -> Iterator[Record]:
    """The records of a file."""
    for line in path.read_bytes().splitlines():
        values = orjson.loads(line)
        yield Record(**values | {"stage": Stage(values["stage"]), "marks": tuple(values["marks"])})
