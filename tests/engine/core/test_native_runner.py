"""Requests in the native decoder get the same tokens and numbers, to the bit, however the work is cut into steps."""

import inspect
from functools import cache
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from app.engine.config import EngineConfig
from app.engine.core import native_runner
from app.engine.core.engine_core import EngineCore
from app.engine.core.model_loader import load_model
from app.engine.messages import AddRequest, SequenceOutput
from app.engine.native.decoder import NativeDecoder
from tests.engine.core.test_engine_core import prompts, request, run
from tests.engine.core.tiny_models import tiny_checkpoint

FAMILIES = ["llama", "qwen2", "qwen3", "mistral"]
FORMATS = ["none", "int8", "int4"]
LABELS = [[5, 2], [5, 6, 2], [5, 6], [7, 8, 9, 10, 2], [7, 8, 11, 2], [12], [13, 2]]


def config_of(family: str, **overrides: Any) -> EngineConfig:
    checkpoint = str(tiny_checkpoint(family, torch.bfloat16))
    return EngineConfig(**({"model": checkpoint, "device": "cpu", "kv_cache_tokens": 4096} | overrides))


def core_of(family: str, **overrides: Any) -> EngineCore:
    settings = config_of(family, **overrides)
    loaded = load_model(settings)
    assert loaded.kernels == "native"
    return EngineCore(loaded, settings)


def requests() -> list[AddRequest]:
    """Chats, greedy and sampled, that ask for log-probabilities, and a decision."""
    chats = [
        request(number, prompt, temperature=number % 2, seed=number, logprobs=3)
        for number, prompt in enumerate(prompts(7))
    ]
    return [*chats, AddRequest(id=7, prompt=prompts(1, seed=5)[0], labels=LABELS)]


def numbers(outputs: dict[int, list[SequenceOutput]]) -> dict[int, Any]:
    """Everything of the answers that the model computed, exactly."""
    return {
        number: (
            [token for output in many for token in output.tokens],
            [logprob for output in many for logprob in output.logprobs],
            many[-1].label_scores,
        )
        for number, many in outputs.items()
    }


@cache
def alone(family: str, quantization: str) -> dict[int, Any]:
    core = core_of(family, quantization=quantization)
    outputs: dict[int, list[SequenceOutput]] = {}
    for one in requests():
        core.add(one)
        outputs |= run(core)
    return numbers(outputs)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("quantization", FORMATS)
@pytest.mark.parametrize(
    "overrides",
    [
        pytest.param({}, id="batched"),
        pytest.param({"max_batch_tokens": 16, "prefill_chunk": 16}, id="chunked"),
        pytest.param({"max_batch_tokens": 9, "prefill_chunk": 5}, id="oddly chunked"),
        pytest.param({"kv_cache_tokens": 272}, id="preempted"),
    ],
)
def test_bit_equal_alone_and_together(family: str, quantization: str, overrides: dict[str, Any]) -> None:
    core = core_of(family, quantization=quantization, **overrides)
    for one in requests():
        core.add(one)
    outputs: dict[int, list[SequenceOutput]] = {}
    preemptions = 0
    while core.has_work:
        step = core.step()
        preemptions += step.stats.preemptions
        for output in step.outputs:
            outputs.setdefault(output.id, []).append(output)
        core.check_invariants()
    assert numbers(outputs) == alone(family, quantization)
    assert bool(preemptions) == ("kv_cache_tokens" in overrides)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("quantization", FORMATS)
def test_bit_equal_with_a_prefix_hit(family: str, quantization: str) -> None:
    core = core_of(family, quantization=quantization)
    shared = prompts(1)[0] * 2
    seen = []
    for number in range(2):
        core.add(request(number, [*shared, 9, 8, 7], logprobs=3))
        outputs = run(core)
        seen.append(numbers(outputs)[number])
        assert bool(outputs[number][0].cached_tokens) == bool(number)
    assert seen[0] == seen[1]


@pytest.mark.parametrize("family", FAMILIES)
def test_label_scores_are_near_those_of_separate_forwards(family: str) -> None:
    reference = AutoModelForCausalLM.from_pretrained(
        tiny_checkpoint(family, torch.bfloat16), dtype=torch.float32
    )
    prompt = prompts(1, seed=5)[0]
    scores = alone(family, "none")[7][2]
    for label, score in zip(LABELS, scores, strict=True):
        with torch.inference_mode():
            logits = reference(torch.tensor([prompt + label])).logits[0].log_softmax(-1)
        expected = sum(float(logits[len(prompt) - 1 + i, token]) for i, token in enumerate(label))
        # Tiny random models magnify what bf16 rounds; a branch in a wrong place would be off by several units.
        assert score == pytest.approx(expected, abs=0.25 * len(label))


@pytest.mark.parametrize(
    ("set_to", "filled", "expected"),
    [(3, 1, [3, 3]), (0, 1, [2, 1]), (0, 5, [2, 2])],
    ids=["set", "small model", "large model"],
)
def test_steps_have_the_threads_that_are_set_or_that_they_fill(
    set_to: int, filled: int, expected: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    size = NativeDecoder.memory_bytes.fget(load_model(config_of("llama")).model)  # type: ignore[attr-defined]
    monkeypatch.setattr(native_runner, "_WEIGHTS_OF_A_THREAD", size // filled)
    before = torch.get_num_threads()
    torch.set_num_threads(2)  # as many as there are cores, when the decoder is made
    try:
        core = core_of("llama", threads=set_to)
        torch.set_num_threads(1)  # as start_core does for a small model
        called = list[int]()
        for name in ("step", "burst"):
            monkeypatch.setattr(NativeDecoder, name, noted(getattr(NativeDecoder, name), called))
        core.add(request(0, prompts(1)[0] * 2, max_tokens=3))
        run(core)
    finally:
        torch.set_num_threads(before)
    many, few = called[0], called[1:]
    assert [many, *set(few)] == expected


def noted(method: Any, called: list[int]) -> Any:
    """The method, which notes its threads."""

    def note(*arguments: Any) -> Any:
        called.append(dict(zip(inspect.signature(method).parameters, arguments, strict=False))["threads"])
        return method(*arguments)

    return note
