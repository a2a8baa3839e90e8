"""`replay`: real conversations through the public API, as customers and agents send them, with live workspaces.

What was sent is compared with what the database holds, text by text, and what arrived live with the event log.
A server that is killed and started again meanwhile costs time: calls are repeated with the same keys, and listeners
resume from their cursors.
"""

from __future__ import annotations

import argparse

import httpx

from deskwire.cli.replay.api import SYNC, Api, Rejected, Unavailable
from deskwire.cli.replay.conversations import Line, read
from deskwire.cli.replay.listening import listening
from deskwire.cli.replay.people import Someone, make_people
from deskwire.cli.replay.playing import Replay
from deskwire.cli.replay.report import made_report, tell
from deskwire.cli.replay.routing import configure, routing_report, take_work
from deskwire.cli.store import CannotDo, account_named, ready_database


async def run(arguments: argparse.Namespace) -> int:
    conversations = read(arguments.file, arguments.conversations)
    async with ready_database(), _connected(arguments.url) as http:
        account = await account_named(arguments.account)
        routed = arguments.capacity is not None
        agents, customers = await make_people(account, arguments.agents, len(conversations))
        api = Api(http)
        cursor = await _first_cursor(api, arguments.url, agents[0])
        replay = Replay(api, agents, rate=arguments.rate, quiet=arguments.json, routed=routed)
        if routed:
            await configure(account, arguments.capacity, bot=arguments.bot)
            await take_work(api, agents, "ONLINE")
        async with listening(arguments.url, cursor, agents, customers) as listeners:
            await _played(replay, conversations, customers, at_once=arguments.at_once)
            report = await made_report(replay.tally, account, cursor, listeners)
        if routed:
            await take_work(api, agents, "OFFLINE")
            report["routing"] = await routing_report(account, agents, customers, capacity=arguments.capacity)
    return tell(report, as_json=arguments.json)


def _connected(url: str) -> httpx.AsyncClient:
    try:
        return httpx.AsyncClient(base_url=url, timeout=30)
    except httpx.InvalidURL:
        raise CannotDo(f"{url!r} is no address. Write one like http://127.0.0.1:8000") from None


async def _first_cursor(api: Api, url: str, agent: Someone) -> str:
    """The cursor of an agent's snapshot joins every stream of the account: nothing is missed, whenever it connects."""
    try:
        return str((await api.once(agent.token, SYNC, {}))["syncCursor"])
    except (httpx.HTTPError, Unavailable):
        raise CannotDo(f"No Deskwire answers at {url}. Start one with: python -m deskwire serve") from None
    except Rejected as error:
        raise CannotDo(f"{url} does not know the token that was made for it: {error}. Same database?") from None


async def _played(replay: Replay, conversations: list[list[Line]], customers: list[Someone], *, at_once: int) -> None:
    """Raises CannotDo: what stopped the replay, and not the group of everything that stopped with it."""
    try:
        await replay.play(conversations, customers, at_once=at_once)
    except* (Rejected, CannotDo) as group:
        raise CannotDo(f"The replay was stopped: {group.exceptions[0]}") from None
