"""Inter-token gaps with the engine in a thread of the API process and in a process of its own, under a busy API.

    python -m loadtests.process_split MODEL_DIRECTORY

Four streams decode while tasks on the same event loop parse and dump JSON for a given share of the time, as many HTTP
requests would. Prints the gaps between tokens as the event loop sees them. ADR 0001 holds the figures.
"""

import argparse
import asyncio
import json
import queue
import threading
import time
from collections.abc import Callable
from typing import Any

import torch

from app.engine.client import AsyncEngine
from app.engine.config import EngineConfig
from app.engine.core.engine_core import EngineCore
from app.engine.core.model_loader import load_model
from app.engine.interface import EngineState
from app.engine.loop import run_engine
from app.engine.messages import AddRequest, FromEngine, SamplingParams, StepOutputs, ToEngine

_STREAMS = 4
_TOKENS = 400
_BODY = json.dumps({"messages": [{"role": "user", "content": "Where is my order? " * 8}] * 8})


class _Silence:
    """An observer that keeps nothing."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *arguments: None


class _ThreadChannel:
    """The engine loop's channel when the engine is a thread: a queue in, `call_soon_threadsafe` out."""

    def __init__(self, loop: asyncio.AbstractEventLoop, on_step: Callable[[StepOutputs], None]) -> None:
        self.inbox: queue.SimpleQueue[ToEngine | None] = queue.SimpleQueue()
        self._loop = loop
        self._on_step = on_step

    def send(self, message: FromEngine) -> None:
        assert isinstance(message, StepOutputs)
        self._loop.call_soon_threadsafe(self._on_step, message)

    def receive(self, wait: bool) -> list[ToEngine] | None:
        messages: list[ToEngine] = []
        while True:
            try:
                message = self.inbox.get(block=wait and not messages)
            except queue.Empty:
                return messages
            if message is None:
                return None
            messages.append(message)


async def _busy(share: float, stop: asyncio.Event) -> None:
    """Hold the event loop for `share` of the time, a millisecond or so at once."""
    while not stop.is_set():
        started = time.perf_counter()
        while time.perf_counter() - started < 0.001:
            json.dumps(json.loads(_BODY))
        await asyncio.sleep(0.001 * (1 - share) / share)


def _request(number: int) -> tuple[list[int], SamplingParams]:
    return [5 + number] * 32, SamplingParams(max_tokens=_TOKENS, ignore_eos=True)


async def _gaps_in_process(config: EngineConfig, share: float) -> list[float]:
    engine = AsyncEngine(config, _Silence())
    await engine.start()
    while engine.state is not EngineState.READY:
        await asyncio.sleep(0.05)
    gaps: list[float] = []

    async def read(number: int) -> None:
        prompt, sampling = _request(number)
        last: float | None = None
        async for output in engine.submit(prompt, sampling=sampling):
            now = time.perf_counter()
            if last is not None and output.tokens:
                gaps.append(now - last)
            last = now

    await _under_load(share, asyncio.gather(*[read(number) for number in range(_STREAMS)]))
    await engine.stop()
    return gaps


async def _gaps_in_thread(config: EngineConfig, share: float) -> list[float]:
    if config.threads:
        torch.set_num_threads(config.threads)
    core = EngineCore(load_model(config), config)
    gaps: list[float] = []
    last: dict[int, float] = {}
    finished = asyncio.Event()

    def on_step(step: StepOutputs) -> None:
        now = time.perf_counter()
        for output in step.outputs:
            if output.id in last and output.tokens:
                gaps.append(now - last[output.id])
            last[output.id] = now
        if step.stats.running + step.stats.waiting == 0:
            finished.set()

    channel = _ThreadChannel(asyncio.get_running_loop(), on_step)
    thread = threading.Thread(target=run_engine, args=(core, channel))
    thread.start()
    for number in range(_STREAMS):
        prompt, sampling = _request(number)
        channel.inbox.put(AddRequest(id=number, prompt=prompt, sampling=sampling))
    await _under_load(share, asyncio.ensure_future(finished.wait()))
    channel.inbox.put(None)
    await asyncio.to_thread(thread.join)
    return gaps


async def _under_load(share: float, work: "asyncio.Future[Any]") -> None:
    stop = asyncio.Event()
    load = asyncio.create_task(_busy(share, stop)) if share else None
    await work
    stop.set()
    if load is not None:
        await load


def main() -> None:
    """Print one row for each place of the engine and each load."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--threads", type=int, default=0)
    arguments = parser.parse_args()
    config = EngineConfig(
        model=arguments.model, threads=arguments.threads, kv_cache_tokens=16384, device="cpu"
    )
    print("| engine in | API busy | gap p50 ms | p99 ms | longest ms |\n| --- | --- | --- | --- | --- |")
    for share in (0.0, 0.5, 0.9):
        for name, measure in (("a thread", _gaps_in_thread), ("a process", _gaps_in_process)):
            gaps = sorted(asyncio.run(measure(config, share)))
            p50, p99 = gaps[len(gaps) // 2], gaps[int(len(gaps) * 0.99)]
            print(
                f"| {name} | {share:.0%} | {p50 * 1e3:.2f} | {p99 * 1e3:.2f} | {gaps[-1] * 1e3:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
