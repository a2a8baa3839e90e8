"""`seed`: the demonstration account that scripts are promised, made once and found again."""

from __future__ import annotations

import signal
import subprocess
from functools import partial
from typing import Any

import pytest

from schema.ids import decode_id
from tests.databases import plain_connection
from tests.server.conftest import Start
from tests.server.process import CHECKOUT, Server, command, deskwire, environment, refused, together
from tests.server.stage import SLUG, staged

PEOPLE = ["admin", "agent", "agent2", "group_agent", "light_agent", "customer", "customer2", "partner"]
TICKETS = ["live_session", "ended_session", "email"]


def rows(url: str, query: str) -> list[Any]:
    connection = plain_connection(url)
    try:
        return list(connection.execute(query).fetchall())
    finally:
        connection.close()


@pytest.fixture(scope="module")
def seeded(url: str) -> list[dict[str, Any]]:
    """Two accounts, made beside each other."""
    calls = [partial(deskwire, url, "seed", *more, "--json") for more in ([], ["--slug", "other"])]
    return [done.json() for done in together(calls)]


@pytest.fixture(scope="module")
def first(seeded: list[dict[str, Any]]) -> dict[str, Any]:
    return seeded[0]


@pytest.fixture(scope="module")
def again(url: str, first: dict[str, Any]) -> dict[str, Any]:
    before = rows(url, "SELECT slug, last_position FROM accounts ORDER BY slug")
    found = deskwire(url, "seed", "--json").json()
    assert rows(url, "SELECT slug, last_position FROM accounts ORDER BY slug") == before
    return found


@pytest.fixture(scope="module")
def server(url: str, start: Start, again: dict[str, Any]) -> Server:
    """After the second run, which must find nothing changed: a server ends what is over."""
    return start(url)


def test_it_prints_what_scripts_are_promised(first: dict[str, Any]) -> None:
    assert list(first) == ["account", "tokens", "tickets"]
    assert sorted(first["account"]) == ["id", "slug"]
    assert first["account"]["slug"] == "demo"
    assert sorted(first["tokens"]) == sorted(PEOPLE)
    assert sorted(first["tickets"]) == sorted(TICKETS)
    decode_id("Account", first["account"]["id"])
    for ticket in first["tickets"].values():
        decode_id("Ticket", ticket)


def test_a_second_run_makes_tokens_and_nothing_else(first: dict[str, Any], again: dict[str, Any]) -> None:
    assert again["account"] == first["account"]
    assert again["tickets"] == first["tickets"]
    assert not set(again["tokens"].values()) & set(first["tokens"].values())


def test_the_tokens_are_of_whom_they_say(server: Server, again: dict[str, Any], first: dict[str, Any]) -> None:
    roles = dict.fromkeys(PEOPLE, "AGENT") | {"admin": "ADMIN", "partner": "PARTNER"}
    roles |= dict.fromkeys(["customer", "customer2"], "END_USER")
    for tokens in (first["tokens"], again["tokens"]):
        found = {name: server.post(token, "Viewer")["viewer"] for name, token in tokens.items()}
        assert {name: viewer["user"]["role"] for name, viewer in found.items()} == roles
        assert {viewer["account"]["id"] for viewer in found.values()} == {first["account"]["id"]}
        assert len({viewer["user"]["id"] for viewer in found.values()}) == len(PEOPLE)


def test_the_tickets_are_as_promised(server: Server, first: dict[str, Any]) -> None:
    tokens, tickets = first["tokens"], first["tickets"]
    me = {name: server.post(tokens[name], "Viewer")["viewer"]["user"]["id"] for name in ("agent", "customer")}
    found = {name: server.post(tokens["agent"], "TicketView", id=tickets[name])["ticket"] for name in TICKETS}
    for name in ("live_session", "ended_session"):
        assert found[name]["requester"]["id"] == me["customer"]
        assert found[name]["assignee"]["id"] == me["agent"]
    assert found["live_session"]["session"]["state"] in ("ACTIVE", "INACTIVE")
    assert found["ended_session"]["session"]["state"] == "ENDED"
    assert found["email"]["channel"] == "EMAIL"
    assert found["email"]["session"] is None

    end = {"ticketId": tickets["live_session"]}
    assert server.post(tokens["agent"], "EndSession", input=end)["endSession"]["outcome"] == "ENDED"


def test_a_second_account_is_another_one(seeded: list[dict[str, Any]]) -> None:
    first, other = seeded
    assert other["account"]["slug"] == "other"
    assert other["account"]["id"] != first["account"]["id"]
    assert sorted(other["tokens"]) == sorted(PEOPLE)
    assert not set(other["tickets"].values()) & set(first["tickets"].values())


def test_an_interrupted_seed_leaves_no_account(sqlite_url: str) -> None:
    seeding = subprocess.Popen(
        command("seed", "--slug", "half", "--json"),
        cwd=CHECKOUT,
        env=environment(sqlite_url, {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with seeding:
        assert seeding.stderr is not None
        assert "50 of" in seeding.stderr.readline()
        seeding.send_signal(signal.SIGKILL)
        assert seeding.stdout is not None
        assert seeding.stdout.read() == ""
    assert rows(sqlite_url, "SELECT count(*) FROM accounts WHERE slug LIKE 'unfinished-%'")[0][0] == 1
    done = deskwire(sqlite_url, "token", "--account", "half", "--user", "agent@half.example")
    assert refused(done, "no account 'half'")
    assert "unfinished" not in done.err


def test_an_account_of_others_is_left_alone(sqlite_url: str) -> None:
    staged(sqlite_url)
    before = rows(sqlite_url, "SELECT count(*) FROM users")
    assert refused(deskwire(sqlite_url, "seed", "--slug", SLUG), "admin@acme.example")
    assert rows(sqlite_url, "SELECT count(*) FROM users") == before
