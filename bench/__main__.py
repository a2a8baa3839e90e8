"""`python -m bench`: sessions ended per second, beside bare commits on the same connection."""

from __future__ import annotations

import argparse
import asyncio

from bench.commits import DEFAULT_SESSIONS, run


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    made.add_argument(
        "--sessions", type=int, default=DEFAULT_SESSIONS, metavar="N", help=f"per row (default: {DEFAULT_SESSIONS})"
    )
    made.add_argument("--only", choices=("sqlite", "postgres"), help="one database instead of all that there are")
    return made


if __name__ == "__main__":
    arguments = parser().parse_args()
    raise SystemExit(asyncio.run(run(arguments.sessions, arguments.only)))
