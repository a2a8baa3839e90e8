"""The libraries, and a server for them."""

from __future__ import annotations

import pytest

from tests.clients.installed import install
from tests.server.conftest import sqlite_url, start

__all__ = ["sqlite_url", "start"]


@pytest.fixture(scope="session", autouse=True)
def _installed() -> None:
    install()
