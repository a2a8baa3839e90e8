"""`python -m tests.soak`: clients that write and listen while servers, Redis and PostgreSQL are killed under them.

Exit status 1 when anything is lost, repeated, out of order, invented or leaked.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace

from tests.soak.plan import BUSES, BackEnd, Plan, long, small
from tests.soak.planted import PLANTED
from tests.soak.running import soak


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--on", choices=["sqlite", "postgres", "both"], default="both", help="default: both")
    parser.add_argument("--seconds", type=float, default=600, help="for how long is written, on each (default: 600)")
    parser.add_argument("--small", action="store_true", help="the size that CI runs, whatever --seconds says")
    parser.add_argument("--bus", choices=[*BUSES, "all"], default="good", help="what the bus does (default: good)")
    parser.add_argument("--planted", choices=sorted(PLANTED), help="give the servers a defect: it must be found")
    parser.add_argument("--seed", type=int, default=1, help="of all chance (default: 1)")
    return parser.parse_args()


def plans(given: argparse.Namespace) -> list[Plan]:
    back_ends: list[BackEnd] = ["sqlite", "postgres"] if given.on == "both" else [given.on]
    buses = BUSES.values() if given.bus == "all" else [BUSES[given.bus]]
    made = [
        small(back_end, bus=bus, seed=given.seed)
        if given.small
        else long(back_end, seconds=given.seconds, bus=bus, seed=given.seed)
        for back_end in back_ends
        for bus in buses
    ]
    return [replace(plan, planted=given.planted) for plan in made]


def main() -> int:
    good = True
    for plan in plans(arguments()):
        report = soak(plan)
        sys.stdout.write(f"{report}\n\n")
        sys.stdout.flush()
        good = good and report.is_good
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
