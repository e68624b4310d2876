"""AsyncEngine and processes that do not start: reported once, tried again ever more slowly, in a drain if wanted."""

import asyncio
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest

from app.engine.admission import Work
from app.engine.client import AsyncEngine
from app.engine.config import EngineConfig
from app.engine.interface import EngineState
from app.engine.messages import (
    Abort,
    AddRequest,
    Failed,
    FinishReason,
    Progress,
    Ready,
    SequenceOutput,
    StepOutputs,
    StepStats,
)
from app.engine.stream import RequestStream
from app.errors import DeadlineExceeded, EngineDied, EngineRestarting, Overloaded
from app.metrics import Metrics
from app.status_log import Reading, status
from tests.engine.recording_observer import RecordingObserver
from tests.exposition import samples

pytestmark = pytest.mark.anyio
READY = Ready(
    model="m",
    device="cpu",
    dtype="float32",
    quantization="none",
    cache_dtype="float32",
    kernels="torch",
    reasons=[],
    max_model_len=64,
    vocab_size=160,
    eos_token_ids=[2],
    block_size=16,
    num_blocks=8,
    parameters=1,
    memory_bytes=4,
    torch="2",
)


class SilentProcess:
    """Takes messages and answers none."""

    id = None
    end_reason = "exit code 0"

    def __init__(self) -> None:
        self.sent: list[Any] = []

    def send(self, message: Any) -> None:
        self.sent.append(message)

    def kill(self) -> None:
        self.sent.append("kill")

    async def end(self) -> None: ...


def die(engine: AsyncEngine) -> None:
    """End a connected engine's process, and have the next one ready."""
    engine._supervisor._set_state(EngineState.RESTARTING)
    engine._on_down()
    engine._supervisor.on_message(READY)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(180):
        while not condition():
            await asyncio.sleep(0.01)


def engine_of(**arguments: Any) -> AsyncEngine:
    return AsyncEngine(EngineConfig(model="/nowhere/at/all", device="cpu"), RecordingObserver(), **arguments)


def connected(step_seconds: float = 0.01, **arguments: Any) -> AsyncEngine:
    """An engine that is ready, without a process."""
    engine = engine_of(**arguments)
    engine._supervisor._process = SilentProcess()  # type: ignore[assignment]
    engine._supervisor.on_message(msgspec.structs.replace(READY, step_seconds=step_seconds))
    return engine


def process_of(engine: AsyncEngine) -> SilentProcess:
    process = engine._supervisor._process
    assert isinstance(process, SilentProcess)
    return process


async def test_a_model_that_cannot_be_loaded_is_reported_and_not_tried_again() -> None:
    reasons: list[str] = []
    engine = engine_of(on_failed=reasons.append)
    await engine.start()
    await until(lambda: bool(reasons))
    assert engine.state is EngineState.FAILED
    assert "/nowhere/at/all" in reasons[0]
    assert engine._supervisor._task is not None
    await asyncio.wait_for(engine._supervisor._task, 60)
    assert len(reasons) == 1
    await engine.stop()


async def test_a_process_that_ends_at_once_is_tried_again_ever_more_slowly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr("app.engine.process.sys.executable", str(program))
    engine = engine_of()
    await engine.start()
    await until(lambda: len(caplog.records) >= 3)
    pauses = [record.args for record in caplog.records[:3]]
    assert pauses == [("exit code 1", pytest.approx(pause)) for pause in (0.2, 0.4, 0.8)]
    assert engine.state is EngineState.RESTARTING
    with pytest.raises(EngineRestarting):
        engine.submit([5])
    await engine.stop()
    assert engine.process_id is None


async def test_each_process_gets_the_known_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    given = []

    async def start(config: EngineConfig, on_message: Callable[[Any], None], answers: bytes) -> None:
        given.append(answers)
        raise OSError("no process")

    monkeypatch.setattr("app.engine.supervisor.EngineProcess.start", start)
    engine = engine_of()
    await engine.start(b"1234")
    await until(lambda: len(given) >= 2)
    await engine.stop()
    assert given[:2] == [b"1234"] * 2


async def test_a_stop_while_a_process_is_being_made_leaves_none(monkeypatch: pytest.MonkeyPatch) -> None:
    made, ended = asyncio.Event(), list[int]()

    class Process(SilentProcess):
        async def end(self) -> None:
            ended.append(1)

    async def start(config: EngineConfig, on_message: Callable[[Any], None], answers: bytes) -> Process:
        made.set()
        await asyncio.sleep(0.2)
        return Process()

    monkeypatch.setattr("app.engine.supervisor.EngineProcess.start", start)
    engine = engine_of()
    await engine.start()
    await made.wait()
    await engine.stop()
    assert ended == [1]


async def test_a_stop_while_a_process_is_being_ended_ends_it_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ending, ended = asyncio.Event(), list[int]()

    class Process(SilentProcess):
        async def closed(self) -> None: ...

        async def end(self) -> None:
            ending.set()
            await asyncio.sleep(0.2)
            ended.append(1)

    async def start(config: EngineConfig, on_message: Callable[[Any], None], answers: bytes) -> Process:
        return Process()

    monkeypatch.setattr("app.engine.supervisor.EngineProcess.start", start)
    engine = engine_of()
    await engine.start()
    await ending.wait()
    await engine.stop()
    assert ended == [1]


async def test_a_system_without_processes_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("app.engine.process.sys.executable", "/nowhere/python")
    engine = engine_of()
    await engine.start()
    await until(lambda: sum("could not be started" in message for message in caplog.messages) >= 2)
    assert engine.state is EngineState.RESTARTING
    await engine.stop()


@pytest.mark.parametrize("value", [{"seed": 1 << 70}, {"kv_cache_tokens": 1 << 70}])
async def test_a_configuration_that_cannot_be_sent_is_reported_and_leaves_no_process(
    value: dict[str, int],
) -> None:
    reasons: list[str] = []
    config = EngineConfig(model="/nowhere/at/all", device="cpu", **value)  # type: ignore[arg-type]
    engine = AsyncEngine(config, RecordingObserver(), on_failed=reasons.append)
    await engine.start()
    await until(lambda: bool(reasons))
    assert engine.state is EngineState.FAILED
    assert "OverflowError" in reasons[0]
    await until(lambda: not psutil.Process().children())
    await engine.stop()


async def test_a_defect_that_ends_a_later_process_is_told_and_another_is_started(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ended = list[int]()

    class Process(SilentProcess):
        async def closed(self) -> None:
            raise ValueError("a defect")

        async def end(self) -> None:
            ended.append(1)

    async def start(config: EngineConfig, on_message: Callable[[Any], None], answers: bytes) -> Process:
        on_message(READY)
        return Process()

    monkeypatch.setattr("app.engine.supervisor.EngineProcess.start", start)
    engine = engine_of()
    await engine.start()
    await until(lambda: len(ended) >= 2)
    assert "a defect" in caplog.text
    await engine.stop()


async def test_no_process_is_started_for_nobody_while_draining(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("app.engine.process.sys.executable", "/nowhere/python")
    engine = engine_of()
    await engine.start()
    await until(lambda: engine.state is EngineState.RESTARTING)
    engine.drain()
    assert engine._supervisor._task is not None
    await asyncio.wait_for(engine._supervisor._task, 60)
    assert sum("could not be started" in message for message in caplog.messages) == 1
    assert engine.state is EngineState.DRAINING
    await engine.stop()


class Processes:
    """In the place of `EngineProcess`: each `says` something at once, and ends when it is killed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made: list[MortalProcess] = []
        self.says: list[Any] = [READY]
        monkeypatch.setattr("app.engine.supervisor.EngineProcess.start", self.start)

    async def start(
        self, config: EngineConfig, on_message: Callable[[Any], None], answers: bytes
    ) -> "MortalProcess":
        self.made.append(MortalProcess(on_message, self.says))
        return self.made[-1]


class MortalProcess(SilentProcess):
    """One that says something as soon as somebody listens, and ends when it is killed."""

    def __init__(self, on_message: Callable[[Any], None], says: list[Any]) -> None:
        super().__init__()
        self.on_message = on_message
        self._says = says
        self._ended = asyncio.Event()

    def kill(self) -> None:
        self._ended.set()

    async def closed(self) -> None:
        for message in self._says:
            self.on_message(message)
        await self._ended.wait()


@pytest.mark.parametrize("draining_already", [True, False])
async def test_a_drain_waits_for_another_process_where_answers_are_open(
    monkeypatch: pytest.MonkeyPatch, draining_already: bool
) -> None:
    processes = Processes(monkeypatch)
    engine = engine_of()
    await engine.start()
    await until(lambda: engine.state is EngineState.READY)
    stream = engine.submit([5])
    if not draining_already:
        processes.made[0].kill()
        await until(lambda: engine.state is EngineState.RESTARTING)
    stopping = asyncio.create_task(engine.stop(drain_seconds=60))
    await until(lambda: engine.state is EngineState.DRAINING)
    processes.made[0].kill()
    await until(lambda: len(processes.made) == 2 and bool(processes.made[1].sent))
    assert engine.state is EngineState.DRAINING
    end = SequenceOutput(id=stream.id, tokens=[7], finish_reason=FinishReason.STOP)
    engine._supervisor.on_message(StepOutputs([end], StepStats()))
    assert (await anext(stream)).tokens == [7]
    await stopping
    assert len(processes.made) == 2


@pytest.mark.parametrize("draining_already", [True, False])
async def test_a_drain_does_not_wait_for_a_process_that_would_come_too_late(
    monkeypatch: pytest.MonkeyPatch, draining_already: bool
) -> None:
    processes = Processes(monkeypatch)
    engine = engine_of()
    await engine.start()
    await until(lambda: engine.state is EngineState.READY)
    engine._supervisor._start_seconds = 90.0
    stream = engine.submit([5])
    if not draining_already:
        processes.made[0].kill()
        await until(lambda: engine.state is EngineState.RESTARTING)
    stopping = asyncio.create_task(engine.stop(drain_seconds=60))
    await until(lambda: engine.state is EngineState.DRAINING)
    processes.made[0].kill()
    with pytest.raises(EngineDied):  # and not `Draining`, as at the end of the drain
        await anext(stream)
    await stopping
    assert len(processes.made) == 1


@pytest.mark.parametrize("message", [READY, Failed("no memory")])
async def test_draining_is_never_undone(message: Ready | Failed) -> None:
    engine = engine_of()
    engine.drain()
    engine._supervisor.on_message(message)
    assert engine.state is EngineState.DRAINING


async def test_only_a_first_start_can_be_hopeless() -> None:
    reasons: list[str] = []
    first, later = engine_of(on_failed=reasons.append), connected(on_failed=reasons.append)
    later._supervisor.on_message(Failed("no memory just now"))
    assert reasons == []
    first._supervisor.on_message(Failed("no such model"))
    assert reasons == ["no such model"]


async def test_what_is_open_and_how_fast_it_is_answered_decides_what_is_let_in() -> None:
    """Thirty answers in ten milliseconds each; then sixty without one, which are more than the objective allows."""
    engine = connected(objectives={"chat": 0.2})

    def finish(stream: RequestStream) -> None:
        end = SequenceOutput(id=stream.id, tokens=[7], finish_reason=FinishReason.LENGTH)
        engine._supervisor.on_message(StepOutputs([end], StepStats()))

    for _ in range(30):
        stream = engine.submit([5])
        await asyncio.sleep(0.01)
        finish(stream)
    await asyncio.sleep(0.05)
    engine.admit(Work("chat", sequences=1))
    streams = [engine.submit([5]) for _ in range(60)]
    with pytest.raises(Overloaded):
        engine.admit(Work("chat", sequences=1))
    engine.admit(Work("completion", sequences=1))  # no objective
    for stream in streams:
        stream.close()
        finish(stream)
    await asyncio.sleep(0.05)
    engine.admit(Work("chat", sequences=1))


async def test_what_the_engine_is_told_of_who_asks_and_of_when_it_is_due() -> None:
    engine = connected(objectives={"decision": 0.15})
    engine.submit([5], task="decision", labels=[[6]], tenant="acme")
    engine.submit([5], task="chat")
    decision, chat = (request.added for request in engine._open.values())
    assert (decision.tenant, decision.due) == ("acme", 0.15)
    assert (chat.tenant, chat.due) == ("", None)


async def test_open_work_without_a_step_is_no_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("app.engine.client.monotonic", lambda: now[0])
    quick, slow, idle = (
        connected(step_seconds=0.01),
        connected(step_seconds=3.0),
        connected(step_seconds=0.01),
    )
    for engine in (quick, slow):
        engine.submit([5])
    now[0] = 2.4
    assert quick.making_progress
    now[0] = 2.6
    assert (quick.making_progress, slow.making_progress, idle.making_progress) == (False, True, True)
    now[0] = 15.1
    assert not slow.making_progress


async def test_a_long_step_is_remembered_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("app.engine.client.monotonic", lambda: now[0])
    engine = connected(step_seconds=0.01)
    engine.submit([5])
    engine._supervisor.on_message(StepOutputs([], StepStats(seconds=1.0)))
    now[0] = 4.9
    assert engine.making_progress
    for _ in range(1000):
        engine._supervisor.on_message(StepOutputs([], StepStats(seconds=0.01)))
    now[0] += 2.6
    assert not engine.making_progress


async def test_an_output_for_a_request_that_is_gone_is_ignored() -> None:
    engine = connected()
    stream = engine.submit([5])
    engine._supervisor.on_message(StepOutputs([SequenceOutput(id=stream.id + 1, tokens=[9])], StepStats()))
    assert stream.take_ready() == []
    engine._supervisor.on_message(StepOutputs([SequenceOutput(id=stream.id, tokens=[9])], StepStats()))
    assert [output.tokens for output in stream.take_ready()] == [[9]]


@pytest.mark.parametrize("tokens", [[], [7]])
async def test_a_deadline_holds_though_the_engine_is_silent(tokens: list[int]) -> None:
    engine = connected()
    stream = engine.submit([5], timeout=0.01)
    if tokens:
        engine._supervisor.on_message(StepOutputs([SequenceOutput(id=stream.id, tokens=tokens)], StepStats()))
        assert (await anext(stream)).tokens == tokens
        assert (await anext(stream)).finish_reason is FinishReason.DEADLINE
    else:
        with pytest.raises(DeadlineExceeded):
            await anext(stream)
    assert process_of(engine).sent[-1] == Abort(stream.id)


async def test_a_request_that_ended_needs_no_deadline() -> None:
    engine = connected()
    stream = engine.submit([5], timeout=0.01)
    end = SequenceOutput(id=stream.id, tokens=[7], finish_reason=FinishReason.STOP)
    engine._supervisor.on_message(StepOutputs([end], StepStats()))
    await asyncio.sleep(0.3)
    assert [output.finish_reason async for output in stream] == [FinishReason.STOP]
    assert len(process_of(engine).sent) == 1


@pytest.mark.parametrize("reason", [FinishReason.STOP, FinishReason.ABORTED])
async def test_a_sequence_ends_for_the_reason_that_its_reader_had(reason: FinishReason) -> None:
    engine = connected()
    stream = engine.submit([5], task="completion")
    stream.close(reason)
    engine._supervisor.on_message(
        StepOutputs([SequenceOutput(id=stream.id, finish_reason=FinishReason.ABORTED)], StepStats())
    )
    assert isinstance(engine._observer, RecordingObserver)
    assert engine._observer.named("sequence_finished") == [("completion", reason)]


async def test_sequences_lost_with_the_engine_are_counted() -> None:
    engine = connected()
    engine.submit([5], task="decision", labels=[[5]])
    engine.submit([5]).close(FinishReason.STOP)
    engine._fail_all(EngineDied())
    assert isinstance(engine._observer, RecordingObserver)
    ended = engine._observer.named("sequence_finished")
    assert ended == [("decision", FinishReason.FAILED), ("chat", FinishReason.STOP)]


@pytest.mark.parametrize("leaves", [True, False])
async def test_one_that_ends_while_it_waits_for_its_trial_gets_none(leaves: bool) -> None:
    engine = connected()
    first, second = engine.submit([5]), engine.submit([6], timeout=None if leaves else 0.01)
    for _ in range(2):
        die(engine)
    if leaves:
        assert engine.state is EngineState.RESTARTING  # for new work would be refused
        second.close()
    else:
        with pytest.raises(DeadlineExceeded):
            await anext(second)
    end = SequenceOutput(id=first.id, tokens=[1], finish_reason=FinishReason.STOP)
    engine._supervisor.on_message(StepOutputs([end], StepStats()))
    assert engine.num_open == 0
    assert engine.state is EngineState.READY
    newcomer = engine.submit([7])  # and no trial of one that is gone has it refused
    assert [message.id for message in process_of(engine).sent if isinstance(message, AddRequest)] == [
        *(first.id, second.id),
        *(first.id, second.id),
        *(first.id, newcomer.id),
    ]


async def test_without_a_process_all_open_requests_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    processes, metrics = Processes(monkeypatch), Metrics("m")

    def told() -> tuple[float, float, float]:
        read = {name.removeprefix("repartee_"): value for (name, _), value in samples(metrics).items()}
        return read["engine_restarts_total"], read["queue_requests"], read["queue_oldest_seconds"]

    engine = AsyncEngine(EngineConfig(model="/nowhere/at/all", device="cpu"), metrics)
    await engine.start()
    await until(lambda: engine.state is EngineState.READY)
    streams = [engine.submit([5]), engine.submit([6])]
    engine._open[streams[1].id].submitted_at -= 60.0
    before = Reading.of(metrics)
    processes.made[0].kill()
    await until(lambda: told()[0] == 1)
    assert told() == (1, 2, pytest.approx(60, abs=30))
    line = status(before, Reading.of(metrics))
    assert line is not None and line["waiting"] == 2
    for stream in streams:
        stream.close()
    await until(lambda: len(processes.made) == 2 and engine.state is EngineState.READY)
    assert told() == (1, 0, 0)
    await engine.stop()


async def test_an_engine_that_hangs_is_not_shown_as_ready_and_replaced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = slowed_watch(monkeypatch)
    engine = connected()
    engine.submit([5])
    watcher = asyncio.create_task(engine._watch())
    assert isinstance(engine._observer, RecordingObserver)
    observer = engine._observer
    await pass_by(now, 0.6)
    assert observer.named("set_ready")[-1] == (False,)
    assert "kill" not in process_of(engine).sent
    await pass_by(now, 0.6)
    assert "kill" in process_of(engine).sent
    watcher.cancel()


async def test_what_this_process_stood_still_is_no_silence_of_the_engine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = slowed_watch(monkeypatch)
    engine = connected()
    engine.submit([5])
    watcher = asyncio.create_task(engine._watch())
    await pass_by(now, 0.2)
    now[0] += 60.0  # as when its machine slept
    await pass_by(now, 0.2)
    assert engine.making_progress
    assert "kill" not in process_of(engine).sent
    await pass_by(now, 1.0)
    assert "kill" in process_of(engine).sent
    watcher.cancel()


def slowed_watch(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock for the engine's client, which calls an engine stuck after half a second and hung after one."""
    now = [0.0]
    monkeypatch.setattr("app.engine.client._WATCH_SECONDS", 0.01)
    monkeypatch.setattr("app.engine.client._STUCK_SECONDS", 0.5)
    monkeypatch.setattr("app.engine.client._HUNG_SECONDS", 1.0)
    monkeypatch.setattr("app.engine.client.monotonic", lambda: now[0])
    return now


async def pass_by(now: list[float], seconds: float) -> None:
    """Let time pass as slowly as the watcher looks at it."""
    for _ in range(round(seconds * 100)):
        now[0] += 0.01
        await asyncio.sleep(0.01)


async def test_a_start_that_hangs_is_ended_and_another_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.engine.client._WATCH_SECONDS", 0.01)
    now = [0.0]
    monkeypatch.setattr("app.engine.supervisor.monotonic", lambda: now[0])
    processes = Processes(monkeypatch)
    processes.says = []
    engine = engine_of()
    await engine.start()

    async def is_patient(seconds: float, made: int) -> None:
        now[0] += seconds
        await asyncio.sleep(0.1)
        assert len(processes.made) == made

    await until(lambda: len(processes.made) == 1)
    await is_patient(1790.0, made=1)
    processes.made[0].on_message(Progress("import", 1790.0))
    await is_patient(1790.0, made=1)  # each phase may last so long
    now[0] += 20.0
    await until(lambda: len(processes.made) == 2)

    processes.says = [Progress("load", 1.0), READY]
    now[0] += 1810.0
    await until(lambda: engine.state is EngineState.READY)
    await is_patient(1e6, made=3)
    processes.says = []
    processes.made[-1].kill()
    await until(lambda: len(processes.made) == 4)
    await is_patient(17_800.0, made=4)  # ten times the longest phase that was seen
    now[0] += 200.0
    await until(lambda: len(processes.made) == 5)
    await engine.stop()


async def test_the_observer_knows_the_engine_process_while_there_is_one() -> None:
    observer = RecordingObserver()
    engine = AsyncEngine(EngineConfig(model="/nowhere/at/all", device="cpu"), observer)
    await engine.start()
    await until(lambda: bool(observer.named("engine_process")))
    ((pid,),) = observer.named("engine_process")
    assert pid == engine.process_id
    await engine.stop()
    assert observer.named("engine_process")[-1] == (None,)
