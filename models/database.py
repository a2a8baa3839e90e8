"""Opening, migrating and closing the database, and which connection a query goes through."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qsl, unquote, urlsplit

import psycopg
import psycopg_pool
from tortoise import Tortoise
from tortoise.backends.base.executor import EXECUTOR_CACHE
from tortoise.exceptions import DBConnectionError, OperationalError, TransactionManagementError
from tortoise.migrations.autodetector import MigrationAutodetector
from tortoise.migrations.executor import MigrationExecutor
from tortoise.migrations.recorder import MigrationRecorder
from tortoise.migrations.schema_editor.base import BaseSchemaEditor
from tortoise.models import Model
from tortoise.transactions import in_transaction

from models.base import new_id as new_id  # re-exported for migrations
from models.constraints import PostgresEditor, SqliteEditor
from models.postgres import PostgresDatabase

WRITER = "default"
READER = "reader"

inside_transaction: ContextVar[bool] = ContextVar("inside_transaction", default=False)


class BadDatabaseUrl(ValueError):
    """The URL names no database that Deskwire can use."""


class ReadsBesideWrites:
    """Tortoise's router: reads go beside the writer, except inside a transaction, which must see its own writes."""

    def db_for_read(self, model: type[Model]) -> str:
        return WRITER if inside_transaction.get() else READER

    def db_for_write(self, model: type[Model]) -> str:
        return WRITER


def is_sqlite(url: str) -> bool:
    return url.startswith("sqlite:")


def sqlite_file(url: str) -> Path:
    """The file of a `sqlite:` URL: `sqlite://relative/path` or `sqlite:///absolute/path`."""
    path = url.removeprefix("sqlite:").removeprefix("//")
    if not path or path == ":memory:":
        raise BadDatabaseUrl("SQLite needs a file (sqlite://var/deskwire.db): two connections share it")
    return Path(path)


def connections(url: str, *, pool_size: int = 10) -> dict[str, Any]:
    """Tortoise's connection settings for a `sqlite:`, `postgres:` or `postgresql:` URL."""
    if is_sqlite(url):
        engine, credentials = "models.sqlite", _sqlite_credentials(url)
    elif urlsplit(url).scheme in ("postgres", "postgresql", "psycopg"):
        engine, credentials = "models.postgres", _postgres_credentials(url, pool_size)
    else:
        raise BadDatabaseUrl(
            f"{url.split(':', 1)[0]!r} is no database that Deskwire knows; use sqlite:// or postgres://"
        )
    return {
        WRITER: {"engine": engine, "credentials": credentials},
        READER: {"engine": engine, "credentials": credentials | {"read_only": True}},
    }


def _sqlite_credentials(url: str) -> dict[str, Any]:
    # FULL: what was answered is on the disk. NORMAL may forget the last commits when the power fails.
    return {"file_path": str(sqlite_file(url)), "synchronous": "FULL", "busy_timeout": 5000, "cache_size": -16000}


def postgres_parameters(url: str) -> dict[str, Any]:
    """What a `postgres:` URL says, by libpq's names. `?host=/folder` is that of a Unix socket. Raises ValueError."""
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query))
    return {
        "host": query.pop("host", None) or parts.hostname or "localhost",
        "port": parts.port or int(query.pop("port", "5432")),
        "user": query.pop("user", None) or unquote(parts.username or "postgres"),
        "password": query.pop("password", None) or unquote(parts.password or ""),
        "dbname": unquote(parts.path.lstrip("/")) or "postgres",
        **query,
    }


def _postgres_credentials(url: str, pool_size: int) -> dict[str, Any]:
    rest = postgres_parameters(url)
    address = {name: rest.pop(name) for name in ("host", "port", "user", "password")}
    return {
        **address,
        "database": rest.pop("dbname"),
        "application_name": "deskwire",
        "minsize": 1,
        "maxsize": pool_size,
        # What else the URL says (sslmode, …) is for the driver.
        "server_settings": rest,
    }


def configuration(url: str, *, pool_size: int = 10) -> dict[str, Any]:
    """Tortoise's whole configuration."""
    return {
        "connections": connections(url, pool_size=pool_size),
        "apps": {"models": {"models": ["models"], "default_connection": WRITER, "migrations": "models.migrations"}},
        "routers": [ReadsBesideWrites],
        "use_tz": True,
        "timezone": "UTC",
    }


@asynccontextmanager
async def opened(url: str, *, pool_size: int = 10) -> AsyncIterator[None]:
    """The database, for the tasks of this process. One at a time."""
    if is_sqlite(url):
        sqlite_file(url).parent.mkdir(parents=True, exist_ok=True)
    context = await Tortoise.init(config=configuration(url, pool_size=pool_size), _enable_global_fallback=True)
    try:
        # The writer first: it switches a new file to WAL, which a reader cannot.
        await context.db(WRITER).execute_query("SELECT 1")
        yield
    finally:
        await Tortoise.close_connections()
        # Tortoise keeps ready SQL by the connection's name, in the dialect of the first database of that name.
        EXECUTOR_CACHE.clear()


async def probe() -> bool:
    """Whether the database answers and would take a write. Do not cancel it: Tortoise would lose its lock."""
    try:
        await Tortoise.get_connection(READER).execute_query("SELECT 1")
        await _take_a_turn()
    except Exception:  # whatever it is, we are not ready
        return False
    return True


async def _take_a_turn() -> None:
    """As a write would, but change nothing: the write lock of SQLite, a transaction's number of PostgreSQL."""
    connection = Tortoise.get_connection(WRITER)
    if connection.capabilities.dialect == "sqlite":
        async with in_transaction(WRITER):
            pass
    else:
        await connection.execute_query("SELECT txid_current()")


@dataclass(frozen=True, slots=True)
class PoolUse:
    """Connections of one pool to PostgreSQL, and the tasks that wait for one."""

    size: int
    free: int
    most: int
    waiting: int


def pools() -> dict[str, PoolUse]:
    """The use of the opened database's pools, by the name of the connection. None on SQLite."""
    found = {}
    for name in (WRITER, READER):
        connection = Tortoise.get_connection(name)
        if pool := getattr(connection, "_pool", None):
            told = pool.get_stats()
            free = told["pool_available"] + len(cast(PostgresDatabase, connection).at_hand)
            found[name] = PoolUse(told["pool_size"], free, told["pool_max"], told.get("requests_waiting", 0))
    return found


async def migrate(report: Callable[[str], None] = lambda line: None) -> int:
    """Apply what is missing to the opened database. Returns the number of migrations applied."""
    applied: list[str] = []

    def progress(event: str, app: str, name: str) -> None:
        if event == "apply_start":
            report(f"applying {name}")
            applied.append(name)

    await _executor().migrate(progress=progress)
    return len(applied)


async def pending_migrations() -> list[str]:
    """The names of the migrations that the opened database has not seen."""
    return [step.migration.name for step in await _executor().plan()]


class _Recorder(MigrationRecorder):
    """Tortoise's recorder writes `$1` for every PostgreSQL driver; psycopg's is `%s`."""

    def _placeholder(self, pos: int) -> str:
        return "%s" if self._dialect == "postgres" else "?"


class _Executor(MigrationExecutor):
    """Tortoise's executor with editors of ours."""

    def _schema_editor(self, atomic: bool = True, collect_sql: bool = False) -> BaseSchemaEditor:
        editor = SqliteEditor if self.connection.capabilities.dialect == "sqlite" else PostgresEditor
        return editor(self.connection, atomic=atomic, collect_sql=collect_sql)


def _executor() -> MigrationExecutor:
    connection = Tortoise.get_connection(WRITER)
    executor = _Executor(connection, configuration("sqlite://unused")["apps"])
    executor.recorder = executor.loader.recorder = _Recorder(connection)
    return executor


async def unwritten_migrations() -> list[str]:
    """What the models say and no migration does yet. Empty, or a test fails."""
    assert Tortoise.apps is not None
    detector = MigrationAutodetector(Tortoise.apps, configuration("sqlite://unused")["apps"])
    return [writer.as_string() for writer in await detector.changes()]


async def share(model: type[Model], column: str, *values: object) -> None:
    """Hold rows against changes, beside others who hold them too. (Tortoise knows only FOR UPDATE.)

    Of many, in the order of that column.
    """
    connection = model._meta.db
    if connection.capabilities.dialect != "sqlite":
        rows = f'"{model._meta.db_table}" WHERE {column} = ANY(%s) ORDER BY {column}'
        await connection.execute_query(f"SELECT 1 FROM {rows} FOR SHARE", [list(values)])  # noqa: S608  # names of ours


def is_contention(error: BaseException) -> bool:
    """Whether trying the same transaction again may succeed: somebody else was in the way."""
    if isinstance(error, psycopg.errors.DeadlockDetected | psycopg.errors.SerializationFailure):
        return True
    if isinstance(error, psycopg.errors.LockNotAvailable | psycopg_pool.PoolTimeout):
        return True
    return isinstance(error, OperationalError | TransactionManagementError) and "database is locked" in str(error)


def is_unavailable(error: BaseException) -> bool:
    """Whether the database cannot be reached, is full or is going away: the caller may try again later."""
    if isinstance(error, psycopg.OperationalError):
        return True
    text = str(error)
    return isinstance(error, OperationalError) and any(
        words in text for words in ("database or disk is full", "disk I/O error", "unable to open")
    )


def is_passing(error: BaseException) -> bool:
    """Whether the same read may succeed in a moment."""
    return is_unavailable(error) or is_contention(error) or isinstance(error, DBConnectionError)
