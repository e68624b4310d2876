"""docs/metrics.md says what the service exports, and the list of metrics without a panel names real ones."""

import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

from app.metric_families.vllm import ALIASES
from docs import metric_reference
from tests.exposition import metrics_with
from tests.metric_families.nvml import StandIn, install
from tests.metric_families.test_series import exercise

WITHOUT_PANEL = Path(metric_reference.__file__).with_name("metrics_without_panel.toml")


@pytest.fixture
def families(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The names of all that can be exported, aliases and GPUs included; counters as their samples are called."""
    install(StandIn(1), monkeypatch)
    metrics = metrics_with(vllm_aliases=True)
    exercise(metrics)
    return {
        f"{family.name}_total" if family.type == "counter" else family.name
        for family in metrics.registry.collect()
    }


def test_the_reference_is_current() -> None:
    assert metric_reference.PAGE.read_text(encoding="utf-8") == metric_reference.page(), (
        "run `python -m docs.metric_reference`"
    )


def test_the_reference_has_every_metric_that_can_be_exported(families: set[str]) -> None:
    page = metric_reference.page()
    assert {name for name in families if f"`{name}`" not in page} == set()


def test_the_reference_names_the_values_of_labels() -> None:
    (row,) = [row for row in metric_reference.page().splitlines() if "`repartee_slo_good_total`" in row]
    assert all(f"`{word}`" in row for word in ("model", "chat", "decision", "availability", "e2e"))


def test_other_names_are_of_metrics_that_exist(families: set[str]) -> None:
    ours = {f"repartee_{name}" for name in (*metric_reference.OPEN_TELEMETRY, *ALIASES)}
    assert ours <= families


def test_each_metric_without_a_panel_exists_and_has_its_reason(families: set[str]) -> None:
    entries = tomllib.loads(WITHOUT_PANEL.read_text(encoding="utf-8"))["metric"]
    assert entries
    for entry in entries:
        assert set(entry) == {"name", "reason"} and entry["reason"]
        assert any(fnmatch(name, entry["name"]) for name in families), entry["name"]
