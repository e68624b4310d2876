"""Registry: the one owner of a service's Prometheus registry, and how its families are made."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Summary,
    disable_created_metrics,
)
from prometheus_client.registry import Collector

from app.metric_families.buckets import BOUNDS, PREFIX
from app.metric_families.weighted_histogram import WeightedHistogram

Key = TypeVar("Key", str, bool, tuple[str, str], tuple[str, bool])

disable_created_metrics()  # type: ignore[no-untyped-call]


class Registry:
    """Makes the families of one served model.

    Children are looked up once, when a family is made; observing costs about a microsecond. Known label values start
    at 0, so that a rate sees the first event. Durations are seconds, amounts are tokens or requests.

    Args:
        model: the served name, the value of every `model` label.
        bounds: bucket bounds by family.
    """

    def __init__(self, model: str, bounds: Mapping[str, Sequence[float]] = BOUNDS) -> None:
        self.model = model
        self.collectors = CollectorRegistry()
        self.bounds = bounds

    def add(self, collector: Collector) -> None:
        """Register what looks its samples up when it is scraped."""
        self.collectors.register(collector)

    def histogram(self, name: str, text: str) -> Histogram:
        """A histogram with the label `model` alone."""
        return self._histogram(name, text, ("model",)).labels(self.model)

    def histograms(
        self, name: str, text: str, labels: Sequence[str], keys: Iterable[Key]
    ) -> dict[Key, Histogram]:
        """A histogram for each of the known values of `labels`."""
        family = self._histogram(name, text, ("model", *labels))
        return {key: family.labels(self.model, *_values(key)) for key in keys}

    def weighted_histogram(self, name: str, text: str) -> WeightedHistogram:
        """A histogram with the label `model` alone, of which many observations are made at once."""
        made = WeightedHistogram(PREFIX + name, text, {"model": self.model}, self.bounds[PREFIX + name])
        self.add(made)
        return made

    def counter(self, name: str, text: str) -> Counter:
        """A counter with the label `model` alone."""
        return Counter(PREFIX + name, text, ("model",), registry=self.collectors).labels(self.model)

    def counters(
        self, name: str, text: str, labels: Sequence[str], keys: Iterable[Key]
    ) -> dict[Key, Counter]:
        """A counter for each of the known values of `labels`."""
        family = Counter(PREFIX + name, text, ("model", *labels), registry=self.collectors)
        return {key: family.labels(self.model, *_values(key)) for key in keys}

    def gauge(self, name: str, text: str) -> Gauge:
        """A gauge with the label `model` alone."""
        return Gauge(PREFIX + name, text, ("model",), registry=self.collectors).labels(self.model)

    def gauges(self, name: str, text: str, labels: Sequence[str], keys: Iterable[Key]) -> dict[Key, Gauge]:
        """A gauge for each of the known values of `labels`."""
        family = Gauge(PREFIX + name, text, ("model", *labels), registry=self.collectors)
        return {key: family.labels(self.model, *_values(key)) for key in keys}

    # Of the whole process, or with values that are only known later: without `model`.

    def plain_histogram(self, name: str, text: str) -> Histogram:
        """A histogram without labels."""
        return self._histogram(name, text, ())

    def plain_counter(self, name: str, text: str, labels: Sequence[str] = ()) -> Counter:
        """A counter with these labels and no other."""
        return Counter(PREFIX + name, text, labels, registry=self.collectors)

    def plain_gauge(self, name: str, text: str, labels: Sequence[str] = ()) -> Gauge:
        """A gauge with these labels and no other."""
        return Gauge(PREFIX + name, text, labels, registry=self.collectors)

    def plain_summary(self, name: str, text: str, labels: Sequence[str]) -> Summary:
        """A sum and a count, with these labels and no other."""
        return Summary(PREFIX + name, text, labels, registry=self.collectors)

    def _histogram(self, name: str, text: str, labels: Sequence[str]) -> Histogram:
        bounds = self.bounds[PREFIX + name]
        return Histogram(PREFIX + name, text, labels, buckets=bounds, registry=self.collectors)


def _values(key: object) -> list[str]:
    parts = key if isinstance(key, tuple) else (key,)
    return [str(part).lower() if isinstance(part, bool) else str(part) for part in parts]
