"""From a configuration to an engine that can serve: threads, model, cache, warm-up."""

import time
from collections.abc import Callable
from typing import TypeVar

import numpy
import torch
from transformers.utils import logging as transformers_logging

from app.engine.config import EngineConfig
from app.engine.core.answer_store import AnswerStore
from app.engine.core.engine_core import EngineCore
from app.engine.core.memory import give_back
from app.engine.core.model_loader import LoadedModel, choose_device, load_model
from app.engine.messages import AddRequest, FinishReason, FromEngine, Progress, Ready, SamplingParams
from app.engine.native.library import native_library
from app.errors import ReparteeError

T = TypeVar("T")

_SMALL_PARAMETERS = 16_000_000


class StartFailure(Exception):
    """The engine cannot serve; the message is for the operator and says what to change."""


def start_core(
    config: EngineConfig, send: Callable[[FromEngine], None], answers: bytes = b"", arrivals: int = -1
) -> tuple[EngineCore, Ready]:
    """Load the model and warm it up, reporting each phase through `send`.

    Args:
        answers: as in `Configure`.
        arrivals: as for `EngineCore`.

    Raises:
        StartFailure: no model, no device, too little memory, or a model that fails on the warm-up.
    """
    transformers_logging.disable_progress_bar()  # the phases are reported through `send`
    try:
        if choose_device(config.device).type == "cpu":
            _timed("kernels", send, native_library)
        loaded = _timed("load", send, lambda: load_model(config))
        torch.set_num_threads(choose_threads(config.threads, loaded))
        give_back()  # loading leaves up to twice the model behind, which the cache could use
        core = _timed(
            "cache", send, lambda: EngineCore(loaded, config, known_answers(answers, loaded), arrivals)
        )
    except ReparteeError as error:
        raise StartFailure(error.message) from error
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise StartFailure(
            "Not enough memory for the weights and the KV cache. Set REPARTEE_QUANTIZATION=bnb-nf4, or lower "
            "REPARTEE_KV_CACHE_TOKENS."
        ) from error
    step_seconds = 0.0
    if config.warmup:
        step_seconds = _timed("warmup", send, lambda: warm_up(core, loaded, config))
    give_back()  # the first pass packs bitsandbytes' weights and leaves the unpacked ones behind
    return core, _ready(core, loaded, config, step_seconds)


def known_answers(answers: bytes, loaded: LoadedModel) -> AnswerStore:
    """The store of them, without tokens that the model does not know (a tokenizer may have more)."""
    tokens = numpy.frombuffer(answers, dtype=numpy.int32)
    return AnswerStore(tokens[tokens < loaded.vocab_size])


def choose_threads(requested: int, loaded: LoadedModel) -> int:
    """CPU threads: as set, else one for a model so small that threads wait longer for each other than they compute."""
    if requested:
        return requested
    small = loaded.device.type == "cpu" and loaded.parameters < _SMALL_PARAMETERS
    return 1 if small else torch.get_num_threads()


def warm_up(core: EngineCore, loaded: LoadedModel, config: EngineConfig) -> float:
    """Run the shapes that the first requests will bring, so that they pay for no lazy initialisation.

    Returns:
        Seconds that a step with a full token budget would have taken at the pace of the slowest one.

    Raises:
        StartFailure: the model fails on them, so it would fail on every request.
    """
    tokens = max(1, min(config.max_batch_tokens, loaded.max_model_len // 2, 64))
    prompt = [index % loaded.vocab_size for index in range(tokens)]
    sampling = SamplingParams(max_tokens=4, ignore_eos=True)
    core.add(AddRequest(id=-1, prompt=prompt, sampling=sampling, cache_salt="warm-up"))
    core.add(AddRequest(id=-2, prompt=prompt, sampling=sampling, cache_salt="warm-up too"))
    core.add(AddRequest(id=-3, prompt=prompt[:4], labels=[[5, 6], [7]], cache_salt="warm-up"))
    longest = 0.0
    while core.has_work:
        step = core.step()
        share = (
            max(1.0, config.max_batch_tokens / max(1, step.stats.tokens))
            if step.stats.phase == "prefill"
            else 1.0
        )
        longest = max(longest, step.stats.seconds * share)
        if any(output.finish_reason is FinishReason.FAILED for output in step.outputs):
            raise StartFailure(
                "The model fails on its warm-up requests. Where the log above says nothing of it, its numbers are not "
                "finite: the weights are damaged, or too large for this type; REPARTEE_DTYPE=float32 may help."
            )
    return longest


def _timed(phase: str, send: Callable[[FromEngine], None], work: Callable[[], T]) -> T:
    started = time.monotonic()
    result = work()
    send(Progress(phase, time.monotonic() - started))
    return result


def _ready(core: EngineCore, loaded: LoadedModel, config: EngineConfig, step_seconds: float) -> Ready:
    return Ready(
        model=config.model,
        device=str(loaded.device),
        dtype=_name(loaded.dtype),
        quantization=loaded.quantization,
        cache_dtype=_name(loaded.cache_dtype),
        kernels=loaded.kernels,
        reasons=loaded.reasons,
        max_model_len=loaded.max_model_len,
        vocab_size=loaded.vocab_size,
        eos_token_ids=sorted(loaded.eos_token_ids),
        block_size=config.block_size,
        num_blocks=core.num_blocks,
        parameters=loaded.parameters,
        memory_bytes=loaded.memory_bytes,
        torch=str(torch.__version__),
        step_seconds=step_seconds,
    )


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
