"""Each promise of the simulation can be broken: an engine with one fault in it does not pass."""

from collections.abc import Callable
from typing import Any

import pytest

from app.engine.core import engine_core
from app.engine.core.block_manager import BlockManager
from app.engine.core.engine_core import EngineCore
from app.engine.core.sampler import Sampler
from app.engine.core.scheduler import Scheduler, StepResult
from app.engine.core.sequence import Sequence
from app.engine.messages import FinishReason
from simulation.traffic import Traffic

SESSIONS = 40


def nothing(*_: Any) -> None: ...


def published_one_block_too_far(real: Callable[..., None]) -> Callable[..., None]:
    def publish(blocks: BlockManager, sequence: Sequence, start: int = 0) -> None:
        computed, sequence.num_computed = sequence.num_computed, sequence.num_computed + blocks.block_size - 1
        try:
            real(blocks, sequence, start)
        except IndexError:
            pass
        finally:
            sequence.num_computed = computed

    return publish


def keeps_what_was_computed(real: Callable[..., None]) -> Callable[..., None]:
    def reset(scheduler: Scheduler, sequence: Sequence) -> None:
        labels, computed = list(sequence.label_logprobs), sequence.num_computed
        real(scheduler, sequence)
        sequence.label_logprobs[:] = labels
        sequence.num_computed = min(computed, 1)

    return reset


def says_its_draft(real: Callable[..., StepResult]) -> Callable[..., StepResult]:
    """As if every drafted token were right."""

    def next_tokens(sampler: Sampler, item: Any, *more: Any) -> StepResult:
        result = real(sampler, item, *more)
        return StepResult([*item.draft, result.tokens[-1]], failed=result.failed, fate=result.fate)

    return next_tokens


def fails_at_once(real: Any) -> Any:
    return lambda core, item: StepResult(failed=True)


def ends_one_token_early(real: Callable[..., Any]) -> Callable[..., Any]:
    def append(scheduler: Scheduler, sequence: Sequence, token: int) -> Any:
        sampling = sequence.request.sampling
        reason = real(scheduler, sequence, token)
        nearly = sequence.num_generated == sampling.max_tokens - 1 and sampling.max_tokens > 3
        return reason or (FinishReason.LENGTH if nearly else None)

    return append


def reports_twice(real: Callable[..., Any]) -> Callable[..., Any]:
    def update(scheduler: Scheduler, *arguments: Any) -> Any:
        outputs = real(scheduler, *arguments)
        return outputs + [output for output in outputs if output.finish_reason is not None]

    return update


def newest_first(sequence: Sequence) -> Any:
    return (sequence.request.priority, sequence.deadline, -sequence.id)


FAULTS = [
    pytest.param(BlockManager, "free", lambda real: nothing, id="blocks are kept"),
    pytest.param(BlockManager, "publish", published_one_block_too_far, id="shared before they are computed"),
    pytest.param(Scheduler, "_expire", lambda real: nothing, id="deadlines are ignored"),
    pytest.param(Scheduler, "_reset", keeps_what_was_computed, id="preempted and not computed again"),
    pytest.param(Scheduler, "_append", ends_one_token_early, id="ends early"),
    pytest.param(Scheduler, "update", reports_twice, id="ends twice"),
    pytest.param(Scheduler, "abort", lambda real: nothing, id="aborts are ignored"),
    pytest.param(Scheduler, "start_over", lambda real: nothing, id="goes on with half a schedule"),
    pytest.param(Sampler, "_next_tokens", says_its_draft, id="believes its drafts"),
    pytest.param(EngineCore, "_run_again", fails_at_once, id="blames the last one for what passes"),
    pytest.param(Sequence, "order", lambda real: property(newest_first), id="the newest goes first"),
]


@pytest.mark.parametrize(("owner", "name", "broken"), FAULTS)
def test_an_engine_with_a_fault_is_found_out(
    owner: type, name: str, broken: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_core.logger, "disabled", True)
    monkeypatch.setattr(owner, name, broken(owner.__dict__[name]))
    for number in range(SESSIONS):
        try:
            Traffic(f"guards {number}").run(300)
        except AssertionError:
            return
    pytest.fail(f"{SESSIONS} sessions passed")
