"""The command line: `python -m deskwire COMMAND`. Errors say what to do, on standard error, with exit status 2."""

from __future__ import annotations

import argparse
import asyncio
import re
import sqlite3
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import psycopg_pool
from tortoise.exceptions import DBConnectionError

from deskwire.cli import replay, seed, serve, store
from deskwire.config import MOST_WORKERS, BadConfiguration, load
from domain.people import LONGEST_LIFE
from models.database import BadDatabaseUrl, is_contention, is_unavailable

Run = Callable[[argparse.Namespace], Coroutine[Any, Any, int]]

SERVES = "SIGTERM finishes what is under way and exits 0; with --workers, SIGHUP replaces them one after the other."
EPILOG = """\
configuration is read from the environment (see deskwire/config.py):
  DESKWIRE_DATABASE_URL   default sqlite://var/deskwire.db; or postgres://user:password@host/database
  DESKWIRE_BROADCAST_URL  default memory://
  DESKWIRE_ENV            development (default) or production

try first:
  python -m deskwire migrate && python -m deskwire seed && python -m deskwire serve
"""


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="python -m deskwire",
        description="Deskwire: messaging sessions, tickets and their live events, over GraphQL.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for add in (_serve, _migrate, _seed, _token, _capacity, _replay, _schema):
        add(commands)
    return top


def _command(commands: Any, name: str, run: Run, summary: str, more: str = "") -> argparse.ArgumentParser:
    made: argparse.ArgumentParser = commands.add_parser(name, help=summary, description=f"{summary} {more}".strip())
    made.set_defaults(run=run)
    return made


def _serve(commands: Any) -> None:
    made = _command(commands, "serve", serve.run, "Serve the API.", SERVES)
    made.add_argument("--host", help="default: DESKWIRE_HOST, or 127.0.0.1")
    made.add_argument("--port", type=int, help="default: DESKWIRE_PORT, or 8000; 0 takes a free one")
    made.add_argument("--workers", type=_workers, metavar="N", help="processes; default: DESKWIRE_WORKERS, or 1")
    # How the supervisor starts its workers; see deskwire/serving/workers.py.
    made.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    made.add_argument("--line", type=int, help=argparse.SUPPRESS)


def _migrate(commands: Any) -> None:
    _command(commands, "migrate", store.run_migrate, "Bring the database up to date.", "Safe to repeat.")


def _seed(commands: Any) -> None:
    made = _command(
        commands,
        "seed",
        seed.run,
        "Fill a demonstration account, and print who to log in as.",
        "Safe to repeat: an account that is there gets new tokens and nothing else.",
    )
    made.add_argument("--slug", type=_slug, default="demo", help="the account's short name (default: demo)")
    made.add_argument("--json", action="store_true", help="print one JSON object, for programs")


def _token(commands: Any) -> None:
    made = _command(commands, "token", store.run_token, "Make a bearer token for a user.", "It is shown this once.")
    made.add_argument("--account", required=True, metavar="SLUG")
    made.add_argument("--user", required=True, metavar="EMAIL")
    made.add_argument("--days", type=_days, default=90, help="how long it is good for, at most 366 (default: 90)")
    made.add_argument("--json", action="store_true", help="print one JSON object, for programs")


def _replay(commands: Any) -> None:
    made = _command(
        commands,
        "replay",
        replay.run,
        "Play conversations through the API of a running server, and check that nothing is lost.",
        "Makes its people in the database first; writes as customers, answers and ends sessions as agents, and listens "
        "as live workspaces meanwhile. Exit status 1 where anything is missing, lost, repeated or out of order.",
    )
    made.add_argument("file", type=Path, metavar="FILE", help="JSON lines, or the same gzipped (.gz)")
    made.add_argument("--url", default="http://127.0.0.1:8000", help="the running server")
    made.add_argument("--account", required=True, metavar="SLUG")
    made.add_argument("--conversations", type=_count, default=100, metavar="N", help="how many (default: 100)")
    made.add_argument("--rate", type=_rate, metavar="R", help="at most R messages a second (default: no limit)")
    made.add_argument("--at-once", type=_count, default=16, metavar="N", help="conversations at once (default: 16)")
    made.add_argument("--agents", type=_count, default=4, metavar="N", help="how many agents answer (default: 4)")
    made.add_argument(
        "--capacity",
        type=_count,
        metavar="N",
        help="switch omnichannel routing on, in turn, with N conversations for each agent; all sessions are ended",
    )
    made.add_argument("--bot", action="store_true", help="with --capacity: a bot answers first")
    made.add_argument("--json", action="store_true", help="print one JSON object, for programs")


def _capacity(commands: Any) -> None:
    made = _command(
        commands,
        "capacity",
        store.run_capacity,
        "Check the counts of agents' work against a recount and the ledger.",
        "Exit status 1 where they differ, which they never may.",
    )
    made.add_argument("--account", required=True, metavar="SLUG")
    made.add_argument("--json", action="store_true", help="print one JSON object, for programs")


def _schema(commands: Any) -> None:
    _command(commands, "schema", store.run_schema, "Print the GraphQL schema.")


def _slug(text: str) -> str:
    # It becomes part of addresses, in mail and on the web.
    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no short name: 1 to 63 of a-z, 0-9 and -, such as 'other'")
    return text


def _days(text: str) -> float:
    return _between(text, float(text), 0, LONGEST_LIFE.days)


def _rate(text: str) -> float:
    return _between(text, float(text), 0, 1_000_000)


def _count(text: str) -> int:
    return int(_between(text, int(text), 0, 1_000_000))


def _workers(text: str) -> int:
    return int(_between(text, int(text), 0, MOST_WORKERS))


def _between(text: str, value: float, above: float, most: float) -> float:
    if not above < value <= most:
        raise argparse.ArgumentTypeError(f"{text} is not more than {above:g} and at most {most:g}")
    return value


def main(arguments: list[str] | None = None) -> int:
    """Run a command. Returns its exit status."""
    chosen = parser().parse_args(arguments)
    try:
        status: int = asyncio.run(chosen.run(chosen))
    except (BadConfiguration, BadDatabaseUrl, store.CannotDo) as error:
        return _failed(str(error))
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if not _is_of_the_database(error):
            raise
        return _failed(_about_the_database(error))
    return status


def _is_of_the_database(error: Exception) -> bool:
    """Whether the database is away, busy, or none at all: nothing that a traceback would explain better."""
    ours = isinstance(error, DBConnectionError | psycopg_pool.PoolTimeout | sqlite3.DatabaseError | OSError)
    return ours or is_unavailable(error) or is_contention(error)


def _about_the_database(error: Exception) -> str:
    if is_contention(error):
        return f"The database is busy: {error}. Try again."
    # The address without user and password, and without options, of which one may be a password too.
    where = load().database_url.split("@")[-1].split("?")[0]
    return f"The database cannot be used ({where}): {error}\nIs it running, and is DESKWIRE_DATABASE_URL right?"


def _failed(message: str) -> int:
    print(f"deskwire: {message}", file=sys.stderr)
    return 2
