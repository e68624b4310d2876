"""How much memory is free on a device, and how memory that is not used any more goes back to the system."""

import ctypes
import gc
import os
import time

import torch
from torch import nn


def free_memory(device: torch.device) -> int:
    """Bytes that can still be allocated; on the CPU within the control group's limit, if there is one."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    available = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for line in _lines("/proc/meminfo"):
        if line.startswith("MemAvailable:"):
            available = int(line.split()[1]) * 1024
    limit = next(iter(_lines("/sys/fs/cgroup/memory.max")), "max")
    used = next(iter(_lines("/sys/fs/cgroup/memory.current")), "0")
    if limit != "max":
        available = min(available, int(limit) - int(used))
    return max(0, available)


class MemoryWatch:
    """What torch's allocator holds on a GPU, looked at every few seconds: it costs a tenth of a millisecond.

    Args:
        seconds: least time between two looks.
    """

    def __init__(self, device: torch.device, seconds: float = 5.0) -> None:
        self._device = device
        self._seconds = seconds
        self._due = 0.0

    def look(self) -> tuple[int, int, int] | None:
        """Bytes allocated, reserved and allocated at most so far; None on a CPU, and in between."""
        if self._device.type != "cuda" or time.monotonic() < self._due:
            return None
        self._due = time.monotonic() + self._seconds
        cuda = torch.cuda
        return (
            cuda.memory_allocated(self._device),
            cuda.memory_reserved(self._device),
            cuda.max_memory_allocated(self._device),
        )


def leave_checkpoint(model: nn.Module) -> None:
    """Copy what still lies in the mapped checkpoint.

    One small tensor that was not quantized keeps the whole file mapped, so its pages count as this process's: with it a
    4-bit model takes more memory than the plain one.
    """
    for tensor in (*model.parameters(), *model.buffers()):
        # Exactly these two: what bitsandbytes made is of classes of its own, and lies in memory already.
        if type(tensor) in (nn.Parameter, torch.Tensor) and tensor.device.type == "cpu":
            tensor.data = tensor.data.clone()


def give_back() -> None:
    """Hand freed memory back to the system; glibc would keep it."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _lines(path: str) -> list[str]:
    try:
        with open(path) as file:
            return file.read().splitlines()
    except OSError:
        return []
