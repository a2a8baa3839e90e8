"""The small soak (R157–R159): nothing is lost, repeated, out of order, invented or leaked, whatever is killed."""

from __future__ import annotations

import pytest

from tests.history.checkers import Evidence, violations
from tests.soak.plan import BUSES, small
from tests.soak.running import explained, soak

pytestmark = pytest.mark.soak


def test_on_sqlite() -> None:
    report = soak(small("sqlite"))
    assert report.is_good, str(report)


@pytest.mark.parametrize("bus", BUSES.values(), ids=BUSES)
def test_on_postgres_with_redis_and_two_servers(bus: str) -> None:
    """R160, R163: whatever the bus between the two does."""
    report = soak(small("postgres", bus=bus))
    assert report.is_good, str(report)


OUTAGES = [
    "polling failed; it is tried again: consuming input failed: server closed the connection unexpectedly\n\tThis",
    "reading the log failed; it is tried again: terminating connection due to administrator command",
    "polling failed; it is tried again: couldn't get a connection after 5.00 sec",
]


@pytest.mark.parametrize("words", OUTAGES)
def test_what_a_fault_explains_may_be_logged(words: str) -> None:
    """In the words that were met. Not where nothing was done to PostgreSQL, and never a defect beside it."""
    log = f"2026-11-25 20:59:53,045 ERROR deskwire.hub: {words}\n"
    defect = "2026-11-25 20:59:54,045 ERROR deskwire.hub: polling failed; it is tried again: 7\nTraceback (most recent"
    away, there = explained(small("postgres").faults), explained(small("sqlite").faults)
    assert violations(Evidence([], [], logs={"server": log}, allowed=away)) == {}
    assert violations(Evidence([], [], logs={"server": log}, allowed=there)).keys() == {"no_dirty_error"}
    assert violations(Evidence([], [], logs={"server": log + defect}, allowed=away)).keys() == {"no_dirty_error"}
