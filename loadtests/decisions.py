"""What `/v1/systemone` is measured by: one text and one choice among twenty labels, at one client and at many."""

import asyncio
import statistics
import time

import msgspec

from app.bench.http_stream import post
from loadtests.cases import Endpoint, Figures
from loadtests.prompts import LABELS, question

_ONE_CLIENT = 50
_WARM_UP = 3


async def decisions(endpoint: Endpoint, clients: int, seconds: float) -> Figures:
    """Median time of one client's decisions, and how many decisions a second `clients` get together for `seconds`.

    Raises:
        RequestFailed: a decision was refused.
    """
    for _ in range(_WARM_UP):
        await _decide(endpoint)
    alone = [await _decide(endpoint) for _ in range(_ONE_CLIENT)]
    started = time.perf_counter()
    counts = await asyncio.gather(*[_until(endpoint, started + seconds) for _ in range(clients)])
    ended = time.perf_counter()
    return {
        "decision p50 ms": statistics.median(alone) * 1e3,
        f"{clients} clients, decisions/s": sum(counts) / (ended - started),
    }


async def _until(endpoint: Endpoint, instant: float) -> int:
    """Decisions of one client that were begun before `instant`."""
    count = 0
    while time.perf_counter() < instant:
        await _decide(endpoint)
        count += 1
    return count


async def _decide(endpoint: Endpoint) -> float:
    """Seconds of one decision about a new text."""
    choice = {
        "type": "choice",
        "instructions": "What does the customer want?",
        "criteria": dict.fromkeys(LABELS),
    }
    body = {
        "model": endpoint.model,
        "state": question(endpoint.chooser),
        "questions": {"topic": choice},
    }
    started = time.perf_counter()
    await post(endpoint.base + "/v1/systemone", msgspec.json.encode(body))
    return time.perf_counter() - started
