"""The databases of a measurement: migrated once, and as many copies as are needed."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.databases import Postgres, Sqlite, postgres_server


@contextmanager
def databases(kind: str) -> Iterator[Postgres | Sqlite]:
    """Where they come from: `fresh()` gives one. `kind`: sqlite or postgres. Outside of any event loop."""
    if kind == "postgres":
        with postgres_server() as url:
            yield Postgres(url)
    else:
        with tempfile.TemporaryDirectory(prefix="bench") as folder:
            yield Sqlite(Path(folder))
