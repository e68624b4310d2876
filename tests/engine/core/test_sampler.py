"""Sampler: each parameter against a plain reference, and random numbers that belong to the request alone."""

import math
from typing import Any

import pytest
import torch
from transformers import (
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from app.engine.core import sampler as module
from app.engine.core.batch import Batch
from app.engine.core.sampler import Sampler
from app.engine.core.scheduler import ScheduledSequence, StepResult
from app.engine.core.sequence import Sequence
from app.engine.messages import AddRequest, SamplingParams

VOCABULARY = 600
EOS = 2


def sequence(number: int = 1, generated: int = 0, **sampling: Any) -> Sequence:
    """A sequence that catches up in the next step, having generated tokens 100, 101, 100, 101, ..."""
    item = Sequence.of(AddRequest(id=number, prompt=[5, 6, 7], sampling=SamplingParams(**sampling)), 0.0)
    item.tokens += [100 + index % 2 for index in range(generated)]
    item.num_computed = len(item.tokens) - 1
    return item


def sample(sequences: list[Sequence], logits: torch.Tensor, seed: int = 0) -> list[StepResult]:
    scheduled = [ScheduledSequence(item, item.num_computed, 1) for item in sequences]
    batch = Batch.of(scheduled)
    return Sampler(frozenset([EOS]), seed).sample(batch, logits)


def token(logits: torch.Tensor, **sampling: Any) -> int:
    (result,) = sample([sequence(**sampling)], logits[None])
    (chosen,) = result.tokens
    return chosen


def random_logits(seed: int, size: int = VOCABULARY) -> torch.Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(seed)) * 3


def draws(logits: torch.Tensor, count: int, **sampling: Any) -> torch.Tensor:
    """How often each token is drawn over the first `count` tokens of one seed."""
    counts = torch.zeros(logits.numel())
    for index in range(count):
        item = sequence(seed=11, **sampling)
        item.tokens = [5, 6, 7] + [0] * index  # only their number matters without penalties
        item.num_computed = len(item.tokens) - 1
        (result,) = sample([item], logits[None])
        counts[result.tokens[0]] += 1
    return counts


def test_greedy_is_the_likeliest() -> None:
    logits = random_logits(1)
    assert token(logits) == int(logits.argmax())


@pytest.mark.parametrize(
    "sampling",
    [
        {"temperature": 0.7},
        {"temperature": 1.5, "top_k": 5},
        {"temperature": 1.0, "top_p": 0.8},
        {"temperature": 1.0, "min_p": 0.2},
        {"temperature": 1.3, "top_k": 6, "top_p": 0.9, "min_p": 0.15},
    ],
)
def test_draws_follow_the_distribution_of_transformers(sampling: dict[str, Any]) -> None:
    logits = torch.tensor([2.0, 1.5, 1.0, 0.5, 0.0, -0.5, -1.0, -1.5])
    warpers = LogitsProcessorList([TemperatureLogitsWarper(sampling["temperature"])])
    if "top_k" in sampling:
        warpers.append(TopKLogitsWarper(sampling["top_k"]))
    if "top_p" in sampling:
        warpers.append(TopPLogitsWarper(sampling["top_p"]))
    if "min_p" in sampling:
        warpers.append(MinPLogitsWarper(sampling["min_p"]))
    expected = warpers(torch.zeros(1, 1, dtype=torch.long), logits[None].clone())[0].softmax(-1)
    count = 1500
    seen = draws(logits, count, **sampling)
    assert not seen[expected == 0].any(), "a token was drawn that is cut off"
    kept = expected > 0
    chi_square = float(((seen[kept] - count * expected[kept]) ** 2 / (count * expected[kept])).sum())
    assert chi_square < 24.3  # 99.9 % of chi-square with 7 degrees of freedom


def test_the_fast_nucleus_equals_a_full_sort(monkeypatch: pytest.MonkeyPatch) -> None:
    cases = [(random_logits(seed), top_p) for seed in range(10) for top_p in (0.1, 0.6, 0.95, 0.999)]

    def tokens() -> list[int]:
        return [token(logits, seed=seed, temperature=2.0, top_p=p) for seed, (logits, p) in enumerate(cases)]

    fast = tokens()
    monkeypatch.setattr(module, "_NUCLEUS_GUESS", VOCABULARY)
    assert tokens() == fast
    monkeypatch.setattr(module, "_NUCLEUS_GUESS", 2)
    assert tokens() == fast


@pytest.mark.parametrize("temperature", [5e-324, 1e-300, 1e-40, 1e-10])
def test_the_coldest_temperatures_are_greedy(temperature: float) -> None:
    logits = random_logits(3)
    assert token(logits, temperature=temperature, seed=1) == int(logits.argmax())


def test_repetition_penalty_equals_that_of_transformers() -> None:
    logits = random_logits(4)
    item = sequence(generated=3, repetition_penalty=1.7)
    expected = RepetitionPenaltyLogitsProcessor(1.7)(torch.tensor([item.tokens]), logits[None].clone())[0]
    adjusted = Sampler(frozenset())._adjust(item, logits.clone())
    assert torch.equal(adjusted, expected)
    assert not torch.equal(adjusted, logits)


def test_frequency_and_presence_count_generated_tokens_only() -> None:
    logits = random_logits(5)
    item = sequence(generated=3, frequency_penalty=0.5, presence_penalty=0.25)
    expected = logits.clone()
    expected[100] -= 2 * 0.5 + 0.25
    expected[101] -= 0.5 + 0.25
    assert torch.equal(Sampler(frozenset())._adjust(item, logits.clone()), expected)


def test_logit_bias_moves_the_choice() -> None:
    logits = random_logits(6)
    best = int(logits.argmax())
    assert token(logits, logit_bias={33: 100.0}) == 33
    assert token(logits, logit_bias={best: -100.0}) == int(logits.topk(2).indices[1])


def test_end_tokens_are_barred_until_enough_was_generated() -> None:
    logits = torch.zeros(VOCABULARY)
    logits[EOS], logits[9], logits[10] = 9.0, 8.0, 7.0
    (early,) = sample([sequence(generated=1, min_tokens=2, stop_token_ids=[9])], logits[None])
    (late,) = sample([sequence(generated=2, min_tokens=2, stop_token_ids=[9])], logits[None])
    assert (early.tokens[0], late.tokens[0]) == (10, EOS)


def test_min_tokens_without_any_end_token_changes_nothing() -> None:
    logits = random_logits(7)
    (result,) = Sampler(frozenset()).sample(
        Batch.of([ScheduledSequence(sequence(min_tokens=3), 2, 1)]), logits[None]
    )
    assert result.tokens[0] == int(logits.argmax())


def test_logprobs_are_those_of_the_model_before_anything_else() -> None:
    logits = random_logits(8)
    item = sequence(logprobs=3, temperature=0.5, seed=4, logit_bias={33: 100.0}, frequency_penalty=1.0)
    (result,) = sample([item], logits[None])
    reference = logits.log_softmax(-1)
    assert [result.logprobs[0].token] == result.tokens == [33]
    assert result.logprobs[0].logprob == pytest.approx(float(reference[33]))
    assert [number for number, _ in result.logprobs[0].top] == reference.topk(3).indices.tolist()
    assert [value for _, value in result.logprobs[0].top] == pytest.approx(reference.topk(3).values.tolist())


def test_zero_alternatives_report_the_token_alone() -> None:
    (result,) = sample([sequence(logprobs=0)], random_logits(8)[None])
    assert result.logprobs[0].top == []


def test_a_draw_depends_on_nothing_else_in_the_batch() -> None:
    rows = torch.stack([random_logits(seed) for seed in range(6)])
    sequences = [sequence(number, number, temperature=1.5, seed=number % 2) for number in range(6)]
    together = [result.tokens[0] for result in sample(sequences, rows)]
    alone = [sample([item], row[None])[0].tokens[0] for item, row in zip(sequences, rows, strict=True)]
    assert together == alone


def test_seeds_and_positions_give_different_numbers_and_equal_seeds_equal_ones() -> None:
    logits = torch.zeros(VOCABULARY)
    by_seed = {token(logits, temperature=1.0, seed=seed) for seed in range(20)}
    by_position = {
        sample([sequence(generated=n, temperature=1.0, seed=1)], logits[None])[0].tokens[0] for n in range(20)
    }
    assert len(by_seed) > 15 and len(by_position) > 15
    assert token(logits, temperature=1.0, seed=3) == token(logits, temperature=1.0, seed=3, number=99)


def test_without_a_seed_requests_and_servers_differ() -> None:
    logits = torch.zeros(VOCABULARY)
    by_request = {token(logits, temperature=1.0, number=number) for number in range(20)}
    by_server = {
        sample([sequence(temperature=1.0)], logits[None], seed=seed)[0].tokens[0] for seed in range(20)
    }
    assert len(by_request) > 15 and len(by_server) > 15


def test_the_random_number_stays_below_one(monkeypatch: pytest.MonkeyPatch) -> None:
    class AllOnes:
        def __init__(self, *arguments: Any, **keywords: Any) -> None: ...
        def digest(self) -> bytes:
            return b"\xff" * 8

    monkeypatch.setattr(module, "blake2b", AllOnes)
    assert 0.999 < Sampler(frozenset())._uniform(sequence()) < 1.0


@pytest.mark.parametrize("poison", [math.nan, math.inf])
def test_a_row_that_is_not_finite_fails_its_own_sequence_alone(poison: float) -> None:
    rows = torch.stack([random_logits(seed) for seed in range(3)])
    clean = [result.tokens[0] for result in sample([sequence(n) for n in range(3)], rows)]
    rows[1, 40] = poison
    results = sample([sequence(n) for n in range(3)], rows)
    assert [result.failed for result in results] == [False, True, False]
    assert [results[0].tokens[0], results[2].tokens[0]] == [clean[0], clean[2]]


def test_logits_of_minus_infinity_are_no_failure() -> None:
    logits = random_logits(9)
    logits[50:] = -math.inf
    assert token(logits, temperature=1.0, top_p=0.9, seed=1) < 50


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("sampling", [{"repetition_penalty": 1e-39}, {"logit_bias": {5: math.inf}}])
def test_parameters_that_leave_nothing_finite_fail_their_own_sequence_alone(
    sampling: dict[str, Any], temperature: float
) -> None:
    items = [sequence(1), sequence(2, temperature=temperature, **sampling), sequence(3)]
    results = sample(items, torch.full((3, VOCABULARY), 1.0))
    assert [result.failed for result in results] == [False, True, False]
    assert results[1].tokens == []


def test_a_vocabulary_that_is_barred_as_a_whole_fails() -> None:
    (result,) = sample([sequence(min_tokens=1, stop_token_ids=[0, 1])], torch.zeros(1, 3))
    assert result.failed


def sample_draft(item: Sequence, draft: tuple[int, ...], logits: torch.Tensor) -> StepResult:
    scheduled = [ScheduledSequence(item, item.num_computed, 1 + len(draft), draft)]
    (result,) = Sampler(frozenset([EOS])).sample(Batch.of(scheduled), logits)
    return result


def one_by_one(item: Sequence, logits: torch.Tensor) -> list[int]:
    """What the rows give when each token is appended before the next is sampled."""
    tokens = []
    for row in logits:
        tokens += sample([item], row[None])[0].tokens
        item.tokens.append(tokens[-1])
        item.num_computed += 1
    return tokens


@pytest.mark.parametrize(
    "sampling",
    [
        {},
        {"logprobs": 2},
        {"temperature": 1.0, "seed": 3},
        {"temperature": 1.5, "seed": 4, "top_p": 0.9},
        {"frequency_penalty": 2.0, "presence_penalty": 1.0},
        {"repetition_penalty": 1.5, "temperature": 0.8, "seed": 1},
        {"min_tokens": 5, "stop_token_ids": [4, 5]},
    ],
)
def test_a_draft_is_sampled_as_if_one_by_one(sampling: dict[str, Any]) -> None:
    logits = torch.stack([random_logits(seed % 2, size=128) for seed in range(5)])
    tokens = one_by_one(sequence(generated=2, **sampling), logits)
    for right in range(5):
        item = sequence(generated=2, **sampling)
        before = list(item.tokens)
        draft = (*tokens[:right], *[(token + 1) % 128 for token in tokens[right:4]])
        result = sample_draft(item, draft, logits)
        assert result.tokens == tokens[: right + 1]
        assert len(result.logprobs) == (len(result.tokens) if "logprobs" in sampling else 0)
        assert item.tokens == before


def test_a_row_behind_a_wrong_token_may_be_anything() -> None:
    logits = torch.stack([random_logits(seed) for seed in range(3)])
    logits[2] = math.nan
    right = int(logits[0].argmax())
    wrong = (int(logits[1].argmax()) + 1) % VOCABULARY
    assert sample_draft(sequence(), (right, wrong), logits).tokens == [right, int(logits[1].argmax())]


def test_a_row_that_is_not_finite_keeps_the_tokens_before_it() -> None:
    logits = torch.stack([random_logits(seed) for seed in range(3)])
    logits[1] = math.nan
    right = int(logits[0].argmax())
    item = sequence()
    result = sample_draft(item, (right, 4), logits)
    assert (result.tokens, result.failed) == ([right], False)
    logits[0] = math.nan
    assert sample_draft(item, (right, 4), logits).failed
    assert len(item.tokens) == 3
