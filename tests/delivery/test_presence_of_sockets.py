"""R134: sockets are who is here. The table follows what the process counts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

from starlette.applications import Starlette

from deskwire.presence import LivePresence
from domain.actors import Actor
from domain.people import revoke_token
from domain.transactions import Call
from models import AgentAvailability, AgentStatus, Permission, Presence, Token, UserKind, utc_now
from tests.conftest import SignIn
from tests.factories import World


@asynccontextmanager
async def present_at(live: LivePresence, actor: Actor) -> AsyncIterator[None]:
    """For the life of a connection."""
    try:
        await live.arrive(actor)
        yield
    finally:
        await live.depart(actor)


async def present(actor: Actor) -> int:
    return await Presence.filter(user_id=actor.id).count()


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(10):
        while not await condition():  # noqa: ASYNC110  # a row of a table
            await asyncio.sleep(0.01)


async def test_a_socket_makes_its_user_present(world: World, sign_in: SignIn, app: Starlette) -> None:
    """From before the acknowledgement until the last one closed; several sockets are one presence."""
    agent, customer = await world.agent(), await world.customer()
    ticket = await world.live_ticket(customer=customer)
    await AgentAvailability.create(
        account_id=world.id, agent_id=agent.id, status=AgentStatus.ONLINE, changed_at=utc_now()
    )
    agents, customers = await sign_in(agent), await sign_in(customer)
    async with agents.connected(), customers.connected():
        assert (await present(agent), await present(customer)) == (1, 1)
        async with agents.connected():
            assert await present(agent) == 1
        assert (await AgentAvailability.get(agent_id=agent.id)).absent_since is None
    assert await Presence.all().count() == 0
    assert (await AgentAvailability.get(agent_id=agent.id)).absent_since is not None
    assert (await world.session(ticket)).customer_left_at is not None
    async with agents.connected(), customers.connected():
        assert (await AgentAvailability.get(agent_id=agent.id)).absent_since is None
        assert (await world.session(ticket)).customer_left_at is None


async def test_who_is_nobody_or_a_partner_is_not_noted(world: World, sign_in: SignIn, app: Starlette) -> None:
    """Partners keep sockets open for other reasons than being here."""
    partner = await world.agent("Parcels", permissions=frozenset(Permission), kind=UserKind.PARTNER)
    client = await sign_in(partner)
    async with client.connected(), client.connected(initialise=False):
        assert await Presence.all().count() == 0


async def test_a_socket_whose_token_is_revoked_is_gone(world: World, sign_in: SignIn, app: Starlette) -> None:
    """It closes, and with it the presence."""
    agent = await world.agent()
    client = await sign_in(agent)
    async with client.connected():
        assert await present(agent) == 1
        token = await Token.get(user_id=agent.id)
        await revoke_token(Call(world.admin), token.id)
        await eventually(lambda: _gone(agent))


async def _gone(agent: Actor) -> bool:
    return await present(agent) == 0


async def test_sockets_that_come_and_go_at_once_leave_what_is_so(world: World) -> None:
    """Fifty sockets, some cut off while they open; then one more, or none."""
    agent = await world.agent()
    live = LivePresence()

    async def socket(number: int) -> None:
        async with present_at(live, agent):
            await asyncio.sleep(0.001 * (number % 7))

    async def cut_off(number: int) -> None:
        running = asyncio.create_task(socket(number))
        await asyncio.sleep(0.001 * (number % 5))
        running.cancel()
        await asyncio.wait({running})

    await asyncio.gather(*((cut_off if number % 3 else socket)(number) for number in range(50)))
    assert await present(agent) == 0
    async with present_at(live, agent):
        await asyncio.gather(*((cut_off if number % 3 else socket)(number) for number in range(50)))
        assert await present(agent) == 1
    assert await present(agent) == 0
    assert (live._sockets, live._users, live._written) == ({}, {}, set())


async def test_renewal_keeps_the_rows_and_mends_the_table(world: World) -> None:
    """A process that was stopped for a while finds its rows gone; those of other processes are not its business."""
    now = utc_now()
    live, other = LivePresence(lambda: now), LivePresence(lambda: now)
    agent, customer = await world.agent(), await world.customer()
    async with present_at(live, agent), present_at(live, customer), present_at(other, agent):
        now += timedelta(seconds=10)
        await live.renew()
        renewed = {(row.user_id, row.process_id): row.renewed_at for row in await Presence.all()}
        assert renewed == {
            (agent.id, live.process_id): now,
            (customer.id, live.process_id): now,
            (agent.id, other.process_id): now - timedelta(seconds=10),
        }
        await Presence.filter(process_id=live.process_id).delete()
        await live.renew()
        assert {(row.user_id, row.process_id) for row in await Presence.all()} == set(renewed)
    assert await Presence.all().count() == 0


async def test_the_loop_renews_until_it_is_cancelled(world: World) -> None:
    """What the job runner keeps running."""
    live = LivePresence()
    agent = await world.agent()
    async with present_at(live, agent):
        before = (await Presence.get(user_id=agent.id)).renewed_at
        running = asyncio.create_task(live.keep_renewing(every=0.02))

        async def renewed() -> bool:
            return (await Presence.get(user_id=agent.id)).renewed_at > before

        await eventually(renewed)
        running.cancel()
        await asyncio.wait({running})
        assert running.cancelled()
