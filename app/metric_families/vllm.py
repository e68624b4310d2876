"""The families that gateways, autoscalers and dashboards know by vLLM's names, mirrored from ours when scraped."""

from collections.abc import Iterable, Mapping

from prometheus_client.metrics_core import GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from app.metric_families.buckets import PREFIX
from app.metric_families.registry import Registry

GAUGES: Mapping[str, str] = {
    "running_requests": "vllm:num_requests_running",
    "queue_requests": "vllm:num_requests_waiting",
    "kv_cache_usage_ratio": "vllm:kv_cache_usage_perc",
}
HISTOGRAMS: Mapping[str, str] = {
    "time_to_first_token_seconds": "vllm:time_to_first_token_seconds",
    "inter_token_seconds": "vllm:inter_token_latency_seconds",
    "request_duration_seconds": "vllm:e2e_request_latency_seconds",
}
CACHE = "cache_config_info"
CACHE_ALIAS = "vllm:cache_config_info"
ALIASES: Mapping[str, str] = {**GAUGES, **HISTOGRAMS, CACHE: CACHE_ALIAS}
"""vLLM's names of our families, without our prefix."""
_LABELS = ("model_name", "engine")
_CACHE_LABELS = (*_LABELS, "block_size", "num_gpu_blocks", "cache_dtype")
_CACHE_SOURCES = ("block_size", "num_blocks", "dtype")
_ENGINE = "0"


class VllmAliases(Collector):
    """Reads our families again under other names, so that nothing is observed twice.

    vLLM tells neither streams from whole answers nor chat from completions, so theirs are the sums; decisions, which
    it does not have, are left out.
    """

    def __init__(self, registry: Registry) -> None:
        self._model = registry.model
        self._collectors = registry.collectors
        registry.add(self)

    def describe(self) -> Iterable[Metric]:
        """The families without their samples."""
        for name, alias in GAUGES.items():
            yield GaugeMetricFamily(alias, f"As {PREFIX}{name}.", labels=_LABELS)
        for name, alias in HISTOGRAMS.items():
            yield HistogramMetricFamily(alias, f"As {PREFIX}{name}.", labels=_LABELS)
        yield GaugeMetricFamily(CACHE_ALIAS, f"As {PREFIX}{CACHE}.", labels=_CACHE_LABELS)

    def collect(self) -> Iterable[Metric]:
        """The families with the samples that ours have now."""
        sources = (*GAUGES, *HISTOGRAMS, CACHE)
        for family, source in zip(self.describe(), sources, strict=True):
            samples = self._samples(source)
            if isinstance(family, HistogramMetricFamily):
                below, total = _summed(samples)
                family.add_metric((self._model, _ENGINE), below, total)
            elif isinstance(family, GaugeMetricFamily):
                for sample in samples:
                    known = [sample.labels[label] for label in _CACHE_SOURCES if label in sample.labels]
                    family.add_metric((self._model, _ENGINE, *known), sample.value)
            yield family

    def _samples(self, name: str) -> list[Sample]:
        full = PREFIX + name
        restricted = self._collectors.restricted_registry([full, f"{full}_bucket", f"{full}_sum"])
        return [sample for family in restricted.collect() for sample in family.samples]


def _summed(samples: Iterable[Sample]) -> tuple[list[tuple[str, float]], float]:
    """Counts up to each bound, in the order of the bounds, and the sum."""
    below: dict[str, float] = {}
    total = 0.0
    for sample in samples:
        if sample.labels.get("task") == "decision":
            continue
        if sample.name.endswith("_sum"):
            total += sample.value
        else:
            bound = sample.labels["le"]
            below[bound] = below.get(bound, 0.0) + sample.value
    return list(below.items()), total
