"""The arithmetic of error budgets, over made-up months, by promtool with the shipped rules."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.slos import Slo
from deploy.grafana.objectives import Objectives
from tests.deploy.debian_tools import require
from tests.deploy.grafana.boards import filled

RULES = Path(__file__).resolve().parents[3] / "deploy/prometheus/rules/slo.yml"
SLO = Slo(name="availability", tasks=("chat",), objective=0.999)
OBJECTIVES = Objectives([SLO])
LABELS = '{job="repartee",instance="a:8000",model="m",task="chat",slo="availability"}'


def check(tmp_path: Path, series: dict[str, str], at: str, expected: list[tuple[str, float]]) -> None:
    """Counters by name, as promtool writes values five minutes apart, and what expressions give at a time."""
    rules = tmp_path / "rules.yml"
    rules.write_text(yaml.safe_dump({"groups": [{"name": "asked", "rules": recorded()}]}))
    scenario: dict[str, Any] = {
        "rule_files": [rules.name],
        "evaluation_interval": "5m",
        "tests": [
            {
                "interval": "5m",
                "input_series": [
                    {"series": f"repartee_slo_{name}_total{LABELS}", "values": values}
                    for name, values in series.items()
                ],
                "promql_expr_test": [
                    {
                        "expr": f"round({filled(expression)}, 0.01)",
                        "eval_time": at,
                        "exp_samples": [{"labels": '{task="chat",slo="availability"}', "value": value}],
                    }
                    for expression, value in expected
                ],
            }
        ],
    }
    file = tmp_path / "scenario.yml"
    file.write_text(json.dumps(scenario))  # JSON is YAML
    command = [require("promtool", "prometheus"), "test", "rules", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def recorded() -> list[dict[str, str]]:
    """The shipped rules over one hour; those over days would cost seconds."""
    groups = yaml.safe_load(RULES.read_text())["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    return [rule for rule in rules if rule.get("record", "").endswith("1h")]


(LEFT,) = OBJECTIVES.budget_left()
(BURN,) = OBJECTIVES.burn("1h")


def test_half_of_what_may_fail_leaves_half_of_the_budget(tmp_path: Path) -> None:
    counters = {"events": "0+1000x2880", "good": "0+999.5x2880"}
    check(tmp_path, counters, "10d", [(LEFT, 0.5), (BURN, 0.5)])


def test_requests_count_and_not_days(tmp_path: Path) -> None:
    """Five quiet days without a fault, then five with nine times the requests, of which 0.1 % fail."""
    counters = {"events": "0+100x1440 144900+900x1439", "good": "0+100x1440 144899.1+899.1x1439"}
    check(tmp_path, counters, "10d", [(LEFT, 0.1), (BURN, 1)])


def test_what_failed_before_the_window_is_forgiven(tmp_path: Path) -> None:
    counters = {"events": "0+100x288 28900+100x8928", "good": "0+0x288 100+100x8928"}
    check(tmp_path, counters, "5d", [(f"{LEFT} < bool -190", 1), (BURN, 0)])
    check(tmp_path, counters, "32d", [(LEFT, 1), (BURN, 0)])


def test_without_requests_nothing_is_spent(tmp_path: Path) -> None:
    check(tmp_path, {"events": "0x100", "good": "0x100"}, "8h", [(LEFT, 1), (BURN, 0)])


def test_a_scrape_between_two_counts_is_no_negative_burn(tmp_path: Path) -> None:
    counters = {"events": "0 0 1 1", "good": "0 0 2 2"}
    check(tmp_path, counters, "15m", [(LEFT, 1), (BURN, 0)])


def test_a_wrong_figure_would_be_found(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="FAILED"):
        check(tmp_path, {"events": "0+1000x288", "good": "0+999x288"}, "1d", [(LEFT, 0.5)])
