"""The engine core is measured in a process without HTTP, with the threads that the service chooses."""

from pathlib import Path

import pytest
import torch

from loadtests import core_speed
from loadtests.bandwidth import read_bandwidth
from loadtests.plan import Plan
from loadtests.random_model import random_model
from loadtests.subjects import engine


def test_a_process_tells_the_figures(tmp_path: Path) -> None:
    model = random_model("tiny", tmp_path)
    plan = Plan(model, streams=2, prompt_tokens=8, new_tokens=6)
    figures = engine(None, "auto")(plan)
    assert {"weights MiB", "1 x decode tok/s", "2 x decode tok/s", "4 x tok/s"} <= set(figures)
    assert "share of bandwidth" not in figures  # a cache holds these weights


def test_a_small_model_runs_on_one_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", chosen.append)
    core_speed.core_speed(random_model("tiny", tmp_path), "cpu", "auto", (1,), 8, 4)
    core_speed.core_speed(random_model("tiny", tmp_path), "cpu", "auto", (1,), 8, 4, threads=2)
    assert chosen == [1, 2]


def test_memory_is_read_at_a_plausible_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loadtests.bandwidth._ELEMENTS", 1 << 20)
    assert 1e8 < read_bandwidth() < 1e13
