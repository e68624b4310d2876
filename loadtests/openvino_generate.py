"""The peer OpenVINO GenAI: its continuous batching, in a process without HTTP, asked with token ids.

python -m loadtests.openvino_generate MODEL THREADS RUNS
"""

import sys
import time
from importlib.metadata import version

import numpy
import openvino
import openvino_genai

from loadtests.in_process_peer import Prompts, make_runs

_CACHE_GIGABYTES = 1


def main(model: str, threads: str, runs: str) -> None:
    """Load, make the runs, print."""
    scheduler = openvino_genai.SchedulerConfig()
    scheduler.cache_size = _CACHE_GIGABYTES
    scheduler.enable_prefix_caching = False
    properties = {"INFERENCE_NUM_THREADS": int(threads)} if int(threads) else {}
    pipeline = openvino_genai.ContinuousBatchingPipeline(model, scheduler, "CPU", properties)

    def generate(prompts: Prompts, new_tokens: int) -> list[list[float]]:
        config = openvino_genai.GenerationConfig()
        config.max_new_tokens = config.min_new_tokens = new_tokens
        config.ignore_eos = True
        config.do_sample = False
        handles = [
            pipeline.add_request(number, openvino.Tensor(numpy.array([prompt], dtype=numpy.int64)), config)
            for number, prompt in enumerate(prompts)
        ]
        instants: list[list[float]] = [[] for _ in handles]
        while pipeline.has_non_finished_requests():
            pipeline.step()
            now = time.perf_counter()
            for handle, came in zip(handles, instants, strict=True):
                if handle.can_read():
                    came += [now] * sum(len(output.generated_ids) for output in handle.read().values())
        return instants

    make_runs(f"openvino-genai {version('openvino-genai')}", generate, runs)


if __name__ == "__main__":
    main(*sys.argv[1:])
