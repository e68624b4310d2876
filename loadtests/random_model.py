"""Writes checkpoints of random weights: a model of a named shape with a tokenizer whose every token is text.

    python -m loadtests.random_model 0.5b [--dir DIRECTORY]

Prints the directory; one that exists is left as it is.
"""

import argparse
import os
import tempfile
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, GenerationConfig, PreTrainedConfig

from loadtests.random_tokenizer import BOS, EOS, PAD, write_tokenizer
from loadtests.shapes import NAMES, shape

DEFAULT_DIRECTORY = Path(tempfile.gettempdir()) / "repartee-random-models"
_SEED = 11


def random_model(name: str, directory: Path = DEFAULT_DIRECTORY, dtype: torch.dtype = torch.bfloat16) -> Path:
    """Directory of the checkpoint of shape `name` under `directory`, written unless it is there.

    Raises:
        KeyError: no such shape.
    """
    config = shape(name, bos_token_id=BOS, eos_token_id=EOS, pad_token_id=PAD)
    target = directory / f"random-{name}-{str(dtype).removeprefix('torch.')}"
    if not target.exists():
        directory.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=directory))
        _write(config, unfinished, dtype)
        os.replace(unfinished, target)
    return target


def _write(config: PreTrainedConfig, directory: Path, dtype: torch.dtype) -> None:
    """The skeleton lives on the meta device, so that no weight is ever initialised in float32."""
    with torch.device("meta"):
        skeleton = AutoModelForCausalLM.from_config(config)
    config.architectures = [type(skeleton).__name__]
    config.dtype = dtype
    config.save_pretrained(directory)
    GenerationConfig(bos_token_id=BOS, eos_token_id=[EOS], pad_token_id=PAD).save_pretrained(directory)
    save_file(_weights(skeleton, config, dtype), directory / "model.safetensors", metadata={"format": "pt"})
    write_tokenizer(directory, config.vocab_size)


def _weights(
    skeleton: torch.nn.Module, config: PreTrainedConfig, dtype: torch.dtype
) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(_SEED)
    tied = {"lm_head.weight"} if config.tie_word_embeddings else set()
    weights = {}
    for name, parameter in skeleton.named_parameters(remove_duplicate=False):
        if name in tied:
            continue
        weight = torch.empty(parameter.shape, dtype=dtype)
        if parameter.dim() > 1:
            weight.normal_(std=config.initializer_range, generator=generator)
        else:
            weight.fill_(0.0 if name.endswith("bias") else 1.0)
        weights[name] = weight
    return weights


def main() -> None:
    """Write one and print where."""
    parser = argparse.ArgumentParser(description="Write a checkpoint of random weights.")
    parser.add_argument("shape", choices=NAMES)
    parser.add_argument("--dir", type=Path, default=DEFAULT_DIRECTORY)
    arguments = parser.parse_args()
    print(random_model(arguments.shape, arguments.dir))


if __name__ == "__main__":
    main()
