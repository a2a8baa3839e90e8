"""The small soak (R157–R159): nothing is lost, repeated, out of order, invented or leaked, whatever is killed."""

from __future__ import annotations

import pytest

from tests.soak.plan import BUSES, small
from tests.soak.running import soak

pytestmark = pytest.mark.soak


def test_on_sqlite() -> None:
    report = soak(small("sqlite"))
    assert report.is_good, str(report)


@pytest.mark.parametrize("bus", BUSES.values(), ids=BUSES)
def test_on_postgres_with_redis_and_two_servers(bus: str) -> None:
    """R160, R163: whatever the bus between the two does."""
    report = soak(small("postgres", bus=bus))
    assert report.is_good, str(report)
