"""One soak from its beginning to its end: clients, faults, the end of both, and what the checkers say."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import httpx

from models import Event
from schema.ids import encode_id
from tests.history.checkers import Evidence, violations
from tests.history.records import Recorder, Stage
from tests.server.process import CHECKOUT
from tests.soak.desk import Desk, Listener, opened_desks
from tests.soak.ending import facts_of, fetched, integrity, logs_of, owed_to, revocation
from tests.soak.installation import Installation, installed
from tests.soak.nemesis import Nemesis
from tests.soak.plan import Faults, Plan
from tests.soak.report import Report, recoveries
from tests.soak.subscribers import CURSORS, Subscriber
from tests.soak.writers import Wish, Writer

# Where a soak that found something leaves what it saw.
KEPT = CHECKOUT / "var" / "soak"
# Whatever comes too much, comes within this time.
SURPLUS_SECONDS = 0.7
# Errors that servers log because of what was done to them.
POSTGRES_AWAY = (
    r"psycopg|OperationalError|DBConnectionError|PoolTimeout|AdminShutdown|connection .*(closed|lost|failed)",
    # What the hub takes for an outage it logs without a traceback, in whatever words PostgreSQL found for it.
    r"(?s)\A(?!.*Traceback).*; it is tried again: ",
)
REDIS_AWAY = r"redis|the bell could not be rung|the broadcaster"


def explained(faults: Faults) -> list[str]:
    """Patterns of the errors that servers log because of these faults."""
    found = [*POSTGRES_AWAY] if faults.restarts or faults.terminations else []
    return found + ([REDIS_AWAY] if faults.redis_restarts or faults.redis_stops or faults.redis_cuts else [])


def soak(plan: Plan) -> Report:
    """Run it. Called outside of any event loop."""
    with installed(plan) as installation:
        report = asyncio.run(Soak(plan, installation).run())
        if report.is_good or plan.planted:
            return report
        name = f"{plan.back_end}-{plan.seed}-{time.strftime('%H%M%S')}"
        return replace(report, kept=installation.keep(KEPT / name))


@dataclass
class Soak:
    plan: Plan
    installation: Installation
    chance: random.Random = field(init=False)
    recorder: Recorder = field(init=False)
    http: httpx.AsyncClient = field(init=False)
    subscribers: list[Subscriber] = field(default_factory=list)
    writers: list[Writer] = field(default_factory=list)
    starts: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.plan.seed)
        self.recorder = Recorder(self.installation.folder / "history.jsonl")
        self.nemesis = Nemesis(self.installation, self.plan.faults, self._chance())

    def _chance(self) -> random.Random:
        return random.Random(self.chance.random())

    async def run(self) -> Report:
        desks = await opened_desks(self.installation.url, self.plan.accounts)
        await self.installation.start()
        try:
            async with self.installation.proxied(self.plan.seed), httpx.AsyncClient() as self.http:
                return await self._run(desks)
        finally:
            self.recorder.close()

    async def _run(self, desks: list[Desk]) -> Report:
        began = time.monotonic()
        for desk in desks:
            await self._prepare(desk)
        async with self._listening():
            await self._work(desks)
            logs = await self._caught_up(desks)
            evidence = await self._evidence(desks, logs)
        wrong = await self.installation.end()
        return self._report(evidence, logs, wrong, time.monotonic() - began)

    async def _prepare(self, desk: Desk) -> None:
        """Its clients, who all begin where an admin's list was read."""
        everything = {}
        for listener in desk.listeners:
            if listener.kind in ("Inbox", "grouped", "leaver"):
                everything[listener.name] = await self._load(desk, listener)
        start = next(iter(everything.values()))[1]
        self.starts[desk.account] = CURSORS.read(start).position
        for listener in desk.listeners:
            rows, cursor = everything.get(listener.name, ({}, start))
            chance, ports = self._chance(), self.installation.ports
            subscriber = Subscriber(desk, listener, cursor, ports, self.recorder, self._load, chance, rows=rows)
            self.subscribers.append(subscriber)
        self._prepare_writers(desk, self.subscribers[-len(desk.listeners)])

    def _prepare_writers(self, desk: Desk, workspace: Subscriber) -> None:
        for number in range(self.plan.writers):
            self.writers.append(
                Writer(
                    name=f"{desk.mark}: writer {number}",
                    desk=desk,
                    rows=lambda: workspace.rows,
                    addresses=self.installation.addresses,
                    http=self.http,
                    recorder=self.recorder,
                    chance=self._chance(),
                    pause=self.plan.pause,
                )
            )

    async def _load(self, desk: Desk, listener: Listener) -> tuple[dict[str, Any], str]:
        """A list, as often as it takes: the network and the servers may be broken."""
        deadline = time.monotonic() + self.plan.patience
        while True:
            try:
                return await fetched(self.http, self.chance.choice(self.installation.addresses()), listener)
            except (httpx.HTTPError, KeyError, TypeError, ValueError):
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(0.2)

    @asynccontextmanager
    async def _listening(self) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(each.run()) for each in self.subscribers]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            ends = await asyncio.gather(*tasks, return_exceptions=True)
            failed = [end for end in ends if isinstance(end, Exception)]
        if failed:
            raise ExceptionGroup("clients failed", failed)

    async def _work(self, desks: list[Desk]) -> None:
        """Clients write while things break."""
        stopping = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for writer in self.writers:
                group.create_task(writer.run(stopping))
            for desk in desks:
                group.create_task(self._take_access(desk))
            try:
                await asyncio.gather(self.nemesis.run(self.plan.seconds), asyncio.sleep(self.plan.seconds))
            finally:
                stopping.set()

    async def _take_access(self, desk: Desk) -> None:
        """In the middle, one agent loses what he reached."""
        await asyncio.sleep(self.plan.seconds * self.chance.uniform(0.3, 0.7))
        writer = next(writer for writer in self.writers if writer.desk is desk)
        narrowed = {"agentId": encode_id("Agent", desk.leaver.id), "roleId": desk.narrow_role}
        outcome = await writer.do(Wish(desk.admin, "SaveAgent", narrowed), insist=True)
        assert outcome is Stage.OK, f"the access could not be taken: {outcome}, {writer.refusals}"

    async def _caught_up(self, desks: list[Desk]) -> dict[str, list[Event]]:
        """The logs, when everybody was told of everything, or has had the time for it."""
        deadline = time.monotonic() + self.plan.patience
        while True:
            logs = await logs_of(self.installation.url, desks)
            missing = [each for each in self.subscribers if self._owed(each, logs) - each.heard]
            if not missing or time.monotonic() > deadline:
                break
            await asyncio.sleep(0.2)
        await asyncio.sleep(SURPLUS_SECONDS)
        return await logs_of(self.installation.url, desks)

    def _owed(self, subscriber: Subscriber, logs: dict[str, list[Event]]) -> set[int]:
        account = subscriber.desk.account
        owed = owed_to(subscriber.desk, subscriber.listener, logs[account], self.starts[account])
        return {position for _, position in owed}

    async def _evidence(self, desks: list[Desk], logs: dict[str, list[Event]]) -> Evidence:
        listing = [each for each in self.subscribers if each.listener.operation == "Inbox"]
        lost = {f"{desk.mark}: leaver": revocation(desk, logs[desk.account]) for desk in desks}
        return Evidence(
            records=self.recorder.records,
            facts=facts_of(logs),
            owed={
                each.listener.name: owed_to(
                    each.desk, each.listener, logs[each.desk.account], self.starts[each.desk.account]
                )
                for each in self.subscribers
            },
            revoked={name: position for name, position in lost.items() if position is not None},
            folded={each.listener.name: each.rows for each in listing},
            fetched={each.listener.name: await self._fresh(each) for each in listing},
            marks={desk.account: desk.mark for desk in desks},
            logs=self.installation.logs(),
            allowed=explained(self.plan.faults),
        )

    async def _fresh(self, subscriber: Subscriber) -> dict[str, Any]:
        """What he would load now; nothing, hence not what he has, where that fails."""
        try:
            return (await self._load(subscriber.desk, subscriber.listener))[0]
        except (httpx.HTTPError, KeyError, TypeError, ValueError):
            return {}

    def _report(self, evidence: Evidence, logs: dict[str, list[Event]], wrong: list[str], seconds: float) -> Report:
        found = violations(evidence)
        clients: Iterable[Subscriber | Writer] = [*self.subscribers, *self.writers]
        odd = [odd for client in clients for odd in client.oddities]
        more = {"contract": odd, "end": [*self.nemesis.wrong, *wrong], "integrity": integrity(self.installation.url)}
        return Report(
            plan=self.plan,
            seconds=seconds,
            events=sum(map(len, logs.values())),
            evidence=evidence,
            faults=dict(self.nemesis.done),
            duplicates=sum(each.duplicates for each in self.subscribers),
            reconnects=sum(each.connections - 1 for each in self.subscribers),
            recoveries=recoveries(evidence, logs),
            violations=found | {name: what for name, what in more.items() if what},
        )
