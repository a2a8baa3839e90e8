"""Names and e-mail addresses that people type: how they are stored, and which are refused."""

from __future__ import annotations

import re
from typing import Any
from uuid import UUID

from tortoise.queryset import QuerySet

from domain.errors import InvalidInput
from models import User

LONGEST_PERSON = 200
LONGEST_NAME = 100
LONGEST_ADDRESS = 254
# A name is one line, and nothing in it is invisible on purpose.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
# Simple and strict: what mail servers take from everybody. No quotes, no comments, no address without a domain.
_LOCAL = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_DOMAIN = re.compile(rf"({_LABEL}\.)+{_LABEL}")


def clean_name(name: str | None, *, longest: int = LONGEST_NAME, field: str = "name") -> str:
    """The name without blanks around it. Raises InvalidInput."""
    name = (name or "").strip()
    if not 0 < len(name) <= longest:
        raise InvalidInput(f"A name has 1 to {longest} characters.", field=(field,))
    if _CONTROL.search(name):
        raise InvalidInput("A name is one line without control characters.", field=(field,))
    return name


def clean_address(address: str, *, field: str = "email") -> str:
    """The address without blanks around it, its domain in small letters. Raises InvalidInput."""
    local, at, domain = address.strip().rpartition("@")
    domain = domain.lower()
    cleaned = f"{local}@{domain}"
    right = at and len(local) <= 64 and len(cleaned) <= LONGEST_ADDRESS
    if not (right and _LOCAL.fullmatch(local) and _DOMAIN.fullmatch(domain)):
        raise InvalidInput("This is no e-mail address. Write it like name@example.com.", field=(field,))
    return cleaned


async def check_name_is_free(rows: QuerySet[Any], name: str, *, but: UUID | None = None) -> None:
    """Raises InvalidInput when another of the rows has the name."""
    if await rows.filter(name=name).exclude(id=but).exists():
        raise InvalidInput(f"There is one named {name!r} already. Choose another name.", field=("name",))


async def check_address_is_free(account_id: UUID, address: str, *, but: UUID | None = None) -> None:
    """Raises InvalidInput when somebody else has the address, in capitals or small letters."""
    if await User.filter(account_id=account_id, email__iexact=address).exclude(id=but).exists():
        raise InvalidInput("Somebody else in the account has this address.", field=("email",))
