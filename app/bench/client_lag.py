"""By how much the client's own event loop is late: what tells a slow client from a slow server, in any kind of loop."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

INTERVAL_SECONDS = 0.02


class ClientLag:
    """The oversleep of a short sleep that is begun again and again; seconds."""

    def __init__(self) -> None:
        self._last = 0.0
        self._due: float | None = None

    def falls_asleep(self) -> float:
        """The seconds to sleep now."""
        self._due = time.perf_counter() + INTERVAL_SECONDS
        return INTERVAL_SECONDS

    def wakes_up(self) -> None:
        """The sleep is over."""
        self._last = self._overdue()

    @property
    def now(self) -> float:
        """What was last seen, or more where the sleep of now is overdue by more."""
        return max(self._last, self._overdue())

    def _overdue(self) -> float:
        return 0.0 if self._due is None else max(0.0, time.perf_counter() - self._due)


@contextlib.asynccontextmanager
async def watch_client_lag() -> AsyncIterator[ClientLag]:
    """The lag of asyncio's loop for as long as the context is open."""
    lag = ClientLag()

    async def watch() -> None:
        while True:
            await asyncio.sleep(lag.falls_asleep())
            lag.wakes_up()

    task = asyncio.create_task(watch())
    try:
        yield lag
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
