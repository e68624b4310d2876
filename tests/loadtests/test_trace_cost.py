"""The bench of traces: runs with real services, and its collector takes what they send."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_it_prints_a_row_for_each_case() -> None:
    command = [sys.executable, "-m", "loadtests.trace_cost", "--requests", "50"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    rows = [line.split("|")[1:-1] for line in run.stdout.splitlines() if line.startswith("| ")][2:]
    assert [row[0].strip() for row in rows] == ["off", "5 %", "100 %"]
    assert all(float(cell) > 0 for row in rows for cell in row[1:])
    assert "--requests 50" in run.stdout
