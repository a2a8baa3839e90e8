"""The close codes, error codes and limits that docs/guides/live.md and SECURITY.md tell are those of the code."""

from __future__ import annotations

import re

from deskwire.config import Config
from deskwire.serving.protocol import HEADERS_SECONDS
from domain.errors import ErrorCode
from subscriptions import messages
from subscriptions.cohorts import QUEUE
from subscriptions.connections import PING_SECONDS
from subscriptions.transport import INIT_SECONDS, MOST_OPERATIONS
from subscriptions.wires import FULL_BYTES, SEND_SECONDS
from tests.architecture.source import CHECKOUT

GUIDE = (CHECKOUT / "docs" / "guides" / "live.md").read_text()
SECURITY = (CHECKOUT / "SECURITY.md").read_text()
NOBODY_SENDS = {"1006"}


def section(name: str) -> str:
    found = re.search(rf"^## {name}\n(.*?)(?=^## |\Z)", GUIDE, re.MULTILINE | re.DOTALL)
    assert found, name
    return found[1]


def first_column(text: str) -> list[str]:
    return re.findall(r"^\| ([^|]+) \|", text, re.MULTILINE)


def sources(*folders: str) -> str:
    files = sorted(path for folder in folders for path in (CHECKOUT / folder).rglob("*.py"))
    return "\n".join(path.read_text() for path in files)


def test_the_guide_has_each_close_code_once() -> None:
    """So has the catalogue in subscriptions/messages.py; and no other code is sent."""
    told = re.findall(r"^\| (\d{4})", section("Close codes"), re.MULTILINE)
    catalogue = re.findall(r"^    (\d{4})  ", messages.__doc__ or "", re.MULTILINE)
    code = sources("subscriptions").replace(messages.__doc__ or "", "")
    sent = set(re.findall(r"\b(101\d|44\d\d)\b", code))
    assert len(told) == len(set(told))
    assert set(told) - NOBODY_SENDS == set(catalogue)
    assert sent == set(catalogue)


def test_the_guide_has_each_error_code_once() -> None:
    """Those of refusals, and those that streams end with."""
    rows = " ".join(first_column(section("Error codes")))
    told = re.findall(r"`([A-Z_]+)`", rows)
    streams = {"SERVER_RESTARTING", "SERVICE_UNAVAILABLE"}
    assert len(told) == len(set(told))
    assert set(told) == set(ErrorCode) | streams
    for code in streams:
        assert f'code = "{code}"' in sources("subscriptions", "deskwire")


def test_the_guide_has_each_code_that_is_no_refusal() -> None:
    raised = set(re.findall(r'said\("([A-Z_]+)"', sources("subscriptions")))
    raised |= set(re.findall(r'^[A-Z_]+ = "([A-Z]+_[A-Z_]+)"$', sources("execution"), re.MULTILINE))
    assert {code for code in raised if f"`{code}`" not in section("Error codes")} == set()


def test_limits_are_those_of_the_code() -> None:
    config = Config()
    caps = (config.person_sockets, config.account_sockets, config.most_sockets)
    in_words = "A person has up to {:,} live connections, an account {:,}, a process {:,}"
    assert in_words.format(*caps) in GUIDE
    assert f"One socket takes {MOST_OPERATIONS} subscriptions" in GUIDE
    assert f"Within {INIT_SECONDS:g} seconds send" in GUIDE
    assert f"pings every {PING_SECONDS} seconds" in GUIDE
    assert f"{QUEUE} items behind" in GUIDE
    assert f"Who does not read for {SEND_SECONDS:g} seconds" in GUIDE
    for row in (
        "| live connections of a person, an account, a process | {:,}, {:,}, {:,} ".format(*caps),
        f"| operations on a socket | {MOST_OPERATIONS} |",
        f"| items that one stream may be behind | {QUEUE} |",
        f"| time for `connection_init` | {INIT_SECONDS:g} s |",
        f"| time for the headers of a request | {HEADERS_SECONDS:g} s |",
        f"| time for a connection to take something | {SEND_SECONDS:g} s |",
        f"what follows waits in the log | {FULL_BYTES // 1024} KiB |",
    ):
        assert row in SECURITY, row
