"""The peers that a bench finds only where somebody made them: llama.cpp, OpenVINO GenAI, CTranslate2."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from app.bench.client import Timeline
from app.settings import EMBEDDED_MODEL
from loadtests.cases import (
    Endpoint,
    Figures,
    first_token_figure,
    first_tokens,
    medians,
    named,
    speed_figures,
)
from loadtests.gguf_models import quantized
from loadtests.peers import CTRANSLATE2, LLAMA_BENCH, LLAMA_SERVER, OPENVINO, program, python_with
from loadtests.plan import Plan
from loadtests.processes import cores, free_port, running
from loadtests.subjects import (
    KV_CACHE_TOKENS,
    MEBIBYTE,
    TO_THE_END,
    Measure,
    Subject,
    printed,
    speeds,
    support_speeds,
)

LONG_CONTEXT = 4096


def llama_server(kind: str) -> Subject:
    """llama-server with the random model: speeds with a slot a stream, then first tokens with one slot for all."""

    def measure(plan: Plan) -> Figures:
        def endpoint(base: str) -> Endpoint:
            return Endpoint(base, plan.model.name, extra=TO_THE_END, limit=plan.stream_seconds)

        async def together(base: str) -> Figures:
            return await speeds(endpoint(base), plan, plan.stream_counts)

        async def alone(base: str) -> Figures:
            await endpoint(base).generate(plan.prompt_tokens, 2)
            return await first_tokens(endpoint(base), plan.prompt_lengths, plan.first_tokens)

        model = quantized(plan, plan.model, kind)
        first = _serve(plan, model, 1, LONG_CONTEXT, alone)
        return first | _serve(plan, model, plan.stream_counts[-1], KV_CACHE_TOKENS, together)

    return measure


def llama_server_embedded(kind: str) -> Subject:
    """llama-server with the embedded model's weights."""

    def measure(plan: Plan) -> Figures:
        async def figures(base: str) -> Figures:
            return await support_speeds(base, plan)

        model = quantized(plan, Path(EMBEDDED_MODEL), kind)
        return _serve(plan, model, plan.stream_counts[-1], KV_CACHE_TOKENS, figures)

    return measure


def llama_server_options(threads: int, slots: int, context: int) -> list[str]:
    """How llama-server is started, but for model and address.

    No prompt comes twice, so its cache of past prompts is off: it would only copy and grow.
    """
    sizes = ["--threads", str(threads or cores()), "--parallel", str(slots), "--ctx-size", str(context)]
    return [*sizes, "--cache-ram", "0"]


def llama_bench(kind: str) -> Subject:
    """llama.cpp's own bench tool with the embedded model's weights: decoding alone, the better number of threads."""

    def measure(plan: Plan) -> Figures:
        model = quantized(plan, Path(EMBEDDED_MODEL), kind)
        tool = program(plan.peers, LLAMA_BENCH)
        options = llama_bench_options(plan.new_tokens, plan.repetitions)
        speed = max(
            printed(plan, [tool, "-m", str(model), *options, "-t", str(threads)])["avg_ts"]
            for threads in range(1, (plan.threads or cores()) + 1)
        )
        return {"1 x decode tok/s": speed}

    return measure


def llama_bench_options(new_tokens: int, repetitions: int) -> list[str]:
    """How llama-bench is started, but for model and threads."""
    return ["-p", "0", "-n", str(new_tokens), "-r", str(repetitions), "-o", "jsonl"]


def openvino(kind: str) -> Subject:
    """OpenVINO GenAI's continuous batching with the random model's GGUF file, without HTTP."""

    def measure(plan: Plan) -> Figures:
        python = python_with(plan.peers, OPENVINO)
        model = quantized(plan, plan.model, kind)
        return _in_process(plan, [python, "-m", "loadtests.openvino_generate", str(model), str(plan.threads)])

    return measure


def ctranslate2(plan: Plan) -> Figures:
    """CTranslate2 in int8 with the random model, without HTTP."""
    python = python_with(plan.peers, CTRANSLATE2)
    converted = plan.model.parent / f"{plan.model.name}-ctranslate2-int8"
    command = [python, "-m", "loadtests.ctranslate2_generate", str(plan.model), str(converted)]
    return _in_process(plan, [*command, str(plan.threads)])


def _in_process(plan: Plan, command: Sequence[str]) -> Figures:
    """The figures of a harness that takes runs and prints instants: see `loadtests.in_process_peer`."""
    together = [[count, plan.prompt_tokens, plan.new_tokens] for count in plan.stream_counts]
    alone = [[1, length, 2] for length in plan.prompt_lengths for _ in range(plan.first_tokens)]
    told = printed(plan, [*command, json.dumps([*together, *alone])])
    runs = [speed_figures(_timelines(run)) for run in told["runs"]]
    found: Figures = {"RSS MB": told["resident"] / MEBIBYTE}
    for count, figures in zip(plan.stream_counts, runs, strict=False):
        found |= named(f"{count} x", figures)
    firsts = runs[len(together) :]
    for number, length in enumerate(plan.prompt_lengths):
        repeated = firsts[number * plan.first_tokens : (number + 1) * plan.first_tokens]
        found[first_token_figure(length)] = medians(repeated)["TTFT ms"]
    return found


def _timelines(run: dict[str, Any]) -> list[Timeline]:
    return [
        Timeline(run["sent"], instants, instants[-1], tokens=len(instants)) for instants in run["streams"]
    ]


def _serve(plan: Plan, model: Path, slots: int, context: int, figures_of: Measure) -> Figures:
    port = free_port()
    options = llama_server_options(plan.threads, slots, context)
    command = [program(plan.peers, LLAMA_SERVER), "--model", str(model), "--host", "127.0.0.1", *options]
    with running([*command, "--port", str(port)], {}) as server:
        found = {"ready s": server.wait_for(port, "/health", plan.start_seconds)}
        found |= asyncio.run(figures_of(f"http://127.0.0.1:{port}"))
        return found | {"RSS MB": sum(server.memory()) / MEBIBYTE}
