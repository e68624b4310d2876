"""Bursts: how long they may be, and that whole requests get from them what single steps say."""

import os
import random
from typing import Any

import pytest

from app.engine.core import ahead
from app.engine.core.ahead import rounds_ahead
from app.engine.core.engine_core import EngineCore
from app.engine.core.native_runner import NativeRunner
from app.engine.core.scheduler import ScheduledSequence
from app.engine.core.step_cost import StepCost
from app.engine.messages import AddRequest
from tests.engine.core.test_engine_core import prompts, request
from tests.engine.core.test_native_runner import config_of, numbers
from tests.engine.core.test_speculation import core_of, ends, loaded_model, run


@pytest.mark.parametrize(("seconds", "rounds"), [(0.0001, 16), (0.0009, 4), (0.0035, 1), (1.0, 1)])
def test_a_burst_has_the_rounds_that_fit_its_time(seconds: float, rounds: int) -> None:
    cost = StepCost()
    assert rounds_ahead(cost, 2, 0) == 1
    for _ in range(100):
        cost.measured(2, 0, 0, seconds, burst=True)
    assert rounds_ahead(cost, 2, 0) == rounds
    assert rounds_ahead(cost, 3, 0) == 1


def test_a_burst_has_fewer_rounds_where_attention_takes_longer() -> None:
    cost = StepCost()
    for _ in range(30):
        for tokens in (1000, 2000, 3000):
            cost.measured(1, 0, tokens, tokens * 0.5e-6, burst=True)
    assert [rounds_ahead(cost, 1, tokens) for tokens in (1200, 2300, 4500)] == [6, 3, 1]


def many() -> list[AddRequest]:
    """Greedy requests that end in every way."""
    samplings: list[dict[str, Any]] = [
        {"max_tokens": 1},
        {"max_tokens": 33},
        {"ignore_eos": False, "max_tokens": 60, "stop_token_ids": list(range(3, 30))},
        {"ignore_eos": False, "max_tokens": 60},
        {"max_tokens": 20, "min_tokens": 5, "stop_token_ids": list(range(3, 30))},
        {"max_tokens": 400},  # to the end of the context
    ]
    texts = prompts(len(samplings), seed=11)
    return [
        request(number, text, **sampling)
        for number, (text, sampling) in enumerate(zip(texts, samplings, strict=True))
    ]


@pytest.mark.parametrize("tokens", [4096, 272])
def test_requests_get_what_single_steps_say(tokens: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "_MOST_ROUNDS", 1)
    expected, single = run(core_of("llama", speculation=False), many())
    monkeypatch.setattr(ahead, "_MOST_ROUNDS", 16)
    monkeypatch.setattr(ahead, "_HORIZON", 1e9)
    core = core_of("llama", speculation=False, kv_cache_tokens=tokens)
    outputs, bursts = run(core, many())
    assert numbers(outputs) == numbers(expected)
    assert ends(outputs) == ends(expected)
    assert bursts["steps"] < single["steps"] / 2
    assert core.scheduler.blocks.num_used == 0


def test_a_burst_has_the_blocks_that_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    """With few free, it says what the sequence's own blocks have room for; the decoder refuses anything else."""
    burst = NativeRunner.burst
    most: list[int] = []

    def noted(runner: NativeRunner, scheduled: list[ScheduledSequence], *more: Any) -> Any:
        most.extend(item.burst.most for item in scheduled if item.burst)
        try:
            return burst(runner, scheduled, *more)
        except IndexError:
            pytest.fail("a burst without blocks", pytrace=False)

    monkeypatch.setattr(ahead, "_HORIZON", 1e9)
    monkeypatch.setattr(NativeRunner, "burst", noted)
    core = core_of("llama", speculation=False, kv_cache_tokens=256)
    chooser = random.Random(5)
    texts = [[chooser.randrange(9, 150) for _ in range(100)] for _ in range(2)]
    run(core, [request(number, text, max_tokens=60) for number, text in enumerate(texts)])
    assert 1 < min(size for size in most if size > 1) < 16


def test_an_arrival_ends_the_burst(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "_HORIZON", 1e9)
    reader, writer = os.pipe()
    try:
        core = EngineCore(loaded_model("llama"), config_of("llama", quantization="int8"), arrivals=reader)
        core.add(request(0, prompts(1)[0], max_tokens=200))
        lengths = [sum(len(output.tokens) for output in core.step().outputs) for _ in range(4)]
        assert max(lengths) > 1
        os.write(writer, b"x")
        (sequence,) = core.scheduler._running
        for _ in range(20):
            assert [len(output.tokens) for output in core.step().outputs] == [1]
            assert len(sequence.block_table) <= -(-len(sequence.tokens) // 16), (
                "blocks for tokens that never came"
            )
    finally:
        os.close(reader)
        os.close(writer)
