"""GPUs as NVML sees them, asked when the metrics are scraped: absent without NVML or a GPU."""

from collections.abc import Iterable
from functools import cached_property
from types import ModuleType
from typing import Any

import pynvml
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from app.metric_families.buckets import PREFIX

MOST_GPUS = 8


class GpuFamilies(Collector):
    """Memory and utilization of each GPU of this machine, at most 8 of them.

    Args:
        nvml: NVIDIA's binding, which loads the driver's library at the first scrape.
    """

    def __init__(self, nvml: ModuleType = pynvml) -> None:
        self._nvml = nvml

    @cached_property
    def _devices(self) -> list[Any]:
        nvml = self._nvml
        try:
            nvml.nvmlInit()
            return [nvml.nvmlDeviceGetHandleByIndex(n) for n in range(nvml.nvmlDeviceGetCount())][:MOST_GPUS]
        except nvml.NVMLError:  # no driver, or one that does not answer: another try would cost every scrape
            return []

    def describe(self) -> list[GaugeMetricFamily]:
        """The families without their samples."""
        names = {
            "gpu_memory_used_bytes": "GPU memory in use.",
            "gpu_memory_total_bytes": "GPU memory.",
            "gpu_utilization_ratio": "Share of the last moments in which the GPU ran anything, 0 to 1.",
        }
        return [GaugeMetricFamily(PREFIX + name, text, labels=("gpu",)) for name, text in names.items()]

    def collect(self) -> Iterable[Metric]:
        """What each GPU answers; one that does not has no samples."""
        if not self._devices:
            return
        used, total, utilization = self.describe()
        for index, device in enumerate(self._devices):
            label = (str(index),)
            try:
                memory = self._nvml.nvmlDeviceGetMemoryInfo(device)
                used.add_metric(label, memory.used)
                total.add_metric(label, memory.total)
                # Last: a slice of a GPU knows its memory but not this.
                utilization.add_metric(label, self._nvml.nvmlDeviceGetUtilizationRates(device).gpu / 100)
            except self._nvml.NVMLError:
                continue
        yield from (used, total, utilization)
