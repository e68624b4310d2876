"""One log line from time to time that tells of the load, read from the metrics; none while there is no load."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

from app.metrics import Metrics

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Reading:
    """What the metrics say at one time.

    Attributes:
        time: seconds on the monotonic clock.
        prompt_tokens, cached_tokens: of requests that have ended.
        generated_tokens: counted as they come, the first of an answer when that ends.
        kv_cache_usage: 0 to 1.
    """

    time: float
    prompt_tokens: float
    cached_tokens: float
    generated_tokens: float
    sequences: float
    running: float
    waiting: float
    kv_cache_usage: float

    @classmethod
    def of(cls, metrics: Metrics) -> "Reading":
        """Read a few of the metrics; takes less than a millisecond."""
        sums: dict[str, float] = {}
        for family in metrics.registry.restricted_registry(_NAMES).collect():
            for sample in family.samples:
                sums[sample.name] = sums.get(sample.name, 0.0) + sample.value
                if sample.labels.get("reason") in _ANSWERED and sample.labels.get("task") != "decision":
                    sums["answers"] = sums.get("answers", 0.0) + sample.value
        return cls(
            time=time.monotonic(),
            prompt_tokens=sums[_PROMPT],
            cached_tokens=sums[_CACHED],
            generated_tokens=sums[_GAPS] + sums["answers"],
            sequences=sums[_FINISHES],
            running=sums[_RUNNING],
            waiting=sums[_WAITING],
            kv_cache_usage=sums[_KV],
        )


_PROMPT, _CACHED = "repartee_prompt_tokens_total", "repartee_prompt_cached_tokens_total"
_GAPS, _FINISHES = "repartee_inter_token_seconds_count", "repartee_finish_total"
_RUNNING, _WAITING, _KV = (
    "repartee_running_requests",
    "repartee_queue_requests",
    "repartee_kv_cache_usage_ratio",
)
_NAMES = (_PROMPT, _CACHED, _GAPS, _FINISHES, _RUNNING, _WAITING, _KV)
_ANSWERED = ("stop", "length", "deadline")


def status(before: Reading, now: Reading) -> dict[str, object] | None:
    """The fields of the line; None where nothing ran in between."""
    ended = now.sequences - before.sequences
    prompt = now.prompt_tokens - before.prompt_tokens
    generated = now.generated_tokens - before.generated_tokens
    if not (ended or prompt or generated or now.running or now.waiting):
        return None
    seconds = now.time - before.time
    return {
        "prompt_tokens_per_second": round(prompt / seconds, 1),
        "generated_tokens_per_second": round(generated / seconds, 1),
        "running": int(now.running),
        "waiting": int(now.waiting),
        "kv_cache_usage": round(now.kv_cache_usage, 3),
        "prefix_hit_rate": round((now.cached_tokens - before.cached_tokens) / prompt, 3) if prompt else None,
    }


async def _tell(metrics: Metrics, interval: float) -> None:
    before = Reading.of(metrics)
    while True:
        await asyncio.sleep(interval)
        now = Reading.of(metrics)
        if fields := status(before, now):
            logger.info("load", extra={"fields": fields})
        before = now


@contextlib.asynccontextmanager
async def tell_status(metrics: Metrics, interval: float) -> AsyncIterator[None]:
    """Log the load every `interval` seconds for as long as the context is open; with 0 never."""
    if not interval:
        yield
        return
    task = asyncio.create_task(_tell(metrics, interval), name="status log")
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
