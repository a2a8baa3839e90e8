"""Commands that only touch the database: migrate, token, capacity; and printing the schema."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from deskwire.config import Config, load
from deskwire.schema import sdl
from domain.capacity import check_counts
from domain.people import issue_token
from domain.settings import set_ending_sessions_since
from models import Account, User, UserKind, utc_now
from models.database import is_sqlite, migrate, opened, pending_migrations, sqlite_file

# How many people a message names.
MOST_NAMED = 20
# What a seed calls an account until it is complete; see deskwire/demo/seeding.py.
UNFINISHED = "unfinished-"


class CannotDo(Exception):
    """The command cannot be carried out. Says what to do instead."""


def loaded() -> Config:
    """The configuration, with a database that can be opened as far as one can tell. Raises CannotDo.

    SQLite itself says only "unable to open database file".
    """
    config = load()
    if is_sqlite(config.database_url):
        file = sqlite_file(config.database_url)
        if file.exists() and not file.is_file():
            raise CannotDo(f"{file} is no file. DESKWIRE_DATABASE_URL wants one, such as sqlite://var/deskwire.db")
        if file.exists() and not os.access(file, os.R_OK | os.W_OK):
            raise CannotDo(f"{file} may not be read and written by this user.")
    return config


@asynccontextmanager
async def ready_database() -> AsyncIterator[Config]:
    """The configured database, which must be up to date. Raises CannotDo."""
    config = loaded()
    async with opened(config.database_url, pool_size=config.pool_size):
        if missing := await pending_migrations():
            raise CannotDo(f"The database lacks {len(missing)} migrations. Run: python -m deskwire migrate")
        yield config


async def account_named(slug: str) -> Account:
    """Raises CannotDo."""
    account = await Account.get_or_none(slug=slug)
    if account is None:
        slugs = sorted([each.slug for each in await Account.all() if not each.slug.startswith(UNFINISHED)])
        known = ", ".join(slugs) or "none yet. Make one with: python -m deskwire seed"
        raise CannotDo(f"There is no account {slug!r}. There are: {known}")
    return account


async def user_named(account: Account, email: str) -> User:
    """Raises CannotDo."""
    user = await User.get_or_none(account_id=account.id, email=email, active=True)
    if user is None:
        staff = User.filter(account_id=account.id, active=True, email__isnull=False).exclude(kind=UserKind.END_USER)
        known = ", ".join(sorted([each.email or "" for each in await staff.limit(MOST_NAMED)])) or "nobody"
        raise CannotDo(f"Nobody in {account.slug!r} has the address {email!r}. Who works there: {known}")
    return user


async def run_migrate(arguments: argparse.Namespace) -> int:
    config = loaded()
    async with opened(config.database_url):
        applied = await migrate(print)
        if config.ending_sessions_since is not None:
            await set_ending_sessions_since(config.ending_sessions_since)
    print(f"{applied} migrations applied; the database is up to date" if applied else "Nothing to do: it is up to date")
    return 0


async def run_token(arguments: argparse.Namespace) -> int:
    async with ready_database():
        account = await account_named(arguments.account)
        user = await user_named(account, arguments.user)
        issued = await issue_token(user, "command line", utc_now(), life=timedelta(days=arguments.days))
        if arguments.json:
            print(json.dumps({"account": account.slug, "user": user.email, "token": issued.secret}))
        else:
            print(issued.secret)
    return 0


async def run_capacity(arguments: argparse.Namespace) -> int:
    async with ready_database():
        account = await account_named(arguments.account)
        differences = await check_counts(account.id)
        agents = {user.id: user.email for user in await User.filter(id__in=[each.agent_id for each in differences])}
    rows = [
        {
            "agent": agents[each.agent_id],
            "channel": each.channel.value,
            "stored": each.stored,
            "recounted": each.recounted,
            "ledger": each.ledger,
        }
        for each in differences
    ]
    if arguments.json:
        print(json.dumps({"account": account.slug, "differences": rows}))
    else:
        for row in rows:
            print("{agent}, {channel}: stored {stored}, recounted {recounted}, ledger {ledger}".format(**row))
        print("The counts differ. Please report this." if rows else "All counts equal their recount and the ledger.")
    return 1 if rows else 0


async def run_schema(arguments: argparse.Namespace) -> int:
    print(sdl(), end="")
    return 0
