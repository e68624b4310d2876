"""ModelRunner: a loaded model and its KV cache; a batch goes in, logits of the wanted rows come out."""

from typing import Protocol

import torch

from app.engine.config import EngineConfig
from app.engine.core.batch import Batch
from app.engine.core.kv_cache import KVCache, bytes_per_token
from app.engine.core.memory import free_memory
from app.engine.core.model_loader import LoadedModel
from app.engine.core.native_runner import NativeRunner
from app.engine.core.torch_runner import TorchRunner
from app.engine.native.decoder import NativeDecoder, padded_block
from app.errors import ReparteeError


class OutOfMemory(ReparteeError):
    """The KV cache cannot hold even one sequence of the longest allowed length."""


class ModelRunner(Protocol):
    """What the engine core needs of a model."""

    @property
    def num_blocks(self) -> int: ...
    def run(self, batch: Batch) -> torch.Tensor: ...
    def clear(self, blocks: list[int]) -> None: ...


def make_runner(loaded: LoadedModel, config: EngineConfig) -> ModelRunner:
    """The runner for `loaded`, with its KV cache.

    Raises:
        OutOfMemory: the cache would be smaller than one sequence; the message says what to change.
        MemoryError: the system does not give what seemed free.
    """
    blocks = _num_blocks(loaded, config)
    if isinstance(loaded.model, NativeDecoder):
        return NativeRunner(loaded.model, blocks, config.block_size, config.threads)
    cache = KVCache(loaded.kv_shapes, blocks, config.block_size, loaded.cache_dtype, loaded.device)
    return TorchRunner(loaded.model, cache, loaded.device)


def _num_blocks(loaded: LoadedModel, config: EngineConfig) -> int:
    per_token = cache_bytes_per_token(
        loaded.kv_shapes,
        loaded.cache_dtype,
        config.block_size,
        native=isinstance(loaded.model, NativeDecoder),
    )
    return affordable_blocks(per_token, loaded.max_model_len, free_memory(loaded.device), config)


def cache_bytes_per_token(
    kv_shapes: list[tuple[int, int]], dtype: torch.dtype, block_size: int, *, native: bool
) -> int:
    """Bytes of the KV cache for one token, with what the native decoder's blocks are padded to."""
    per_token = bytes_per_token(kv_shapes, dtype)
    return per_token * padded_block(block_size) // block_size if native else per_token


def affordable_blocks(per_token: int, max_model_len: int, free_bytes: int, config: EngineConfig) -> int:
    """Blocks of the cache: as set, or what the memory share gives, but no more than could ever be used.

    Args:
        per_token: bytes.
        free_bytes: memory that is free once the weights are loaded.

    Raises:
        OutOfMemory: they would hold less than one sequence; the message says what to change.
    """
    tokens = config.kv_cache_tokens
    if not tokens:
        affordable = int(free_bytes * config.kv_cache_memory_ratio) // per_token
        tokens = min(affordable, config.max_running * max_model_len)
    blocks = -(-tokens // config.block_size)
    if blocks * config.block_size < max_model_len:
        raise OutOfMemory(
            f"The KV cache would hold {tokens} tokens ({per_token} bytes each), fewer than one sequence of "
            f"{max_model_len}. Lower REPARTEE_MAX_MODEL_LEN, or raise REPARTEE_KV_CACHE_MEMORY_RATIO "
            "or REPARTEE_KV_CACHE_TOKENS."
        )
    return blocks
