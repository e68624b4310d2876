"""Speed of the engine core in this process, without HTTP: what the device gives."""

import random
import time
from collections.abc import Sequence
from pathlib import Path

from app.engine.config import EngineConfig
from app.engine.core.engine_core import EngineCore
from app.engine.core.model_loader import load_model
from app.engine.messages import AddRequest, SamplingParams
from loadtests.cases import Figures, named, speed_figures
from loadtests.client import Timeline

_KV_CACHE_TOKENS = 16_384


def core_speed(
    model: Path, device: str, quantization: str, streams: Sequence[int], prompt_tokens: int, new_tokens: int
) -> Figures:
    """Figures for each number of streams, and the mebibytes of the weights.

    Raises:
        ReparteeError: the model cannot be loaded so.
    """
    config = EngineConfig(
        model=str(model), device=device, quantization=quantization, kv_cache_tokens=_KV_CACHE_TOKENS
    )
    loaded = load_model(config)
    core = EngineCore(loaded, config)
    found: Figures = {"weights MiB": loaded.memory_bytes / 2**20}
    for count in streams:
        _run(core, count, prompt_tokens, 4)
        found |= named(f"{count} x", speed_figures(_run(core, count, prompt_tokens, new_tokens)))
    return found


def _run(core: EngineCore, streams: int, prompt_tokens: int, new_tokens: int) -> list[Timeline]:
    chooser = random.Random()
    timelines = [Timeline(time.perf_counter(), prompt_tokens=prompt_tokens) for _ in range(streams)]
    for number in range(streams):
        prompt = [chooser.randrange(4, 260) for _ in range(prompt_tokens)]
        sampling = SamplingParams(max_tokens=new_tokens, ignore_eos=True)
        core.add(AddRequest(id=number, prompt=prompt, sampling=sampling))
    while core.has_work:
        outputs = core.step().outputs
        now = time.perf_counter()
        for output in outputs:
            timelines[output.id].texts += [now] * len(output.tokens)
            timelines[output.id].tokens += len(output.tokens)
            timelines[output.id].ended = now
    return timelines
