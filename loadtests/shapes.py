"""Shapes of well-known models, whose speed can be measured with random weights."""

from typing import Any

from transformers import LlamaConfig, PreTrainedConfig, Qwen2Config

_TINY: dict[str, Any] = {
    "vocab_size": 512,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "tie_word_embeddings": True,
    "initializer_range": 0.2,
}
# Qwen2.5-0.5B, with a context that a bench fills.
_HALF_BILLION: dict[str, Any] = {
    "vocab_size": 151_936,
    "hidden_size": 896,
    "intermediate_size": 4864,
    "num_hidden_layers": 24,
    "num_attention_heads": 14,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
    "rope_theta": 1_000_000.0,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": True,
}
# Llama-3.1-8B, likewise.
_EIGHT_BILLION: dict[str, Any] = {
    "vocab_size": 128_256,
    "hidden_size": 4096,
    "intermediate_size": 14_336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "max_position_embeddings": 4096,
    "rope_theta": 500_000.0,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False,
}

NAMES = ("tiny", "0.5b", "8b")


def shape(name: str, **ends: int) -> PreTrainedConfig:
    """Configuration of the shape called `name`; `ends` are its special token ids.

    Raises:
        KeyError: no such shape.
    """
    shapes: dict[str, tuple[type[PreTrainedConfig], dict[str, Any]]] = {
        "tiny": (Qwen2Config, _TINY),
        "0.5b": (Qwen2Config, _HALF_BILLION),
        "8b": (LlamaConfig, _EIGHT_BILLION),
    }
    kind, sizes = shapes[name]
    return kind(**sizes, **ends)
