"""The points themselves: how they are named in the configuration, what they do, and that a server goes past each."""

from __future__ import annotations

import re
import signal
import time

import httpx
import pytest

from deskwire.config import BadConfiguration, load
from domain.failpoints import POINTS, Failpoint, FailpointReached, parsed
from tests.failpoints.forking import ForkedServer
from tests.failpoints.stage import outcome, planned
from tests.failpoints.test_every_point import SYNC, Listener, asked, call
from tests.server.process import KEY


def test_failpoints_are_read_from_one_line() -> None:
    assert parsed("") == {}
    assert parsed("before_commit:kill, after_commit:sleep:0.5*2,before_reply:raise*3") == {
        "before_commit": Failpoint("kill"),
        "after_commit": Failpoint("sleep", 0.5, only=2),
        "before_reply": Failpoint("raise", only=3),
    }


@pytest.mark.parametrize(
    "text",
    ["before_lunch:kill", "before_commit", "before_commit:sleep", "before_commit:kill:1", "before_commit:kill*0", ","],
)
def test_what_is_no_failpoint_is_said(text: str) -> None:
    with pytest.raises(BadConfiguration, match=r"DESKWIRE_FAILPOINTS: .* is not like before_commit:kill"):
        load({"DESKWIRE_FAILPOINTS": text})


def test_production_refuses_them() -> None:
    production = {"DESKWIRE_ENV": "production", "DESKWIRE_SECRET_KEY": KEY, "DESKWIRE_EMAIL_INBOUND_KEY": KEY}
    assert load(production).failpoints == ""
    with pytest.raises(BadConfiguration, match="Production takes no DESKWIRE_FAILPOINTS"):
        load(production | {"DESKWIRE_FAILPOINTS": "before_commit:sleep:0"})


async def test_an_action_happens_at_every_passage_or_at_one() -> None:
    always, second = Failpoint("raise"), Failpoint("raise", only=2)
    happened = []
    for failpoint in (always, second):
        for _ in range(3):
            try:
                await failpoint.pass_by("before_commit")
                happened.append(False)
            except FailpointReached:
                happened.append(True)
    assert happened == [True, True, True, False, True, False]


async def test_sleep_waits() -> None:
    began = time.monotonic()
    await Failpoint("sleep", 0.1).pass_by("before_commit")
    assert time.monotonic() - began >= 0.1


def test_a_server_goes_past_each_point(server: ForkedServer, url: str) -> None:
    """A point that nothing reaches would prove nothing."""
    change = planned(url, "endSession")
    server.start(armed=",".join(f"{point}:sleep:0" for point in POINTS))
    listener = Listener(server, change.listener, asked(server, change.listener, SYNC)["syncCursor"])
    assert call(server, change)
    with listener.listening() as socket:
        listener.take_until(socket, outcome(url, change).last_position)
    server.signal(signal.SIGTERM)
    assert server.wait() == 0
    reached = re.findall(r"failpoint (\w+): sleep", server.log.read_text())
    assert set(reached) == set(POINTS)


def test_a_server_without_them_goes_past_none(server: ForkedServer, url: str) -> None:
    change = planned(url, "postComment")
    server.start()
    assert call(server, change)
    assert "failpoint" not in server.log.read_text()


@pytest.mark.parametrize(("point", "happened"), [("before_commit", False), ("after_commit", True)])
def test_an_unexpected_failure_is_masked_and_can_be_repeated(
    server: ForkedServer, url: str, point: str, happened: bool
) -> None:
    """R37: the answer is an error whose effect nobody knows; with the same key the effect is there once."""
    change = planned(url, "postComment")
    before = outcome(url, change)
    server.start(armed=f"{point}:raise*1")
    body = {"query": change.document, "variables": {"input": change.input}}
    headers = {"Authorization": f"Bearer {change.token}"}
    answer = httpx.post(f"{server.address}/graphql", json=body, headers=headers)
    assert answer.json()["errors"][0]["extensions"]["code"] == "INTERNAL_SERVER_ERROR"
    assert "failpoint" not in answer.text.lower()
    assert outcome(url, change).audits == before.audits + happened
    assert call(server, change)
    assert outcome(url, change).audits == before.audits + 1
