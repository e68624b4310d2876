"""How fast all cores together read memory: the ceiling of a decoder, which reads every weight for a token."""

import time

import torch

_ELEMENTS = 1 << 28  # of float32: 1 GiB, more than any cache holds
_TRIES = 6


def read_bandwidth() -> float:
    """Bytes a second of the fastest of some passes over 1 GiB, with PyTorch's threads."""
    data = torch.ones(_ELEMENTS)
    return data.nbytes / min(_pass(data) for _ in range(_TRIES))


def _pass(data: torch.Tensor) -> float:
    started = time.perf_counter()
    data.min()
    return time.perf_counter() - started
