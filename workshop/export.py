"""The export command: turns a checkpoint into a model folder that transformers and the service load."""

import argparse
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

from workshop.labels import SEPARATOR
from workshop.tokenizer import PAD, TURN_END, load_tokenizer, save_tokenizer

# Hosts and mirrors drop larger files.
SHARD = "3900KB"
# What clients get that name none: a model of this size writes nonsense at 1.
TEMPERATURE = 0.3
DECISIONS: dict[str, Any] = {
    "order": "question_first",
    "choice": "Task: {task}. Labels: {labels}",
    "predicate": "Task: {instructions} Labels: {labels}",
    "multi_label": "Task: {task}. Is it {label}? Labels: {labels}",
    "separator": SEPARATOR,
    "label": "{label}",
    "described_label": "{label} ({description})",
    "true": "yes",
    "false": "no",
    "temperature": 1.0,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `workshop export`."""
    parser.add_argument("--work-dir", type=Path, required=True, help="the folder of a training run")
    parser.add_argument("--raw", action="store_true", help="the last weights instead of their average")
    parser.add_argument("target", type=Path)


def run(arguments: argparse.Namespace) -> None:
    """Exports the newest checkpoint; other files of the target (card, licences) stay."""
    state = torch.load(arguments.work_dir / "latest.pt", map_location="cpu", weights_only=False)
    model = LlamaForCausalLM(LlamaConfig.from_dict(state["config"]))
    model.load_state_dict(state["model"])
    if not arguments.raw:
        model.load_state_dict(state["average"], strict=False)
    export(model, arguments.work_dir, arguments.target, decisions_of(arguments.target))
    print(f"step {state['step']}, {state['tokens']} tokens, {state['seconds']:.0f} s")


def decisions_of(folder: Path) -> dict[str, Any]:
    """The decision form of a model folder, or the default one when it has none."""
    path = folder / "decisions.json"
    return json.loads(path.read_text()) if path.is_file() else dict(DECISIONS)


def export(model: LlamaForCausalLM, tokenizer: Path, target: Path, decisions: dict[str, Any]) -> None:
    """Writes bf16 shards, configuration, tokenizer and decision form; complete files are moved in."""
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        new = Path(folder)
        model.to(torch.bfloat16)
        model.generation_config = GenerationConfig(
            eos_token_id=TURN_END, pad_token_id=PAD, max_length=2048, do_sample=True, temperature=TEMPERATURE
        )
        model.save_pretrained(new, max_shard_size=SHARD)
        save_tokenizer(load_tokenizer(tokenizer), new)
        (new / "decisions.json").write_text(json.dumps(decisions, indent=2) + "\n")
        for stale in target.glob("model*.safetensors*"):
            if not (new / stale.name).exists():
                stale.unlink()
        for file in new.iterdir():
            file.chmod(0o644)
            os.replace(file, target / file.name)
