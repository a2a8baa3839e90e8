"""The benchmarks work, and count rightly. Their figures are for people, and for no test."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.commits import AT_ONCE, SMALL, run
from bench.events import Tally, Wrong, check_counts, connections, item_of, run_event
from bench.frames import TEXT, server_frame, split
from bench.load import Load, Lost, load
from bench.members import Subscriber
from bench.report import judged, percentile
from bench.servers import LIMIT_ID, Item, Target, limit, python_peer
from tests.server.process import CHECKOUT

ITEM: Item = {"cursor": "c", "clientId": None, "event": {"id": "e"}, "ticket": {"id": "t"}}


def bench(*arguments: str) -> str:
    """What a command of the benchmarks prints. It must end well."""
    done = subprocess.run([sys.executable, "-m", *arguments], cwd=CHECKOUT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


def test_commits_are_measured_and_checked() -> None:
    out = bench("bench.commits", "--small")
    lines = re.findall(r"^(sqlite|postgres) +(\d+) +\d+ +[\d.]+ +\d+ +[\d.]+   (.*)$", out, re.MULTILINE)
    right = "each ended once, no gaps"
    assert lines == [(name, str(count), right) for name in ("sqlite", "postgres") for count in AT_ONCE]
    over_http = re.findall(r"^(sqlite|postgres) +(\d+) .* (\d+) ended$", out, re.MULTILINE)
    assert over_http == [(name, count, str(SMALL)) for name in ("sqlite", "postgres") for count in ("1", "16")]
    assert "CPUs" in out
    assert "Python" in out


def test_a_commit_that_is_missing_is_noticed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def nothing(*_: object) -> None:
        return

    monkeypatch.setattr("bench.commits.end_session", nothing)
    assert run(2, "sqlite") == 1
    assert "WRONG: 0 sessions ended" in capsys.readouterr().out


def test_fan_out_is_measured_beside_its_peers() -> None:
    out = bench("bench.fanout", "--small", "--sections", "peers")
    rows = re.findall(r"^(deskwire|strawberry \+ broadcaster|graphql-ws|limit: send in \w+)  .* (2 x \d+)$", out, re.M)
    servers = [row[0].split(":")[0] for row in rows]
    assert servers == ["deskwire", "strawberry + broadcaster", "graphql-ws", "limit"] * 2
    assert [row[1] for row in rows] == ["2 x 5"] * 4 + ["2 x 20"] * 4
    assert "N = 20: times the CPU of Deskwire" in out


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ("cohorts", ["distinct documents", "distinct audiences", "4 cohorts: ", "2 x 8"]),
        ("memory", ["deskwire, compression not offered: ", "graphql-ws, compression declined: "]),
        ("reconnect", ["subscribing, times the CPU of a bare accept: ", "resuming with 2 missed events"]),
        ("processes", ["two processes, times the CPU of one per delivery: ", "2 x 10"]),
    ],
)
def test_a_section_is_measured(section: str, said: list[str]) -> None:
    out = bench("bench.fanout", "--small", "--sections", section)
    assert [text for text in said if text not in out] == []


def test_the_way_to_the_screen_is_measured() -> None:
    out = bench("bench.screen", "--small")
    rows = re.findall(
        r"^(one process|two processes, Redis stopped|two processes, Redis|the broker's).* (\d+)  each", out, re.M
    )
    assert rows == [
        ("one process", "3"),
        ("two processes, Redis", "3"),
        ("two processes, Redis stopped", "2"),
        ("the broker's", "3"),
    ]


@pytest.mark.parametrize("command", ["bench", "bench.fanout", "bench.commits", "bench.screen"])
def test_a_command_says_what_it_does(command: str) -> None:
    assert f"python -m {command}" in bench(command, "--help")


def test_the_limit_is_measured_without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with ready(3) as (target, members):
        assert target.name == "limit: send in Python"
        run_event(target, [members], Tally(3))
        check_counts(members, 1)


@contextmanager
def ready(count: int) -> Iterator[tuple[Target, Load]]:
    """The raw limit, with so many connections."""
    with limit(ITEM, None) as target, load(target.port, None) as members:
        members.join(connections(count))
        yield target, members


def test_each_delivery_is_counted_and_compared() -> None:
    with ready(3) as (target, members):
        tally = Tally(3)
        assert run_event(target, [members], tally) == ITEM
        check_counts(members, 1)
        assert (tally.events, len(tally.last)) == (1, 1)


def test_a_delivery_that_comes_twice_is_noticed() -> None:
    with ready(3) as (target, members):
        target.end()
        run_event(target, [members], Tally(3))
        with pytest.raises(Wrong, match=r"events received, and by how many: \{2: 3\}; expected 1 by 3"):
            check_counts(members, 1)


def test_a_delivery_that_is_missing_is_noticed() -> None:
    with ready(3) as (target, members):
        members.begin()
        target.end()
        with pytest.raises(Lost, match="3 of 4 deliveries came"):
            members.wait(4, timeout=3)


def test_a_content_that_differs_is_noticed() -> None:
    with ready(1) as (target, members):
        other = Target("other", target.port, target.pids, lambda: target.end() | {"ticket": {"id": "another"}})
        with pytest.raises(Wrong, match=r"the mutation and the frame differ in \{'ticket'\}"):
            run_event(other, [members], Tally(1))


def test_a_frame_of_somebody_else_is_noticed() -> None:
    message = {"type": "next", "id": "mine", "payload": {"data": {"sessionEnded": ITEM}}}
    assert item_of("mine", message) == ITEM
    with pytest.raises(Wrong):
        item_of("yours", message)
    with pytest.raises(Wrong):
        item_of("mine", message | {"payload": {"data": None, "errors": [{"message": "no"}]}})


def test_a_server_that_does_not_answer_is_noticed() -> None:
    subscriber = Subscriber(LIMIT_ID, token="token")
    with (
        limit(ITEM, None) as target,
        load(target.port, None) as members,
        pytest.raises(Lost, match="0 of 1 subscribed"),
    ):
        members.join([subscriber], timeout=0.3)


def test_a_server_that_goes_is_noticed() -> None:
    with ready(2) as (target, members):
        os.kill(target.pids[0], signal.SIGKILL)
        with pytest.raises(Lost, match=r"0 of 2 deliveries came .*(end of stream|reset by peer)"):
            members.wait(2, timeout=5)


def test_an_operation_that_is_refused_is_noticed() -> None:
    subscriber = Subscriber(LIMIT_ID, token="token", query="subscription { nothing }")

    def subscribe(members: Load) -> None:
        members.join([subscriber])
        members.wait(1, timeout=5)

    peer = python_peer("bench.peers.naive", None)
    with peer as (_, port), load(port, None) as members, pytest.raises(Lost, match="Cannot query field"):
        subscribe(members)


@given(st.lists(st.binary(max_size=70_000), max_size=5), st.data())
def test_frames_are_found_however_they_arrive(payloads: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(server_frame(payload) for payload in payloads)
    found, rest = [], b""
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        frames, rest = split(rest + stream[:size])
        stream = stream[size:]
        found += frames
    assert (found, rest) == ([(0x80 | TEXT, payload) for payload in payloads], b"")


def test_a_percentile_is_a_value_that_was_measured() -> None:
    hundreds = [float(number) for number in range(1, 201)]
    assert [percentile(hundreds, share) for share in (0.0, 0.5, 0.99, 1.0)] == [1.0, 100.0, 198.0, 200.0]
    assert percentile([7.0], 0.99) == 7.0


def test_a_goal_is_kept_or_missed() -> None:
    assert judged(15.0, least=15) == "15 (goal: at least 15, ok)"
    assert judged(14.0, least=15) == "14 (goal: at least 15, MISSED)"
    assert judged(1.5, most=1.3) == "1.5 (goal: at most 1.3, MISSED)"
    assert judged(31.0, most=32, unit=" KiB") == "31 KiB (goal: at most 32 KiB, ok)"
    assert judged(2.5) == "2.5"
