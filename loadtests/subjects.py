"""What is compared: each subject starts a process, measures it, ends it, and returns its figures."""

import asyncio
import json
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path

from loadtests.cases import Endpoint, Figures, classify, long_prompt, named, speed
from loadtests.plan import Plan
from loadtests.processes import free_port, running

Subject = Callable[[Plan], Figures]
Measure = Callable[[str], Coroutine[None, None, Figures]]
"""Takes a server's base address."""
_MEBIBYTE = 1 << 20
KV_CACHE_TOKENS = 16_384
_WARM_UP_TOKENS = 8
_TO_THE_END = {"ignore_eos": True}


def ours(quantization: str = "none", *, gap_test: bool = False) -> Subject:
    """This service with the random model in bf16, or quantized as it does by itself."""

    def measure(plan: Plan) -> Figures:
        settings = {"MODEL": str(plan.model), "QUANTIZATION": quantization}
        if quantization == "none":
            settings["DTYPE"] = "bfloat16"

        async def figures(base: str) -> Figures:
            endpoint = Endpoint(base, plan.model.name, extra=_TO_THE_END, limit=plan.stream_seconds)
            found = await _speeds(endpoint, plan, (1, plan.streams))
            if gap_test:
                found |= await long_prompt(
                    endpoint, plan.streams, plan.prompt_tokens, plan.new_tokens, plan.long_prompt
                )
            return found

        return _serve_ours(plan, settings, figures)

    return measure


def embedded(plan: Plan) -> Figures:
    """This service as it starts from a clone: the embedded model, chats and classification."""

    async def figures(base: str) -> Figures:
        endpoint = Endpoint(base, "repartee-support", chat=True, extra=_TO_THE_END, limit=plan.stream_seconds)
        found = await _speeds(endpoint, plan, (1, plan.streams, 2 * plan.streams))
        return found | await classify(endpoint, plan.classifications)

    return _serve_ours(plan, {}, figures)


def transformers_serve(dtype: str) -> Subject:
    """`transformers serve --continuous-batching` with the same model."""

    def measure(plan: Plan) -> Figures:
        port = free_port()
        options = ["--continuous-batching", "--device", "cpu", "--dtype", dtype, "--host", "127.0.0.1"]
        command = [str(Path(sys.executable).parent / "transformers"), "serve", str(plan.model), *options]
        environment = {"HF_HUB_OFFLINE": "1"} | plan.thread_variables
        with running([*command, "--port", str(port)], environment) as server:
            found = {"ready s": server.wait_for(port, "/health", plan.start_seconds)}
            endpoint = Endpoint(f"http://127.0.0.1:{port}", str(plan.model), limit=plan.stream_seconds)
            found |= asyncio.run(_speeds(endpoint, plan, (1, plan.streams)))
            return found | {"RSS MB": sum(server.memory()) / _MEBIBYTE}

    return measure


def bare_generate(dtype: str) -> Subject:
    """transformers' `generate`, one stream, in a process of its own without HTTP."""

    def measure(plan: Plan) -> Figures:
        sizes = [str(plan.prompt_tokens), str(plan.new_tokens), str(plan.stream_seconds)]
        command = [sys.executable, "-m", "loadtests.bare_generate", str(plan.model), dtype, *sizes]
        limit = plan.start_seconds + 2 * plan.stream_seconds
        with running(command, {"HF_HUB_OFFLINE": "1"} | plan.thread_variables) as peer:
            peer.wait(limit)
            figures: Figures = json.loads(peer.tail().splitlines()[-1])
            return figures

    return measure


def _serve_ours(plan: Plan, settings: dict[str, str], figures_of: Measure) -> Figures:
    port = free_port()
    settings = settings | {"PORT": str(port), "KV_CACHE_TOKENS": str(KV_CACHE_TOKENS), "DEVICE": "cpu"}
    settings |= {"LOG_LEVEL": "warning", "REQUEST_TIMEOUT_SECONDS": str(plan.stream_seconds)}
    if plan.threads:
        settings["THREADS"] = str(plan.threads)
    environment = {f"REPARTEE_{name}": value for name, value in settings.items()}
    with running([sys.executable, "-m", "app"], environment) as server:
        found = {"livez s": server.wait_for(port, "/livez", plan.start_seconds)}
        found["ready s"] = server.wait_for(port, "/readyz", plan.start_seconds)
        found |= asyncio.run(figures_of(f"http://127.0.0.1:{port}"))
        own, children = server.memory()
        return found | {"RSS MB": (own + children) / _MEBIBYTE, "API process RSS MB": own / _MEBIBYTE}


async def _speeds(endpoint: Endpoint, plan: Plan, streams: tuple[int, ...]) -> Figures:
    await endpoint.generate(plan.prompt_tokens, _WARM_UP_TOKENS)
    found: Figures = {}
    for count in streams:
        found |= named(f"{count} x", await speed(endpoint, count, plan.prompt_tokens, plan.new_tokens))
    return found
