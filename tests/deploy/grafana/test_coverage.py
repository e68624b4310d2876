"""Every metric that the service exports is looked at by someone, or a line says why by nobody."""

import tomllib
from collections.abc import Iterable, Mapping, Set
from fnmatch import fnmatchcase
from pathlib import Path

import yaml

from tests.deploy.grafana.boards import asked, filled
from tests.deploy.grafana.exported import families
from tests.deploy.grafana.promql import selectors

ROOT = Path(__file__).resolve().parents[3]


def looked_at() -> set[str]:
    """The sample names that dashboards, rules and alerts ask for."""
    expressions = [filled(query.expression) for query in asked()]
    for path in (ROOT / "deploy/prometheus/rules").glob("*.yml"):
        for group in yaml.safe_load(path.read_text())["groups"]:
            expressions += [rule["expr"] for rule in group["rules"]]
    return {selected.metric for expression in expressions for selected in selectors(expression)}


def left_out() -> list[str]:
    """The patterns of the families that need nobody to look at them."""
    entries = tomllib.loads((ROOT / "docs/metrics_without_panel.toml").read_text())["metric"]
    assert all(entry["reason"] for entry in entries)
    return [entry["name"] for entry in entries]


def complaints(
    exported: Mapping[str, Iterable[str]], used: Set[str], patterns: Iterable[str]
) -> set[tuple[str, str]]:
    """What is wrong: a family that nobody looks at, or a pattern for one that somebody does or that is not there."""
    found = set()
    patterns = list(patterns)
    for family, names in exported.items():
        if used.isdisjoint(names) and not any(fnmatchcase(family, pattern) for pattern in patterns):
            found.add((family, "nobody looks at it"))
    for pattern in patterns:
        matching = [family for family in exported if fnmatchcase(family, pattern)]
        if not matching:
            found.add((pattern, "is not exported"))
        found |= {
            (pattern, f"{family} is used") for family in matching if not used.isdisjoint(exported[family])
        }
    return found


def test_every_exported_metric_is_looked_at_or_left_out_for_a_reason() -> None:
    assert complaints(families(), looked_at(), left_out()) == set()


def test_each_kind_of_gap_would_be_found() -> None:
    exported = {"a": ["a_total"], "b": ["b_bucket", "b_sum"], "c_info": ["c_info"]}
    assert complaints(exported, {"a_total", "b_sum"}, ["c_*"]) == set()
    assert complaints(exported, {"a_total"}, ["c_*"]) == {("b", "nobody looks at it")}
    assert complaints(exported, {"a_total", "b_sum", "c_info"}, ["c_*"]) == {("c_*", "c_info is used")}
    assert complaints(exported, {"a_total", "b_sum"}, ["c_*", "d"]) == {("d", "is not exported")}
