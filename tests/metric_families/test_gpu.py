"""GPUs: asked when scraped, through a stand-in for NVML; no machine of these tests has one."""

import pynvml
import pytest

from app.metric_families.gpu import CHOSEN, MOST_GPUS, GpuFamilies
from tests.exposition import metrics_with, samples
from tests.metric_families.nvml import StandIn, install


@pytest.fixture(autouse=True)
def all_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CHOSEN, raising=False)


def found(collector: GpuFamilies) -> dict[tuple[str, str], float]:
    return {
        (sample.name.removeprefix("repartee_gpu_"), sample.labels["gpu"]): sample.value
        for family in collector.collect()
        for sample in family.samples
    }


def test_each_gpu_has_its_memory_and_utilization() -> None:
    assert found(GpuFamilies(StandIn(2))) == {
        ("memory_used_bytes", "0"): 1000,
        ("memory_used_bytes", "1"): 1001,
        ("memory_total_bytes", "0"): 80_000,
        ("memory_total_bytes", "1"): 80_000,
        ("utilization_ratio", "0"): 0.25,
        ("utilization_ratio", "1"): 0.25,
    }


def test_the_driver_is_loaded_at_the_first_scrape_and_once() -> None:
    nvml = StandIn(1)
    collector = GpuFamilies(nvml)
    assert nvml.starts == 0
    assert found(collector) == found(collector) != {}
    assert nvml.starts == 1


def test_a_driver_that_is_not_there_is_not_asked_again() -> None:
    nvml = StandIn(1, failing=("nvmlInit",))
    collector = GpuFamilies(nvml)
    assert list(collector.collect()) == list(collector.collect()) == []
    assert nvml.starts == 1


def test_no_gpu_no_family() -> None:
    assert list(GpuFamilies(StandIn(0)).collect()) == []


@pytest.mark.parametrize(
    ("failing", "left"),
    [
        ("nvmlDeviceGetMemoryInfo", set()),
        ("nvmlDeviceGetUtilizationRates", {"memory_used_bytes", "memory_total_bytes"}),
    ],
)
def test_a_gpu_that_does_not_answer_has_no_samples(failing: str, left: set[str]) -> None:
    assert {name for name, _ in found(GpuFamilies(StandIn(1, failing=(failing,))))} == left


def test_the_number_of_gpus_is_bounded() -> None:
    assert len({gpu for _, gpu in found(GpuFamilies(StandIn(100)))}) == MOST_GPUS


@pytest.mark.parametrize(
    ("chosen", "shown"),
    [
        ("2", {"2"}),
        ("3, 1", {"1", "3"}),
        ("1,1", {"1"}),
        ("GPU-2a5f-0002", {"2"}),
        ("GPU-2a,0", {"0", "2"}),
        ("0,7,1", {"0"}),
        ("", set()),
        ("-1", set()),
        ("MIG-2a5f", set()),
    ],
)
def test_a_replica_tells_of_the_gpus_that_it_may_use(
    chosen: str, shown: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CHOSEN, chosen)
    assert {gpu for _, gpu in found(GpuFamilies(StandIn(4)))} == shown


def test_a_chosen_gpu_is_shown_however_many_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CHOSEN, "15")
    assert {gpu for _, gpu in found(GpuFamilies(StandIn(16)))} == {"15"}


def test_the_service_asks_the_real_binding(monkeypatch: pytest.MonkeyPatch) -> None:
    install(StandIn(1), monkeypatch)
    assert samples(metrics_with())["repartee_gpu_utilization_ratio", frozenset({("gpu", "0")})] == 0.25


def test_a_machine_without_nvml_has_no_gpu_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(pynvml, "nvmlInit", fail)
    assert not [name for name, _ in samples(metrics_with()) if "gpu" in name]
