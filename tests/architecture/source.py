"""Our own source: which files are ours, and what is in them."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
PACKAGES = ("deskwire", "resolvers", "subscriptions", "partners", "schema", "domain", "models", "execution")
GENERATED = "models/migrations/0"


@cache
def tracked() -> tuple[str, ...]:
    """The paths of all files of the repository, also of those that are not committed yet, without what git ignores."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout.splitlines()
    return tuple(sorted({path for path in listed if (CHECKOUT / path).is_file()}))


def python_files(*under: str) -> list[str]:
    """Our Python files, of these folders or of all; without generated ones."""
    found = [path for path in tracked() if path.endswith(".py") and not path.startswith(GENERATED)]
    return [path for path in found if not under or path.split("/")[0] in under]


@cache
def parsed(path: str) -> ast.Module:
    return ast.parse((CHECKOUT / path).read_text(), path)


def text_files() -> Iterator[tuple[str, str]]:
    """All tracked files that hold text, with it."""
    for path in tracked():
        try:
            yield path, (CHECKOUT / path).read_text()
        except UnicodeDecodeError:
            continue
