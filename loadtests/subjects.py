"""What is compared: each subject starts a process, measures it, ends it, and returns its figures."""

import asyncio
import sys
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

from app.services.tokenizer import Tokenizer
from app.settings import EMBEDDED_MODEL
from loadtests.cases import Endpoint, Figures, classify, first_tokens, long_prompts, medians, named, speed
from loadtests.decisions import decisions
from loadtests.plan import Plan
from loadtests.processes import free_port, running

Subject = Callable[[Plan], Figures]
Measure = Callable[[str], Coroutine[None, None, Figures]]
"""Takes a server's base address."""
MEBIBYTE = 1 << 20
KV_CACHE_TOKENS = 16_384
EMBEDDED_NAME = "repartee-support"
_WARM_UP_TOKENS = 8
TO_THE_END = {"ignore_eos": True}


def ours(quantization: str = "none", *, against_peers: bool = False) -> Subject:
    """This service with the random model in bf16, or quantized as it does by itself.

    `against_peers` measures all that peers are measured by, and the gaps while long prompts come.
    """

    def measure(plan: Plan) -> Figures:
        settings = {"MODEL": str(plan.model), "QUANTIZATION": quantization}
        if quantization == "none":
            settings["DTYPE"] = "bfloat16"

        async def figures(base: str) -> Figures:
            endpoint = Endpoint(base, plan.model.name, extra=TO_THE_END, limit=plan.stream_seconds)
            found = await speeds(
                endpoint, plan, plan.stream_counts if against_peers else plan.stream_counts[:2]
            )
            if against_peers:
                found |= await first_tokens(endpoint, plan.prompt_lengths, plan.first_tokens)
                streams = (plan.streams, plan.prompt_tokens, plan.disturbed_tokens)
                found |= await long_prompts(endpoint, *streams, plan.long_prompt, plan.long_prompts)
            return found

        return _serve_ours(plan, settings, figures)

    return measure


def embedded(plan: Plan) -> Figures:
    """This service with the embedded model, chats and classification."""

    async def figures(base: str) -> Figures:
        endpoint = Endpoint(base, EMBEDDED_NAME, chat=True, extra=TO_THE_END, limit=plan.stream_seconds)
        found = await speeds(endpoint, plan, plan.stream_counts)
        return found | await classify(endpoint, plan.classifications)

    return _serve_ours(plan, {}, figures)


def embedded_ids(plan: Plan) -> Figures:
    """The same, asked as its peers are: chats as token ids, each run several times."""

    async def figures(base: str) -> Figures:
        return await support_speeds(base, plan)

    return _serve_ours(plan, {}, figures)


async def support_speeds(base: str, plan: Plan) -> Figures:
    """Speeds of any server of the embedded model's weights."""
    tokenizer = Tokenizer.from_directory(EMBEDDED_MODEL)
    endpoint = Endpoint(base, EMBEDDED_NAME, tokenizer=tokenizer, extra=TO_THE_END, limit=plan.stream_seconds)
    return await speeds(endpoint, plan, plan.stream_counts, plan.repetitions)


def embedded_decisions(plan: Plan) -> Figures:
    """This service with the embedded model, asked for decisions."""

    async def figures(base: str) -> Figures:
        return await decisions(Endpoint(base, EMBEDDED_NAME), plan.stream_counts[-1], plan.decision_seconds)

    return _serve_ours(plan, {}, figures)


def engine(model: Path | None, quantization: str) -> Subject:
    """This service's engine core in a process of its own without HTTP; `model` None means the random one."""

    def measure(plan: Plan) -> Figures:
        sizes = [plan.prompt_tokens, plan.new_tokens, plan.repetitions if model else 1, plan.threads]
        counts = ",".join(map(str, plan.stream_counts))
        arguments = [str(model or plan.model), quantization, counts, *map(str, sizes)]
        figures: Figures = printed(plan, [sys.executable, "-m", "loadtests.core_speed", *arguments])
        return figures

    return measure


def transformers_serve(dtype: str) -> Subject:
    """`transformers serve --continuous-batching` with the same model."""

    def measure(plan: Plan) -> Figures:
        async def figures(base: str) -> Figures:
            endpoint = Endpoint(base, str(plan.model), limit=plan.stream_seconds)
            return await speeds(endpoint, plan, plan.stream_counts[:2])

        return _serve_transformers(plan, plan.model, ["--continuous-batching", "--dtype", dtype], figures)

    return measure


def transformers_decisions(plan: Plan) -> Figures:
    """`transformers serve` with the embedded model, asked for decisions at its own `/v1/systemone`."""

    async def figures(base: str) -> Figures:
        return await decisions(Endpoint(base, EMBEDDED_MODEL), plan.stream_counts[-1], plan.decision_seconds)

    return _serve_transformers(plan, Path(EMBEDDED_MODEL), [], figures)


def bare_generate(dtype: str) -> Subject:
    """transformers' `generate`, one stream, in a process of its own without HTTP."""

    def measure(plan: Plan) -> Figures:
        sizes = [str(plan.prompt_tokens), str(plan.new_tokens), str(plan.stream_seconds)]
        command = [sys.executable, "-m", "loadtests.bare_generate", str(plan.model), dtype, *sizes]
        figures: Figures = printed(plan, command)
        return figures

    return measure


async def speeds(endpoint: Endpoint, plan: Plan, streams: Sequence[int], repetitions: int = 1) -> Figures:
    """Speed at each number of streams, after a warm-up."""
    await endpoint.generate(plan.prompt_tokens, _WARM_UP_TOKENS)
    found: Figures = {}
    for count in streams:
        runs = [await speed(endpoint, count, plan.prompt_tokens, plan.new_tokens) for _ in range(repetitions)]
        found |= named(f"{count} x", medians(runs))
    return found


def printed(plan: Plan, command: Sequence[str]) -> Any:
    """What a process without a server prints at its end, from JSON.

    Raises:
        ProcessFailed: it failed, or takes too long.
    """
    with running(command, {"HF_HUB_OFFLINE": "1"} | plan.thread_variables) as peer:
        peer.wait(plan.start_seconds + 2 * plan.stream_seconds)
        return peer.printed_json()


def _serve_ours(plan: Plan, settings: dict[str, str], figures_of: Measure) -> Figures:
    port = free_port()
    settings = settings | {"PORT": str(port), "KV_CACHE_TOKENS": str(KV_CACHE_TOKENS), "DEVICE": "cpu"}
    # What random weights say, and what a model says behind its end, repeats itself: drafts would shine there as they do
    # on no real text, and the peers draft nothing. `loadtests.speculation` measures them.
    settings["SPECULATION"] = "false"
    settings |= {"LOG_LEVEL": "warning", "REQUEST_TIMEOUT_SECONDS": str(plan.stream_seconds)}
    if plan.threads:
        settings["THREADS"] = str(plan.threads)
    environment = {f"REPARTEE_{name}": value for name, value in settings.items()}
    with running([sys.executable, "-m", "app"], environment) as server:
        found = {"livez s": server.wait_for(port, "/livez", plan.start_seconds)}
        found["ready s"] = server.wait_for(port, "/readyz", plan.start_seconds)
        found |= asyncio.run(figures_of(f"http://127.0.0.1:{port}"))
        own, children = server.memory()
        return found | {"RSS MB": (own + children) / MEBIBYTE, "API process RSS MB": own / MEBIBYTE}


def _serve_transformers(plan: Plan, model: Path, options: Sequence[str], figures_of: Measure) -> Figures:
    port = free_port()
    program = str(Path(sys.executable).parent / "transformers")
    command = [program, "serve", str(model), *options, "--device", "cpu", "--host", "127.0.0.1"]
    environment = {"HF_HUB_OFFLINE": "1"} | plan.thread_variables
    with running([*command, "--port", str(port)], environment) as server:
        found = {"ready s": server.wait_for(port, "/health", plan.start_seconds)}
        found |= asyncio.run(figures_of(f"http://127.0.0.1:{port}"))
        return found | {"RSS MB": sum(server.memory()) / MEBIBYTE}
