"""Metric settings that cannot be used end `python -m app` at once, with one line and exit code 2."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.service.running_service import ROOT

TTFT = '[[slo]]\nname = "ttft"\ntasks = ["chat"]\nobjective = 0.9\nthreshold_seconds = {}\n'


@pytest.mark.parametrize(
    ("variable", "text", "words"),
    [
        ("SLO_FILE", None, ["REPARTEE_SLO_FILE", "cannot be read"]),
        ("SLO_FILE", "slo =", ["REPARTEE_SLO_FILE", "is no TOML"]),
        ("SLO_FILE", TTFT.format("0"), ["REPARTEE_SLO_FILE", "threshold_seconds"]),
        (
            "SLO_FILE",
            TTFT.format("0.33"),
            ["0.33 s", "no bucket bound", "repartee_time_to_first_token_seconds"],
        ),
    ],
)
def test_a_table_that_cannot_be_used(
    tmp_path: Path, variable: str, text: str | None, words: list[str]
) -> None:
    table = tmp_path / "slos.toml"
    if text is not None:
        table.write_text(text)
    assert_refused({variable: str(table)}, words)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("{", ["no JSON object"]),
        ('{"repartee_batch_size": "many"}', ["REPARTEE_METRICS_BUCKETS"]),
        ('{"repartee_batch_siz": [1]}', ["did you mean repartee_batch_size?"]),
        ('{"repartee_batch_size": [2, 1]}', ["must be finite, positive and increasing"]),
        ('{"repartee_request_duration_seconds": [1]}', ["e2e", "no bucket bound"]),
    ],
)
def test_buckets_that_cannot_be_used(value: str, words: list[str]) -> None:
    assert_refused({"METRICS_BUCKETS": value}, [*words, "REPARTEE_METRICS_BUCKETS"])


def assert_refused(settings: dict[str, str], words: list[str]) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("REPARTEE_")}
    environment |= {f"REPARTEE_{name}": value for name, value in settings.items()} | {"REPARTEE_PORT": "0"}
    command = [sys.executable, "-m", "app"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert all(word in line for word in words), line
