"""The engine's greedy output equals transformers' own `generate`, however the work is cut into steps."""

import random
from functools import cache
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from app.engine.config import EngineConfig
from app.engine.core.engine_core import EngineCore
from app.engine.core.model_loader import LoadedModel, load_model
from app.engine.messages import AddRequest, FinishReason, SamplingParams, SequenceOutput
from tests.engine.core.tiny_models import FAMILIES, VOCABULARY, tiny_checkpoint

NEW_TOKENS = 24


def config_of(family: str, **overrides: Any) -> EngineConfig:
    values: dict[str, Any] = {
        "kv_cache_tokens": 4096,
        "device": "cpu",
        "dtype": "float32",
        "quantization": "none",
    }
    return EngineConfig(model=str(tiny_checkpoint(family)), **(values | overrides))


@cache
def loaded_model(family: str) -> LoadedModel:
    return load_model(config_of(family))


@cache
def reference_model(family: str) -> Any:
    return AutoModelForCausalLM.from_pretrained(tiny_checkpoint(family), dtype=torch.float32)


def prompts(count: int, seed: int = 3) -> list[list[int]]:
    chooser = random.Random(seed)
    return [[chooser.randrange(3, VOCABULARY) for _ in range(chooser.randrange(5, 70))] for _ in range(count)]


def generate(family: str, prompt: list[int]) -> list[int]:
    output = reference_model(family).generate(
        torch.tensor([prompt]), max_new_tokens=NEW_TOKENS, do_sample=False, eos_token_id=None, pad_token_id=0
    )
    tokens: list[int] = output[0, len(prompt) :].tolist()
    return tokens


def request(number: int, prompt: list[int], **sampling: Any) -> AddRequest:
    values = {"max_tokens": NEW_TOKENS, "ignore_eos": True} | sampling
    return AddRequest(id=number, prompt=prompt, sampling=SamplingParams(**values))


def run(core: EngineCore) -> dict[int, list[SequenceOutput]]:
    """Step until idle, checking invariants at each step."""
    outputs: dict[int, list[SequenceOutput]] = {}
    for _ in range(2000):
        if not core.has_work:
            break
        for output in core.step().outputs:
            outputs.setdefault(output.id, []).append(output)
        core.scheduler.check_invariants()
    assert not core.has_work
    assert core.scheduler.blocks.num_used == 0
    return outputs


def tokens_of(outputs: list[SequenceOutput]) -> list[int]:
    assert [output.finish_reason is not None for output in outputs] == [False] * (len(outputs) - 1) + [True]
    return [token for output in outputs for token in output.tokens]


@pytest.mark.parametrize("family", FAMILIES)
def test_alone_equals_generate(family: str) -> None:
    core = EngineCore(loaded_model(family), config_of(family))
    for number, prompt in enumerate(prompts(3)):
        core.add(request(number, prompt))
        assert tokens_of(run(core)[number]) == generate(family, prompt)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "overrides",
    [
        pytest.param({}, id="batched"),
        pytest.param({"max_batch_tokens": 16, "prefill_chunk": 16}, id="chunked"),
        pytest.param({"kv_cache_tokens": 272, "block_size": 4}, id="preempted"),
    ],
)
def test_together_equals_generate(family: str, overrides: dict[str, Any]) -> None:
    core = EngineCore(loaded_model(family), config_of(family, **overrides))
    many = prompts(8)
    preemptions = 0
    for number, prompt in enumerate(many):
        core.add(request(number, prompt))
    outputs: dict[int, list[SequenceOutput]] = {}
    while core.has_work:
        step = core.step()
        preemptions += step.stats.preemptions
        for output in step.outputs:
            outputs.setdefault(output.id, []).append(output)
        core.scheduler.check_invariants()
    for number, prompt in enumerate(many):
        assert tokens_of(outputs[number]) == generate(family, prompt)
    assert bool(preemptions) == ("kv_cache_tokens" in overrides)


@pytest.mark.parametrize("family", FAMILIES)
def test_prefix_hit_equals_generate(family: str) -> None:
    core = EngineCore(loaded_model(family), config_of(family, block_size=4))
    shared = prompts(1)[0] * 2
    for number, tail in enumerate([[9, 8, 7], [9, 8, 7], [11, 12]]):
        core.add(request(number, shared + tail))
        outputs = run(core)[number]
        assert tokens_of(outputs) == generate(family, shared + tail)
        assert bool(outputs[0].cached_tokens) == (number > 0)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("budget", [16, 512])
def test_label_scores_equal_separate_forwards(family: str, budget: int) -> None:
    core = EngineCore(loaded_model(family), config_of(family, max_batch_tokens=budget, block_size=4))
    prompt = prompts(1, seed=5)[0]
    labels = [[5, 2], [5, 6, 2], [5, 6], [7, 8, 9, 10, 2], [7, 8, 11, 2], [12], [13, 2]]
    core.add(AddRequest(id=1, prompt=prompt, labels=labels))
    core.add(request(2, prompts(1, seed=6)[0]))
    outputs = run(core)
    *before, scored = outputs[1]
    assert scored.finish_reason is FinishReason.STOP and not any(output.label_scores for output in before)
    for label, score in zip(labels, scored.label_scores, strict=True):
        with torch.inference_mode():
            logits = reference_model(family)(torch.tensor([prompt + label])).logits[0].log_softmax(-1)
        expected = sum(float(logits[len(prompt) - 1 + i, token]) for i, token in enumerate(label))
        assert score == pytest.approx(expected, abs=2e-4)
    assert tokens_of(outputs[2]) == generate(family, prompts(1, seed=6)[0])


def test_sampled_tokens_survive_batching_chunks_and_preemption() -> None:
    sampling = {"temperature": 1.0, "top_p": 0.95, "frequency_penalty": 0.5, "logprobs": 2}
    many = [request(n, prompt, seed=n % 3, **sampling) for n, prompt in enumerate(prompts(8))]
    alone: dict[int, list[SequenceOutput]] = {}
    for one in many:
        core = EngineCore(loaded_model("llama"), config_of("llama"))
        core.add(one)
        alone |= run(core)
    core = EngineCore(
        loaded_model("llama"), config_of("llama", kv_cache_tokens=272, block_size=4, max_batch_tokens=32)
    )
    for one in many:
        core.add(one)
    preemptions, together = 0, dict[int, list[int]]()
    while core.has_work:
        step = core.step()
        preemptions += step.stats.preemptions
        for output in step.outputs:
            together.setdefault(output.id, []).extend(output.tokens)
    assert preemptions
    assert together == {number: tokens_of(outputs) for number, outputs in alone.items()}
    assert all(len(output.logprobs) == 1 for outputs in alone.values() for output in outputs)
