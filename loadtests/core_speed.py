"""Speed of the engine core in a process without HTTP: what the device gives.

    python -m loadtests.core_speed MODEL QUANTIZATION STREAMS PROMPT_TOKENS NEW_TOKENS REPETITIONS THREADS

Prints one line of JSON: medians of the repetitions and, where no cache holds the weights, what share of the memory's
bandwidth one stream uses.
"""

import json
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from app.bench.client import Timeline
from app.engine.config import EngineConfig
from app.engine.core.engine_core import EngineCore
from app.engine.core.model_loader import load_model
from app.engine.messages import AddRequest, SamplingParams
from app.engine.start import choose_threads
from loadtests.bandwidth import read_bandwidth
from loadtests.cases import Figures, medians, named, speed_figures

_KV_CACHE_TOKENS = 16_384
_LARGER_THAN_CACHES_MIB = 200


def core_speed(
    model: Path,
    device: str,
    quantization: str,
    streams: Sequence[int],
    prompt_tokens: int,
    new_tokens: int,
    repetitions: int = 1,
    threads: int = 0,
) -> Figures:
    """Figures for each number of streams (medians of `repetitions`), and the mebibytes of the weights.

    Raises:
        ReparteeError: the model cannot be loaded so.
    """
    config = EngineConfig(
        model=str(model),
        device=device,
        quantization=quantization,
        kv_cache_tokens=_KV_CACHE_TOKENS,
        speculation=False,  # the greedy text of random prompts repeats itself as no real text does
    )
    loaded = load_model(config)
    torch.set_num_threads(choose_threads(threads, loaded))  # as the service does
    core = EngineCore(loaded, config)
    found: Figures = {"weights MiB": loaded.memory_bytes / 2**20}
    for count in streams:
        _run(core, count, prompt_tokens, 4)
        runs = [speed_figures(_run(core, count, prompt_tokens, new_tokens)) for _ in range(repetitions)]
        found |= named(f"{count} x", medians(runs))
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


def main(
    model: str,
    quantization: str,
    streams: str,
    prompt_tokens: str,
    new_tokens: str,
    repetitions: str,
    threads: str,
) -> None:
    """Measure on the CPU and print. Bandwidth is measured first, with a thread on each core."""
    bandwidth = read_bandwidth()
    sizes = (int(prompt_tokens), int(new_tokens), int(repetitions), int(threads))
    counts = [int(count) for count in streams.split(",")]
    figures = core_speed(Path(model), "cpu", quantization, counts, *sizes)
    if figures["weights MiB"] > _LARGER_THAN_CACHES_MIB:
        used = figures["1 x decode tok/s"] * figures["weights MiB"] * 2**20
        figures |= {"read GB/s": bandwidth / 1e9, "share of bandwidth": used / bandwidth}
    print(json.dumps(figures))


if __name__ == "__main__":
    main(*sys.argv[1:])
