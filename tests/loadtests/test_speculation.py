"""What drafts gain: the page says how it was measured, and a place without the questions is one line."""

from pathlib import Path

import pytest

from loadtests.speculation import main, report


def test_the_page_has_its_date_its_machine_and_its_command() -> None:
    rows = [["held-out questions, greedy", "1", "100", "150", "1.50", "1.40 to 1.60"]]
    page = report(rows, "m", 5, "0 of 16 answers differ.", "python -m loadtests.speculation --rounds 5")
    assert page.startswith("# What drafts gain, 20")
    assert all(word in page for word in ("- processor: ", "--rounds 5", "| 1.50 |", "0 of 16"))


def test_without_the_questions_one_line_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--data", str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "bitext" in line
