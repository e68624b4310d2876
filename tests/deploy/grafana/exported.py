"""What the service can export, on a machine with a GPU and after everything has happened to it once."""

from functools import cache

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.exposition import metrics_with
from tests.metric_families.nvml import StandIn, install
from tests.metric_families.test_series import exercise

OF_PROMETHEUS = frozenset({"job", "namespace", "instance"})
"""Labels that every scraped sample gets, in Kubernetes at least."""
NOT_OURS = {"up": set[str](), "ALERTS": {"alertname", "alertstate", "severity"}}
"""Series that Prometheus makes by itself, and the labels of them that dashboards use."""


@cache
def families() -> dict[str, dict[str, set[str]]]:
    """The sample names of each family, with their labels."""
    with pytest.MonkeyPatch.context() as patch:
        install(StandIn(1), patch)
        metrics = metrics_with(vllm_aliases=True)
        exercise(metrics)
        text = metrics.render(None)[0].decode()
    found: dict[str, dict[str, set[str]]] = {}
    for family in text_string_to_metric_families(text):
        names = found.setdefault(family.name, {})
        for sample in family.samples:
            names.setdefault(sample.name, set()).update(sample.labels)
    return found


def samples() -> dict[str, set[str]]:
    """Every sample name with its labels."""
    return {name: labels for names in families().values() for name, labels in names.items()}
