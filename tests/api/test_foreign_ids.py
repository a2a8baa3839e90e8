"""Rules R26, R27, R31, R54: whoever may not see a thing learns nothing from its id, wherever an id can be sent.

The places come from the schema itself. Who adds an argument of the type ID to it adds a row to PROBES in probes.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID

import orjson
import pytest
from graphql import GraphQLArgument, GraphQLInputField, GraphQLInputObjectType, GraphQLObjectType, get_named_type

from deskwire.schema import build_schema
from domain.actors import Actor
from models import AuditLogEntry, Ticket, TicketAccess, new_id
from schema.ids import decode_id
from tests.api.probes import NODE_TEXT, NODES_TEXT, NOTHING, PROBES, Probe, Verdict
from tests.api.stage import SECRET, Stage, everything, gid
from tests.client import Client
from tests.conftest import SignIn
from tests.factories import World


def places() -> Iterator[str]:
    """Every argument and every field of an input object that is an ID or a list of them, as `Type.field.argument`."""
    for kind in build_schema()._schema.type_map.values():
        if kind.name.startswith("__"):
            continue
        if isinstance(kind, GraphQLInputObjectType):
            yield from (f"{kind.name}.{name}" for name, each in kind.fields.items() if _takes_id(each))
        elif isinstance(kind, GraphQLObjectType):
            for name, each in kind.fields.items():
                yield from (f"{kind.name}.{name}.{argument}" for argument, of in each.args.items() if _takes_id(of))


def _takes_id(argument: GraphQLArgument | GraphQLInputField) -> bool:
    return get_named_type(argument.type).name == "ID"


def test_every_place_for_an_id_is_probed() -> None:
    """R27: "any query, mutation or subscription"."""
    assert sorted(PROBES) == sorted(places())


CALLERS = ("stranger", "outsider", "customer")
CASES = [(f"{place} ({probe.kind})", probe) for place, probes in PROBES.items() for probe in probes]


@dataclass
class Caller:
    """Somebody who has a ticket of his own, and no business with the stage."""

    role: str
    world: World
    actor: Actor
    client: Client
    mine: str

    def expected(self, probe: Probe, *, bad: bool) -> Verdict:
        verdict: Verdict = getattr(probe, self.role)
        if not bad or verdict is None:
            return verdict
        return probe.customers_bad if self.role == "customer" else probe.bad

    async def try_id(self, probe: Probe, identifier: str, wanted: Verdict) -> bytes:
        """The answer, with the id taken out of it."""
        variables = {"id": identifier} | ({"mine": self.mine} if "$mine" in probe.text else {})
        if probe.text.startswith("subscription"):
            content = await self._first_word(probe, variables, 0.05 if wanted == NOTHING else 5)
        else:
            content = (await self.client.post(probe.text, variables)).content
        return content.replace(orjson.dumps(identifier), b'"the id"')

    async def _first_word(self, probe: Probe, variables: dict[str, str], patience: float) -> bytes:
        """What a stream says before anything happened. One that starts says nothing; see the test of silence."""
        async with self.client.connected() as socket:
            await socket.subscribe(probe.text, variables)
            try:
                word = await socket.hear(patience)
            except TimeoutError:
                return orjson.dumps({"data": {"silence": None}})
        assert word["type"] == "error"
        return orjson.dumps({"errors": word["payload"]})


async def called_by(role: str, stage: Stage, other: World, sign_in: SignIn) -> Caller:
    if role == "stranger":
        world, actor = other, await other.agent()
        ticket = await world.live_ticket(assignee=actor)
    elif role == "outsider":
        world, group = stage.world, await stage.world.group("Elsewhere")
        actor = await world.agent("Otto Outsider", access=TicketAccess.GROUPS, groups=(group,))
        ticket = await world.live_ticket(group=group)
    else:
        world, actor = stage.world, await stage.world.customer("Otto Other")
        ticket = await world.live_ticket(customer=actor)
    return Caller(role, world, actor, await sign_in(actor), gid("Ticket", ticket.id))


def verdict(content: bytes) -> str:
    """The one code that an answer consists of, or NOTHING. Fails on data."""
    answer = orjson.loads(content)
    if answer.get("errors"):
        assert not any((answer.get("data") or {}).values()), content
        return str(answer["errors"][0]["extensions"]["code"])
    (value,) = answer["data"].values()
    if value in (None, [None], {"totalCount": 0, "edges": []}):
        return NOTHING
    if isinstance(results := value.pop("results", None), list) and results:
        (value,) = results
        value.pop("ticketId")
    (error,) = value.pop("userErrors")
    assert not any(value.values()), content
    return str(error["code"])


def wrong_ids(probe: Probe, identifier: UUID) -> list[str]:
    """The same row as another kind, ids that are not written as we write them, and no ids at all."""
    right = gid(probe.kind, identifier)
    # To a field that takes any kind, another kind is no mistake; that it gives nothing, PROBES say.
    others = [] if probe.text in (NODE_TEXT, NODES_TEXT) else [gid("Audit", identifier)]
    return [*others, right + "=", right[:-1], str(identifier), "Tïcket", ""]


@pytest.mark.parametrize("role", CALLERS)
async def test_a_foreign_id_is_as_unknown_as_a_random_one(
    role: str, world: World, other_world: World, sign_in: SignIn
) -> None:
    """R26, R27, R54: missing and not accessible are one answer, without data, and nothing is changed by asking."""
    stage = await Stage.set(world)
    caller = await called_by(role, stage, other_world, sign_in)
    rows = await stage.ids()
    before = await everything(world) + await everything(other_world)
    wrong: dict[str, str] = {}
    for name, probe in CASES:
        if (wanted := caller.expected(probe, bad=False)) is None:
            continue
        foreign, random = [
            await caller.try_id(probe, gid(probe.kind, each), wanted) for each in (rows[probe.kind], new_id())
        ]
        if SECRET.encode() in foreign:
            wrong[name] = f"told {foreign!r}"
        elif foreign != random:
            wrong[name] = f"{foreign!r} differs from {random!r}"
        elif (got := verdict(foreign)) != wanted:
            wrong[name] = f"{got} instead of {wanted}"
    assert wrong == {}
    assert await everything(world) + await everything(other_world) == before


@pytest.mark.parametrize("role", CALLERS)
async def test_what_is_no_id_of_the_kind_is_refused(
    role: str, world: World, other_world: World, sign_in: SignIn
) -> None:
    """R26: an id of another kind and garbage are typed refusals, with the row's real identifier in them or not."""
    stage = await Stage.set(world)
    caller = await called_by(role, stage, other_world, sign_in)
    rows = await stage.ids()
    before = await everything(world) + await everything(other_world)
    wrong: dict[str, str] = {}
    for name, probe in CASES:
        if (wanted := caller.expected(probe, bad=True)) is None:
            continue
        for identifier in wrong_ids(probe, rows[probe.kind]):
            if (got := verdict(await caller.try_id(probe, identifier, wanted))) != wanted:
                wrong[f"{name} {identifier!r}"] = f"{got} instead of {wanted}"
    assert wrong == {}
    assert await everything(world) + await everything(other_world) == before


@pytest.mark.parametrize("role", ["stranger", "outsider"])
async def test_a_stream_of_a_foreign_filter_stays_silent(
    role: str, world: World, other_world: World, sign_in: SignIn
) -> None:
    """R27, R31: a live list that names a foreign agent, customer or group hears nothing of what happens there."""
    stage = await Stage.set(world)
    caller = await called_by(role, stage, other_world, sign_in)
    rows = await stage.ids()
    streams = [(p.kind, p.text) for _, p in CASES if p.text.startswith("subscription") and "inbox" in p.text]
    after = (await caller.client.send("TicketList", first=1))["tickets"]["syncCursor"]
    async with caller.client.connected() as socket:
        for kind, text in streams:
            await socket.subscribe(text, {"id": gid(kind, rows[kind]), "after": after})
        await stage.more()
        await caller.world.comment(await Ticket.get(id=decode_id("Ticket", caller.mine)), caller.world.admin)
        everything_mine = "subscription ($after: String) { inbox(after: $after) { change ticketId } }"
        mine = await socket.subscribe(everything_mine, {"after": after})
        item = await mine.next()
        assert item == {"change": "UPDATED", "ticketId": caller.mine}
        with pytest.raises(TimeoutError):
            await socket.hear(0.3)
    assert len(streams) == 3


async def test_only_the_callers_own_account_notes_his_refused_end(
    world: World, other_world: World, sign_in: SignIn
) -> None:
    """R30, R27: the log of an account tells of the attempts of its own people, and of nobody else's."""
    stage = await Stage.set(world)
    caller = await called_by("stranger", stage, other_world, sign_in)
    lines = await AuditLogEntry.filter(account_id=world.id).count()
    answer = await caller.client.do("EndSession", ticketId=gid("Ticket", stage.ticket.id))
    assert [error["code"] for error in answer["userErrors"]] == ["NOT_FOUND"]
    assert await AuditLogEntry.filter(account_id=world.id).count() == lines
    (entry,) = await AuditLogEntry.filter(account_id=other_world.id)
    assert (entry.action, entry.target) == ("SESSION_END_REFUSED", f"Ticket {stage.ticket.id}")
