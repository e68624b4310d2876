"""Scheduler: who runs next and with how much, who waits for whom, and how sequences end."""

from typing import Any

import pytest

from app.engine.core.scheduler import ScheduledSequence
from app.engine.messages import FinishReason, SequenceOutput
from tests.engine.core.virtual_engine import EOS, VirtualEngine


def shares(scheduled: list[ScheduledSequence]) -> list[tuple[int, int]]:
    """(request, tokens) of each scheduled sequence."""
    return [(item.sequence.id, item.length) for item in scheduled]


def reasons(outputs: list[SequenceOutput]) -> dict[int, FinishReason]:
    return {output.id: output.finish_reason for output in outputs if output.finish_reason is not None}


def prompt(number: int, length: int) -> list[int]:
    """A prompt that shares nothing with those of other numbers."""
    return [number + 10] * length


# Order


def test_first_come_first_served() -> None:
    engine = VirtualEngine(max_running=1)
    for number in (3, 1, 2):
        engine.add(number, prompt(number, 4), max_tokens=1)
        engine.now += 1
    assert [next(iter(reasons(engine.step()))) for _ in range(3)] == [3, 1, 2]


def test_priority_then_deadline_then_arrival() -> None:
    engine = VirtualEngine(max_running=1)
    engine.add(1, prompt(1, 4), max_tokens=1)
    engine.add(2, prompt(2, 4), max_tokens=1, timeout=50.0)
    engine.add(3, prompt(3, 4), max_tokens=1, timeout=20.0)
    engine.add(4, prompt(4, 4), max_tokens=1, priority=-1)
    engine.add(5, prompt(5, 4), max_tokens=1, priority=1, timeout=1.0)
    assert [next(iter(reasons(engine.step()))) for _ in range(5)] == [4, 3, 2, 1, 5]


def test_a_request_that_does_not_fit_yet_is_not_overtaken() -> None:
    engine = VirtualEngine(num_blocks=4, max_model_len=16)
    engine.add(1, prompt(1, 8), max_tokens=2)
    engine.step()
    engine.add(2, prompt(2, 12), max_tokens=1)
    engine.add(3, prompt(3, 2), max_tokens=1)
    scheduled = engine.schedule()
    assert shares(scheduled) == [(1, 1)]
    engine.finish(scheduled)
    assert [number for number, _ in shares(engine.schedule())] == [2, 3]


# Budget


def test_the_budget_of_a_step_is_never_exceeded_and_never_wasted() -> None:
    engine = VirtualEngine(max_batch_tokens=16)
    engine.add(1, prompt(1, 10))
    engine.add(2, prompt(2, 10))
    assert shares(engine.schedule()) == [(1, 10), (2, 6)]


def test_decodes_come_first_and_prompts_in_chunks_beside_them() -> None:
    engine = VirtualEngine(prefill_chunk=4)
    engine.add(1, prompt(1, 6))
    engine.step()
    engine.add(2, prompt(2, 10), priority=-1)
    seen = []
    for _ in range(3):
        scheduled = engine.schedule()
        seen.append(shares(scheduled))
        engine.finish(scheduled)
    assert seen == [[(1, 1), (2, 4)], [(1, 1), (2, 4)], [(1, 1), (2, 2)]]


def test_the_chunk_beside_decodes_is_shared_by_all_prompts_and_decisions() -> None:
    engine = VirtualEngine(prefill_chunk=4)
    engine.add(1, prompt(1, 6))
    engine.step()
    engine.add(2, prompt(2, 3))
    engine.add(3, prompt(3, 8), labels=[[5], [6]])
    assert shares(engine.schedule()) == [(1, 1), (2, 3), (3, 1)]


def test_no_more_sequences_run_than_allowed() -> None:
    engine = VirtualEngine(max_running=2)
    for number in range(4):
        engine.add(number, prompt(number, 2))
    engine.step()
    assert (engine.scheduler.num_running, engine.scheduler.num_waiting) == (2, 2)


# Ends


@pytest.mark.parametrize(
    ("sampling", "chosen", "tokens", "reason", "stop_token"),
    [
        ({"max_tokens": 3}, 9, [9, 9, 9], FinishReason.LENGTH, None),
        ({"max_tokens": 3}, EOS, [], FinishReason.STOP, EOS),
        ({"max_tokens": 2, "ignore_eos": True}, EOS, [EOS, EOS], FinishReason.LENGTH, None),
        ({"max_tokens": 3, "stop_token_ids": [9]}, 9, [], FinishReason.STOP, 9),
        ({"max_tokens": 99}, 9, [9] * 4, FinishReason.LENGTH, None),
    ],
)
def test_ends_of_a_chat(
    sampling: dict[str, Any], chosen: int, tokens: list[int], reason: FinishReason, stop_token: int | None
) -> None:
    engine = VirtualEngine(max_model_len=8)
    engine.add(1, prompt(1, 4), **sampling)
    outputs = []
    while engine.scheduler.has_work:
        outputs += engine.step(lambda number: chosen)
    assert [token for output in outputs for token in output.tokens] == tokens
    assert (outputs[-1].finish_reason, outputs[-1].stop_token) == (reason, stop_token)
    assert all(output.finish_reason is None for output in outputs[:-1])


def test_a_decision_ends_with_one_score_a_label() -> None:
    engine = VirtualEngine()
    engine.add(1, prompt(1, 4), labels=[[5], [6, 7]])
    (output,) = engine.step()
    assert (output.finish_reason, output.label_scores, output.tokens) == (FinishReason.STOP, [-1.0, -2.0], [])


def test_a_deadline_before_the_first_token_expires_after_it_ends() -> None:
    engine = VirtualEngine(max_running=2)
    engine.add(1, prompt(1, 4), timeout=5.0)
    engine.step()
    engine.add(2, prompt(2, 64), timeout=5.0, max_tokens=1)
    engine.step()
    engine.add(3, prompt(3, 4), timeout=2.0)
    engine.now += 4.9
    assert reasons(engine.step()) == {3: FinishReason.EXPIRED}
    engine.now += 0.1
    assert reasons(engine.step()) == {1: FinishReason.DEADLINE, 2: FinishReason.EXPIRED}
    assert engine.scheduler.blocks.num_used == 0


@pytest.mark.parametrize("kind", [{"max_tokens": 5}, {"labels": [[5]]}])
def test_a_first_token_after_the_deadline_is_none(kind: dict[str, Any]) -> None:
    engine = VirtualEngine()
    engine.add(1, prompt(1, 4), timeout=5.0, **kind)
    scheduled = engine.schedule()
    engine.now += 6.0
    (output,) = engine.finish(scheduled)
    assert (output.finish_reason, output.tokens, output.label_scores) == (FinishReason.EXPIRED, [], [])
    assert engine.scheduler.blocks.num_used == 0


def test_stages_are_told_when_they_end() -> None:
    engine = VirtualEngine(max_batch_tokens=8)
    engine.add(1, prompt(1, 20), max_tokens=2)
    engine.now += 1.0
    (queued,) = engine.step()
    assert queued.timings is not None and not queued.tokens and queued.timings.queue == 1.0
    engine.now += 2.0
    assert engine.step() == []
    (first,) = engine.step()
    assert first.tokens and first.timings is not None and first.timings.prefill == 2.0


def test_timings_are_those_of_the_clock() -> None:
    engine = VirtualEngine(max_batch_tokens=16)
    engine.add(1, prompt(1, 20), max_tokens=2)
    engine.now += 1.0
    first = engine.schedule()
    engine.now += 2.0
    engine.finish(first)
    engine.now += 4.0
    engine.step()
    engine.now += 8.0
    (output,) = engine.step()
    assert output.timings is not None
    assert (output.timings.queue, output.timings.prefill, output.timings.decode) == (1.0, 6.0, 8.0)


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_an_aborted_request_says_so_once_and_leaves_nothing(steps: int) -> None:
    engine = VirtualEngine()
    engine.add(1, prompt(1, 20))
    for _ in range(steps):
        engine.step()
    engine.scheduler.abort(1)
    engine.scheduler.abort(1)
    engine.scheduler.abort(2)
    assert reasons(engine.step()) == {1: FinishReason.ABORTED}
    assert not engine.scheduler.has_work
    assert engine.scheduler.blocks.num_used == 0


def test_a_failure_ends_its_own_sequence_alone() -> None:
    engine = VirtualEngine()
    engine.add(1, prompt(1, 4), max_tokens=2)
    engine.add(2, prompt(2, 4), max_tokens=2)
    engine.add(3, prompt(3, 4), labels=[[5]])
    assert reasons(engine.step(failed=frozenset([2]))) == {2: FinishReason.FAILED, 3: FinishReason.STOP}
    assert reasons(engine.step()) == {1: FinishReason.LENGTH}


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param({"prompt": [5] * 17}, id="prompt longer than the context"),
        pytest.param({"prompt": []}, id="no prompt"),
        pytest.param({"prompt": [5], "labels": [[6], []]}, id="an empty label"),
        pytest.param({"prompt": [5] * 15, "labels": [[6, 7, 8], [9]]}, id="a label beyond the context"),
        pytest.param(
            {"prompt": [5] * 8, "labels": [[n, n, n] for n in range(9)]}, id="more labels than cache"
        ),
    ],
)
def test_what_can_never_run_fails_at_once_and_holds_up_nobody(request_: dict[str, Any]) -> None:
    engine = VirtualEngine(num_blocks=5, max_model_len=16)
    engine.add(1, **request_)
    engine.add(2, prompt(2, 4), max_tokens=1)
    assert reasons(engine.step()) == {1: FinishReason.FAILED, 2: FinishReason.LENGTH}


def test_what_just_fits_runs() -> None:
    engine = VirtualEngine(num_blocks=4, max_model_len=16)
    engine.add(1, prompt(1, 16), max_tokens=5)
    engine.add(2, [5] * 14, labels=[[6, 7, 8], [9]])
    outputs = engine.run()
    assert outputs[1][-1].finish_reason is FinishReason.LENGTH and outputs[1][-1].tokens == [9]
    assert outputs[2][-1].finish_reason is FinishReason.STOP


# Preemption


def test_the_last_in_the_queue_gives_way_and_loses_no_token() -> None:
    engine = VirtualEngine(num_blocks=5, block_size=2, max_model_len=10)
    engine.add(1, prompt(1, 3), max_tokens=6)
    engine.add(2, prompt(2, 3), max_tokens=6)
    preemptions, outputs = 0, []
    while engine.scheduler.has_work:
        scheduled = engine.schedule()
        if engine.scheduler.preemptions:
            preemptions += 1
            assert [number for number, _ in shares(scheduled)] == [1]
        outputs += engine.finish(scheduled, lambda number: 20 + number)
    assert preemptions
    for number in (1, 2):
        tokens = [token for output in outputs if output.id == number for token in output.tokens]
        assert tokens == [20 + number] * 6
    assert reasons(outputs) == {1: FinishReason.LENGTH, 2: FinishReason.LENGTH}
