"""A stand-in for NVIDIA's `pynvml`, with as many GPUs as a test wants."""

from types import ModuleType, SimpleNamespace
from typing import Any

import pynvml
import pytest

from app.metric_families.gpu import CHOSEN


class NVMLError(Exception):
    """What the binding raises."""


class StandIn(ModuleType):
    """The functions that the service calls; those whose names are in `failing` raise."""

    NVMLError = NVMLError

    def __init__(self, gpus: int, failing: tuple[str, ...] = ()) -> None:
        super().__init__("pynvml")
        self.gpus, self.failing = gpus, set(failing)
        self.starts = 0

    def _call(self, name: str) -> None:
        if name in self.failing:
            raise NVMLError(name)

    def nvmlInit(self) -> None:
        self.starts += 1
        self._call("nvmlInit")

    def nvmlDeviceGetCount(self) -> int:
        return self.gpus

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetUUID(self, device: int) -> str:
        return f"GPU-{device}a5f-000{device}"

    def nvmlDeviceGetMemoryInfo(self, device: int) -> Any:
        self._call("nvmlDeviceGetMemoryInfo")
        return SimpleNamespace(used=1000 + device, total=80_000)

    def nvmlDeviceGetUtilizationRates(self, device: int) -> Any:
        self._call("nvmlDeviceGetUtilizationRates")
        return SimpleNamespace(gpu=25, memory=10)


def install(nvml: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the real binding answer as the stand-in does, with all GPUs for this process."""
    monkeypatch.delenv(CHOSEN, raising=False)
    for name in (name for name in dir(StandIn) if name.lower().startswith("nvml")):
        monkeypatch.setattr(pynvml, name, getattr(nvml, name))
