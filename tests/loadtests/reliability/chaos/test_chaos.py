"""The short form: a real service is hurt under load and drained, its history holds, and the page says so."""

import asyncio
from types import SimpleNamespace
from typing import cast

import pytest

from loadtests.reliability.chaos import __main__ as command
from loadtests.reliability.chaos import report
from loadtests.reliability.chaos.life import Life, live
from loadtests.reliability.chaos.run import Run
from loadtests.reliability.chaos.service import subject


def test_a_killed_engine_a_burst_and_what_comes_beside_them_break_no_rule() -> None:
    with subject() as service:
        life = asyncio.run(
            live(service, 0.0, seed=7, heavy=["kill", "burst"], light=["leave", "log", "clock", "bad"])
        )
    assert life.violations == {}
    assert life.exit_code == 0
    fates = [exchange.fate for exchange in life.run.exchanges]
    assert fates.count("completed") > len(life.run.questions) and fates.count("refused") > 0
    (killed,) = life.faults("kill")
    assert killed.serving is not None
    found = {figure.name: figure for figure in report.figures([life])}
    assert found["engine killed: open streams that end byte-equal"].within is True
    assert found["engine hangs: not ready"].verdict == "not measured"
    page = report.render([life], {"cores": "2"}, "python -m loadtests.reliability.chaos")
    assert "**No rule of the history checker was violated.**" in page


@pytest.mark.slow
def test_the_command_does_every_fault_once(capsys: pytest.CaptureFixture[str]) -> None:
    code = command.main(["--seconds", "1", "--seed", "5"])
    page = capsys.readouterr().out
    assert code in (0, command.EXIT_MISSED), page  # a busy machine misses seconds, and no rule
    assert "**No rule of the history checker was violated.**" in page


@pytest.mark.parametrize(
    ("broken", "code"), [({}, command.EXIT_MISSED), ({"a rule": ["a line"]}, command.EXIT_VIOLATED)]
)
def test_the_exit_code_says_what_was_broken(
    broken: dict[str, list[str]],
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """No figure is measured but the exit code, which is none of a drain."""
    run = SimpleNamespace(exchanges=[], faults=[], leavers=0, probe=SimpleNamespace(seen=[]))
    life = Life(cast(Run, run), broken, exit_code=9)
    monkeypatch.setattr(command, "_life", lambda *_: life)
    monkeypatch.setattr(command, "_life_with_full_log", lambda _: life)
    assert command.main(["--seed", "1"]) == code
    assert ("a rule: violated 2 times" in capsys.readouterr().out) == bool(broken)
