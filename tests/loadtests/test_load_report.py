"""The page of a load: beside it its pictures, and in docs/ the latest ones under a name that stays."""

from pathlib import Path

import pytest

from app.bench.plots import Picture
from loadtests import load_report

PICTURE = Picture("a", b"png", "<svg></svg>")
SHOWN = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("kept", [True, False])
def test_pictures_of_a_kept_page_are_the_latest(
    kept: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = tmp_path / "docs" / "benchmarks"
    monkeypatch.setattr(load_report, "BENCHMARKS", pages)
    directory = pages if kept else tmp_path / "elsewhere"
    written = load_report.write(directory, "load", "Title", "command", "text", {"latency": PICTURE})
    assert {path.suffix for path in written} == {".md", ".png", ".html"}
    assert {path.parent for path in written} == {directory}
    assert (tmp_path / "docs" / "load-latency.png").exists() is kept


@pytest.mark.parametrize("name", ["load-latency.png", "capacity-sweep.png"])
def test_the_pictures_that_are_shown_are_there(name: str) -> None:
    assert f"({name})" in (SHOWN / "load-testing.md").read_text()
    assert (SHOWN / name).read_bytes().startswith(b"\x89PNG")
