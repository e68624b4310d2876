"""run_engine: takes what arrived, steps while there is work, blocks only without, and ends with the API process."""

from app.engine.loop import run_engine
from app.engine.messages import Abort, AddRequest, FromEngine, StepOutputs, StepStats, ToEngine

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


def test_an_abort_without_work_sends_nothing() -> None:
    channel = ScriptedChannel([[Abort(1)], None])
    run_engine(CountingCore(), channel)
    assert channel.sent == []
