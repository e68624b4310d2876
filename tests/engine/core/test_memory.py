"""What torch holds on a GPU: asked from time to time there, and never on a CPU."""

import pytest
import torch

from app.engine.core.memory import MemoryWatch


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A stand-in for CUDA's allocator, which no machine of these tests has; keeps what was asked."""
    asked: list[str] = []
    for name, amount in (("memory_allocated", 10), ("memory_reserved", 20), ("max_memory_allocated", 30)):

        def answer(device: torch.device, name: str = name, amount: int = amount) -> int:
            asked.append(name)
            return amount

        monkeypatch.setattr(torch.cuda, name, answer)
    return asked


def test_a_gpu_is_looked_at_once_in_a_while(looks: list[str]) -> None:
    watch = MemoryWatch(torch.device("cuda"), seconds=1000)
    assert watch.look() == (10, 20, 30)
    assert [watch.look() for _ in range(3)] == [None] * 3
    assert len(looks) == 3


def test_what_is_due_is_looked_at_again(looks: list[str]) -> None:
    watch = MemoryWatch(torch.device("cuda"), seconds=0)
    assert watch.look() == watch.look() == (10, 20, 30)


def test_a_cpu_has_no_allocator_of_that_kind(looks: list[str]) -> None:
    assert MemoryWatch(torch.device("cpu")).look() is None
    assert looks == []
