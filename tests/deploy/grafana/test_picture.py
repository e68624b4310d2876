"""The picture of a dashboard: what is out of reach is one line. That it is drawn is tried in test_live.py."""

from pathlib import Path

import pytest

from deploy.grafana.picture import main, written


def test_a_prometheus_that_is_away_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--prometheus", "http://127.0.0.1:9", "--output", str(tmp_path / "x.png")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("http://127.0.0.1:9 does not answer as a Prometheus")


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.25, "percentunit", "25 %"),
        (0.0325, "s", "32.5 ms"),
        (12.0, "s", "12 s"),
        (2345.0, "si:tok/s", "2.35 ktok/s"),
        (131072.0, "short", "131 k"),
        (0.0, "reqps", "0/s"),
    ],
)
def test_values_are_written_as_persons_read_them(value: float, unit: str, text: str) -> None:
    assert written(value, unit) == text
