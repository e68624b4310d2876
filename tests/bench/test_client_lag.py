"""A client whose own loop was blocked knows by how much, at once and until it has slept well again."""

import asyncio
import time

import pytest

from app.bench.client_lag import INTERVAL_SECONDS, watch_client_lag

pytestmark = pytest.mark.anyio
BLOCKED = 0.3


async def test_a_blocked_loop_is_seen_while_it_lasts_and_afterwards() -> None:
    async with asyncio.timeout(60), watch_client_lag() as lag:
        await asyncio.sleep(0)  # now the watch sleeps
        time.sleep(BLOCKED)
        assert lag.now >= BLOCKED - INTERVAL_SECONDS
        for _ in range(3):
            await asyncio.sleep(0)  # now it has woken up, and sleeps again
        assert lag.now >= BLOCKED - INTERVAL_SECONDS
        while lag.now >= BLOCKED / 2:
            await asyncio.sleep(INTERVAL_SECONDS)
