"""The proxy of faults itself, through real sockets: each toxic does what its name says, and nothing else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from tests.faults.proxy import Proxy, Toxics, Way

BLOCK = bytes(range(256)) * 4
SOON = 2.0


class Echo:
    """A server that sends back what it gets, and knows what that was."""

    def __init__(self, mark: bytes = b"") -> None:
        self.mark = mark
        self.got = bytearray()
        self.ended = asyncio.Event()
        self.port = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Echo]:
        server = await asyncio.start_server(self._echo, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()

    async def _echo(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            writer.write(self.mark)
            while piece := await reader.read(65_536):
                self.got += piece
                writer.write(piece)
                await writer.drain()
            writer.write(b"end")
            writer.close()
        self.ended.set()


@pytest.fixture
async def echo() -> AsyncIterator[Echo]:
    async with Echo().running() as echo:
        yield echo


@pytest.fixture
async def proxy(echo: Echo) -> AsyncIterator[Proxy]:
    async with Proxy("127.0.0.1", echo.port, seed=7).running() as proxy:
        yield proxy


@asynccontextmanager
async def connected(proxy: Proxy) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def sent(proxy: Proxy, block: bytes = BLOCK) -> tuple[bytes, float]:
    """What comes back of a block, and after how many seconds."""
    async with connected(proxy) as (reader, writer):
        began = time.monotonic()
        writer.write(block)
        async with asyncio.timeout(5 * SOON):
            back = await reader.readexactly(len(block))
        return back, time.monotonic() - began


async def silent(reader: asyncio.StreamReader, seconds: float = 0.2) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await reader.read(1)
    except TimeoutError:
        return True
    return False


async def test_without_toxics_everything_passes(proxy: Proxy, echo: Echo) -> None:
    block = BLOCK * 2000
    async with connected(proxy) as (reader, writer):
        writer.write(block)
        assert await reader.readexactly(len(block)) == block
        writer.write_eof()
        assert await reader.read() == b"end"
    assert echo.got == block


async def test_latency_comes_in_both_directions(proxy: Proxy) -> None:
    proxy.toxics = Toxics(latency=0.1)
    back, seconds = await sent(proxy)
    assert back == BLOCK
    assert 0.2 <= seconds < SOON


async def test_a_toxic_can_concern_one_direction(proxy: Proxy) -> None:
    proxy.toxics = Toxics(latency=1.0, ways=frozenset({Way.DOWN}))
    _, seconds = await sent(proxy)
    assert 1.0 <= seconds < 2.0


async def test_bandwidth_is_a_rate(proxy: Proxy) -> None:
    proxy.toxics = Toxics(bandwidth=4096, ways=frozenset({Way.UP}))
    back, seconds = await sent(proxy)
    assert back == BLOCK
    assert 0.2 <= seconds < SOON


async def test_slices_arrive_one_by_one(proxy: Proxy) -> None:
    proxy.toxics = Toxics(slice_bytes=3, slice_delay=0.1, ways=frozenset({Way.DOWN}))
    async with connected(proxy) as (reader, writer):
        writer.write(BLOCK[:12])
        assert [await reader.read(100) for _ in range(4)] == [BLOCK[n : n + 3] for n in (0, 3, 6, 9)]


async def test_a_black_hole_takes_everything_and_stays_open(proxy: Proxy, echo: Echo) -> None:
    async with connected(proxy) as (reader, writer):
        proxy.toxics = Toxics(blackhole=True)
        writer.write(BLOCK * 2000)
        await asyncio.wait_for(writer.drain(), SOON)
        assert await silent(reader, 1.0)
        assert echo.got == b""
        proxy.toxics = Toxics()
        writer.write(b"again")
        assert await reader.readexactly(5) == b"again"


async def test_a_stall_closes_the_senders_window_and_loses_nothing(proxy: Proxy, echo: Echo) -> None:
    block = BLOCK * 40_000
    async with connected(proxy) as (reader, writer):
        proxy.toxics = Toxics(stall=True)
        writer.write(block)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(writer.drain(), 0.3)
        assert len(echo.got) < 2 * 65_536
        proxy.toxics = Toxics()
        assert await asyncio.wait_for(reader.readexactly(len(block)), 5 * SOON) == block


async def test_a_reset_is_a_reset(proxy: Proxy, echo: Echo) -> None:
    async with connected(proxy) as (reader, writer):
        writer.write(b"x")
        assert await reader.readexactly(1) == b"x"
        assert proxy.reset() == 1
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(reader.read(), SOON)
    await asyncio.wait_for(echo.ended.wait(), SOON)
    assert proxy.connections == set()


async def test_one_of_several_is_reset(proxy: Proxy) -> None:
    assert proxy.reset_one() == 0
    async with connected(proxy) as (one, first), connected(proxy) as (other, second):
        for reader, writer in ((one, first), (other, second)):
            writer.write(b"x")
            await reader.readexactly(1)
        assert proxy.reset_one() == 1
        await asyncio.sleep(0.1)
        assert len(proxy.connections) == 1


async def test_a_half_closed_direction_leaves_the_other(proxy: Proxy) -> None:
    async with connected(proxy) as (reader, writer):
        writer.write(b"x")
        assert await reader.readexactly(1) == b"x"
        proxy.half_close(Way.UP)
        assert await asyncio.wait_for(reader.read(), SOON) == b"end"


@pytest.mark.parametrize("bytes_passed", [0, 1, 1000, 1023])
async def test_a_cut_comes_after_exactly_so_many_bytes(proxy: Proxy, echo: Echo, bytes_passed: int) -> None:
    proxy.toxics = Toxics(cut_after=bytes_passed, ways=frozenset({Way.DOWN}))
    async with connected(proxy) as (reader, writer):
        writer.write(BLOCK)
        got = bytearray()
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(_read_into(got, reader), SOON)
    assert got == BLOCK[:bytes_passed]
    assert echo.got == BLOCK


async def _read_into(got: bytearray, reader: asyncio.StreamReader) -> None:
    while piece := await reader.read(4096):
        got += piece


async def test_who_is_refused_can_come_again_on_the_same_port(proxy: Proxy) -> None:
    port = proxy.port
    async with connected(proxy) as (reader, writer):
        await proxy.refuse()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"x")
        assert await reader.readexactly(1) == b"x"
    await proxy.accept()
    assert proxy.port == port
    assert (await sent(proxy))[0] == BLOCK


async def test_flipped_bytes_are_of_the_same_number_and_seeded(echo: Echo) -> None:
    seen = []
    for _ in range(2):
        async with Proxy("127.0.0.1", echo.port, seed=3).running() as proxy:
            proxy.toxics = Toxics(flip=1.0, ways=frozenset({Way.DOWN}))
            seen.append((await sent(proxy))[0])
    assert seen[0] == seen[1]
    assert sum(1 for one, other in zip(seen[0], BLOCK, strict=True) if one != other) == 1


async def test_new_connections_are_redirected_and_old_ones_are_not(proxy: Proxy) -> None:
    async with Echo(mark=b"other").running() as other, connected(proxy) as (reader, writer):
        proxy.redirect("127.0.0.1", other.port)
        writer.write(b"x")
        assert await reader.readexactly(1) == b"x"
        async with connected(proxy) as (after, _):
            assert await after.readexactly(5) == b"other"


async def test_a_server_that_is_away_resets_its_clients(echo: Echo) -> None:
    async with Proxy("127.0.0.1", 1).running() as proxy, connected(proxy) as (reader, _):
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(reader.read(), SOON)
