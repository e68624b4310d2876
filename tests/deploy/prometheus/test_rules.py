"""What the rules say, and that Prometheus' own tool agrees with them and with their tests."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from app.metrics import Metrics
from app.settings import Settings
from app.slos import DEFAULT_FILE, load_slos
from deploy.prometheus.generate import RULES, main, rule_files, rule_groups
from tests.deploy.debian_tools import require
from tests.service.running_service import ROOT

FOLDER = RULES.parent
RULE_TESTS = sorted((FOLDER / "tests").glob("*.yml"))
ABSENT_WITHOUT_A_GPU = {"repartee_gpu_memory_used_bytes", "repartee_gpu_memory_total_bytes"}
FROM_PROMETHEUS = {"up"}


def rules(kind: str) -> list[dict[str, Any]]:
    return [rule for group in rule_groups(load_slos()) for rule in group["rules"] if kind in rule]


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    require("promtool", "prometheus")
    command = ["promtool", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def test_the_rule_files_are_those_of_the_table() -> None:
    committed = {file.name: file.read_text() for file in RULES.iterdir()}
    assert committed == rule_files(load_slos()), "run python -m deploy.prometheus.generate"


def test_promtool_takes_the_rules() -> None:
    check = promtool("check", "rules", "--lint-fatal", *RULES.iterdir())
    assert check.returncode == 0, check.stdout + check.stderr


def test_rules_of_a_table_of_ones_own(tmp_path: Path) -> None:
    """Two thresholds of one objective are two sets of alerts, and the links lead where they are told to."""
    slos = tmp_path / "own.toml"
    slos.write_text(
        '[[slo]]\nname = "ttft"\ntasks = ["chat"]\nobjective = 0.95\nthreshold_seconds = 0.25\n'
        '[[slo]]\nname = "ttft"\ntasks = ["completion"]\nobjective = 0.9\nthreshold_seconds = 2\n'
    )
    output = tmp_path / "rules"
    arguments = ["--slos", str(slos), "--output", str(output), "--job", "ours", "--runbook", "https://wiki/a"]
    assert main(arguments) == 0
    check = promtool("check", "rules", *output.iterdir())
    assert check.returncode == 0, check.stdout + check.stderr
    text = (output / "slo.yml").read_text()
    assert 'rate1h{slo="ttft",task="chat"} > 14.4 * 0.05' in text
    assert 'rate1h{slo="ttft",task="completion"} > 14.4 * 0.1' in text
    causes = (output / "causes.yml").read_text()
    assert "bucket[10m]))) > 2" in causes and 'up{job="ours"}' in causes
    assert "https://wiki/a#reparteedown" in causes


@pytest.mark.parametrize(
    ("stall", "says"),
    [("", "0.1 s apart on average, and it"), ("stall_seconds = 2\n", "on average, or none for 2 s, and it")],
)
def test_an_alert_on_gaps_says_what_was_too_long(stall: str, says: str, tmp_path: Path) -> None:
    table = tmp_path / "own.toml"
    table.write_text(
        f'[[slo]]\nname = "itl"\ntasks = ["chat"]\nobjective = 0.9\nthreshold_seconds = 0.1\n{stall}'
    )
    assert says in rule_files(load_slos(table))["slo.yml"]


def test_the_table_is_that_of_the_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slos = tmp_path / "own.toml"
    slos.write_text(DEFAULT_FILE.read_text().replace("0.999", "0.9"))
    monkeypatch.setenv("REPARTEE_SLO_FILE", str(slos))
    assert main(["--output", str(tmp_path)]) == 0
    assert "14.4 * 0.1\n" in (tmp_path / "slo.yml").read_text()


def test_without_an_objective_for_first_tokens_no_alert_compares_with_it(tmp_path: Path) -> None:
    slos = [slo for slo in load_slos() if slo.name != "ttft"]
    assert "TTFT" not in "".join(rule_files(slos).values())


@pytest.mark.parametrize(
    ("table", "output", "says"),
    [
        ("slo = ", "rules", "is no TOML"),
        ('[[slo]]\nname = "speed"\ntasks = ["chat"]\nobjective = 0.9\n', "rules", "slo.0.name"),
        (None, "rules", "cannot be read"),
        (DEFAULT_FILE.read_text(), "slos.toml", "cannot be written"),
    ],
)
def test_what_cannot_be_generated_is_told_in_one_line(
    table: str | None, output: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    slos = tmp_path / "slos.toml"
    if table is not None:
        slos.write_text(table)
    assert main(["--slos", str(slos), "--output", str(tmp_path / output)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert says in line


@pytest.mark.parametrize("file", RULE_TESTS, ids=lambda file: file.stem)
def test_promtool_passes_the_tests_of_the_rules(file: Path) -> None:
    run = promtool("test", "rules", file)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize(
    ("rule_file", "old", "new", "tests"),
    [
        ("causes.yml", "_requests > 0.8", "_requests > 0.9", "causes.yml"),
        ("causes.yml", "for: 10m", "for: 11m", "causes.yml"),
        ("causes.yml", " unless repartee_draining == 1", "", "causes.yml"),
        ("causes.yml", "task, reason) (increase", "task, reason) (100 * increase", "causes.yml"),
        ("causes.yml", "[15m])) > 2", "[15m])) > 1", "causes.yml"),
        ("causes.yml", "severity: page", "severity: ticket", "causes.yml"),
        ("causes.yml", "job, namespace", "job", "causes.yml"),
        ("causes.yml", " unless last_over_time(repartee_draining[15m]) == 1", "", "causes.yml"),
        ("causes.yml", "_ratio > 0.95", "_ratio > 0.5", "healthy.yml"),
        ("slo.yml", "job, namespace", "job", "slo.yml"),
        ("slo.yml", ">= 10", ">= 0", "healthy.yml"),
    ],
)
def test_promtool_finds_a_wrong_rule(rule_file: str, old: str, new: str, tests: str, tmp_path: Path) -> None:
    """The tests of the rules can fail."""
    copy = shutil.copytree(FOLDER, tmp_path / "prometheus", ignore=shutil.ignore_patterns("*.py"))
    wrong = copy / "rules" / rule_file
    text = wrong.read_text()
    assert old in text
    wrong.write_text(text.replace(old, new))
    assert promtool("test", "rules", copy / "tests" / tests).returncode == 1


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("> 14.4 *", "> 14.2 *"),
        ("> 14.4 *", "> 14.6 *"),
        ("> 6 *", "> 5.8 *"),
        ("> 3 *", "> 3.2 *"),
        ("> 1 *", "> 1.2 *"),
        (">= 10", ">= 9"),
        ("rate5m", "rate30m"),
    ],
)
def test_promtool_finds_a_wrong_burn_rate(old: str, new: str, tmp_path: Path) -> None:
    copy = shutil.copytree(FOLDER, tmp_path / "prometheus", ignore=shutil.ignore_patterns("*.py"))
    wrong = copy / "rules" / "slo.yml"
    head, alerts = wrong.read_text().split("- name: repartee-slo-alerts")
    assert old in alerts
    wrong.write_text(head + "- name: repartee-slo-alerts" + alerts.replace(old, new))
    assert promtool("test", "rules", copy / "tests" / "slo.yml").returncode == 1


def test_every_alert_was_seen_to_fire() -> None:
    tested = {
        case["alertname"]
        for file in RULE_TESTS
        for test in yaml.safe_load(file.read_text())["tests"]
        for case in test.get("alert_rule_test", [])
        if case["exp_alerts"]
    }
    assert tested == {rule["alert"] for rule in rules("alert")}


def test_an_alert_says_what_and_how_much_and_whom_it_wakes() -> None:
    for rule in rules("alert"):
        assert rule["labels"]["severity"] in ("page", "ticket", "info", "none")
        assert rule["annotations"]["summary"]
        assert "$value" in rule["annotations"]["description"]


def test_the_runbook_has_a_section_for_every_alert() -> None:
    headings = re.findall(r"^#+ (.+)$", (ROOT / "docs/runbook.md").read_text(), re.MULTILINE)
    anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    for rule in rules("alert"):
        page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
        assert page == "docs/runbook.md" and anchor in anchors
    alerts = {rule["alert"] for rule in rules("alert")}
    assert {heading for heading in headings if heading.startswith("Repartee")} == alerts


def test_the_runbook_names_settings_and_panels_that_there_are() -> None:
    text = (ROOT / "docs/runbook.md").read_text()
    settings = {f"REPARTEE_{name.upper()}" for name in Settings.model_fields}
    assert set(re.findall(r"REPARTEE_[A-Z_]+", text)) <= settings
    boards = [json.loads(file.read_text()) for file in (ROOT / "deploy/grafana/dashboards").glob("*.json")]
    titles = {board["title"].removeprefix("Repartee / ") for board in boards}
    for board in boards:
        titles |= {panel["title"] for row in board["panels"] for panel in (row, *row.get("panels", ()))}
    assert {" ".join(name.split()) for name in re.findall(r"(?<!\*)\*([^*]+)\*(?!\*)", text)} <= titles


def test_every_selector_finds_a_metric_of_the_service() -> None:
    metrics = Metrics("m")
    metrics.know_policy([("a rule", "input", "failed")])
    exposition = metrics.render(None)[0].decode()
    exported: dict[str, list[dict[str, str]]] = {}
    for family in text_string_to_metric_families(exposition):
        for sample in family.samples:
            exported.setdefault(sample.name, []).append(sample.labels)
    recorded = {rule["record"] for rule in rules("record")}
    for rule in rules("expr"):
        for name, matchers in _selectors(promql_parser.parse(rule["expr"])):
            if name not in recorded | FROM_PROMETHEUS | ABSENT_WITHOUT_A_GPU:
                labels = [found for found in exported[name] if _matches(found, matchers)]
                assert labels, f"{name} has no series with {matchers}"


def _selectors(node: Any) -> Iterator[tuple[str, dict[str, re.Pattern[str]]]]:
    """Each metric that an expression asks for, with what it asks of the labels that the service sets."""
    match node:
        case promql_parser.VectorSelector():
            yield (
                node.name,
                {
                    matcher.name: re.compile(
                        matcher.value if matcher.op == promql_parser.MatchOp.Re else re.escape(matcher.value)
                    )
                    for matcher in node.matchers.matchers
                    if matcher.op in (promql_parser.MatchOp.Equal, promql_parser.MatchOp.Re)
                    and matcher.name != "job"
                },
            )
        case promql_parser.MatrixSelector():
            yield from _selectors(node.vector_selector)
        case promql_parser.BinaryExpr():
            yield from _selectors(node.lhs)
            yield from _selectors(node.rhs)
        case promql_parser.Call():
            for argument in node.args:
                yield from _selectors(argument)
        case promql_parser.AggregateExpr() | promql_parser.ParenExpr() | promql_parser.UnaryExpr():
            yield from _selectors(node.expr)
        case _:
            assert isinstance(node, promql_parser.NumberLiteral)


def _matches(labels: dict[str, str], matchers: dict[str, re.Pattern[str]]) -> bool:
    return all(pattern.fullmatch(labels.get(label, "")) for label, pattern in matchers.items())
