"""One call in a session fails, whichever it is: nobody's answer changes, nothing leaks, and the engine goes on.

A call is the forward pass, the sampling, a search for drafts, an allocation, or the sending of a step's outputs.
"""

import itertools
import logging
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import msgspec
import pytest
import torch

from app.engine.config import EngineConfig
from app.engine.core.block_manager import BlockManager
from app.engine.core.engine_core import EngineCore
from app.engine.core.model_loader import LoadedModel, load_model
from app.engine.core.native_runner import NativeRunner
from app.engine.core.sampler import Sampler
from app.engine.core.scheduler import StepResult
from app.engine.core.torch_runner import TorchRunner
from app.engine.loop import run_engine
from app.engine.messages import (
    Abort,
    AddRequest,
    FinishReason,
    FromEngine,
    SamplingParams,
    SequenceOutput,
    StepOutputs,
    ToEngine,
)
from tests.engine.core import test_engine_core, test_native_runner
from tests.engine.core.test_engine_core import prompts
from tests.engine.core.test_speculation import Foretelling

TEXT = [token for prompt in prompts(9, seed=12) for token in prompt]
SHARED, OTHER = TEXT[:70], TEXT[70:150]
LABELS = [[5, 2], [5, 6, 2], [7, 8, 9, 2], [12]]
LEAVING = 1


def chat(number: int, prompt: list[int], **fields: Any) -> AddRequest:
    sampling = {"max_tokens": 20, "ignore_eos": True} | fields.pop("sampling", {})
    return AddRequest(id=number, prompt=prompt, sampling=SamplingParams(**sampling), **fields)


SCRIPT: dict[int, list[ToEngine]] = {
    0: [chat(0, SHARED), chat(LEAVING, OTHER, sampling={"max_tokens": 90})],
    2: [AddRequest(id=2, prompt=OTHER[:20], labels=LABELS), chat(3, [*SHARED, 9, 8])],
    4: [chat(4, OTHER[5:], priority=1, sampling={"temperature": 1.0, "seed": 4, "logprobs": 1})],
    24: [Abort(LEAVING), AddRequest(id=5, prompt=SHARED, labels=LABELS, priority=-1)],
    40: [chat(6, SHARED[:33], sampling={"repetition_penalty": 1.2}), chat(7, [*SHARED, 9, 8, 7])],
}
"""What is said at which turn of the engine's loop; by then, some have ended and others wait for blocks."""


class Wire:
    """The API process's end: follows the script, keeps what comes, and tells another process what the first one knew.

    Args:
        lost: the message whose sending fails.
    """

    def __init__(self, lost: int = -1) -> None:
        self.turn = 0
        self.count = itertools.count()
        self.lost = lost
        self.requests = dict[int, AddRequest]()
        self.outputs = dict[int, list[SequenceOutput]]()
        self.stats = Counter[str]()
        self.core: EngineCore
        self.resent = list[ToEngine]()

    def connect(self, core: EngineCore) -> None:
        self.core = core
        self.resent = [
            msgspec.structs.replace(request, said=tokens_of(self.outputs[number]))
            for number, request in self.requests.items()
            if not ended(self.outputs[number])
        ]

    def receive(self, wait: bool) -> list[ToEngine] | None:
        if wait and not self.resent:
            self.turn = min((turn for turn in SCRIPT if turn >= self.turn), default=-1)
            if self.turn < 0:
                return None
        messages = self.resent + SCRIPT.get(self.turn, [])
        self.turn, self.resent = self.turn + 1, []
        for message in messages:
            if isinstance(message, AddRequest):
                self.requests.setdefault(message.id, message)
                self.outputs.setdefault(message.id, [])
        return messages

    def send(self, message: FromEngine) -> None:
        if next(self.count) == self.lost:
            raise BrokenPipeError
        assert isinstance(message, StepOutputs)
        self.core.check_invariants()
        for name in ("preemptions", "drafted", "accepted"):
            self.stats[name] += getattr(message.stats, name)
        for output in message.outputs:
            assert not ended(self.outputs[output.id]), "an output after the last"
            self.outputs[output.id].append(output)


def tokens_of(outputs: list[SequenceOutput]) -> list[int]:
    return [token for output in outputs for token in output.tokens]


def ended(outputs: list[SequenceOutput]) -> bool:
    return bool(outputs) and outputs[-1].finish_reason is not None


def config_of(kernels: str) -> EngineConfig:
    module: Any = test_native_runner if kernels == "native" else test_engine_core
    sizes = {"kv_cache_tokens": 272, "max_batch_tokens": 24, "prefill_chunk": 16}
    config: EngineConfig = module.config_of("llama", **sizes)
    return config


@cache
def loaded_model(kernels: str) -> LoadedModel:
    return load_model(config_of(kernels))


def core_of(kernels: str, foretold: dict[int, list[int]]) -> EngineCore:
    """One whose clock ticks evenly, so that each session makes the same calls."""
    ticks = itertools.count()
    core = EngineCore(loaded_model(kernels), config_of(kernels), clock=lambda: next(ticks) / 10_000)
    assert bool(core.scheduler.speculation) == (kernels == "native")
    if core.scheduler.speculation:
        core.scheduler.speculation = Foretelling(foretold, 0.2)
    return core


def session(kernels: str, foretold: dict[int, list[int]], lost: int = -1) -> Wire:
    wire = Wire(lost)
    for _ in range(2):
        core = core_of(kernels, foretold)
        wire.connect(core)
        try:
            run_engine(core, wire)
        except BrokenPipeError:
            continue
        assert core.scheduler.blocks.num_used == 0 and not core.has_work
        break
    return wire


def answers(wire: Wire) -> dict[int, Any]:
    """All that was said to each, exactly, but for PyTorch's label scores, whose roundings are the batch's."""
    return {
        number: (
            tokens_of(outputs),
            [logprob for output in outputs for logprob in output.logprobs],
            outputs[-1].label_scores,
            outputs[-1].finish_reason,
        )
        for number, outputs in wire.outputs.items()
        if number != LEAVING
    }


@cache
def foretold_and_expected(kernels: str) -> tuple[dict[int, list[int]], dict[int, Any]]:
    nothing: dict[int, list[int]] = {number: [] for number in range(8)}
    plain = session(kernels, nothing)
    foretold = {number: tokens_of(outputs) for number, outputs in plain.outputs.items()}
    undisturbed = session(kernels, foretold)
    assert answers(undisturbed) == answers(plain)
    assert undisturbed.stats["preemptions"] and any(o.cached_tokens for o in undisturbed.outputs[7])
    assert kernels != "native" or undisturbed.stats["accepted"]
    assert undisturbed.outputs[LEAVING][-1].finish_reason is FinishReason.ABORTED
    return foretold, answers(plain)


def same(got: dict[int, Any], expected: dict[int, Any], kernels: str) -> list[int]:
    """The requests whose answer is another one."""
    if kernels == "native":
        return [number for number in expected if got[number] != expected[number]]
    return [
        number
        for number, (tokens, _, scores, reason) in expected.items()
        if (got[number][0], got[number][3]) != (tokens, reason)
        or got[number][2] != pytest.approx(scores, abs=1e-4)
    ]


class Kth:
    """Makes the k-th call of a method go wrong, and counts them."""

    def __init__(self, k: int, wrong: Callable[[Callable[[], Any]], Any]) -> None:
        self.k = k
        self.wrong = wrong
        self.calls = 0

    def of(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **keywords: Any) -> Any:
            self.calls += 1
            if self.calls == self.k:
                return self.wrong(lambda: real(*arguments, **keywords))
            return real(*arguments, **keywords)

        return call


def raising(error: Exception) -> Callable[[Callable[[], Any]], Any]:
    def wrong(call: Callable[[], Any]) -> Any:
        raise error

    return wrong


def raising_late(error: Exception) -> Callable[[Callable[[], Any]], Any]:
    """After it did its work: what it wrote stays."""

    def wrong(call: Callable[[], Any]) -> Any:
        call()
        raise error

    return wrong


def not_finite(call: Callable[[], Any]) -> Any:
    """Of a pass the first row of logits, of a burst what the first sequence says."""
    result = call()
    if isinstance(result, tuple):
        (_, *others), rounds = result
        return [StepResult(failed=True), *others], rounds
    result = result.clone()
    result[:1] = torch.nan
    return result


POINTS: dict[str, list[tuple[type, str]]] = {
    "forward": [(NativeRunner, "run"), (NativeRunner, "burst"), (TorchRunner, "run")],
    "sampler": [(Sampler, "sample")],
    "allocation": [(BlockManager, "allocate")],
    "drafts": [(Foretelling, "drafts")],
}
CASES = [
    pytest.param("native", "forward", raising(RuntimeError()), 0, id="a forward pass raises"),
    pytest.param("native", "forward", raising(MemoryError()), 0, id="a forward pass lacks memory"),
    pytest.param(
        "native", "forward", raising_late(RuntimeError()), 0, id="a forward pass raises behind its work"
    ),
    pytest.param("native", "forward", not_finite, 1, id="a forward pass gives NaN"),
    pytest.param("native", "sampler", raising_late(RuntimeError()), 0, id="the sampler raises"),
    pytest.param("native", "allocation", raising(MemoryError()), 0, id="an allocation lacks memory"),
    pytest.param(
        "native", "allocation", raising_late(RuntimeError()), 0, id="an allocation raises behind its work"
    ),
    pytest.param("native", "drafts", raising(MemoryError()), 0, id="a search for drafts raises"),
    pytest.param("torch", "forward", raising(torch.OutOfMemoryError()), 0, id="PyTorch lacks memory"),
    pytest.param("torch", "forward", not_finite, 1, id="PyTorch gives NaN"),
]
STRIDES = {"native": 1, "torch": 3}
"""PyTorch takes ten times as long, and has the same steps."""


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """No log line for each fault, and no threads that wait for each other."""
    logger = logging.getLogger("app.engine")
    level, threads = logger.level, torch.get_num_threads()
    logger.setLevel(logging.CRITICAL)
    torch.set_num_threads(1)
    yield
    logger.setLevel(level)
    torch.set_num_threads(threads)


@pytest.mark.parametrize(("kernels", "point", "wrong", "blamed"), CASES)
def test_whichever_call_fails_only_who_is_blamed_is_hurt(
    kernels: str, point: str, wrong: Any, blamed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    foretold, expected = foretold_and_expected(kernels)
    hurt = 0
    for k in itertools.count(1, STRIDES[kernels]):
        kth = Kth(k, wrong)
        with monkeypatch.context() as patch:
            for owner, name in POINTS[point]:
                patch.setattr(owner, name, kth.of(getattr(owner, name)))
            wire = session(kernels, foretold)
        different = same(answers(wire), expected, kernels)
        assert len(different) <= blamed, (k, different)
        assert all(wire.outputs[number][-1].finish_reason is FinishReason.FAILED for number in different), k
        hurt += len(different)
        if kth.calls < k:
            break
    assert k > 20, "it was called too seldom to say anything"
    assert bool(hurt) == bool(blamed)


def test_whichever_message_is_lost_another_process_goes_on() -> None:
    foretold, expected = foretold_and_expected("native")
    for k in itertools.count():
        wire = session("native", foretold, lost=k)
        assert same(answers(wire), expected, "native") == [], k
        if next(wire.count) <= k:
            break
    assert k > 20
