"""The comparison of answers alone and in a mix: there is no difference, and one that there were would be found."""

import re
from collections import Counter
from typing import Any

import pytest
import torch

from app.engine.core.batch import Batch
from app.engine.core.engine_core import EngineCore
from app.engine.core.native_runner import NativeRunner
from app.engine.core.scheduler import StepResult
from loadtests.reliability import invariance
from loadtests.reliability.failing_passes import KINDS
from loadtests.reliability.invariance import EXIT_DIFFERENT, EXIT_NOTHING_SHOWN, Seen, main, not_shown, render

FEW = ["--mixes", "10", "--bank", "20", "--seed", "3"]


@pytest.fixture(autouse=True)
def no_speeds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(invariance, "speed", lambda *_: 100.0)


def test_in_any_company_the_answers_are_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(FEW) == 0
    page = capsys.readouterr().out
    assert re.search(r"\*\*0 of [1-9]\d+ answers differ", page) and "- processor: " in page
    assert f"Reproduce: `python -m loadtests.reliability.invariance {' '.join(FEW)}`" in page
    rows = [line.split(" | ") for line in page.splitlines() if line.startswith("| ")]
    counts = {row[0].removeprefix("| "): row[1].removesuffix(" |") for row in rows}
    for name in (
        *KINDS,
        "preemptions",
        "accepted",
        "bursts",
        "prompts in chunks",
        "tokens from the prefix cache",
    ):
        assert int(counts[name].replace(",", "")) > 0, name


@pytest.mark.parametrize("missing", ["preemptions", "tokens from the prefix cache", *KINDS[1:]])
def test_what_never_happened_was_not_shown(missing: str) -> None:
    seen = {kind: Seen(counts=Counter({"passes that went wrong": 2})) for kind in KINDS}
    seen[KINDS[0]].counts = Counter({"preemptions": 1, "tokens from the prefix cache": 64})
    assert not_shown(seen) == []
    if missing in KINDS:
        seen[missing].counts.clear()
    else:
        del seen[KINDS[0]].counts[missing]
    (told,) = not_shown(seen)
    assert missing in told
    assert f"happened here: {told}.**" in render(seen, {"ours": 2.0, "other": 1.0}, {}, "command")


def test_a_run_that_shows_nothing_fails(capsys: pytest.CaptureFixture[str]) -> None:
    """One mix, in which nothing goes wrong."""
    assert main(["--mixes", "1", "--bank", "3", "--seed", "3"]) == EXIT_NOTHING_SHOWN
    assert f"passes that went wrong, of {KINDS[1]}" in capsys.readouterr().out


def test_roundings_that_change_with_the_batch_are_found(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = NativeRunner.run

    def rounds_otherwise(runner: NativeRunner, batch: Batch) -> torch.Tensor:
        return run(runner, batch) * (1.0 + 1e-6 * len(batch.scheduled))

    monkeypatch.setattr(NativeRunner, "run", rounds_otherwise)
    assert main(FEW) == EXIT_DIFFERENT
    assert "**0 of" not in capsys.readouterr().out


def test_a_batch_that_fails_as_a_whole_is_found(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(core: EngineCore, scheduled: list[Any], memory: bool) -> list[StepResult]:
        return [StepResult(failed=True) for _ in scheduled]

    monkeypatch.setattr(EngineCore, "_run_parts", fails)
    assert main(FEW) == EXIT_DIFFERENT
    assert "**0 of" not in capsys.readouterr().out
