"""The Llama family in transformers: which models the native decoder can run, and where their weights are."""

from enum import IntEnum
from typing import Any

from torch import nn

LANES = 16
"""Numbers in one vector of the native sources: heads and blocks have to fill it."""
_FAMILIES = ("llama", "mistral", "qwen2", "qwen3")
_FIXED_ROPES = ("default", "linear", "llama3", "yarn")
"""Rotary embeddings whose frequencies do not depend on the length of the sequence."""


class UnfitModel(Exception):
    """A model whose modules are not what its configuration says; the message says which."""


class Part(IntEnum):
    """Weight matrices, as `Decoder::Part` in src/decoder.h counts them."""

    QUERY = 0
    KEY = 1
    VALUE = 2
    OUTPUT = 3
    GATE = 4
    UP = 5
    DOWN = 6
    HEAD = 7
    EMBEDDING = 8


class Norm(IntEnum):
    """Norms, as `Decoder::Norm` in src/decoder.h counts them."""

    INPUT = 0
    MIDDLE = 1
    QUERY = 2
    KEY = 3
    FINAL = 4


def unfit_for_native(config: Any, block_size: int) -> str | None:
    """Why the native decoder cannot run a model with this configuration (transformers'); None where it can."""
    if config.model_type not in _FAMILIES:
        return f"the native decoder does not know {config.model_type} models"
    rope = config.rope_parameters or {}
    kind = rope.get("rope_type", "default")
    if kind not in _FIXED_ROPES or rope.get("partial_rotary_factor", 1.0) != 1.0:
        return f"the native decoder does not know rotary embedding of type {kind}"
    if config.hidden_act != "silu":
        return f"the native decoder does not know the activation {config.hidden_act}"
    if head_dim(config) % LANES:
        return f"the native decoder does not know heads of {head_dim(config)} dimensions"
    if config.num_attention_heads % config.num_key_value_heads:
        return "the native decoder wants as many query heads for each KV head"
    if getattr(config, "quantization_config", None) is not None:
        return "the native decoder quantizes by itself, and this checkpoint is quantized already"
    if block_size % LANES and LANES % block_size:
        return f"the native decoder does not know blocks of {block_size} tokens"
    return None


def linears(layer: Any, config: Any) -> list[tuple[Part, Any, tuple[int, int]]]:
    """The linear layers of a transformers layer and the shapes of their weights."""
    hidden, inner, dim = config.hidden_size, config.intermediate_size, head_dim(config)
    queries, keys = config.num_attention_heads * dim, config.num_key_value_heads * dim
    attention, mlp = layer.self_attn, layer.mlp
    return [
        (Part.QUERY, attention.q_proj, (queries, hidden)),
        (Part.KEY, attention.k_proj, (keys, hidden)),
        (Part.VALUE, attention.v_proj, (keys, hidden)),
        (Part.OUTPUT, attention.o_proj, (hidden, queries)),
        (Part.GATE, mlp.gate_proj, (inner, hidden)),
        (Part.UP, mlp.up_proj, (inner, hidden)),
        (Part.DOWN, mlp.down_proj, (hidden, inner)),
    ]


def norms(layer: Any, config: Any) -> list[tuple[Norm, Any, int]]:
    """The norms of a transformers layer and their sizes."""
    attention = layer.self_attn
    found = [
        (Norm.INPUT, layer.input_layernorm, config.hidden_size),
        (Norm.MIDDLE, layer.post_attention_layernorm, config.hidden_size),
    ]
    if hasattr(attention, "q_norm"):
        found.append((Norm.QUERY, attention.q_norm, head_dim(config)))
        found.append((Norm.KEY, attention.k_norm, head_dim(config)))
    return found


def check_modules(model: Any) -> None:
    """Whether all modules are what native code is about to read.

    Raises:
        UnfitModel: one is not.
    """
    config = model.config
    vocabulary = (model.lm_head.out_features, config.hidden_size)
    expected: list[tuple[Any, tuple[int, ...]]] = [
        (model.lm_head.weight, vocabulary),
        (model.model.embed_tokens.weight, vocabulary),
        (model.model.norm.weight, (config.hidden_size,)),
        (model.model.rotary_emb.inv_freq, (head_dim(config) // 2,)),
    ]
    modules = [model.lm_head]
    for layer in model.model.layers:
        for _, module, shape in linears(layer, config):
            modules.append(module)
            expected.append((module.weight, shape))
        expected += [(module.weight, (size,)) for _, module, size in norms(layer, config)]
    for module in modules:
        if type(module) is not nn.Linear:
            raise UnfitModel(f"the native decoder does not know layers of type {type(module).__name__}")
    for weights, wanted in expected:
        if tuple(weights.shape) != wanted:
            raise UnfitModel(f"the native decoder expects weights of {wanted}, not of {tuple(weights.shape)}")


def head_dim(config: Any) -> int:
    """Dimensions of one attention head."""
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


def window(attention: Any) -> int:
    """Positions that a query of this layer sees; 0 for all. Mistral keeps one number for all layers."""
    owner = attention.config if type(attention).__name__.startswith("Mistral") else attention
    return getattr(owner, "sliding_window", None) or 0
