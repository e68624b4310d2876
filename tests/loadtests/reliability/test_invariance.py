"""The comparison of answers alone and in a mix: there is no difference, and one that there were would be found."""

from typing import Any

import pytest
import torch

from app.engine.core.batch import Batch
from app.engine.core.engine_core import EngineCore
from app.engine.core.native_runner import NativeRunner
from app.engine.core.scheduler import StepResult
from loadtests.reliability import invariance
from loadtests.reliability.failing_passes import KINDS
from loadtests.reliability.invariance import EXIT_DIFFERENT, main

FEW = ["--mixes", "10", "--bank", "20", "--seed", "3"]


@pytest.fixture(autouse=True)
def no_speeds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(invariance, "speed", lambda *_: 100.0)


def test_in_any_company_the_answers_are_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(FEW) == 0
    page = capsys.readouterr().out
    assert "**0 of 1" in page and "- processor: " in page
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
