"""The PrometheusRule is that of the rules, and a table that cannot be used is told in one line."""

from pathlib import Path

import pytest
import yaml

from app.slos import DEFAULT_FILE, load_slos
from deploy.kubernetes.generate import OUTPUT, main, prometheus_rule

RULES = Path(__file__).parents[3] / "deploy" / "prometheus" / "rules"


def test_the_manifest_is_what_the_generator_writes(tmp_path: Path) -> None:
    assert main(["--output", str(tmp_path / "made"), "--slos", str(DEFAULT_FILE)]) == 0
    (made,) = (tmp_path / "made").iterdir()
    assert (made.name, made.read_text()) == (OUTPUT.name, OUTPUT.read_text())


def test_it_holds_the_rules_of_prometheus() -> None:
    files = [yaml.safe_load((RULES / name).read_text())["groups"] for name in ("slo.yml", "causes.yml")]
    manifest = yaml.safe_load(OUTPUT.read_text())
    assert manifest["spec"]["groups"] == [group for groups in files for group in groups]


def test_another_runbook_is_another_manifest() -> None:
    assert prometheus_rule(load_slos(DEFAULT_FILE), runbook="https://example.org/r") != OUTPUT.read_text()


def test_a_table_that_cannot_be_used_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "slos.toml"
    table.write_text("[[slo]]\n")
    assert main(["--slos", str(table), "--output", str(tmp_path / "made")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "made").exists()


def test_a_file_that_cannot_be_written_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    output = tmp_path / "file" / "folder"
    assert main(["--output", str(output)]) == 2
    assert capsys.readouterr().err == f"{output} cannot be written: Not a directory\n"
