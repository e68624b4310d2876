"""Measures how late the event loop wakes up: what tells a blocked loop from a slow model."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

from app.metrics import Metrics

INTERVAL_SECONDS = 0.1


async def _sample(metrics: Metrics, interval: float) -> None:
    while True:
        before = time.perf_counter()
        await asyncio.sleep(interval)
        metrics.loop_lag(max(0.0, time.perf_counter() - before - interval))


@contextlib.asynccontextmanager
async def watch_loop_lag(metrics: Metrics, interval: float = INTERVAL_SECONDS) -> AsyncIterator[None]:
    """Sample the event loop's lag every `interval` seconds for as long as the context is open."""
    task = asyncio.create_task(_sample(metrics, interval))
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
