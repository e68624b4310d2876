"""The command: it comes across everything that it is to survive, does the same again, and says how to."""

from typing import Any

import pytest

from app.engine.core.scheduler import Scheduler
from simulation import __main__ as command
from simulation.__main__ import EXIT_VIOLATED, main
from simulation.traffic import Tally, Traffic


def tally_of(sessions: int) -> Tally:
    tally = Tally()
    for number in range(sessions):
        traffic = Traffic(f"all {number}")
        traffic.run(300)
        tally.add(traffic.session)
    return tally


def test_everything_comes_to_pass_and_comes_to_pass_again(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("CRITICAL", logger="app.engine")
    tally = tally_of(16)
    for name in ("preemptions", "accepted", "cached tokens", "crashes", "most overtaken"):
        assert tally.counts[name], name
    assert tally.counts["accepted"] < tally.counts["drafted"]
    assert set(tally.ended) == {"stop", "length", "deadline", "aborted", "expired", "failed"}
    assert set(tally.faults) == {"raise", "nan", "allocation", "out of memory"}
    assert tally.ended.total() == tally.counts["requests"]
    assert tally_of(2) == tally_of(2)


def test_it_prints_its_seed_and_what_it_saw(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--steps", "500", "--seed", "5"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("seed 5: 1 sessions, everything held") and "steps/s" in printed


def test_it_says_how_to_break_a_promise_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def late(self: Any) -> None: ...

    monkeypatch.setattr(Scheduler, "_expire", late)
    assert main(["--steps", "100000", "--seed", "5"]) == EXIT_VIOLATED
    first = capsys.readouterr().out
    assert "went on behind their deadline" in first
    again = first.splitlines()[-1].removeprefix("Reproduce: python -m simulation ").split()
    assert command.main(again) == EXIT_VIOLATED
    assert capsys.readouterr().out == first
