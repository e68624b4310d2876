"""run_engine: takes what arrived, steps while there is work, blocks only without, and ends with the API process."""

import pytest

from app.engine.config import EngineConfig
from app.engine.core.engine_core import EngineCore
from app.engine.core.model_loader import load_model
from app.engine.loop import IdleCheck, run_engine
from app.engine.messages import (
    Abort,
    AddRequest,
    FromEngine,
    SamplingParams,
    StepOutputs,
    StepStats,
    ToEngine,
)
from tests.engine.core.tiny_models import tiny_checkpoint

STEP = StepOutputs([], StepStats())


class ScriptedChannel:
    """Delivers its script, one entry a call; keeps what was sent and how it was asked."""

    def __init__(self, script: list[list[ToEngine] | None]) -> None:
        self.script = iter(script)
        self.sent: list[FromEngine] = []
        self.waits: list[bool] = []

    def send(self, message: FromEngine) -> None:
        self.sent.append(message)

    def receive(self, wait: bool) -> list[ToEngine] | None:
        self.waits.append(wait)
        return next(self.script)


class CountingCore:
    """Needs two steps for each request."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int]] = []
        self.left = 0

    @property
    def has_work(self) -> bool:
        return self.left > 0

    def add(self, request: AddRequest) -> None:
        self.calls.append(("add", request.id))
        self.left += 2

    def abort(self, request_id: int) -> None:
        self.calls.append(("abort", request_id))

    def step(self) -> StepOutputs:
        self.left -= 1
        return STEP

    def check_invariants(self) -> None:
        self.calls.append(("check", self.left))


def test_one_frame_a_step_and_blocking_only_when_idle() -> None:
    core, channel = CountingCore(), ScriptedChannel([[AddRequest(id=1, prompt=[5])], [], [], None])
    run_engine(core, channel)
    assert channel.sent == [STEP, STEP]
    assert channel.waits == [True, False, True, True]


def test_messages_are_taken_in_order_before_the_step() -> None:
    requests: list[ToEngine] = [AddRequest(id=1, prompt=[5]), Abort(1), AddRequest(id=2, prompt=[5])]
    core, channel = CountingCore(), ScriptedChannel([requests, None])
    run_engine(core, channel)
    assert core.calls == [("add", 1), ("abort", 1), ("add", 2)]
    assert len(channel.sent) == 1


def test_the_state_is_checked_when_the_work_is_done() -> None:
    script: list[list[ToEngine] | None] = [[AddRequest(id=1, prompt=[5])], [], [], [Abort(1)], None]
    core = CountingCore()
    run_engine(core, ScriptedChannel(script))
    assert core.calls == [("add", 1), ("check", 0), ("abort", 1)]


def test_checking_takes_one_percent_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("app.engine.loop.time.monotonic", lambda: now[0])

    class SlowToCheck(CountingCore):
        def check_invariants(self) -> None:
            super().check_invariants()
            now[0] += 0.01

    core, check = SlowToCheck(), IdleCheck()
    for _ in range(4):
        check(core)
        now[0] += 0.6
    assert len(core.calls) == 2


def test_damaged_blocks_end_the_loop_after_the_last_answer() -> None:
    config = EngineConfig(model=str(tiny_checkpoint("llama")), device="cpu", kv_cache_tokens=256)
    core = EngineCore(load_model(config), config)
    request = AddRequest(id=1, prompt=[5], sampling=SamplingParams(max_tokens=1))
    run_engine(core, ScriptedChannel([[request], None]))
    core.scheduler.blocks._holders[0] += 1
    channel = ScriptedChannel([[request], None])
    with pytest.raises(AssertionError, match="reference counts"):
        run_engine(core, channel)
    (step,) = channel.sent
    assert isinstance(step, StepOutputs) and step.outputs[0].finish_reason is not None


def test_an_abort_without_work_sends_nothing() -> None:
    channel = ScriptedChannel([[Abort(1)], None])
    run_engine(CountingCore(), channel)
    assert channel.sent == []
