"""What a soak is made of: how large, on what, and what is broken meanwhile."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Literal

BackEnd = Literal["sqlite", "postgres"]

BUSES = {"good": "", "drops everything": "drop=1.0", "repeats everything": "repeat=3"}
"""What the bus does, as DESKWIRE_BUS_FAULTS names it."""


COUNTED = ("kills", "stops", "deploys", "redis_restarts", "redis_stops", "redis_cuts", "restarts", "terminations")


@dataclass(frozen=True, slots=True)
class Faults:
    """How often each thing is broken.

    kills            a server is killed (SIGKILL) and started again
    stops            a server is stopped (SIGSTOP) for `stop_seconds`
    deploys          a server is ended in order (SIGTERM) and started again
    redis_restarts   Redis is killed and started again
    redis_stops      Redis is stopped for `stop_seconds`
    redis_cuts       the connections of those who listen to Redis are broken
    restarts         PostgreSQL is killed and started again
    terminations     all sessions of the database are ended
    cuts_a_second    clients' connections that are reset, whatever they do
    """

    kills: int = 0
    stops: int = 0
    deploys: int = 0
    redis_restarts: int = 0
    redis_stops: int = 0
    redis_cuts: int = 0
    restarts: int = 0
    terminations: int = 0
    cuts_a_second: float = 0.0
    stop_seconds: float = 1.0

    def planned(self, chance: random.Random) -> list[str]:
        """The names of all, in the order in which they come."""
        order = [name for name in COUNTED for _ in range(getattr(self, name))]
        chance.shuffle(order)
        return order


@dataclass(frozen=True, slots=True)
class Plan:
    """One soak.

    back_end    SQLite with one server, or PostgreSQL with two and Redis
    accounts    each has nine subscribers (a team, a partner, customers) and `writers` clients that write
    seconds     for how long is written
    pause       seconds between two operations of a writer, on average
    bus         the faults of the servers' bus, as DESKWIRE_BUS_FAULTS names them; "" for none
    planted     a defect of tests/soak/planted.py that the servers have; None for none
    """

    back_end: BackEnd
    accounts: int = 4
    writers: int = 3
    seconds: float = 30.0
    pause: float = 0.2
    faults: Faults = field(default_factory=Faults)
    bus: str = ""
    planted: str | None = None
    poll_seconds: float = 0.5
    patience: float = 30.0
    seed: int = 1


def small(back_end: BackEnd, *, bus: str = "", seed: int = 1) -> Plan:
    """What CI runs, on two cores."""
    if back_end == "sqlite":
        faults = Faults(kills=5, stops=2, deploys=1, cuts_a_second=2.0)
        return Plan("sqlite", accounts=3, seconds=45, faults=faults, bus=bus, seed=seed)
    redis = {"redis_restarts": 2, "redis_stops": 1, "redis_cuts": 1}
    faults = Faults(kills=5, stops=2, deploys=2, restarts=2, terminations=1, cuts_a_second=2.0, **redis)
    return Plan("postgres", accounts=3, seconds=60, faults=faults, bus=bus, seed=seed)


def long(back_end: BackEnd, *, seconds: float, bus: str = "", seed: int = 1) -> Plan:
    """The same for longer, with twice as many clients; a fault of each kind every so often."""
    often = int(seconds / 15)
    redis = {"redis_restarts": often, "redis_stops": often // 3, "redis_cuts": often // 2}
    database = {"restarts": often // 3, "terminations": often // 2}
    more = redis | database if back_end == "postgres" else {}
    faults = Faults(kills=2 * often, stops=often // 2, deploys=often // 2, cuts_a_second=6.0, stop_seconds=3.0, **more)
    return Plan(back_end, accounts=8, writers=4, seconds=seconds, faults=faults, bus=bus, seed=seed, patience=60)
