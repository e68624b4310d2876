"""Both ends of the channel: frames come whole and in order, however they are cut; a gone peer is noticed."""

import asyncio
import socket
import struct
from collections.abc import Iterator

import msgspec
import pytest

from app.engine.channel import AsyncChannel, BlockingChannel, open_socketpair
from app.engine.messages import Abort, AddRequest, Failed, FromEngine, Progress, SamplingParams, ToEngine

REQUEST = AddRequest(
    id=7,
    prompt=[1, 2, 3],
    sampling=SamplingParams(temperature=0.5, seed=-3, logit_bias={5: -1.5}),
    labels=[[4], [5, 6]],
    timeout=2.5,
    cache_salt="租户",
)


def frame(message: ToEngine | FromEngine) -> bytes:
    payload = msgspec.msgpack.encode(message)
    return struct.pack("<I", len(payload)) + payload


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = open_socketpair()
    with ours, theirs:
        yield ours, theirs


@pytest.fixture
def engine_end(ends: tuple[socket.socket, socket.socket]) -> Iterator[BlockingChannel]:
    channel = BlockingChannel(ends[1])
    yield channel
    channel._selector.close()


def test_a_frame_may_be_cut_at_every_byte(
    ends: tuple[socket.socket, socket.socket], engine_end: BlockingChannel
) -> None:
    data = frame(REQUEST) + frame(Abort(7))
    for cut in range(1, len(data)):
        ends[0].sendall(data[:cut])
        messages = engine_end.receive(wait=False)
        ends[0].sendall(data[cut:])
        rest = engine_end.receive(wait=True)
        assert messages is not None and rest is not None
        assert messages + rest == [REQUEST, Abort(7)]


def test_all_frames_of_one_read_are_delivered(
    ends: tuple[socket.socket, socket.socket], engine_end: BlockingChannel
) -> None:
    ends[0].sendall(b"".join(frame(Abort(number)) for number in range(100)))
    assert engine_end.receive(wait=True) == [Abort(number) for number in range(100)]
    assert engine_end.receive(wait=False) == []


def test_a_gone_peer_is_the_end(
    ends: tuple[socket.socket, socket.socket], engine_end: BlockingChannel
) -> None:
    ends[0].sendall(frame(REQUEST)[:5])
    ends[0].close()
    assert engine_end.receive(wait=True) is None
    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        engine_end.send(Progress("load", 1.0))


class Received:
    """An asynchronous end, and what it was told."""

    def __init__(self) -> None:
        self.messages: list[FromEngine] = []
        self.closed = 0
        self.news = asyncio.Event()

    def on_message(self, message: FromEngine) -> None:
        self.messages.append(message)
        self.news.set()

    def on_close(self) -> None:
        self.closed += 1
        self.news.set()

    async def open(self, end: socket.socket) -> AsyncChannel:
        return await AsyncChannel.open(end, self.on_message, self.on_close)

    async def wait_for(self, count: int, closed: int = 0) -> None:
        async with asyncio.timeout(30):
            while (len(self.messages), self.closed) != (count, closed):
                self.news.clear()
                await self.news.wait()


@pytest.mark.anyio
async def test_the_asynchronous_end_puts_cut_frames_together(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    received = Received()
    channel = await received.open(ends[0])
    sent = [Progress("import", 0.5), Progress("load", 1.5)]
    data = b"".join(frame(message) for message in sent)
    for position in range(len(data)):
        channel.data_received(data[position : position + 1])
    assert received.messages == sent
    channel.close()
    await received.wait_for(2, closed=1)


@pytest.mark.anyio
async def test_large_frames_pass_both_ways(ends: tuple[socket.socket, socket.socket]) -> None:
    received = Received()
    channel = await received.open(ends[0])
    engine = BlockingChannel(ends[1])
    large = Failed("x" * (12 << 20))
    prompt = AddRequest(id=1, prompt=list(range(1_000_000)))
    channel.send(prompt)
    assert await asyncio.to_thread(engine.receive, True) == [prompt]
    await asyncio.to_thread(engine.send, large)
    await received.wait_for(1)
    assert received.messages == [large]
    channel.close()
    assert await asyncio.to_thread(engine.receive, True) is None
    engine._selector.close()


@pytest.mark.anyio
async def test_the_engines_death_is_told_once_and_sending_after_it_is_harmless(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    received = Received()
    channel = await received.open(ends[0])
    ends[1].sendall(frame(Progress("load", 1.0)))
    ends[1].close()
    await received.wait_for(1, closed=1)
    channel.send(Abort(1))
    channel.close()
    await asyncio.sleep(0)
    assert received.closed == 1
