"""Configuration, from the environment. Every variable, its default and what it is for."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import Path

from domain import failpoints

DEVELOPMENT_KEY = "development-only-key-that-production-refuses"
SHORTEST_KEY = 32
MOST_WORKERS = 64
# GraphQL's Int, which says how large a file is, ends at two thousand million.
MOST_MEGABYTES = 1900
BUSES = ("memory://", "redis://", "rediss://", "postgres://", "postgresql://", "database://")


class BadConfiguration(ValueError):
    """A variable that cannot be used. Says which, and what to set instead."""


@dataclass(frozen=True, slots=True)
class Config:
    """Each field is the variable DESKWIRE_<FIELD> in capitals.

    database_url      sqlite://var/deskwire.db, or postgres://user:password@host/database
    broadcast_url     memory:// for one process; for several, redis://[user:password@]host[:port][/number], rediss://…,
                      postgres://… (LISTEN and NOTIFY), or database://, which is that on database_url's own server.
                      The connection must be to PostgreSQL itself, not to a pooler.
    host, port        where `serve` listens
    workers           how many processes `serve` starts on this machine; more than one needs PostgreSQL
    operations_host, operations_port    where worker k answers /livez, /readyz and /metrics: on port + k; 0 is nowhere
    env               development, or production, which refuses unsafe settings and serves no pages
    secret_key        signs cursors; at least 32 characters, the same for all processes
    allow_get         answer GraphQL queries by GET, too
    poll_seconds      how often the log is looked at without a bell
    pool_size         connections to PostgreSQL, for writing and for reading each
    changes_at_once   mutations that this process works on at the same time; the others wait for their turn
    cursor_days       for how many days a stream can be resumed
    most_sockets      live connections at once: of this process; account_sockets of one account, person_sockets of one
                      person
    jobs              whether this process does background work (routing, triggers, timers, mail, …). Any number may;
                      at least one must.
    ending_sessions_since   an ISO 8601 moment: accounts that had messaging before it begin with the end of sessions
                      switched off. Default: when this installation was first migrated.
    attachments_url   where files are kept: files://folder, or s3://bucket/prefix?endpoint=…&region=… (credentials as
                      boto3 finds them: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, …)
    attachment_megabytes    how large a file may be, in units of 1,048,576 bytes
    email_url         where replies by e-mail go: smtp://[user:password@]host:port (STARTTLS where it is offered),
                      smtps://…, or files://folder, which keeps them as .eml files, for development
    email_domain      the domain whose subdomains are ours: an account's address is support@<account>.<domain>.
                      Signatures in addresses and Message-IDs are made with secret_key.
    email_inbound_key signs the mails that come in through /email/inbound/<account>; at least 32 characters
    bus_faults        for tests, refused in production: what the bus does wrong, as drop=0.5,repeat=3
    failpoints        for tests: where this process dies, fails or waits, such as before_commit:kill
                      (domain/failpoints.py)
    """

    database_url: str = "sqlite://var/deskwire.db"
    broadcast_url: str = "memory://"
    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 1
    operations_host: str = "127.0.0.1"
    operations_port: int = 0
    env: str = "development"
    secret_key: str = DEVELOPMENT_KEY
    allow_get: bool = False
    poll_seconds: float = 1.0
    pool_size: int = 10
    changes_at_once: int = 4
    cursor_days: float = 7.0
    most_sockets: int = 20_000
    account_sockets: int = 10_000
    person_sockets: int = 100
    jobs: bool = True
    ending_sessions_since: datetime | None = None
    attachments_url: str = "files://var/attachments"
    attachment_megabytes: int = 20
    email_url: str = "files://var/mail"
    email_domain: str = "mail.deskwire.example"
    email_inbound_key: str = DEVELOPMENT_KEY
    bus_faults: str = ""
    failpoints: str = ""

    @property
    def is_production(self) -> bool:
        return self.env == "production"

    @property
    def lock_file(self) -> Path | None:
        """Held by the one process that serves a SQLite file."""
        from models.database import is_sqlite, sqlite_file

        return Path(f"{sqlite_file(self.database_url)}.serving") if is_sqlite(self.database_url) else None


def load(environment: Mapping[str, str] = os.environ) -> Config:
    """The configuration. Raises BadConfiguration."""
    values: dict[str, object] = {}
    for field in fields(Config):
        text = environment.get(f"DESKWIRE_{field.name.upper()}")
        if text:
            values[field.name] = _parsed(field.name, str(field.type), text)
    config = Config(**values)  # type: ignore[arg-type]  # each was parsed by the type of its field
    _check(config)
    return config


def _parsed(name: str, kind: str, text: str) -> object:
    try:
        if kind == "bool":
            return {"1": True, "true": True, "0": False, "false": False}[text.lower()]
        if kind.startswith("datetime"):
            return _moment(text)
        return {"int": int, "float": float}.get(kind, str)(text)
    except (ValueError, KeyError):
        raise BadConfiguration(f"DESKWIRE_{name.upper()}={text!r} is no {kind.split(' ')[0]}.") from None


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a moment needs its offset, such as +00:00")
    return moment


def _check(config: Config) -> None:
    limits = ("pool_size", "changes_at_once", "most_sockets", "account_sockets", "person_sockets")
    for name in ("workers", "poll_seconds", "cursor_days", "attachment_megabytes", *limits):
        if not getattr(config, name) > 0:
            raise BadConfiguration(f"DESKWIRE_{name.upper()} must be more than 0.")
    if config.attachment_megabytes > MOST_MEGABYTES:
        raise BadConfiguration(f"DESKWIRE_ATTACHMENT_MEGABYTES is at most {MOST_MEGABYTES}.")
    if config.env not in ("development", "production"):
        raise BadConfiguration("DESKWIRE_ENV is development or production.")
    _check_bus(config)
    _check_email(config)
    _check_failpoints(config)
    for name in ("secret_key", "email_inbound_key"):
        key = getattr(config, name)
        if config.is_production and (key == DEVELOPMENT_KEY or len(key) < SHORTEST_KEY):
            raise BadConfiguration(
                f"Production needs DESKWIRE_{name.upper()}, of at least 32 characters. Make one with:\n"
                "  python3 -c 'import secrets; print(secrets.token_urlsafe(48))'"
            )


def _check_bus(config: Config) -> None:
    if not config.broadcast_url.startswith(BUSES):
        raise BadConfiguration(
            "DESKWIRE_BROADCAST_URL is memory://, redis://host, rediss://host, postgres://host/database or database://."
        )
    if config.broadcast_url.startswith("database://") and config.database_url.startswith("sqlite:"):
        raise BadConfiguration(
            "DESKWIRE_BROADCAST_URL=database:// needs PostgreSQL. One process serves a SQLite file, and memory:// is "
            "enough for it."
        )
    if config.bus_faults and config.is_production:
        raise BadConfiguration("DESKWIRE_BUS_FAULTS breaks the bus on purpose, for tests. Production refuses it.")


def check_workers(config: Config) -> None:
    """Whether this database and this bell are for several processes. Raises BadConfiguration."""
    from models.database import is_sqlite

    if config.workers > MOST_WORKERS:
        raise BadConfiguration(f"DESKWIRE_WORKERS is at most {MOST_WORKERS}.")
    if config.workers == 1:
        return
    needed = []
    if is_sqlite(config.database_url):
        needed.append("DESKWIRE_DATABASE_URL=postgres://… (one process serves a SQLite file)")
    if config.broadcast_url.startswith("memory://"):
        needed.append("DESKWIRE_BROADCAST_URL=redis://… or database:// (memory:// ends at the process)")
    if needed:
        lines = "".join(f"\n  {line}" for line in needed)
        raise BadConfiguration(f"{config.workers} workers need other settings, or set --workers 1:{lines}")


def _check_failpoints(config: Config) -> None:
    if config.failpoints and config.is_production:
        raise BadConfiguration("Production takes no DESKWIRE_FAILPOINTS: they break the server, for tests. Unset it.")
    try:
        failpoints.parsed(config.failpoints)
    except ValueError as error:
        raise BadConfiguration(f"DESKWIRE_FAILPOINTS: {error}.") from None


def _check_email(config: Config) -> None:
    if not config.email_url.startswith(("smtp://", "smtps://", "files://")):
        raise BadConfiguration("DESKWIRE_EMAIL_URL is smtp://[user:password@]host:port, smtps://… or files://folder.")
    if not re.fullmatch(r"[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+", config.email_domain):
        raise BadConfiguration("DESKWIRE_EMAIL_DOMAIN is a domain, such as mail.example.com.")
