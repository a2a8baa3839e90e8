"""What an idle subscriber costs: resident memory of the server for each, also when he offers compression."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial

from bench.desk import Desk, prepared
from bench.events import Wrong, subscribers
from bench.fanout.peers import learnt
from bench.fanout.place import Place, Size
from bench.load import load
from bench.machine import resident_kib, settled
from bench.peers.node import node_peer
from bench.report import judged
from bench.servers import Item, Target, deskwires, graphql_ws, naive

# Who comes first brings modules, caches and pages with him that others then share.
FIRST = 50
MOST_KIB = 32.0


def measure(place: Place, size: Size) -> None:
    """Measure and print, each server alone: what one holds is nobody else's."""
    print(f"\nMemory: KiB of resident memory per idle subscriber, {size.idle:,} of them")
    with place.fresh() as url:
        desk = prepared(url, watchers=size.idle + FIRST, audiences=1, tickets=3)
        with deskwires(url, desk, place.server_core) as (target,):
            item = learnt(target, desk, place)
        found = [
            _measured(start, desk, place, size, compression=compression)
            for start in _servers(url, desk, place, item)
            for compression in (False, True)
        ]
    for each in found:
        goal = MOST_KIB if each.name == "deskwire" else None
        print(f"  {each.name}, compression {each.compression}: {judged(each.kib, most=goal, unit=' KiB')}")


@dataclass(frozen=True, slots=True)
class Memory:
    """What a subscriber of a server costs. `compression`: not offered, declined or accepted."""

    name: str
    compression: str
    kib: float


Start = Callable[[], AbstractContextManager[Target]]


def _servers(url: str, desk: Desk, place: Place, item: Item) -> list[Start]:
    peers: list[Start] = [partial(naive, lambda: item, place.server_core)]
    try:
        node_peer()
        peers.append(partial(graphql_ws, lambda: item, place.server_core))
    except (OSError, subprocess.SubprocessError) as error:
        print(f"graphql-ws is not measured: {error}", file=sys.stderr)
    return [partial(_deskwire, url, desk, place), *peers]


@contextmanager
def _deskwire(url: str, desk: Desk, place: Place) -> Iterator[Target]:
    with deskwires(url, desk, place.server_core) as (target,):
        yield target


def _measured(start: Start, desk: Desk, place: Place, size: Size, *, compression: bool) -> Memory:
    with start() as target, load(target.port, place.load_core, compression=compression) as members:
        members.join(subscribers(FIRST, desk.watchers))
        settled(target.pids)
        before = resident_kib(target.pids)
        members.join(subscribers(size.idle, desk.watchers[FIRST:]))
        settled(target.pids)
        after = resident_kib(target.pids)
        # All of them were really there: nobody lost a socket while it was idle.
        if members.gone() or sum(members.counts().values()) != FIRST + size.idle:
            raise Wrong(f"{target.name} closed sockets: {members.gone()}")
        answered = ("accepted" if members.accepted_compression() else "declined") if compression else "not offered"
        return Memory(target.name, answered, (after - before) / size.idle)
