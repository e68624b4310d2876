"""The engine's steps: what is not the model's own time, and a GPU's memory where there is one."""

import pytest

from app.engine.messages import StepStats
from app.metrics import Metrics
from tests.exposition import MODEL, labels_of, value


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(MODEL)


def test_the_rest_of_a_step_is_overhead(metrics: Metrics) -> None:
    metrics.step(StepStats(seconds=0.010, forward_seconds=0.008, sequences=1, tokens=1))
    metrics.step(StepStats(seconds=0.001))
    metrics.step(
        StepStats(seconds=0.001, forward_seconds=0.0011, sequences=1, tokens=1)
    )  # clocks are read in turn
    assert value(metrics, "engine_overhead_seconds_total") == pytest.approx(0.003)


def test_memory_of_a_gpu_is_shown_as_it_was_last_told(metrics: Metrics) -> None:
    metrics.step(StepStats())
    assert labels_of(metrics, "torch_memory_bytes") == []
    metrics.step(StepStats(torch_memory=(10, 20, 30)))
    metrics.step(StepStats())
    kinds = ("allocated", "reserved", "peak")
    assert [value(metrics, "torch_memory_bytes", kind=kind) for kind in kinds] == [10, 20, 30]
    metrics.engine_restarted()
    assert labels_of(metrics, "torch_memory_bytes") == []
