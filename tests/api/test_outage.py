"""A database that does not answer is said so, with a status that clients may repeat after."""

from __future__ import annotations

import psycopg
import pytest
from starlette.applications import Starlette

from tests.client import Client


async def test_without_a_database_the_answer_is_503(app: Starlette, monkeypatch: pytest.MonkeyPatch) -> None:
    async def out_of_reach(token: str, now: object) -> None:
        raise psycopg.OperationalError("connection to server at 10.1.2.3 failed")

    monkeypatch.setattr("deskwire.app.authenticate", out_of_reach)
    response = await Client(app, "dw_any").post("{ viewer { user { id } } }")
    assert response.status_code == 503
    assert [error["extensions"]["code"] for error in response.json()["errors"]] == ["SERVICE_UNAVAILABLE"]
    assert "10.1.2.3" not in response.text
