"""Speculation changes no answer: with and without drafts, right, wrong or half right, all numbers are the same bits."""

import random
from functools import cache
from typing import Any

import pytest

from app.engine.core.ahead import Draft, Fate
from app.engine.core.answer_store import AnswerStore
from app.engine.core.engine_core import EngineCore
from app.engine.core.model_loader import LoadedModel, load_model
from app.engine.core.native_runner import NativeRunner
from app.engine.core.scheduler import ScheduledSequence
from app.engine.core.sequence import Sequence
from app.engine.core.speculator import Speculator
from app.engine.messages import AddRequest, SequenceOutput
from tests.engine.core.test_engine_core import config_of as torch_config_of
from tests.engine.core.test_engine_core import prompts, request
from tests.engine.core.test_native_runner import config_of, numbers
from tests.engine.core.tiny_models import VOCABULARY

SAMPLINGS: list[dict[str, Any]] = [
    {},
    {"logprobs": 3},
    {"temperature": 1.0, "logprobs": 0},
    {"temperature": 0.7, "top_k": 20, "top_p": 0.9, "min_p": 0.01},
    {"repetition_penalty": 1.3, "frequency_penalty": 0.4, "presence_penalty": 0.2},
    {"temperature": 0.9, "repetition_penalty": 0.8, "logit_bias": {5: 2.0, 9: -100.0}},
    {"ignore_eos": False, "min_tokens": 9, "stop_token_ids": [7, 8, 9, 10, 11, 12, 13, 14]},
    {"ignore_eos": False, "stop_token_ids": list(range(3, 40)), "temperature": 1.0},
    {"max_tokens": 1},
    {"max_tokens": 7},
]


class Foretelling:
    """Drafts out of what the sequences will say, with an error here and there."""

    def __init__(self, answers: dict[int, list[int]], errors: float) -> None:
        self._answers = answers
        self._errors = errors
        self._chooser = random.Random(1)

    def look_again(self, sequences: int, rounds: int) -> int:
        return rounds

    def drafts(self, sequences: list[Sequence], room: int, rounds: int) -> dict[int, Draft]:
        drafts = {}
        for sequence in sequences:
            ahead = self._answers[sequence.id][sequence.num_generated :][: self._chooser.randrange(8)]
            beyond = [self._chooser.randrange(VOCABULARY) for _ in range(self._chooser.randrange(3))]
            wrong = [
                self._chooser.randrange(VOCABULARY) if self._chooser.random() < self._errors else token
                for token in ahead
            ]
            tokens = tuple([*wrong, *beyond][:room])
            widths = [self._chooser.randrange(4) for _ in tokens]
            drafts[sequence.id] = Draft(tokens, tuple(widths))
            room -= len(tokens)
        return drafts

    def verified(self, sequence: Sequence, fate: Fate) -> None: ...
    def forget(self, sequence: Sequence) -> None: ...


def requests(repeats: int = 1) -> list[AddRequest]:
    """One of each way to sample, and a decision."""
    chats = [
        request(number, prompt * repeats, seed=number, **sampling)
        for number, (prompt, sampling) in enumerate(
            zip(prompts(len(SAMPLINGS), seed=8), SAMPLINGS, strict=True)
        )
    ]
    return [*chats, AddRequest(id=len(chats), prompt=prompts(1, seed=5)[0], labels=[[5, 2], [6, 2]])]


@cache
def loaded_model(family: str) -> LoadedModel:
    return load_model(config_of(family, quantization="int8"))


def core_of(family: str, answers: AnswerStore | None = None, **overrides: Any) -> EngineCore:
    return EngineCore(loaded_model(family), config_of(family, quantization="int8", **overrides), answers)


def run(core: EngineCore, many: list[AddRequest]) -> tuple[dict[int, list[SequenceOutput]], dict[str, int]]:
    """The outputs of all requests run together, and the sums of the steps' counts."""
    outputs: dict[int, list[SequenceOutput]] = {one.id: [] for one in many}
    counts = {"drafted": 0, "accepted": 0, "preemptions": 0, "steps": 0}
    for one in many:
        core.add(one)
    while core.has_work:
        step = core.step()
        counts["steps"] += 1
        for name in ("drafted", "accepted", "preemptions"):
            counts[name] += getattr(step.stats, name)
        for output in step.outputs:
            outputs[output.id].append(output)
        core.check_invariants()
    return outputs, counts


def ends(outputs: dict[int, list[SequenceOutput]]) -> dict[int, Any]:
    return {number: (many[-1].finish_reason, many[-1].stop_token) for number, many in outputs.items()}


@cache
def plain(family: str, repeats: int = 1, block_size: int = 16) -> dict[int, list[SequenceOutput]]:
    """Outputs without speculation. Bits may change with the size of blocks, which attention adds up one by one."""
    outputs, counts = run(core_of(family, speculation=False, block_size=block_size), requests(repeats))
    assert not counts["drafted"]
    return outputs


@pytest.mark.parametrize("family", ["llama", "mistral"])
@pytest.mark.parametrize("errors", [0.0, 0.2, 1.0])
@pytest.mark.parametrize(
    "overrides",
    [
        pytest.param({}, id="batched"),
        pytest.param({"max_batch_tokens": 24, "prefill_chunk": 16}, id="little budget"),
        pytest.param({"kv_cache_tokens": 272}, id="preempted"),
        pytest.param({"block_size": 1}, id="blocks of one"),
    ],
)
def test_bit_equal_with_drafts(family: str, errors: float, overrides: dict[str, Any]) -> None:
    expected = plain(family, block_size=overrides.get("block_size", 16))
    answers = {number: numbers(expected)[number][0] for number in expected}
    core = core_of(family, **overrides)
    core.scheduler.speculation = Foretelling(answers, errors)
    outputs, counts = run(core, requests())
    assert numbers(outputs) == numbers(expected)
    assert ends(outputs) == ends(expected)
    assert counts["drafted"] and bool(counts["preemptions"]) == ("kv_cache_tokens" in overrides)
    assert errors == 1.0 or counts["accepted"] > 10


def test_bit_equal_with_what_the_service_drafts() -> None:
    expected = plain("llama", repeats=2)
    said = [token for many in expected.values() for output in many for token in output.tokens]
    core = core_of("llama", AnswerStore(said))
    assert isinstance(core.scheduler.speculation, Speculator)
    core.scheduler.speculation.cost = FreeRows()  # type: ignore[assignment]
    outputs, counts = run(core, requests(repeats=2))
    assert numbers(outputs) == numbers(expected)
    assert ends(outputs) == ends(expected)
    assert counts["accepted"] > 10


class FreeRows:
    """A cost at which every draft is worth it."""

    def of(self, sequences: int, tokens: int, *, burst: bool) -> tuple[float, float]:
        return 1.0, 0.0

    def around(self, sequences: int, *, burst: bool) -> float:
        return 0.0

    def measured(self, sequences: int, rows: float, tokens: int, seconds: float, *, burst: bool) -> None: ...
    def called(self, sequences: int, seconds: float, *, burst: bool) -> None: ...


def test_an_answer_takes_fewer_steps() -> None:
    core = core_of("llama")
    one = request(1, prompts(1)[0], max_tokens=40)
    (outputs,) = run(core_of("llama", speculation=False), [one])[0].values()
    core.scheduler.speculation = Foretelling(
        {1: [token for output in outputs for token in output.tokens]}, 0.0
    )
    _, counts = run(core, [one])
    assert counts["steps"] < 20


def test_prefixes_are_shared_after_rejected_drafts() -> None:
    prompt = prompts(1)[0] * 2
    one, two = request(1, prompt, max_tokens=30), request(2, prompt, max_tokens=30)
    plainly = run(core_of("llama", speculation=False), [one])[0][1]
    said = [token for output in plainly for token in output.tokens]
    core = core_of("llama")
    core.scheduler.speculation = Foretelling({1: said, 2: said, 3: []}, 0.5)
    first = numbers(run(core, [one])[0])[1]
    again = run(core, [two])[0][2]
    assert again[0].cached_tokens == (len(prompt) - 1) // 16 * 16
    assert numbers({2: again})[2] == first == numbers({1: plainly})[1]
    # And what was said is shared as a prompt.
    longer = [*prompt, *said, 5]
    cached = run(core, [request(3, longer, max_tokens=6)])[0][3]
    alone = run(core_of("llama", speculation=False), [request(3, longer, max_tokens=6)])[0][3]
    assert cached[0].cached_tokens >= (len(prompt) + len(said) - 1) // 16 * 16
    assert numbers({3: cached}) == numbers({3: alone})


def test_an_abort_between_drafts_frees_everything() -> None:
    core = core_of("llama")
    core.scheduler.speculation = Foretelling({1: [5] * 99}, 0.0)
    core.add(request(1, prompts(1)[0], max_tokens=99))
    for _ in range(4):
        core.step()
    core.abort(1)
    core.step()
    core.check_invariants()
    assert not core.has_work and core.scheduler.blocks.num_used == 0


def test_a_draft_that_the_forward_pass_cannot_take_costs_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = plain("llama")
    answers = {number: numbers(expected)[number][0] for number in expected}
    core = core_of("llama")
    core.scheduler.speculation = Foretelling(answers, 0.0)
    run_batch, run_burst, failures = NativeRunner.run, NativeRunner.burst, 0

    def check(drafted: bool) -> None:
        nonlocal failures
        if drafted:
            failures += 1
            raise IndexError("too many rows")

    def fails(runner: NativeRunner, batch: Any) -> Any:
        check(any(item.draft for item in batch.scheduled))
        return run_batch(runner, batch)

    def fails_too(runner: NativeRunner, scheduled: list[ScheduledSequence], *more: Any) -> Any:
        check(any(item.burst and item.burst.draft.tokens for item in scheduled))
        return run_burst(runner, scheduled, *more)

    monkeypatch.setattr(NativeRunner, "run", fails)
    monkeypatch.setattr(NativeRunner, "burst", fails_too)
    outputs, counts = run(core, requests())
    assert failures > 20 and not counts["drafted"]
    assert numbers(outputs) == numbers(expected)


def test_nothing_is_drafted_where_the_batch_changes_roundings() -> None:
    config = torch_config_of("gemma")
    assert EngineCore(load_model(config), config).scheduler.speculation is None


def test_nothing_is_drafted_when_it_is_off() -> None:
    assert core_of("llama", speculation=False).scheduler.speculation is None
