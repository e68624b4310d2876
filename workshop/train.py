"""The train command: makes the tokenizer when there is none, then trains until the budget is spent."""

import argparse
import json
import time
from pathlib import Path

import torch
from tokenizers import Tokenizer

from workshop.corpus import tokenizer_texts
from workshop.mixture import Mixture, Shares
from workshop.presets import PRESETS, Preset, model_config
from workshop.schedule import Budget
from workshop.tokenizer import load_tokenizer, save_tokenizer, train_tokenizer
from workshop.trainer import Trainer

LATEST = "latest.pt"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `workshop train`."""
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work-dir", type=Path, required=True, help="tokenizer, checkpoints and log")
    parser.add_argument("--preset", choices=PRESETS, default="small")
    parser.add_argument(
        "--start", type=Path, help="a model folder whose weights and tokenizer a new run takes"
    )
    parser.add_argument("--minutes", type=float, default=60.0, help="training time over all resumed runs")
    parser.add_argument("--steps", type=int, default=0, help="train for so many steps instead")
    parser.add_argument(
        "--tokens", type=int, default=1024, help="tokens of each half of a step; a multiple of 1024"
    )
    parser.add_argument("--save-minutes", type=float, default=4.0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--compile", action="store_true", help="compile the model; needs a C++ compiler")
    parser.add_argument("--seed", type=int, default=1)


def run(arguments: argparse.Namespace) -> None:
    """Trains, or resumes when the work folder has a checkpoint."""
    torch.set_num_threads(arguments.threads)
    folder: Path = arguments.work_dir
    folder.mkdir(parents=True, exist_ok=True)
    preset = PRESETS[arguments.preset]
    if not (folder / "tokenizer.json").is_file():
        save_tokenizer(_tokenizer(arguments, preset), folder)
    shares = Shares(arguments.tokens, arguments.tokens)
    mixture = Mixture(arguments.data, load_tokenizer(folder), arguments.seed, shares)
    trainer = Trainer(model_config(preset), preset, mixture, arguments.seed, compiled=arguments.compile)
    spent = 0.0
    if (folder / LATEST).is_file():
        spent = trainer.load(folder / LATEST)
    elif arguments.start:
        trainer.start_from(arguments.start)
    budget = Budget(arguments.minutes, arguments.steps, spent)
    train_until(trainer, budget, folder, arguments.save_minutes)


def _tokenizer(arguments: argparse.Namespace, preset: Preset) -> Tokenizer:
    if arguments.start:
        return load_tokenizer(arguments.start)
    return train_tokenizer(tokenizer_texts(arguments.data), preset.vocabulary)


def train_until(trainer: Trainer, budget: Budget, folder: Path, save_minutes: float) -> None:
    """Steps until the budget is spent, logging means of the losses and saving from time to time."""
    sums: dict[str, list[float]] = {}
    saved = time.monotonic()
    while (progress := budget.progress(trainer.step)) < 1:
        for part, loss in trainer.train_step(progress).items():
            sums.setdefault(part, []).append(loss)
        if trainer.step % 10 == 0:
            _log(folder, trainer, budget, {part: sum(losses) / len(losses) for part, losses in sums.items()})
            sums = {}
        if time.monotonic() - saved > 60 * save_minutes:
            trainer.save(folder / LATEST, budget.seconds)
            saved = time.monotonic()
    trainer.save(folder / LATEST, budget.seconds)


def _log(folder: Path, trainer: Trainer, budget: Budget, means: dict[str, float]) -> None:
    line = {
        "step": trainer.step,
        "tokens": trainer.tokens,
        "seconds": round(budget.seconds),
        **{part: round(mean, 4) for part, mean in means.items()},
    }
    print(json.dumps(line), flush=True)
    with (folder / "log.jsonl").open("a") as stream:
        stream.write(json.dumps(line) + "\n")
