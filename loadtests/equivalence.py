"""Whether the engine's greedy tokens equal those of transformers' `generate` on a device, alone and batched."""

import random
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from app.engine.config import EngineConfig
from app.engine.core.engine_core import EngineCore
from app.engine.core.model_loader import load_model
from app.engine.messages import AddRequest, SamplingParams
from loadtests.random_model import DEFAULT_DIRECTORY, random_model

_SEED = 5
_NEW_TOKENS = 24


def mismatches(device: str, prompts: int = 8, directory: Path = DEFAULT_DIRECTORY) -> int:
    """Number of prompts, of twice `prompts` runs, whose tokens differ on a tiny float32 model."""
    model = random_model("tiny", directory, torch.float32)
    config = EngineConfig(
        model=str(model), device=device, dtype="float32", quantization="none", kv_cache_tokens=8192
    )
    core = EngineCore(load_model(config), config)
    chooser = random.Random(_SEED)
    asked = [[chooser.randrange(4, 260) for _ in range(chooser.randrange(5, 90))] for _ in range(prompts)]
    reference = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).to(device).eval()
    expected = [_generate(reference, prompt) for prompt in asked]
    alone = [_run(core, [prompt])[0] for prompt in asked]
    batched = _run(core, asked)
    return sum(
        found != wanted
        for answers in (alone, batched)
        for found, wanted in zip(answers, expected, strict=True)
    )


def _generate(model: Any, prompt: list[int]) -> list[int]:
    ids = torch.tensor([prompt], device=model.device)
    output = model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=_NEW_TOKENS,
        do_sample=False,
        eos_token_id=None,
    )
    tokens: list[int] = output[0, len(prompt) :].tolist()
    return tokens


def _run(core: EngineCore, prompts: list[list[int]]) -> list[list[int]]:
    """Tokens of each prompt, all run together; earlier runs serve no prefix."""
    answers: list[list[int]] = [[] for _ in prompts]
    sampling = SamplingParams(max_tokens=_NEW_TOKENS, ignore_eos=True)
    for number, prompt in enumerate(prompts):
        core.add(
            AddRequest(id=number, prompt=prompt, sampling=sampling, cache_salt=f"{len(prompts)} {number}")
        )
    while core.has_work:
        for output in core.step().outputs:
            answers[output.id] += output.tokens
    return answers
