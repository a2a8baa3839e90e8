"""One process that forks servers, for all tests of a module."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import BACK_ENDS
from tests.databases import Postgres, Sqlite
from tests.failpoints.forking import ForkedServer, Forker, forker


@pytest.fixture(scope="module")
def forks() -> Iterator[Forker]:
    with forker() as running:
        yield running


@pytest.fixture(scope="module", params=BACK_ENDS)
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a migrated database. A test that asks for it runs once on each back end."""
    back_end: Sqlite | Postgres = request.getfixturevalue(request.param)
    with back_end.fresh() as url:
        yield url


@pytest.fixture
def server(forks: Forker, url: str, tmp_path: Path) -> Iterator[ForkedServer]:
    """Not started. It has no jobs: they would go past the points, too."""
    made = ForkedServer(forks, url, tmp_path, jobs="false", poll_seconds="0.2")
    yield made
    made.close()
