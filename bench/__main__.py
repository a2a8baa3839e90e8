"""`python -m bench`: every measurement, at a size that shows whether it works. Each is a command with sizes of its own.

    python -m bench.fanout     one event to many live workspaces, beside what else could have served them
    python -m bench.commits    sessions ended per second, beside bare commits; endSession over HTTP
    python -m bench.screen     from the commit of endSession to the frame at a subscriber, beside the broker alone

docs/guides/measuring.md says how to read what they print.
"""

from __future__ import annotations

import argparse
import subprocess
import sys

COMMANDS = ("fanout", "commits", "screen")


def main() -> int:
    """Run them one after the other. Exit status 1 where the content of one was wrong."""
    made = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--only", choices=COMMANDS, help="one of them")
    only = made.parse_args().only
    statuses = [_run(name) for name in COMMANDS if only in (None, name)]
    return int(any(statuses))


def _run(name: str) -> int:
    print(f"\n=== python -m bench.{name} --small", flush=True)
    return subprocess.run([sys.executable, "-m", f"bench.{name}", "--small"]).returncode


if __name__ == "__main__":
    raise SystemExit(main())
