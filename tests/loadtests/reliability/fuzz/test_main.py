"""The command against a real service: a few inputs of each source, and nothing wrong."""

from pathlib import Path

import pytest

from loadtests.reliability.fuzz.__main__ import main


def test_a_short_campaign(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["--inputs", "300", "--seed", "1", "--failures", str(tmp_path)])
    report = capsys.readouterr().out
    assert code == 0, report
    assert "seed 1" in report and "**Nothing was wrong.** 300 inputs" in report
    assert list(tmp_path.iterdir()) == []
