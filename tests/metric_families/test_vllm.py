"""vLLM's names: the same figures as ours, summed over what vLLM does not tell apart."""

import pytest

from app.engine.messages import StepStats
from app.metric_families.vllm import ALIASES
from app.metrics import Metrics
from tests.exposition import chat, metrics_with, samples
from tests.scoring_engine import READY

OF_ENGINE = {"model_name": "toy", "engine": "0"}


@pytest.fixture
def metrics() -> Metrics:
    return metrics_with(vllm_aliases=True)


def value(metrics: Metrics, name: str, **labels: str) -> float:
    return samples(metrics)[f"vllm:{name}", frozenset((OF_ENGINE | labels).items())]


def test_they_are_off_unless_asked_for() -> None:
    assert not [name for name, _ in samples(metrics_with()) if name.startswith("vllm:")]


def test_every_alias_is_exported_once_ready(metrics: Metrics) -> None:
    metrics.ready(READY)
    families = {family.name for family in metrics.registry.collect()}
    assert {name for name in families if name.startswith("vllm:")} == set(ALIASES.values())


def test_gauges_are_those_of_the_engine(metrics: Metrics) -> None:
    metrics.ready(READY)
    metrics.step(StepStats(running=3, waiting=2, kv_blocks_used=READY.num_blocks // 4))
    assert value(metrics, "num_requests_running") == 3
    assert value(metrics, "num_requests_waiting") == 2
    assert value(metrics, "kv_cache_usage_perc") == 0.25
    assert (
        value(metrics, "cache_config_info", block_size="16", num_gpu_blocks="64", cache_dtype="float32") == 1
    )


def test_histograms_are_sums_over_streams_and_tasks_without_decisions(metrics: Metrics) -> None:
    metrics.observe_request(chat(first_token=0.03, total=0.2))
    metrics.observe_request(chat(task="completion", stream=False, first_token=0.3, total=2.0))
    metrics.observe_request(chat(task="decision", stream=False, total=0.01))
    metrics.inter_token(0.06, 3)
    assert value(metrics, "time_to_first_token_seconds_count") == 2
    assert value(metrics, "time_to_first_token_seconds_sum") == pytest.approx(0.33)
    assert value(metrics, "time_to_first_token_seconds_bucket", le="0.04") == 1
    assert value(metrics, "time_to_first_token_seconds_bucket", le="0.5") == 2
    assert value(metrics, "e2e_request_latency_seconds_count") == 2
    assert value(metrics, "e2e_request_latency_seconds_sum") == pytest.approx(2.2)
    assert value(metrics, "e2e_request_latency_seconds_bucket", le="+Inf") == 2
    assert value(metrics, "inter_token_latency_seconds_count") == 3
