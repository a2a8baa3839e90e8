"""Commands that only touch the database: migrate, token; and printing the schema."""

from __future__ import annotations

import argparse
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from deskwire.config import Config, load
from deskwire.schema import sdl
from domain.people import issue_token
from domain.settings import set_ending_sessions_since
from models import Account, User, utc_now
from models.database import migrate, opened, pending_migrations


class CannotDo(Exception):
    """The command cannot be carried out. Says what to do instead."""


@asynccontextmanager
async def ready_database() -> AsyncIterator[Config]:
    """The configured database, which must be up to date. Raises CannotDo."""
    config = load()
    async with opened(config.database_url, pool_size=config.pool_size):
        if missing := await pending_migrations():
            raise CannotDo(f"The database lacks {len(missing)} migrations. Run: python -m deskwire migrate")
        yield config


async def account_named(slug: str) -> Account:
    """Raises CannotDo."""
    account = await Account.get_or_none(slug=slug)
    if account is None:
        known = ", ".join(sorted([each.slug for each in await Account.all()])) or "none yet: python -m deskwire seed"
        raise CannotDo(f"There is no account {slug!r}. There are: {known}")
    return account


async def run_migrate(arguments: argparse.Namespace) -> int:
    config = load()
    async with opened(config.database_url):
        applied = await migrate(print)
        if config.ending_sessions_since is not None:
            await set_ending_sessions_since(config.ending_sessions_since)
    print(f"{applied} migrations applied; the database is up to date")
    return 0


async def run_token(arguments: argparse.Namespace) -> int:
    async with ready_database():
        account = await account_named(arguments.account)
        user = await User.get_or_none(account_id=account.id, email=arguments.user, active=True)
        if user is None:
            raise CannotDo(f"Nobody in {account.slug!r} has the address {arguments.user!r}.")
        issued = await issue_token(user, "command line", utc_now(), life=timedelta(days=arguments.days))
        if arguments.json:
            print(json.dumps({"account": account.slug, "user": user.email, "token": issued.secret}))
        else:
            print(issued.secret)
    return 0


async def run_schema(arguments: argparse.Namespace) -> int:
    print(sdl(), end="")
    return 0
