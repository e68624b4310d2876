"""What the service exports, as its own registry tells it: also what a CPU or an idle service has no samples of."""

import os
from typing import Any

from app.metrics import Metrics

OF_PROMETHEUS = {"job", "instance"}
"""Labels that every scraped sample gets."""
NOT_OURS = {"up": set[str](), "ALERTS": {"alertname", "alertstate", "severity"}}
"""Series that Prometheus makes by itself, and the labels of them that dashboards use."""


def families() -> dict[str, set[str]]:
    """The names of the families, as promtool and the reference write them, and their sample names."""
    return {name: samples for name, (samples, _) in _described().items()}


def samples() -> dict[str, set[str]]:
    """The sample names with their labels."""
    return {sample: labels for names, labels in _described().values() for sample in names}


def _described() -> dict[str, tuple[set[str], set[str]]]:
    metrics = Metrics("m")
    metrics._processes.engine_pid = os.getpid()
    found: dict[str, tuple[set[str], set[str]]] = {}
    registry: Any = metrics._registry.collectors
    for collector in registry._collector_to_names:
        for family in collector.collect():
            labels = set(getattr(collector, "_labelnames", ()))
            for sample in family.samples:
                labels |= set(sample.labels)
            found[family.name] = (set(_sample_names(family.name, family.type)), labels)
    return found


def _sample_names(name: str, kind: str) -> tuple[str, ...]:
    if kind == "counter":
        return (f"{name}_total",)
    if kind == "histogram":
        return (f"{name}_bucket", f"{name}_sum", f"{name}_count")
    return (f"{name}_sum", f"{name}_count") if kind == "summary" else (name,)
