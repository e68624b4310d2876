"""AsyncEngine with a real engine process: tokens, scores, readers that leave, a full queue, death and restart."""

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from app.engine.admission import Work
from app.engine.client import AsyncEngine
from app.engine.config import EngineConfig
from app.engine.interface import EngineState
from app.engine.messages import FinishReason, SamplingParams
from app.engine.stream import RequestStream
from app.errors import Draining, EngineDied, EngineRestarting, Overloaded, Starting
from tests.engine.core.tiny_models import VOCABULARY, tiny_checkpoint
from tests.engine.recording_observer import RecordingObserver

pytestmark = pytest.mark.anyio
LONG = SamplingParams(max_tokens=200, ignore_eos=True)


async def until(condition: Callable[[], bool], seconds: float = 120.0) -> None:
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


async def started(observer: RecordingObserver) -> AsyncEngine:
    config = EngineConfig(
        model=str(tiny_checkpoint("llama")), device="cpu", kv_cache_tokens=4096, threads=1, max_running=16
    )
    engine = AsyncEngine(config, observer, max_waiting=128, objectives={"completion": 2.0})
    await engine.start()
    with pytest.raises(Starting):
        engine.submit([5])
    await until(lambda: engine.state is EngineState.READY)
    return engine


@pytest.fixture(scope="module")
def observer() -> RecordingObserver:
    return RecordingObserver()


@pytest.fixture(scope="module")
async def engine(observer: RecordingObserver) -> AsyncIterator[AsyncEngine]:
    """One process for the module: each start costs seconds, and every test leaves it idle and ready."""
    engine = await started(observer)
    yield engine
    await engine.stop()
    assert engine.process_id is None


async def assert_idle(engine: AsyncEngine, observer: RecordingObserver) -> None:
    """Nothing is open here, and the engine's last step left no sequence and no block in use."""
    await until(lambda: engine.num_open == 0)
    (stats,) = observer.named("step")[-1]
    assert (stats.running, stats.waiting, stats.kv_blocks_used) == (0, 0, 0)
    assert engine.making_progress


async def test_many_requests_get_the_tokens_they_get_alone(
    engine: AsyncEngine, observer: RecordingObserver
) -> None:
    chooser = random.Random(17)
    prompts = [[chooser.randrange(3, VOCABULARY) for _ in range(chooser.randrange(1, 60))] for _ in range(32)]
    sampling = [SamplingParams(max_tokens=20, ignore_eos=True, temperature=n % 2, seed=n) for n in range(32)]

    async def answer(number: int) -> tuple[list[int], FinishReason | None]:
        return await read(engine.submit(prompts[number], sampling=sampling[number], cache_salt=f"{number}"))

    finished = len(observer.named("sequence_finished"))
    alone = [await answer(number) for number in range(32)]
    together = await asyncio.gather(*map(answer, range(32)))
    assert together == alone
    assert len({tuple(tokens) for tokens, _ in alone}) == 32
    assert len(observer.named("sequence_finished")) == finished + 64
    await assert_idle(engine, observer)


async def test_threads_of_the_engine_sleep_while_they_wait(engine: AsyncEngine) -> None:
    variables = Path(f"/proc/{engine.process_id}/environ").read_bytes().split(b"\0")
    assert b"OMP_WAIT_POLICY=PASSIVE" in variables


async def test_every_thread_of_the_engine_lets_the_api_process_go_first(engine: AsyncEngine) -> None:
    threads = map(int, os.listdir(f"/proc/{engine.process_id}/task"))
    niceness = [os.getpriority(os.PRIO_PROCESS, thread) for thread in threads]
    assert niceness and min(niceness) > os.getpriority(os.PRIO_PROCESS, 0)


async def flood(engine: AsyncEngine) -> list[Callable[[], None]]:
    """Take all places, and have twenty refused; returns what gives the places back."""
    places = []
    with pytest.raises(Overloaded):
        while True:
            places.append(engine.enter("completion", ""))
    for _ in range(20):
        with pytest.raises(Overloaded):
            engine.enter("completion", "")
    await until(lambda: os.sched_getscheduler(0) == os.SCHED_BATCH, seconds=5)
    return places


async def test_under_a_flood_the_event_loop_lets_the_engine_go_first(engine: AsyncEngine) -> None:
    for give_back in await flood(engine):
        give_back()
    await until(lambda: os.sched_getscheduler(0) == os.SCHED_OTHER, seconds=10)


async def test_an_engine_that_is_started_in_a_flood_is_as_any_other(engine: AsyncEngine) -> None:
    places, before = await flood(engine), engine.process_id
    assert before is not None
    os.kill(before, signal.SIGKILL)
    await until(lambda: engine.process_id not in (None, before) and engine.state is EngineState.READY)
    assert os.sched_getscheduler(engine.process_id or 0) == os.SCHED_OTHER
    for give_back in places:
        give_back()


async def test_decision_scores(engine: AsyncEngine) -> None:
    outputs = [output async for output in engine.submit([5, 6, 7], labels=[[5, 2], [6, 7, 2]])]
    assert len(outputs) == 1 and len(outputs[0].label_scores) == 2
    assert all(score < 0 for score in outputs[0].label_scores)


async def test_closing_a_stream_frees_it_in_the_engine(
    engine: AsyncEngine, observer: RecordingObserver
) -> None:
    for _ in range(50):  # on a busy machine an answer may be whole before its reader gets to leave
        stream = engine.submit([5, 6, 7], sampling=LONG)
        await anext(stream)
        stream.close()
        await assert_idle(engine, observer)
        if observer.named("sequence_finished")[-1] == ("chat", FinishReason.ABORTED):
            return
    raise AssertionError("no reader left in time")


async def test_a_hundred_readers_that_leave_at_any_moment_leave_nothing(
    engine: AsyncEngine, observer: RecordingObserver
) -> None:
    async def leave_after(outputs: int) -> None:
        stream = engine.submit([5 + outputs, 6, 7], sampling=LONG)
        try:
            for _ in range(outputs):
                await anext(stream)
        finally:
            stream.close()

    finished = len(observer.named("sequence_finished"))
    readers = [asyncio.create_task(leave_after(number % 10)) for number in range(100)]
    await asyncio.sleep(0)
    for reader in readers[::3]:
        reader.cancel()
    await asyncio.gather(*readers, return_exceptions=True)
    await assert_idle(engine, observer)
    assert len(observer.named("sequence_finished")) == finished + 100


async def test_a_full_queue_refuses(engine: AsyncEngine) -> None:
    short = SamplingParams(max_tokens=1, ignore_eos=True)
    streams = []
    with pytest.raises(Overloaded) as refusal:
        for _ in range(1000):
            engine.admit(Work("chat", sequences=1, tokens=2))
            streams.append(engine.submit([5, 6], sampling=short))
    assert refusal.value.retry_after >= 1
    assert len(streams) == 128
    ends = await asyncio.gather(*[read(stream) for stream in streams])
    assert {reason for _, reason in ends} == {FinishReason.LENGTH}


async def test_a_value_that_cannot_be_sent_leaves_nothing_open(engine: AsyncEngine) -> None:
    with pytest.raises(OverflowError):
        engine.submit([5], sampling=SamplingParams(seed=2**70))
    assert engine.num_open == 0


@pytest.mark.parametrize("sig", [signal.SIGKILL, signal.SIGSTOP])
async def test_answers_go_on_in_a_new_engine_where_the_old_one_ended(
    engine: AsyncEngine, observer: RecordingObserver, sig: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.engine.client._HUNG_SECONDS", 1.0)
    prompts = [[5 + number, 6, 7] for number in range(4)]
    sampling = [
        SamplingParams(max_tokens=180, ignore_eos=True),
        SamplingParams(max_tokens=180, ignore_eos=True, temperature=1.0, seed=3),
        SamplingParams(max_tokens=180, ignore_eos=True, temperature=0.7, seed=4, frequency_penalty=0.5),
        SamplingParams(max_tokens=180, ignore_eos=True, logprobs=2, min_tokens=100),
    ]
    undisturbed = await asyncio.gather(
        *[read(engine.submit(p, sampling=s)) for p, s in zip(prompts, sampling, strict=True)]
    )
    scores = [output.label_scores async for output in engine.submit([5, 6, 7], labels=[[5, 2], [6, 7, 2]])]
    restarts = len(observer.named("engine_restarted"))

    streams = [engine.submit(p, sampling=s) for p, s in zip(prompts, sampling, strict=True)]
    begun = [(await anext(stream)).tokens for stream in streams]
    assert engine.process_id is not None
    os.kill(engine.process_id, signal.SIGSTOP)
    decision = engine.submit([5, 6, 7], labels=[[5, 2], [6, 7, 2]])
    os.kill(engine.process_id, sig)
    rests = await asyncio.gather(*map(read, streams))
    assert [(first + rest, reason) for first, (rest, reason) in zip(begun, rests, strict=True)] == undisturbed
    assert [output.label_scores async for output in decision] == scores
    assert len(observer.named("engine_restarted")) == restarts + 1
    await assert_idle(engine, observer)


async def test_new_work_is_refused_until_another_engine_runs(
    engine: AsyncEngine, caplog: pytest.LogCaptureFixture
) -> None:
    assert engine.process_id is not None
    stream = engine.submit([5, 6, 7], sampling=LONG)
    os.kill(engine.process_id, signal.SIGKILL)
    await until(lambda: engine.state is EngineState.RESTARTING)
    with pytest.raises(EngineRestarting):
        engine.submit([5])
    stream.close()
    assert engine.num_open == 0  # there is no process that could tell of its end
    await until(lambda: engine.state is EngineState.READY)
    assert any("ended (SIGKILL)" in message for message in caplog.messages)


async def test_readers_do_not_wait_for_ever(engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.engine.client._RECOVERY_SECONDS", 0.01)
    assert engine.process_id is not None
    stream = engine.submit([5, 6, 7], sampling=LONG)
    os.kill(engine.process_id, signal.SIGKILL)
    with pytest.raises(EngineDied):
        await read(stream)
    await until(lambda: engine.state is EngineState.READY)


async def test_leaving_takes_work_and_is_not_ready(engine: AsyncEngine, observer: RecordingObserver) -> None:
    engine.leave()
    assert engine.state is EngineState.LEAVING
    assert observer.named("set_ready")[-1] == (False,)
    _, reason = await read(engine.submit([5, 6, 7]))
    assert reason is FinishReason.LENGTH
    await asyncio.sleep(1.2)  # longer than readiness is looked at
    assert observer.named("set_ready")[-1] == (False,)


async def test_what_a_drain_cannot_wait_for_is_told_so() -> None:
    engine = await started(RecordingObserver())
    assert engine.process_id is not None
    stream = engine.submit([5, 6, 7], sampling=LONG)
    os.kill(engine.process_id, signal.SIGSTOP)
    await engine.stop(drain_seconds=0.05)
    with pytest.raises(Draining):
        await read(stream)


@pytest.mark.parametrize("dies", [False, True])
async def test_draining_refuses_new_work_and_finishes_the_old(dies: bool) -> None:
    engine = await started(RecordingObserver())
    assert engine.process_id is not None
    if dies:
        os.kill(engine.process_id, signal.SIGSTOP)
    stream = engine.submit([5, 6, 7], sampling=LONG)
    stopping = asyncio.create_task(engine.stop(drain_seconds=120))
    await asyncio.sleep(0)
    with pytest.raises(Draining):
        engine.submit([5])
    if dies:
        os.kill(engine.process_id, signal.SIGKILL)
    tokens, reason = await read(stream)
    assert (len(tokens), reason) == (200, FinishReason.LENGTH)
    await stopping
    assert engine.process_id is None
