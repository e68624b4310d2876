"""WeightedHistogram: what the library's histogram shows after as many single observations."""

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.exposition import choose_encoder

from app.metric_families.weighted_histogram import WeightedHistogram

BOUNDS = (0.001, 0.01, 0.5, 1.0)


def test_it_shows_what_single_observations_show() -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    weighted = WeightedHistogram("gap_seconds", "A gap.", {"model": "m"}, BOUNDS)
    ours.register(weighted)
    single = Histogram("gap_seconds", "A gap.", ("model",), buckets=BOUNDS, registry=theirs).labels("m")
    for value, times in ((0.0, 1), (0.001, 3), (0.25, 2), (0.5, 16), (1.0, 1), (7.0, 4)):
        weighted.observe(value, times)
        for _ in range(times):
            single.observe(value)
    for accept in ("", "application/openmetrics-text; version=1.0.0"):
        encode, _ = choose_encoder(accept)
        assert encode(ours) == encode(theirs)


def test_its_name_is_taken() -> None:
    registry = CollectorRegistry()
    registry.register(WeightedHistogram("gap_seconds", "A gap.", {}, BOUNDS))
    try:
        Histogram("gap_seconds", "Another.", registry=registry)
    except ValueError:
        return
    raise AssertionError("two families of one name")
