"""Tiny random models of each supported family, written as local safetensors checkpoints."""

import atexit
import shutil
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3TextConfig,
    GemmaConfig,
    LlamaConfig,
    MistralConfig,
    PreTrainedConfig,
    Qwen2Config,
    Qwen3Config,
)

VOCABULARY = 160
SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 256,
    "eos_token_id": 2,
    "bos_token_id": 1,
    "pad_token_id": 0,
    "initializer_range": 0.4,
}
FAMILIES: dict[str, PreTrainedConfig] = {
    "llama": LlamaConfig(**SIZES),
    "qwen2": Qwen2Config(**SIZES),
    "qwen3": Qwen3Config(**SIZES),
    "mistral": MistralConfig(**SIZES, sliding_window=24),
    "gemma": GemmaConfig(**SIZES),
    "gemma2": Gemma2Config(**SIZES, sliding_window=24, query_pre_attn_scalar=16),
    "gemma3": Gemma3TextConfig(**SIZES, sliding_window=24, query_pre_attn_scalar=16),
}


@cache
def tiny_checkpoint(family: str, dtype: torch.dtype = torch.float32) -> Path:
    """Directory of a random model of `family`; the same weights at each call of a process."""
    torch.manual_seed(7)
    directory = Path(mkdtemp(prefix=f"tiny-{family}-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    model = AutoModelForCausalLM.from_config(FAMILIES[family])
    model.to(dtype).save_pretrained(directory)
    return directory
