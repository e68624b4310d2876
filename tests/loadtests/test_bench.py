"""The bench runs its subjects in turn, survives those that fail, and writes only when told."""

import sys
from pathlib import Path

import pytest

from loadtests import bench, gates
from loadtests.cases import Figures
from loadtests.peers import NotThere
from loadtests.plan import Plan
from loadtests.processes import ProcessFailed


def failing(plan: Plan) -> Figures:
    raise ProcessFailed("It ended with code 1.")


def test_subjects_take_turns_and_a_failure_stops_nobody() -> None:
    order: list[str] = []

    def subject(name: str) -> bench.Subject:
        def measure(plan: Plan) -> Figures:
            order.append(name)
            return {"tok/s": float(len(order))}

        return measure

    subjects = {"a": subject("a"), "broken": failing, "b": subject("b")}
    results = bench.run(Plan(Path("m"), rounds=2), subjects)
    assert order == ["a", "b", "a", "b"]
    assert results.samples == {"a": {"tok/s": [1, 3]}, "b": {"tok/s": [2, 4]}}
    assert results.failures == {"broken": ["It ended with code 1."] * 2}


def absent(plan: Plan) -> Figures:
    raise NotThere("llama-server is not there.")


def test_a_peer_that_is_not_there_is_no_failure() -> None:
    results = bench.run(Plan(Path("m"), rounds=2), {"peer": absent, "b": lambda plan: {"tok/s": 1.0}})
    assert results.absent == {"peer"} and not results.failures
    assert results.samples == {"b": {"tok/s": [1, 1]}}


def test_every_subject_has_a_table_and_every_gate_a_subject() -> None:
    shown = [name for names in bench.GROUPS.values() for name in names]
    assert sorted(shown) == sorted(bench.SUBJECTS)
    named = [gates.OURS, gates.OURS_8, gates.OURS_4, gates.LLAMA_8, gates.LLAMA_4, *gates.OPENVINO]
    assert set(named) <= set(shown)


@pytest.mark.parametrize(("ready", "code"), [(3.0, 0), (30.0, 1)])
def test_the_exit_code_tells_a_failed_gate(
    ready: float,
    code: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(bench.SUBJECTS, gates.EMBEDDED, lambda plan: {"ready s": ready})
    monkeypatch.setattr(bench, "BENCHMARKS", tmp_path / "benchmarks")
    arguments = ["--quick", "--shape", "tiny", "--dir", str(tmp_path), "--only", gates.EMBEDDED]
    assert bench.main(arguments) == code
    assert "embedded model ready" in capsys.readouterr().out
    assert not (tmp_path / "benchmarks").exists()


def test_write_leaves_a_dated_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(bench.SUBJECTS, gates.EMBEDDED, lambda plan: {"ready s": 3.0})
    monkeypatch.setattr(bench, "BENCHMARKS", tmp_path / "benchmarks")
    bench.main(["--shape", "tiny", "--dir", str(tmp_path), "--only", gates.EMBEDDED, "--write"])
    (page,) = (tmp_path / "benchmarks").iterdir()
    assert page.name.endswith("-cpu.md") and "| embedded model ready, s | 3 |" in page.read_text()


def test_plots_lie_beside_a_page_with_the_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = {"1 x tok/s": 10.0, "8 x tok/s": 50.0, "ready s": 3.0}
    monkeypatch.setitem(bench.SUBJECTS, gates.EMBEDDED_IDS, lambda plan: figures)
    where = ["--dir", str(tmp_path), "--plot", str(tmp_path / "plots")]
    bench.main(["--shape", "tiny", *where, "--rounds", "1", "--only", gates.EMBEDDED_IDS])
    picture, page = sorted((tmp_path / "plots").iterdir())
    assert picture.name.endswith("-cpu-streams-3.png") and picture.read_bytes().startswith(b"\x89PNG")
    assert "Tokens a second" in page.read_text() and "Reproduce" in page.read_text()


def test_plots_that_cannot_be_made_are_refused_before_the_bench(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert bench.main(["--plot", str(tmp_path / "file" / "below")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert bench.main(["--plot", str(tmp_path)]) == 2
    assert "matplotlib" in capsys.readouterr().err
