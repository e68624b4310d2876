"""GPUs as NVML sees them, asked when the metrics are scraped: absent without NVML or a GPU."""

import os
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from types import ModuleType
from typing import Any

import pynvml
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from app.metric_families.buckets import PREFIX

MOST_GPUS = 8
CHOSEN = "CUDA_VISIBLE_DEVICES"
"""The variable that gives a program some of the GPUs, by index or UUID. NVML does not heed it."""


class GpuFamilies(Collector):
    """Memory and utilization of each GPU that this process may use, at most 8 of them.

    With a replica for each GPU of a machine, each tells of its own.

    Args:
        nvml: NVIDIA's binding, which loads the driver's library at the first scrape.
    """

    def __init__(self, nvml: ModuleType = pynvml) -> None:
        self._nvml = nvml

    @cached_property
    def _devices(self) -> dict[str, Any]:
        """The GPUs by their index on the machine, as text."""
        nvml = self._nvml
        try:
            nvml.nvmlInit()
            devices = [nvml.nvmlDeviceGetHandleByIndex(n) for n in range(nvml.nvmlDeviceGetCount())]
            chosen = os.environ.get(CHOSEN)
            indices = range(len(devices)) if chosen is None else list(self._chosen(chosen, devices))
            return {str(index): devices[index] for index in indices[:MOST_GPUS]}
        except nvml.NVMLError:  # no driver, or one that does not answer: another try would cost every scrape
            return {}

    def _chosen(self, names: str, devices: Sequence[Any]) -> Iterator[int]:
        """The indices of the named GPUs. As to CUDA, the beginning of a UUID will do, and the first unknown ends them.

        A slice of a GPU (MIG) is none of these, so that its whole GPU is not taken for it.
        """
        uuids = [self._nvml.nvmlDeviceGetUUID(device) for device in devices]
        for name in map(str.strip, names.split(",")):
            known = (n for n, uuid in enumerate(uuids) if name == str(n) or (name and uuid.startswith(name)))
            index = next(known, None)
            if index is None:
                return
            yield index

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
        for index, device in self._devices.items():
            label = (index,)
            try:
                memory = self._nvml.nvmlDeviceGetMemoryInfo(device)
                used.add_metric(label, memory.used)
                total.add_metric(label, memory.total)
                # Last: a slice of a GPU knows its memory but not this.
                utilization.add_metric(label, self._nvml.nvmlDeviceGetUtilizationRates(device).gpu / 100)
            except self._nvml.NVMLError:
                continue
        yield from (used, total, utilization)
