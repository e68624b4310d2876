"""The two processes as Linux sees them, and the log lines that were lost."""

from collections.abc import Callable, Iterable

from prometheus_client import PlatformCollector, ProcessCollector
from prometheus_client.metrics_core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from app.metric_families.buckets import PREFIX
from app.metric_families.registry import Registry


class ProcessFamilies:
    """Memory, processor time and open files of the API process (`process_*`) and of the engine's."""

    def __init__(self, registry: Registry, log_lines_dropped: Callable[[], int]) -> None:
        self.engine_pid: int | None = None
        """The engine process; without one it has no samples."""
        for collector in (ProcessCollector, PlatformCollector):
            collector(registry=registry.collectors)
        ProcessCollector(
            namespace=f"{PREFIX}engine",
            pid=lambda: "none" if self.engine_pid is None else self.engine_pid,
            registry=registry.collectors,
        )
        registry.add(_DroppedLines(log_lines_dropped))


class _DroppedLines(Collector):
    def __init__(self, count: Callable[[], int]) -> None:
        self._count = count

    def collect(self) -> Iterable[Metric]:
        """The one counter."""
        yield CounterMetricFamily(
            f"{PREFIX}log_lines_dropped",
            "Log lines lost because nobody took them fast enough.",
            value=self._count(),
        )
