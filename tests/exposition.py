"""Reads what `Metrics` exposes."""

from prometheus_client.parser import text_string_to_metric_families

from app.metrics import MetricOptions, Metrics
from app.observation import Observation

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]
MODEL = "toy"


def metrics_with(**options: object) -> Metrics:
    """Metrics with options of a test."""
    return Metrics(MODEL, MetricOptions(**options))  # type: ignore[arg-type]


def samples(metrics: Metrics) -> Samples:
    """Every sample by its name and labels."""
    text = metrics.render(None)[0].decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def labels_of(metrics: Metrics, name: str) -> list[dict[str, str]]:
    """The labels of each sample of this name."""
    return [dict(labels) for found, labels in samples(metrics) if found == f"repartee_{name}"]


def value(metrics: Metrics, name: str, **labels: str) -> float:
    """The sample of this name with these labels, and the model's where it has one; KeyError if there is none."""
    found, key = samples(metrics), f"repartee_{name}"
    with_model = key, frozenset(({"model": MODEL} | labels).items())
    return found[with_model if with_model in found else (key, frozenset(labels.items()))]


def chat(**fields: object) -> Observation:
    """A streamed chat that went well, but for these fields."""
    known = {
        "task": "chat",
        "stream": True,
        "parse": 0.001,
        "queue": 0.01,
        "prefill": 0.02,
        "first_token": 0.03,
        "decode": 0.5,
        "write": 0.002,
        "token_gap": 0.05,
        "total": 0.6,
        "prompt_tokens": 10,
        "cached_tokens": 4,
        "generated_tokens": 11,
    }
    return Observation("req", **(known | fields))  # type: ignore[arg-type]
