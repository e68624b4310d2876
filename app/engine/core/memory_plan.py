"""What a model would take of the memory, found without reading a weight, by the code that loads it."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForCausalLM

from app.engine.config import EngineConfig
from app.engine.core.attention import NAME as ATTENTION
from app.engine.core.memory import free_memory
from app.engine.core.model_loader import UNUSABLE, LoadPlan, ModelLoadError, kv_shapes, plan_load
from app.engine.core.model_runner import affordable_blocks, cache_bytes_per_token
from app.engine.native.decoder import packed_bytes
from app.engine.native.llama_family import UnfitModel

_BITSANDBYTES_BITS = {"bnb-nf4": 4.5, "bnb-int8": 8.0}
"""Bits of one weight, its share of the scales included."""


@dataclass(frozen=True)
class MemoryPlan:
    """The memory of a model.

    Attributes:
        load: how it will be loaded.
        kernels: as in `LoadedModel`.
        weight_bytes: exact for the native decoder and for plain weights, about right for bitsandbytes.
        free_bytes: free memory of the device now.
        cache_token_bytes: of the KV cache, for one token.
    """

    load: LoadPlan
    kernels: str
    weight_bytes: int
    free_bytes: int
    cache_token_bytes: int

    def cache_blocks(self, config: EngineConfig) -> int:
        """Blocks that the KV cache would get.

        Raises:
            OutOfMemory: fewer than one sequence needs; the message says what to change.
        """
        left = max(0, self.free_bytes - self.weight_bytes)
        return affordable_blocks(self.cache_token_bytes, self.load.max_model_len, left, config)


def plan_memory(config: EngineConfig) -> MemoryPlan:
    """Find out what the model that `config` names would take.

    Raises:
        ModelLoadError: it cannot be loaded at all.
        MemoryError: its weights are more than the system would ever give.
    """
    load = plan_load(config)
    try:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(
                load.hf_config, dtype=load.dtype, attn_implementation=ATTENTION, trust_remote_code=False
            )
    except UNUSABLE as error:
        raise ModelLoadError.of(config.model, error) from error
    shapes = kv_shapes(model)
    kernels, cache_dtype, weight_bytes = "torch", load.dtype, model.get_memory_footprint()
    weights = load.native_weights()[0] if load.device.type == "cpu" else None
    if weights is not None:
        try:
            weight_bytes = packed_bytes(model, weights)
        except UnfitModel as error:
            raise ModelLoadError(f"{error}. Set REPARTEE_QUANTIZATION=none.") from error
        kernels, cache_dtype = "native", torch.bfloat16
    elif load.quantization in _BITSANDBYTES_BITS:
        kernels, weight_bytes = "bitsandbytes", _quantized_bytes(model, _BITSANDBYTES_BITS[load.quantization])
    elif load.wants_native_linears():
        kernels, cache_dtype = "native-linear", torch.float32
    return MemoryPlan(
        load=load,
        kernels=kernels,
        weight_bytes=round(weight_bytes),
        free_bytes=free_memory(load.device),
        cache_token_bytes=cache_bytes_per_token(
            shapes, cache_dtype, config.block_size, native=kernels == "native"
        ),
    )


def _quantized_bytes(model: Any, bits: float) -> float:
    """Bytes where bitsandbytes quantizes all linear layers but the head."""
    layers = [module for module in model.modules() if isinstance(module, nn.Linear)]
    quantized = [layer for layer in layers if layer is not getattr(model, "lm_head", None)]
    saved = sum(layer.weight.numel() * (layer.weight.itemsize - bits / 8) for layer in quantized)
    return float(model.get_memory_footprint() - saved)
