"""How many live connections there may be: of a person, of an account, of the process."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from subscriptions.connections import Caps
from tests.client import Client, Closed, Socket
from tests.delivery.stage import Stage, until
from tests.delivery.streaming import connections, is_released
from tests.factories import World

# Nothing here asks the database much.
pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


async def refused(client: Client) -> Closed:
    """How a connection is refused after its connection_init."""
    async with client.connected(initialise=False) as socket:
        await socket.say({"type": "connection_init", "payload": {"authorization": f"Bearer {client.token}"}})
        try:
            raise AssertionError(await socket.hear())
        except Closed as close:
            return close


async def test_a_person_has_so_many_and_holds_up_nobody_else(stage: Stage) -> None:
    """1013 after the init: only then is it known who asks."""
    client, other = await stage.client(stage.world.admin), await stage.client(await stage.world.agent())
    connections(stage).caps = Caps(person=2)
    async with client.connected(), other.connected():
        async with client.connected():
            assert (await refused(client)).code == 1013
            async with other.connected():
                pass
        async with client.connected():  # there is room again
            pass
    await until(lambda: is_released(stage))


async def test_an_account_at_its_cap_keeps_no_other_out(stage: Stage, other_world: World) -> None:
    people = [await stage.client(await stage.world.agent(f"Agent {number}")) for number in range(4)]
    elsewhere = await stage.client(other_world.admin)
    connections(stage).caps = Caps(account=3)
    async with AsyncExitStack() as stack:
        for person in people[:3]:
            await stack.enter_async_context(person.connected())
        assert (await refused(people[3])).code == 1013
        async with elsewhere.connected():
            pass
    async with people[3].connected():
        pass
    await until(lambda: is_released(stage))


async def test_a_process_at_its_cap_refuses_before_the_handshake(stage: Stage) -> None:
    """Those that have not said who they are count as well."""
    client = await stage.client(stage.world.admin)
    connections(stage).caps = Caps(process=2)
    async with client.connected(), client.connected(initialise=False):
        with pytest.raises(Closed, match="1013"):
            async with Socket(stage.app).open():
                pass
    async with client.connected():
        pass
    await until(lambda: is_released(stage))


async def test_many_that_come_at_once_do_not_pass_the_cap(stage: Stage) -> None:
    client = await stage.client(stage.world.admin)
    connections(stage).caps = Caps(person=5)
    enough = asyncio.Event()

    async def come() -> bool:
        try:
            async with client.connected():
                await enough.wait()
        except Closed as close:
            return close.code != 1013
        return True

    coming = [asyncio.create_task(come()) for _ in range(20)]
    await until(lambda: sum(task.done() for task in coming) == 15)
    enough.set()
    assert sum(await asyncio.gather(*coming)) == 5
    await until(lambda: is_released(stage))
