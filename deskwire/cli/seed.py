"""`seed`: fill a demonstration account, and say who to log in as."""

from __future__ import annotations

import argparse
import json
import sys

from tortoise.exceptions import IntegrityError

from deskwire.cli.store import CannotDo, account_named, ready_database
from deskwire.demo.seeding import Seeding, demo_addresses, demo_tickets
from domain.people import issue_token
from models import Account, User, utc_now
from schema.ids import encode_id


async def run(arguments: argparse.Namespace) -> int:
    async with ready_database():
        account = await Account.get_or_none(slug=arguments.slug)
        if account is None:
            account = await _seeded(arguments.slug)
        await _print(account, as_json=arguments.json)
    return 0


async def _seeded(slug: str) -> Account:
    try:
        return await Seeding(slug, _say).seed()
    except IntegrityError:
        # Another seed was faster with the same name; this one stays unfinished.
        return await account_named(slug)


def _say(line: str) -> None:
    # Beside the result, which programs read from standard output.
    print(line, file=sys.stderr)


async def _print(account: Account, *, as_json: bool) -> None:
    now = utc_now()
    tokens: dict[str, str] = {}
    lines = []
    for key, (says, email) in demo_addresses(account).items():
        user = await User.get_or_none(account_id=account.id, email=email)
        if user is None:
            raise CannotDo(
                f"The account {account.slug!r} is not one of the seed's: {email} is missing. Try --slug other"
            )
        tokens[key] = (await issue_token(user, "seed", now)).secret
        lines.append(f"  {user.name:<22} {says}\n    {tokens[key]}")
    if as_json:
        told = {"id": encode_id("Account", account.id), "slug": account.slug}
        print(json.dumps({"account": told, "tokens": tokens, "tickets": await demo_tickets(account)}))
    else:
        print(f"Account {account.slug!r} ({account.name}). Log in with one of these bearer tokens:\n")
        print("\n".join(lines))
