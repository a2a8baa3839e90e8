"""The command line: what it does, and what it says to who uses it wrongly."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import pytest

from deskwire.cli import main
from tests.server.process import CHECKOUT, KEY, Done, deskwire, refused, together
from tests.server.stage import SLUG, staged

OPTIONS = {
    "serve": ["--host", "--port"],
    "migrate": [],
    "seed": ["--slug", "--json"],
    "token": ["--account", "--user", "--days", "--json"],
    "replay": ["FILE", "--url", "--account", "--conversations", "--rate", "--at-once", "--json"],
    "schema": [],
}


def test_the_commands_are_listed() -> None:
    done = deskwire("", "--help")
    assert done.status == 0
    assert all(f"\n    {name} " in done.out for name in OPTIONS)


@pytest.mark.parametrize("name", OPTIONS)
def test_every_command_explains_its_options(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([name, "--help"])
    told = capsys.readouterr()
    assert (caught.value.code, told.err) == (0, "")
    assert f"python -m deskwire {name} " in told.out
    assert all(option in told.out for option in OPTIONS[name])


def test_the_schema_is_printed_without_a_database() -> None:
    done = deskwire("postgres://nobody@127.0.0.1:1/nowhere", "schema")
    assert done.status == 0
    assert done.out == (CHECKOUT / "schema" / "schema.graphql").read_text()


def test_commands_say_that_a_database_needs_migrating(empty_url: str) -> None:
    commands = [["serve", "--port", "0"], ["seed"], ["token", "--account", "demo", "--user", "somebody@demo.example"]]
    for done in together([partial(deskwire, empty_url, *each) for each in commands]):
        assert refused(done, "Run: python -m deskwire migrate")


def test_a_second_migration_has_nothing_to_do(empty_url: str) -> None:
    count = len(list((CHECKOUT / "models" / "migrations").glob("0*.py")))
    first, second = deskwire(empty_url, "migrate"), deskwire(empty_url, "migrate")
    assert first.status == 0
    assert f"{count} migrations applied" in first.out
    assert (second.status, second.out) == (0, "Nothing to do: it is up to date\n")


def test_a_database_that_cannot_be_used_is_said(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("This is a text, and no database. " * 40)
    cases: dict[str, tuple[partial[Done], list[str]]] = {
        "nobody there": (
            partial(deskwire, "postgres://me:hidden@127.0.0.1:1/desk", "migrate"),
            ["127.0.0.1:1/desk", "Is it running", "DESKWIRE_DATABASE_URL"],
        ),
        "a folder": (partial(deskwire, f"sqlite://{tmp_path}", "migrate"), ["is no file", "DESKWIRE_DATABASE_URL"]),
        "a text": (partial(deskwire, f"sqlite://{tmp_path / 'text.db'}", "migrate"), ["not a database"]),
        "nowhere": (partial(deskwire, "sqlite:///proc/nowhere/desk.db", "migrate"), ["/proc/nowhere"]),
        "development key": (
            partial(deskwire, f"sqlite://{tmp_path / 'good.db'}", "serve", env="production"),
            ["DESKWIRE_SECRET_KEY", "32 characters"],
        ),
    }
    done = together([call for call, _ in cases.values()])
    for (_, words), each in zip(cases.values(), done, strict=True):
        assert refused(each, *words)
    assert "hidden" not in done[0].err
    assert not (tmp_path / "good.db").exists()


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("DATABASE_URL", "mysql://host/desk", ["mysql", "sqlite://", "postgres://"]),
        ("DATABASE_URL", "sqlite://:memory:", ["needs a file"]),
        ("PORT", "http", ["DESKWIRE_PORT='http'"]),
        ("WORKERS", "0", ["DESKWIRE_WORKERS", "more than 0"]),
        ("ENV", "test", ["DESKWIRE_ENV", "development or production"]),
        ("ALLOW_GET", "maybe", ["DESKWIRE_ALLOW_GET='maybe'"]),
        ("ENDING_SESSIONS_SINCE", "2026-01-01", ["DESKWIRE_ENDING_SESSIONS_SINCE"]),
        ("EMAIL_URL", "https://mx.example", ["DESKWIRE_EMAIL_URL", "smtp://", "files://"]),
        ("EMAIL_DOMAIN", "support@acme", ["DESKWIRE_EMAIL_DOMAIN", "mail.example.com"]),
        ("BROADCAST_URL", "kafka://host", ["DESKWIRE_BROADCAST_URL", "redis://"]),
        ("BROADCAST_URL", "database://", ["DESKWIRE_BROADCAST_URL=database://", "PostgreSQL", "memory://"]),
    ],
)
def test_a_value_that_cannot_be_used_is_said(
    name: str,
    value: str,
    words: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("DESKWIRE_DATABASE_URL", f"sqlite://{tmp_path / 'unused.db'}")
    monkeypatch.setenv(f"DESKWIRE_{name}", value)
    status = main(["migrate"])
    assert refused(Done(status, *capsys.readouterr()), *words)
    assert not (tmp_path / "unused.db").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("", ["COMMAND"]),
        ("token --account a --user b --days 0", ["--days"]),
        ("token --account a --user b --days nan", ["--days"]),
        ("token --account a --user b --days 367", ["--days", "366"]),
        ("serve --workers 0", ["--workers"]),
        ("serve --workers 65", ["--workers", "64"]),
        ("seed --slug -", ["'-' is no short name"]),
        ("seed --slug Two", ["'Two' is no short name"]),
        ("replay file --account a --conversations 0", ["--conversations"]),
        ("replay file --account a --at-once 0", ["--at-once"]),
        ("replay file --account a --rate -1", ["--rate"]),
    ],
)
def test_an_argument_that_cannot_be_used_is_said(
    arguments: str, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments.split())
    assert isinstance(caught.value.code, int)
    assert refused(Done(caught.value.code, *capsys.readouterr()), *words)


def test_a_port_that_cannot_be_had_is_said(sqlite_url: str) -> None:
    taken = deskwire(sqlite_url, "serve", "--port", "70000")
    assert refused(taken, "127.0.0.1:70000", "--port")


@pytest.fixture(scope="module")
def staged_url(sqlite_url: str) -> str:
    """With an account in it."""
    staged(sqlite_url)
    return sqlite_url


def test_tokens_are_for_those_who_are_there(staged_url: str) -> None:
    account, user = together(
        [
            partial(deskwire, staged_url, "token", "--account", "nobody", "--user", "ada@acme.example"),
            partial(deskwire, staged_url, "token", "--account", SLUG, "--user", "nobody@acme.example"),
        ]
    )
    assert refused(account, "no account 'nobody'", f"There are: {SLUG}")
    assert refused(user, "'nobody@acme.example'", "ada@acme.example")


def test_a_token_is_printed_alone(staged_url: str) -> None:
    done = deskwire(staged_url, "token", "--account", SLUG, "--user", "ada@acme.example")
    assert done.status == 0
    assert re.fullmatch(r"dw_[0-9a-f]{32}_[0-9a-f]{64}\n", done.out)


def test_production_accepts_a_key_of_its_own(sqlite_url: str) -> None:
    assert deskwire(sqlite_url, "migrate", env="production", secret_key=KEY, email_inbound_key=KEY).status == 0


def test_production_needs_a_key_for_mails_that_come_in(sqlite_url: str) -> None:
    done = deskwire(sqlite_url, "serve", env="production", secret_key=KEY)
    assert refused(done, "DESKWIRE_EMAIL_INBOUND_KEY", "32 characters")
