"""The benchmark works, and counts rightly. Its figures are for people, and for no test."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from bench.commits import AT_ONCE, run
from tests.server.process import CHECKOUT


def test_it_measures_and_checks() -> None:
    command = [sys.executable, "-m", "bench", "--sessions", "5"]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    lines = re.findall(r"^(sqlite|postgres) +(\d+) +\d+ +[\d.]+ +\d+ +[\d.]+   (.*)$", done.stdout, re.MULTILINE)
    right = "each ended once, no gaps"
    assert lines == [(name, str(count), right) for name in ("sqlite", "postgres") for count in AT_ONCE]
    assert "CPUs" in done.stdout
    assert "Python" in done.stdout


async def test_it_notices_what_is_wrong(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    async def nothing(*_: object) -> None:
        return

    monkeypatch.setattr("bench.commits.end_session", nothing)
    assert await run(2, "sqlite") == 1
    assert "WRONG: 0 sessions ended" in capsys.readouterr().out
