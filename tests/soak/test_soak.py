"""The small soak (R157–R159): nothing is lost, repeated, out of order, invented or leaked, whatever is killed."""

from __future__ import annotations

import pytest

from tests.soak.plan import small
from tests.soak.running import soak

pytestmark = pytest.mark.soak


def test_on_sqlite() -> None:
    report = soak(small("sqlite"))
    assert report.is_good, str(report)


def test_on_postgres_with_redis_and_two_servers() -> None:
    report = soak(small("postgres"))
    assert report.is_good, str(report)
