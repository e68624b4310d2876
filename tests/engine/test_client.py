"""AsyncEngine with a real engine process: ready, tokens, abort, death, restart, no orphan."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable

import pytest

from app.engine.client import AsyncEngine, EngineState
from app.engine.config import EngineConfig
from app.engine.messages import FinishReason, SamplingParams
from app.engine.stream import RequestStream
from app.errors import Draining, EngineDied, EngineRestarting, Overloaded, Starting
from tests.engine.core.tiny_models import tiny_checkpoint
from tests.engine.recording_observer import RecordingObserver

pytestmark = pytest.mark.anyio
LONG = SamplingParams(max_tokens=200, ignore_eos=True)


def configuration() -> EngineConfig:
    return EngineConfig(model=str(tiny_checkpoint("llama")), device="cpu", kv_cache_tokens=4096, threads=1, max_running=4)


async def until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


async def read(stream: RequestStream) -> tuple[list[int], FinishReason | None]:
    tokens: list[int] = []
    async for output in stream:
        tokens += output.tokens
        if output.finish_reason is not None:
            return tokens, output.finish_reason
    return tokens, None


@pytest.fixture
def observer() -> RecordingObserver:
    return RecordingObserver()


@pytest.fixture
async def engine(observer: RecordingObserver) -> AsyncIterator[AsyncEngine]:
    engine = AsyncEngine(configuration(), observer, max_waiting=8)
    await engine.start()
    with pytest.raises(Starting):
        engine.submit([5])
    await until(lambda: engine.state is EngineState.READY)
    yield engine
    await engine.stop()
    assert engine.process_id is None


async def test_many_requests_get_their_own_tokens(engine: AsyncEngine, observer: RecordingObserver) -> None:
    alone = [await read(engine.submit([5 + i, 6, 7], sampling=LONG)) for i in range(6)]
    together = await asyncio.gather(*[read(engine.submit([5 + i, 6, 7], sampling=LONG)) for i in range(6)])
    assert together == alone
    assert len({tuple(tokens) for tokens, _ in alone}) == 6
    assert len(observer.named("sequence_finished")) == 12
    assert engine.num_open == 0


async def test_decision_scores(engine: AsyncEngine) -> None:
    outputs = [output async for output in engine.submit([5, 6, 7], labels=[[5, 2], [6, 7, 2]])]
    assert len(outputs) == 1 and len(outputs[0].label_scores) == 2
    assert all(score < 0 for score in outputs[0].label_scores)


async def test_closing_a_stream_frees_it_in_the_engine(engine: AsyncEngine, observer: RecordingObserver) -> None:
    stream = engine.submit([5, 6, 7], sampling=LONG)
    await anext(stream)
    stream.close()
    await until(lambda: engine.num_open == 0)
    (stats,) = observer.named("step")[-1]
    assert (stats.running, stats.waiting, stats.kv_blocks_used) == (0, 0, 0)
    assert observer.named("sequence_finished")[-1][1].finish_reason is FinishReason.ABORTED


async def test_a_full_queue_refuses(engine: AsyncEngine) -> None:
    streams = []
    with pytest.raises(Overloaded) as refusal:
        for _ in range(64):
            streams.append(engine.submit([5, 6], sampling=LONG))
    assert refusal.value.retry_after >= 1
    assert len(streams) >= 8
    ends = await asyncio.gather(*[read(stream) for stream in streams])
    assert {reason for _, reason in ends} == {FinishReason.LENGTH}


async def test_a_killed_engine_ends_its_streams_and_comes_back(engine: AsyncEngine, observer: RecordingObserver) -> None:
    stream = engine.submit([5, 6, 7], sampling=LONG)
    await anext(stream)
    assert engine.process_id is not None
    os.kill(engine.process_id, signal.SIGKILL)
    with pytest.raises(EngineDied):
        await read(stream)
    with pytest.raises(EngineRestarting):
        engine.submit([5])
    await until(lambda: engine.state is EngineState.READY)
    assert observer.named("engine_restarted") == [()]
    _, reason = await read(engine.submit([5, 6, 7], sampling=LONG))
    assert reason is FinishReason.LENGTH


async def test_draining_refuses_new_work_and_finishes_the_old(engine: AsyncEngine) -> None:
    stream = engine.submit([5, 6, 7], sampling=LONG)
    stopping = asyncio.create_task(engine.stop(drain_seconds=30))
    await asyncio.sleep(0)
    with pytest.raises(Draining):
        engine.submit([5])
    tokens, reason = await read(stream)
    assert (len(tokens), reason) == (200, FinishReason.LENGTH)
    await stopping


async def test_a_model_that_cannot_be_loaded_is_reported(observer: RecordingObserver) -> None:
    reasons: list[str] = []
    engine = AsyncEngine(EngineConfig(model="/nowhere/at/all", device="cpu"), observer, on_failed=reasons.append)
    await engine.start()
    await until(lambda: bool(reasons))
    assert engine.state is EngineState.FAILED
    assert "/nowhere/at/all" in reasons[0]
    await engine.stop()
