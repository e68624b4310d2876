"""A tiny run learns, resumes to the very same weights, and exports a folder that transformers loads."""

import argparse
import json
from argparse import Namespace
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer

from workshop import export, train
from workshop.mixture import Mixture, Shares
from workshop.muon import orthogonal
from workshop.presets import PRESETS, model_config
from workshop.schedule import Budget, rate_factor
from workshop.tokenizer import save_tokenizer
from workshop.trainer import Trainer

SHARES = Shares(conversations=512, decisions=1024)


def _trainer(data: Path, tokenizer: Tokenizer) -> Trainer:
    preset = PRESETS["tiny"]
    return Trainer(model_config(preset), preset, Mixture(data, tokenizer, 1, SHARES))


def test_resumed_and_uninterrupted_runs_agree(data: Path, tokenizer: Tokenizer, tmp_path: Path) -> None:
    whole = _trainer(data, tokenizer)
    first = whole.train_step(0.1)
    whole.train_step(0.2)
    whole.save(tmp_path / "state.pt", 1.5)
    last = whole.train_step(0.3)
    resumed = _trainer(data, tokenizer)
    assert resumed.load(tmp_path / "state.pt") == 1.5
    assert resumed.train_step(0.3) == last
    for name, weight in whole.model.state_dict().items():
        torch.testing.assert_close(resumed.model.state_dict()[name], weight, rtol=0, atol=0)
    assert last["chat"] < first["chat"]


def test_export_loads_in_transformers(data: Path, tokenizer: Tokenizer, tmp_path: Path) -> None:
    trainer = _trainer(data, tokenizer)
    save_tokenizer(tokenizer, tmp_path)
    trainer.save(tmp_path / "latest.pt", 0.0)
    target = tmp_path / "made"
    export.run(Namespace(work_dir=tmp_path, raw=False, target=target))
    model = AutoModelForCausalLM.from_pretrained(target)
    assert model.generation_config.eos_token_id == 2
    assert AutoTokenizer.from_pretrained(target).eos_token_id == 2
    assert json.loads((target / "decisions.json").read_text())["separator"] == " | "
    wanted = trainer.model.model.norm.weight.detach().bfloat16()
    torch.testing.assert_close(model.model.norm.weight.bfloat16(), wanted)


def test_a_new_run_starts_from_a_model_folder(data: Path, tokenizer: Tokenizer, tmp_path: Path) -> None:
    made = _trainer(data, tokenizer)
    made.train_step(0.1)
    save_tokenizer(tokenizer, tmp_path)
    export.export(made.model, tmp_path, tmp_path / "made", {})
    options = argparse.ArgumentParser()
    train.add_arguments(options)
    run = [
        "--data",
        str(data),
        "--preset",
        "tiny",
        "--seed",
        "7",
        "--steps",
        "1",
        "--start",
        str(tmp_path / "made"),
    ]
    train.run(options.parse_args([*run, "--work-dir", str(tmp_path / "again")]))
    assert (tmp_path / "again/tokenizer.json").read_text() == (tmp_path / "made/tokenizer.json").read_text()
    state = torch.load(tmp_path / "again/latest.pt", weights_only=False)
    # One step away from the weights it started with, far from those of the seed.
    name = "model.embed_tokens.weight"
    torch.testing.assert_close(state["model"][name], made.model.state_dict()[name].float(), rtol=0, atol=0.02)


def test_a_second_export_keeps_the_temperature(tmp_path: Path) -> None:
    (tmp_path / "decisions.json").write_text('{"temperature": 1.5}')
    assert export.decisions_of(tmp_path)["temperature"] == 1.5


@pytest.mark.parametrize("shape", [(8, 8), (6, 12), (12, 6)])
def test_muon_updates_are_nearly_orthogonal(shape: tuple[int, int]) -> None:
    torch.manual_seed(1)
    values = torch.linalg.svdvals(orthogonal(torch.randn(shape)))
    assert values.min() > 0.4
    assert values.max() < 1.4


def test_the_rate_warms_up_and_ends_at_zero() -> None:
    assert rate_factor(0.01) == pytest.approx(0.5)
    assert rate_factor(0.02) == pytest.approx(1.0)
    assert rate_factor(1.0) == 0.0


def test_a_budget_of_steps_ignores_the_clock() -> None:
    assert Budget(steps=4).progress(1) == 0.25
    assert Budget(minutes=1, spent=120).progress(0) == 1.0
