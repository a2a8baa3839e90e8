"""`python -m bench.fanout`: one event to many live workspaces, beside what else could have served them.

Sections: peers (CPU per delivery beside strawberry + broadcaster, graphql-ws and a loop of send), cohorts (what
different questions and different audiences cost), memory (of idle subscribers), reconnect (all at once, resuming),
processes (two over Redis against one).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from bench.command import done
from bench.fanout import cohorts, memory, peers, processes, reconnect
from bench.fanout.place import Place, Size, place
from bench.machine import allow_descriptors, describe, output_of
from bench.peers.node import node

SECTIONS: dict[str, Callable[[Place, Size], None]] = {
    "peers": peers.compare,
    "cohorts": cohorts.measure,
    "memory": memory.measure,
    "reconnect": reconnect.measure,
    "processes": processes.measure,
}


def _numbers(text: str) -> tuple[int, ...]:
    found = tuple(sorted({int(each.replace("_", "")) for each in text.split(",")}))
    if not found or found[0] < 1:
        raise argparse.ArgumentTypeError("numbers of at least 1, separated by commas")
    return found


def _parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m bench.fanout", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = made.add_argument
    add("--sections", default=",".join(SECTIONS), help="which of them, separated by commas (default: all)")
    add("--small", action="store_true", help="sizes that show whether it works, not how fast it is")
    add("--sizes", type=_numbers, default=(100, 1_000, 5_000), help="numbers of subscribers (default: 100,1000,5000)")
    add("--turns", type=int, default=3, help="how often each server has its turn (default: 3)")
    add("--events", type=int, help="events in a turn (default: 20 at N = 100, 10 at 1,000, 2 at 5,000)")
    add("--database", choices=("sqlite", "postgres"), default="sqlite", help="under Deskwire (default: sqlite)")
    add("--cohorts", type=_numbers, default=(1, 100, 1_000), help="numbers of cohorts (default: 1,100,1000)")
    add("--cohort-subscribers", type=int, default=1_000, help="subscribers of the cohorts (default: 1000)")
    add("--idle", type=int, default=2_000, help="idle subscribers whose memory is measured (default: 2000)")
    add("--reconnects", type=int, default=5_000, help="subscribers that reconnect at once (default: 5000)")
    add("--missed", type=int, default=3, help="events that they missed (default: 3)")
    add("--shared", type=int, default=1_000, help="subscribers of two processes together (default: 1000)")
    add("--profile", type=Path, metavar="FILE", help="sample Deskwire's stacks while it is measured beside its peers")
    return made


def _size(arguments: argparse.Namespace) -> Size:
    if arguments.small:
        return Size((5, 20), 1, 2, (1, 4), 8, 20, 20, 2, 10)
    return Size(
        arguments.sizes,
        arguments.turns,
        arguments.events,
        arguments.cohorts,
        arguments.cohort_subscribers,
        arguments.idle,
        arguments.reconnects,
        arguments.missed,
        arguments.shared,
    )


def main() -> int:
    """Exit status 1 where something else was delivered than should have been."""
    arguments = _parser().parse_args()
    sections = arguments.sections.split(",")
    if unknown := set(sections) - set(SECTIONS):
        raise SystemExit(f"--sections: there is no {', '.join(sorted(unknown))}; there are {', '.join(SECTIONS)}")
    size = _size(arguments)
    allow_descriptors(size.most)

    def measure() -> None:
        with place(arguments.database, arguments.profile) as here:
            _measure(sections, here, size)

    return done(measure)


def _measure(sections: list[str], here: Place, size: Size) -> None:
    print(describe("strawberry-graphql", "graphql-core", "starlette", "uvicorn", "websockets", "broadcaster"))
    print(f"node {output_of(node(), '--version')}, {output_of('cc', '--version')}, database: {here.database}")
    print(here.told())
    for section in sections:
        SECTIONS[section](here, size)


if __name__ == "__main__":
    raise SystemExit(main())
