"""What a key may look like, whatever the storage."""

from __future__ import annotations

import re

KEY = re.compile(r"[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*")
LONGEST = 200


def check_key(key: str) -> str:
    """The key. Raises ValueError for one that could lead out of the storage: none has dots, so none has `..`."""
    if len(key) > LONGEST or not KEY.fullmatch(key):
        raise ValueError(f"no key of a storage: {key[:LONGEST]!r}")
    return key
