"""The service with a gauge of its tasks, for the soak: `python -m loadtests.reliability.counted_service`.

Operators need no such gauge: a task that stays holds an open request, a connection or memory, which have theirs.
"""

import asyncio
import sys
from collections.abc import Iterable

from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from app.engine.client import AsyncEngine
from app.metrics import Metrics

TASKS = "soak_asyncio_tasks"


class _Tasks(Collector):
    """The tasks of the event loop that the service runs on."""

    loop: asyncio.AbstractEventLoop | None = None

    def collect(self) -> Iterable[Metric]:
        """The one gauge; scrapes are rendered in another thread, so the loop has to be named."""
        yield GaugeMetricFamily(TASKS, "Tasks.", value=len(asyncio.all_tasks(self.loop)) if self.loop else 0)


def count() -> None:
    """Have the service count its tasks."""
    tasks = _Tasks()
    make, start = Metrics.__init__, AsyncEngine.start

    def making(self: Metrics, *arguments: object, **named: object) -> None:
        make(self, *arguments, **named)  # type: ignore[arg-type]
        self.registry.register(tasks)

    async def starting(self: AsyncEngine, answers: bytes = b"") -> None:
        tasks.loop = asyncio.get_running_loop()
        await start(self, answers)

    Metrics.__init__ = making  # type: ignore[method-assign]
    AsyncEngine.start = starting  # type: ignore[method-assign]


if __name__ == "__main__":
    from app.__main__ import main

    count()
    sys.exit(main([]))
