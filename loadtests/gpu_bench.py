"""`make gpu-bench`: what a GPU must get right and how fast the engine is on it; without a GPU it says so.

python -m loadtests.gpu_bench [--shapes 0.5b 8b] [--quick]
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from app.engine.config import EngineConfig
from app.engine.core.engine_core import EngineCore
from app.engine.core.model_loader import load_model
from app.engine.messages import AddRequest, SamplingParams
from app.errors import ReparteeError
from app.services.tokenizer import Message, Tokenizer
from app.settings import EMBEDDED_MODEL
from loadtests.core_speed import core_speed
from loadtests.equivalence import mismatches
from loadtests.machine import machine
from loadtests.random_model import random_model
from loadtests.report import Results, figures_table

NO_GPU = "PyTorch sees no CUDA device: nothing was measured."
_FORMATS = ("none", "bnb-nf4", "bnb-int8")
_DEVICE = "cuda"
_QUESTION = "Hello, I want to cancel my order 48213. How do I do that?"


@dataclass(frozen=True)
class Sizes:
    """Tokens of a prompt and of an answer, and numbers of streams."""

    prompt: int = 128
    new: int = 128
    streams: tuple[int, ...] = (1, 16)


def main(arguments: Sequence[str]) -> int:
    """Run everything; returns 1 where the engine's tokens are wrong, 0 without a GPU."""
    options = _parser().parse_args(arguments)
    if not torch.cuda.is_available():
        print(NO_GPU)
        return 0
    print("\n".join(f"- {name}: {value}" for name, value in (machine() | _device()).items()), flush=True)
    wrong = mismatches(_DEVICE)
    print(f"\nGreedy tokens against `generate`, alone and batched: {wrong} of 16 differ.", flush=True)
    print(f"\n> {_QUESTION}\n\n{chat(_DEVICE)}\n", flush=True)
    sizes = Sizes(new=16) if options.quick else Sizes()
    for shape in options.shapes:
        print(speed_table(shape, random_model(shape), _DEVICE, sizes), flush=True)
    return int(bool(wrong))


def chat(device: str, model: str = EMBEDDED_MODEL, new_tokens: int = 120) -> str:
    """The model's greedy answer to a fixed question, or why there is none."""
    if not Path(model).is_dir():
        return f"(no chat: there is no model in {Path(model).name})"
    config = EngineConfig(model=model, device=device, kv_cache_tokens=4096)
    loaded = load_model(config)
    core, tokenizer = EngineCore(loaded, config), Tokenizer.from_directory(model)
    prompt = tokenizer.encode_prompt([Message("user", _QUESTION)])
    core.add(AddRequest(id=1, prompt=prompt, sampling=SamplingParams(max_tokens=new_tokens)))
    tokens: list[int] = []
    while core.has_work:
        for output in core.step().outputs:
            tokens += output.tokens
    return tokenizer.decode(tokens)


def speed_table(shape: str, model: Path, device: str, sizes: Sizes) -> str:
    """Speed of each weight format as markdown."""
    results = Results()
    for quantization in _FORMATS:
        name = "bf16" if quantization == "none" else quantization
        try:
            results.add(name, core_speed(model, device, quantization, sizes.streams, sizes.prompt, sizes.new))
        except (ReparteeError, torch.OutOfMemoryError) as error:
            results.fail(name, str(error))
    lines = [f"{name}: not measured: {reasons[-1]}" for name, reasons in results.failures.items()]
    heading = f"## {shape}, random weights, {sizes.prompt} + {sizes.new} tokens, without HTTP\n"
    return "\n".join([heading, figures_table(results.samples), *lines, ""])


def _device() -> dict[str, str]:
    properties = torch.cuda.get_device_properties(0)
    return {
        "GPU": f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB",
        "CUDA": str(torch.version.cuda),
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m loadtests.gpu_bench", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--shapes", nargs="+", choices=("tiny", "0.5b", "8b"), default=["0.5b"])
    parser.add_argument("--quick", action="store_true", help="few tokens, to see that everything runs")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
