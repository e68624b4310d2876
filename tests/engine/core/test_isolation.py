"""A request whose forward pass raises or gives NaN fails alone: the others get what they get without it."""

import weakref
from typing import Any

import pytest
import torch

from app.engine.core.batch import Batch
from app.engine.core.engine_core import EngineCore
from app.engine.core.model_loader import LoadedModel
from app.engine.messages import AddRequest, FinishReason, SamplingParams, SequenceOutput
from tests.engine.core.test_engine_core import config_of, loaded_model, prompts

POISON = 159
LABELS = [[5, 2], [6, 7, 2], [8]]


def requests() -> list[AddRequest]:
    """Chats, greedy and sampled, and decisions; none contains the poison."""
    chats = [[token % POISON for token in prompt] for prompt in prompts(6)]
    sampling = [SamplingParams(max_tokens=8, ignore_eos=True, temperature=n % 2, seed=n) for n in range(6)]
    return [
        *(AddRequest(id=n, prompt=chats[n], sampling=sampling[n]) for n in range(5)),
        AddRequest(id=5, prompt=chats[5], labels=LABELS),
    ]


def poisoned(decision: bool) -> AddRequest:
    prompt = [7, 8, 9, POISON, 11, 12]
    return AddRequest(id=99, prompt=prompt, labels=LABELS if decision else [])


def run(core: EngineCore, batch: list[AddRequest]) -> dict[int, list[SequenceOutput]]:
    for request in batch:
        core.add(request)
    outputs: dict[int, list[SequenceOutput]] = {}
    while core.has_work:
        for output in core.step().outputs:
            outputs.setdefault(output.id, []).append(output)
        core.scheduler.check_invariants()
    assert core.scheduler.blocks.num_used == 0
    return outputs


def answers(outputs: dict[int, list[SequenceOutput]]) -> dict[int, tuple[list[int], list[float], Any]]:
    return {
        number: ([token for o in many for token in o.tokens], many[-1].label_scores, many[-1].finish_reason)
        for number, many in outputs.items()
    }


def break_forward(core: EngineCore, monkeypatch: pytest.MonkeyPatch, error: Exception) -> list[int]:
    """Make each forward pass over the poison raise; returns the sizes of the batches that did."""
    forward, broken = core._runner.run, []

    def run_unless_poisoned(batch: Batch) -> torch.Tensor:
        if POISON in batch.tokens:
            broken.append(len(batch.scheduled))
            raise error
        return forward(batch)

    monkeypatch.setattr(core._runner, "run", run_unless_poisoned)
    return broken


@pytest.fixture
def loaded() -> LoadedModel:
    return loaded_model("llama")


@pytest.fixture
def expected(loaded: LoadedModel) -> dict[int, tuple[list[int], list[float], Any]]:
    return answers(run(EngineCore(loaded, config_of("llama")), requests()))


@pytest.mark.parametrize("decision", [False, True])
@pytest.mark.parametrize("place", [0, 3, 6])
def test_a_forward_that_raises_fails_its_own_request_alone(
    loaded: LoadedModel,
    expected: dict[int, Any],
    monkeypatch: pytest.MonkeyPatch,
    place: int,
    decision: bool,
) -> None:
    core = EngineCore(loaded, config_of("llama"))
    broken = break_forward(core, monkeypatch, RuntimeError("poison"))
    batch = requests()
    batch.insert(place, poisoned(decision))
    got = answers(run(core, batch))
    assert got.pop(99) == ([], [], FinishReason.FAILED)
    assert got == expected
    assert max(broken) > 1, "it never met the others"


@pytest.mark.parametrize("decision", [False, True])
def test_nan_fails_its_own_request_alone(
    loaded: LoadedModel, expected: dict[int, Any], monkeypatch: pytest.MonkeyPatch, decision: bool
) -> None:
    embeddings = loaded.model.get_input_embeddings().weight
    saved = embeddings[POISON].clone()
    try:
        embeddings[POISON] = torch.nan
        core = EngineCore(loaded, config_of("llama"))
        got = answers(run(core, [poisoned(decision), *requests()]))
        assert got.pop(99) == ([], [], FinishReason.FAILED)
        assert got == expected
        stored = [*core._runner.cache.keys, *core._runner.cache.values]
        assert not any(tensor.isnan().any() for tensor in stored), "attention multiplies what is left by 0"
    finally:
        embeddings[POISON] = saved


def test_a_lost_device_is_not_blamed_on_requests(
    loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    core = EngineCore(loaded, config_of("llama"))
    break_forward(core, monkeypatch, torch.AcceleratorError("device-side assert"))
    core.add(poisoned(decision=False))
    with pytest.raises(torch.AcceleratorError):
        core.step()


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, MemoryError])
@pytest.mark.parametrize("enough", [1, 5])
def test_where_memory_lacks_batches_and_chunks_are_halved(
    loaded: LoadedModel,
    expected: dict[int, Any],
    monkeypatch: pytest.MonkeyPatch,
    error: type[Exception],
    enough: int,
) -> None:
    core = EngineCore(loaded, config_of("llama"))
    forward = core._runner.run
    allocated = list[weakref.ref[torch.Tensor]]()
    kept = list[bool]()

    def run_few_rows(batch: Batch) -> torch.Tensor:
        kept.extend(reference() is not None for reference in allocated)
        if len(batch.tokens) > enough:
            activations = torch.empty(1)
            allocated.append(weakref.ref(activations))
            raise error(f"{len(batch.tokens)} rows")
        return forward(batch)

    monkeypatch.setattr(core._runner, "run", run_few_rows)
    got = answers(run(core, requests()))
    assert len(allocated) > 10
    assert not any(kept), "a traceback keeps what the failed pass had allocated"
    for number, (tokens, scores, reason) in expected.items():
        assert got[number] == (tokens, pytest.approx(scores, abs=1e-4), reason)
