"""The committed dashboards: what can be checked of them without Grafana."""

import re
from collections import Counter
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.grafana.queries import OF_MODEL
from tests.deploy.grafana.boards import BOARDS, Asked, asked, filled, panels
from tests.deploy.grafana.exported import NOT_OURS, OF_PROMETHEUS, samples
from tests.deploy.grafana.promql import groupings, selectors

ROOT = Path(__file__).resolve().parents[3]
RULES: list[dict[str, Any]] = [
    rule
    for path in sorted((ROOT / "deploy/prometheus/rules").glob("*.yml"))
    for group in yaml.safe_load(path.read_text())["groups"]
    for rule in group["rules"]
]
RECORDED = {
    rule["record"]: {"job", "namespace", "model", "task", "slo"} for rule in RULES if "record" in rule
}
KNOWN = samples() | NOT_OURS | RECORDED
ASKED = list(asked())

every_query = pytest.mark.parametrize("query", ASKED, ids=lambda query: query.panel)
every_board = pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)


def test_there_are_five_with_addresses_of_their_own() -> None:
    assert set(BOARDS) == {
        f"repartee-{name}" for name in ("overview", "latency", "engine", "decisions", "tenants")
    }
    assert [board["uid"] for board in BOARDS.values()] == list(BOARDS)
    assert len({board["title"] for board in BOARDS.values()}) == len(BOARDS)


@every_query
def test_every_query_asks_for_metrics_and_labels_that_there_are(query: Asked) -> None:
    expression = filled(query.expression)
    for selected in selectors(expression):
        assert selected.metric in KNOWN
        assert selected.labels <= KNOWN[selected.metric] | OF_PROMETHEUS, selected.metric
    for kept, inner in groupings(expression):
        there = OF_PROMETHEUS.union(*(KNOWN[selected.metric] for selected in inner))
        assert kept <= there


@every_query
def test_every_query_is_of_the_chosen_replicas_and_models(query: Asked) -> None:
    for selected in selectors(filled(query.expression)):
        if selected.metric == "ALERTS":
            assert "namespace" in selected.labels
            continue  # an alert on the whole service has no instance, and one on a replica no model
        wanted = {"job", "namespace"} | (set() if selected.metric in RECORDED else {"instance"})
        if "model" in KNOWN[selected.metric]:
            wanted.add("model")
        assert wanted <= selected.labels, selected.metric


@every_board
def test_panels_have_ids_of_their_own_and_do_not_overlap(board: Any) -> None:
    rows = [panel for panel in board["panels"] if panel["type"] == "row"]
    every = [*rows, *panels(board)]
    assert [id for id, times in Counter(panel["id"] for panel in every).items() if times > 1] == []
    places = {panel["title"] + str(panel["id"]): panel["gridPos"] for panel in every}
    for title, place in places.items():
        assert place["x"] >= 0 and place["x"] + place["w"] <= 24, title
    for (title, a), (other, b) in combinations(places.items(), 2):
        beside = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
        below = a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]
        assert beside or below, f"{title} and {other} overlap"


@every_board
def test_panels_fill_the_width_row_by_row(board: Any) -> None:
    area: Counter[int] = Counter()
    for panel in panels(board):
        place = panel["gridPos"]
        for y in range(place["y"], place["y"] + place["h"]):
            area[y] += place["w"]
    assert {y: width for y, width in area.items() if width != 24} == {}


@every_board
def test_closed_sections_come_last(board: Any) -> None:
    closed = [panel["type"] == "row" and panel["collapsed"] for panel in board["panels"]]
    assert all(later for earlier, later in pairwise(closed) if earlier)


@every_board
def test_every_panel_says_what_it_means_in_which_unit(board: Any) -> None:
    titles = Counter[str]()
    for panel in panels(board):
        meaning, worry = panel["description"].split("\n\n**When to worry:** ")
        assert len(meaning) > 20 and worry.endswith(".")
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        titles[panel["title"]] += 1
    unit_of_heatmaps = {
        panel["options"]["yAxis"]["unit"] for panel in panels(board) if panel["type"] == "heatmap"
    }
    assert unit_of_heatmaps <= {"s", "percentunit"}
    assert [title for title, times in titles.items() if times > 1] == []


@every_board
def test_one_replica_or_all_can_be_chosen(board: Any) -> None:
    variables = {variable["name"]: variable for variable in board["templating"]["list"]}
    assert list(variables)[:5] == ["datasource", "job", "namespace", "instance", "model"]
    for name in ("job", "instance", "model"):
        assert variables[name]["multi"] and variables[name]["includeAll"]
        assert variables[name]["current"]["value"] == "$__all"
        assert "allValue" not in variables[name], "processes of other services would be shown"
    assert variables["namespace"]["allValue"] == ".*", "outside of Kubernetes there is no such label"
    shown = "hide" not in variables["model"]
    by_model = any("model=~" in target["expr"] for panel in panels(board) for target in panel["targets"])
    assert shown == by_model
    used = set(re.findall(r"\$(\w+)", " ".join(t["expr"] for p in panels(board) for t in p["targets"])))
    assert used - {"__rate_interval", "__range"} <= set(variables)
    assert OF_MODEL.count("$") == 4


@every_board
def test_every_panel_asks_the_chosen_datasource(board: Any) -> None:
    asked_of = {part["datasource"]["uid"] for panel in panels(board) for part in (panel, *panel["targets"])}
    assert asked_of == {"${datasource}"}


@every_board
def test_a_single_number_is_asked_for_now_alone(board: Any) -> None:
    """The last number of a range still stands there, and green, after the replicas that gave it have gone."""
    single = [panel for panel in panels(board) if panel["type"] in ("stat", "bargauge", "table")]
    for panel in single:
        assert all(target.get("instant") and not target["range"] for target in panel["targets"])


@every_board
def test_boards_lead_to_each_other_with_the_same_choice_and_time(board: Any) -> None:
    (link,) = board["links"]
    assert link["type"] == "dashboards" and link["tags"] == ["repartee"] and "repartee" in board["tags"]
    assert link["includeVars"] and link["keepTime"]


@every_board
def test_it_refreshes_and_cannot_be_changed_beside_the_code(board: Any) -> None:
    assert board["refresh"] and board["time"]["to"] == "now"
    assert board["editable"] is False


def test_links_of_panels_lead_to_sections_of_the_runbook() -> None:
    alerts = {rule["alert"].lower() for rule in RULES if "alert" in rule}
    linked = {url for url in links() if "runbook" in url}
    assert linked
    for url in linked:
        page, section = url.split("#")
        assert page == "${runbook}"
        assert section in alerts


def test_links_of_panels_lead_to_dashboards_that_there_are() -> None:
    linked = {url for url in links() if "runbook" not in url}
    assert linked
    for url in linked:
        found = re.fullmatch(r"/d/([a-z-]+)\?\$\{__all_variables}&\$\{__url_time_range}", url)
        assert found and found[1] in BOARDS


def links() -> set[str]:
    """The addresses that panels link to."""
    return {
        link["url"] for board in BOARDS.values() for panel in panels(board) for link in panel.get("links", [])
    }


def test_the_overview_draws_its_limits_where_the_alerts_have_them() -> None:
    from deploy.grafana import engine, latency, overview

    def bound(alert: str) -> float:
        (expression,) = (rule["expr"] for rule in RULES if rule.get("alert") == f"Repartee{alert}")
        return float(re.findall(r"> ([\d.]+)$", expression)[0])

    assert bound("QueueSaturated") == overview.QUEUE_SATURATED
    assert bound("KVCacheNearFull") == overview.KV_CACHE_NEAR_FULL
    assert bound("GPUMemoryHigh") == engine.GPU_MEMORY_HIGH
    assert bound("EventLoopBlocked") == latency.LOOP_BLOCKED_SECONDS


def test_first_tokens_show_single_requests_that_lead_to_their_trace() -> None:
    for name in ("repartee-overview", "repartee-latency"):
        (panel,) = (p for p in panels(BOARDS[name]) if p["title"] == "Time to first token")
        assert any(target.get("exemplar") for target in panel["targets"])
    source = yaml.safe_load((ROOT / "deploy/grafana/provisioning/datasources/prometheus.yml").read_text())
    (link,) = source["datasources"][0]["jsonData"]["exemplarTraceIdDestinations"]
    assert link["name"] == "trace_id"


def test_the_folder_of_the_dashboards_is_provisioned() -> None:
    (provider,) = yaml.safe_load((ROOT / "deploy/grafana/provisioning/dashboards/repartee.yml").read_text())[
        "providers"
    ]
    compose = (ROOT / "docker-compose.yml").read_text()
    assert f"./deploy/grafana/dashboards:{provider['options']['path']}:ro" in compose
