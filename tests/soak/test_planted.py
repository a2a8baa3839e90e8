"""A soak that cannot fail is worthless: each planted defect is found, by a checker whose business it is."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.soak.plan import Faults, Plan
from tests.soak.planted import PLANTED
from tests.soak.running import soak

QUICK = Plan("sqlite", accounts=2, writers=2, seconds=4, pause=0.1, faults=Faults(cuts_a_second=2.0), patience=10)

FOUND_BY = {
    "drop_one": {"acked_not_lost"},
    "repeat_one": {"dense_order"},
    "swap_two": {"dense_order"},
    "leak_one": {"isolation"},
    "skip_one": {"acked_not_lost"},
    "publish_before_commit": {"acked_not_lost"},
    "off_by_one_cursor": {"acked_not_lost"},
    "missing_account_filter": {"acked_not_lost", "dense_order", "no_phantom", "isolation"},
    "cached_role": {"authz_time"},
}


def test_a_server_without_a_defect_passes() -> None:
    report = soak(QUICK)
    assert report.violations == {}, str(report)
    assert report.events > 0


@pytest.mark.parametrize("defect", FOUND_BY)
def test_a_planted_defect_is_found(defect: str) -> None:
    """Whoever is owed something will not get it: there is no need to wait for long."""
    # Without a bell, nothing but the next one wakes a reader.
    poll = 60.0 if defect == "publish_before_commit" else QUICK.poll_seconds
    report = soak(replace(QUICK, planted=defect, patience=2.0, poll_seconds=poll))
    assert FOUND_BY[defect] & set(report.violations), str(report)


def test_every_defect_is_planted() -> None:
    assert set(FOUND_BY) == set(PLANTED)
