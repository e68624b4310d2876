"""Without a GPU the GPU bench says so; its parts work on any device."""

from pathlib import Path

import pytest
import torch

from loadtests import equivalence, gpu_bench
from loadtests.equivalence import mismatches
from loadtests.gpu_bench import Sizes, chat, speed_table
from loadtests.random_model import random_model


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


def test_says_that_there_is_no_gpu(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu_bench.main([]) == 0
    assert capsys.readouterr().out == gpu_bench.NO_GPU + "\n"


def test_the_engine_agrees_with_generate(models: Path) -> None:
    assert mismatches("cpu", 4, models) == 0


def test_a_wrong_token_is_noticed(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = equivalence._generate
    monkeypatch.setattr(equivalence, "_generate", lambda model, prompt: [*right(model, prompt)[:-1], -1])
    assert mismatches("cpu", 2, models) == 4


def test_the_table_has_each_format_and_number_of_streams(models: Path) -> None:
    found = speed_table("tiny", random_model("tiny", models), "cpu", Sizes(prompt=16, new=4, streams=(1, 3)))
    assert "| figure | bf16 | bnb-nf4 | bnb-int8 |" in found
    assert "| 1 x decode tok/s |" in found and "| 3 x decode tok/s |" in found
    assert "not measured" not in found


def test_a_format_that_fails_is_told(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_bench, "_FORMATS", ("none",))
    found = speed_table("tiny", models / "absent", "cpu", Sizes(streams=(1,)))
    assert "bf16: not measured" in found


def test_a_chat_answers_in_text_or_says_why_not(models: Path) -> None:
    assert chat("cpu", str(random_model("tiny", models)), new_tokens=3)
    assert chat("cpu", str(models / "absent")).startswith("(no chat")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_the_engine_agrees_with_generate_on_the_gpu(models: Path) -> None:
    assert mismatches("cuda", 8, models) == 0
