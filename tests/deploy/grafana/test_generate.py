"""The generator: the committed dashboards are what it makes, and it says what is wrong in one line."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from app.slos import DEFAULT_FILE, load_slos
from deploy.grafana.generate import DASHBOARDS, dashboard_files, main
from tests.deploy.grafana.boards import panels


def test_the_committed_dashboards_are_those_of_the_code() -> None:
    made = dashboard_files(load_slos())
    assert {path.name for path in DASHBOARDS.iterdir()} == set(made)
    for name, text in made.items():
        assert (DASHBOARDS / name).read_text() == text, "run python -m deploy.grafana.generate"


def thresholds(files: dict[str, str], board: str, title: str) -> list[float]:
    (panel,) = (p for p in panels(json.loads(files[f"repartee-{board}.json"])) if p["title"] == title)
    steps: list[dict[str, Any]] = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    return [step["value"] for step in steps if step["value"] is not None]


def test_every_limit_comes_from_the_table_of_objectives(tmp_path: Path) -> None:
    table = tmp_path / "slos.toml"
    stricter = {"= 0.5": "= 0.25", "= 0.1": "= 0.05", "= 0.15": "= 0.25"}
    text = re.sub(
        r"(?<=threshold_seconds )= [\d.]+", lambda found: stricter[found.group()], DEFAULT_FILE.read_text()
    )
    table.write_text(text.replace("objective = 0.999", "objective = 0.9"))
    assert main(["--slos", str(table), "--output", str(tmp_path / "made")]) == 0
    made = {path.name: path.read_text() for path in (tmp_path / "made").iterdir()}
    for board, title, limit in (
        ("overview", "First token p99", 0.25),
        ("overview", "Time to first token", 0.25),
        ("overview", "Token gap p99", 0.05),
        ("overview", "Decision, whole", 0.25),
        ("overview", "Answered", 0.9),
        ("latency", "Time to first token", 0.25),
        ("latency", "Mean gap of an answer", 0.05),
        ("decisions", "Whole decision p99", 0.25),
        ("tenants", "Mean time to first token", 0.25),
    ):
        assert thresholds(made, board, title)[-1] == limit, title
    assert " / 0.1" in made["repartee-overview.json"] and " / 0.001" not in made["repartee-overview.json"]


def test_a_table_without_an_objective_draws_no_limit_of_it(tmp_path: Path) -> None:
    table = tmp_path / "slos.toml"
    table.write_text('[[slo]]\nname = "availability"\ntasks = ["chat"]\nobjective = 0.99\n')
    made = dashboard_files(load_slos(table))
    assert "thresholds" not in json.dumps(_panel(made, "Time to first token"))
    assert '"First token in time"' not in made["repartee-overview.json"]


def _panel(files: dict[str, str], title: str) -> Any:
    return next(p for p in panels(json.loads(files["repartee-overview.json"])) if p["title"] == title)


def test_the_runbook_lies_where_the_operator_says() -> None:
    made = dashboard_files(load_slos(), runbook="https://wiki.example/runbook")
    for text in made.values():
        variables = {v["name"]: v["query"] for v in json.loads(text)["templating"]["list"]}
        assert variables["runbook"] == "https://wiki.example/runbook"


@pytest.mark.parametrize(
    ("table", "complaint"),
    [("", "slo: Field required"), ("[[slo]", "is no TOML"), (None, "cannot be read: No such file")],
)
def test_a_table_that_cannot_be_used_is_one_line(
    table: str | None, complaint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "slos.toml"
    if table is not None:
        path.write_text(table)
    assert main(["--slos", str(path), "--output", str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert complaint in line


def test_a_folder_that_cannot_be_written_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert main(["--output", str(tmp_path / "file")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "cannot be written" in line
