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

    def collect(self) -> Iterable[Metric]:
        """The aliases."""
        for name, alias in GAUGES.items():
            yield from self._gauge(name, alias)
        for name, alias in HISTOGRAMS.items():
            yield self._histogram(name, alias)
        yield from self._cache()

    def _samples(self, name: str) -> list[Sample]:
        full = PREFIX + name
        names = [full, f"{full}_bucket", f"{full}_sum"]
        restricted = self._collectors.restricted_registry(names)
        return [sample for family in restricted.collect() for sample in family.samples]

    def _gauge(self, name: str, alias: str) -> Iterable[Metric]:
        for sample in self._samples(name):
            family = GaugeMetricFamily(alias, f"As {PREFIX}{name}.", labels=_LABELS)
            family.add_metric((self._model, _ENGINE), sample.value)
            yield family

    def _histogram(self, name: str, alias: str) -> Metric:
        below: dict[str, float] = {}
        total = 0.0
        for sample in self._samples(name):
            if sample.labels.get("task") == "decision":
                continue
            if sample.name.endswith("_sum"):
                total += sample.value
            elif sample.name.endswith("_bucket"):
                bound = sample.labels["le"]
                below[bound] = below.get(bound, 0.0) + sample.value
        family = HistogramMetricFamily(alias, f"As {PREFIX}{name}.", labels=_LABELS)
        family.add_metric((self._model, _ENGINE), list(below.items()), total)
        return family

    def _cache(self) -> Iterable[Metric]:
        labels = (*_LABELS, "block_size", "num_gpu_blocks", "cache_dtype")
        for sample in self._samples(CACHE):
            family = GaugeMetricFamily(CACHE_ALIAS, f"As {PREFIX}{CACHE}.", labels=labels)
            known = sample.labels
            values = (self._model, _ENGINE, known["block_size"], known["num_blocks"], known["dtype"])
            family.add_metric(values, 1)
            yield family
